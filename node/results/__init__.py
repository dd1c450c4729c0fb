"""The results repository: ordinary git, one branch for each node and topic."""
