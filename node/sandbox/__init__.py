"""What candidate code may touch while it runs, and how that is held: probed, said, watched."""
