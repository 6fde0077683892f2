"""What Spark's Python workers do again around each task, and how they are spared it.

A worker lives for many tasks, of which many a one has less to do than this takes.
"""

from __future__ import annotations

import gc
import itertools
import sys
import zipimport
from typing import Final

_TASKS: Final = itertools.count(1)
_LOADED: Final = 2
"""The task that finds in the worker what it needs: the one before loaded it, and what that one left is collected."""


def begin_task() -> None:
    """Spare the worker what it would do in vain; to be called first by a function that runs in tasks."""
    _forget_archives()
    # After each task PySpark has Python look through all that there is for garbage, modules and clients included. From
    # here on it looks through what came later. Done for each task, this would keep garbage of all of them.
    if next(_TASKS) == _LOADED:
        gc.freeze()


def _forget_archives() -> None:
    """Make Python forget that it has looked for modules in archives, until it does so again.

    Before each task PySpark lets Python read anew the contents of every archive that it has looked into, once for each
    package in it. They are Spark's own and do not change.
    """
    for place, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimport.zipimporter):
            del sys.path_importer_cache[place]
