"""Pixels to objects, surfaces and tracks; training, export and metrics."""
