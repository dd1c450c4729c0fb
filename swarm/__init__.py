"""What a swarm agrees on: words and rules. Pure: no I/O, no clock, no global randomness."""
