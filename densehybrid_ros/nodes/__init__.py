"""The ROS 2 side: everything that imports rclpy."""
