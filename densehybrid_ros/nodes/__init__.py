# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 side: everything that imports rclpy."""
