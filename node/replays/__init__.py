"""Running somebody's finding again: asking for it, doing it, and what came of it."""
