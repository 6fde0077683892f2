"""What a stretch of work takes: seconds by the clock and of processors, with the job and the local cloud told apart."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from local_cloud.cloud import Cloud


@dataclass
class Spent:
    """Filled when the work is done.

    Attributes:
        seconds: By the clock.
        cpu_seconds: Of the driver, its JVM and its Python workers, on all cores together.
        cloud_cpu_seconds: Of the emulator that serves them, on the same cores.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    cloud_cpu_seconds: float = 0.0


@contextmanager
def spending(cloud: Cloud) -> Iterator[Spent]:
    """Measure what is done inside, in this process and those that it has started, of which `cloud` is one."""
    spent = Spent()
    began, (job, served) = time.perf_counter(), _cpu_seconds(cloud)
    yield spent
    spent.seconds = time.perf_counter() - began
    job_after, served_after = _cpu_seconds(cloud)
    spent.cpu_seconds, spent.cloud_cpu_seconds = job_after - job, served_after - served


def _cpu_seconds(cloud: Cloud) -> tuple[float, float]:
    ours, supervisor = psutil.Process(), psutil.Process(cloud.record.supervisor.pid)
    of_cloud = {supervisor, *supervisor.children(recursive=True)}
    return _sum({ours, *ours.children(recursive=True)} - of_cloud), _sum(of_cloud)


def _sum(processes: Iterable[psutil.Process]) -> float:
    # What a process has waited for is its children that have ended: `cpu_times` holds these beside its own.
    return sum(sum(process.cpu_times()[:4]) for process in processes)
