"""Makes listens: synthetic ones with known faults, or rows of existing files, and the truth about what must result.

`producers.run` is the way in; the command line calls nothing else.
"""
