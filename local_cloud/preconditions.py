"""What must hold before a cloud starts: nobody else at work in its folder, a free port, room on the disk."""

from __future__ import annotations

import fcntl
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from local_cloud.errors import AlreadyRunningError, LocalCloudError, PortInUseError
from local_cloud.options import HOST
from local_cloud.state import State

NEEDED_BYTES: Final = 500 * 1024 * 1024


def check_start(folder: State, port: int | None) -> None:
    """Refuse to start where it can't end well.

    Raises:
        AlreadyRunningError: The folder holds a running cloud.
        PortInUseError: The port is taken.
        LocalCloudError: The disk is full.
    """
    record = folder.read()
    if record is not None and record.supervisor.is_alive():
        raise AlreadyRunningError(
            expected=f"no cloud under {folder.folder}",
            found=f"one at {record.endpoint}",
            do="Use it, end it with `listenlake down`, or choose another folder with `--state`.",
        )
    if port is not None and listens(port):
        raise PortInUseError(
            expected=f"port {port} to be free",
            found="somebody who listens on it",
            do="Choose another port, or none: a free one is then taken.",
        )
    free = shutil.disk_usage(folder.folder).free
    if free < NEEDED_BYTES:
        raise LocalCloudError(
            expected=f"{NEEDED_BYTES // 2**20} MB of free disk at {folder.folder}",
            found=f"{free // 2**20} MB",
            do="Make room, or choose another folder with `--state`.",
        )


@contextmanager
def locked(folder: State) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        AlreadyRunningError: Somebody else holds it.
    """
    folder.folder.mkdir(parents=True, exist_ok=True)
    with folder.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(
                expected=f"nobody else to start a cloud under {folder.folder}",
                found="another `up` at work",
                do="Wait for it, or choose another folder with `--state`.",
            ) from None
        yield


def listens(port: int) -> bool:
    """Tell whether somebody listens on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
