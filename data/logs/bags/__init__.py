"""Bags of messages (MCAP, ROS 1, ROS 2) as logs."""
