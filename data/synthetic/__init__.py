"""A seeded procedural road with exact ground truth, drawn by a small software rasteriser."""
