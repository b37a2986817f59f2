"""Surfaces and tracks to a path the vehicle can drive."""
