"""The networks, readable without any training code. PyTorch is needed here and not at run time."""
