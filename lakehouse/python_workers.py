"""What Spark's Python workers do again before each task, and how they are spared it."""

from __future__ import annotations

import sys
import zipimport


def forget_archives() -> None:
    """Make Python forget that it has looked for modules in archives, until it does so again.

    A worker lives for many tasks, and before each one PySpark lets Python read anew the contents of every archive that
    it has looked into, once for each package in it. They are Spark's own and do not change; reading thousands of names
    takes longer than many a task has to do.
    """
    for place, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimport.zipimporter):
            del sys.path_importer_cache[place]
