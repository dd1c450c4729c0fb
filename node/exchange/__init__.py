"""Runs in other tools' formats, by those tools' own libraries: nothing here is needed by a node."""
