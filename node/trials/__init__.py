"""Where trials run: the device, the warm process, and the way from a job to an outcome."""
