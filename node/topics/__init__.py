"""Research topics: from a topic file to a brief whose text is on this machine."""
