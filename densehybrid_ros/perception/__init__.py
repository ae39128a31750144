# SPDX-License-Identifier: Apache-2.0
"""What turns a frame, and what is known with it, into masks, hazards and an alert. No ROS here."""
