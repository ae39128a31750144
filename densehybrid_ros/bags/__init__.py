# SPDX-License-Identifier: Apache-2.0
"""Frames and data sets into rosbag2 and back."""
