"""Training scripts that cheat and honest ones that look unusual, as a node would be given them."""
