"""The processor cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that tell the libraries of a process how many threads they may use."""


def available_cores(*, physical: bool = False) -> int:
    """Cores within this process's affinity and its container's share of processor time, at least 1.

    Args:
        physical: count the hyper-threads of a core once, as threads of one computation should, which only
            get into each other's way there; several processes may have them all.
    """
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # macOS and Windows have none
        return os.cpu_count() or 1
    cores = {_siblings(cpu) for cpu in usable} if physical else usable
    return max(1, min(len(cores), _quota()))


def _siblings(cpu: int) -> str:
    """The same text for all hyper-threads of one core."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _quota() -> int:
    """Cores that a container's processor time amounts to, or a number beyond any machine."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return 1 << 16


def given_threads() -> int:
    """Threads that libraries may use in this process: what it was told by its environment, or all cores."""
    told = os.environ.get(THREADS[0], "")
    return int(told) if told.isdecimal() and int(told) else available_cores(physical=True)
