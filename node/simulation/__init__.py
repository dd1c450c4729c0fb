"""Trying the swarm out without training: recorded trials, what is learned from them, and searches on that."""
