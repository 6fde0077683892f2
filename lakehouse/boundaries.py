"""Commit boundaries: the named points of a run between which a crash must be harmless.

A run announces each boundary as it passes. The announcement is logged and, in a crash test that asked for it
(`--kill_at NAME`), the whole process group is killed there with SIGKILL: no handler, no flush, no goodbye.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

logger = logging.getLogger(__name__)

NOWHERE = "-"


def kill_process_group() -> None:
    """SIGKILL this process and its JVM."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


class Boundaries:
    """Announces commit boundaries of one run."""

    def __init__(self, kill_at: str = NOWHERE, kill: Callable[[], None] = kill_process_group) -> None:
        """Keep where to die, if anywhere.

        Args:
            kill_at: Name of the boundary at which to call `kill`, or a dash for nowhere.
            kill: What to do there.
        """
        self._kill_at = kill_at
        self._kill = kill

    def passed(self, name: str) -> None:
        """Announce that everything before `name` is durable."""
        logger.info("commit boundary", extra={"boundary": name})
        if name == self._kill_at:
            self._kill()
