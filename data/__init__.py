"""What comes in and what flows: types, cameras, logs, labels, configuration."""
