"""Training of the networks. PyTorch is needed here and not at run time."""
