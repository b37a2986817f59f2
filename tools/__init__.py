"""What a person runs: the command line, the joined stack, views and reports."""
