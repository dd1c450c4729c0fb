"""How nodes tell each other: signed bytes between peers. Knows nothing of experiments."""
