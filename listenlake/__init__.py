"""The command line: thin commands over the rooms, and the demo that drives them all."""
