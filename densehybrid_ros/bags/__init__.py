"""Frames and data sets into rosbag2 and back."""
