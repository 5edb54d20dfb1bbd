"""What a method takes: time and memory for a megapixel, each method in a process of its own."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unnoise.cores import available_cores
from unnoise.errors import DataError
from unnoise.filters import Denoiser
from unnoise.records import Cost
from unnoise.scoring import is_portable
from unnoise.tiling import reflected
from unnoise.workers import Process, ProcessDied

FloatArray = npt.NDArray[np.float32]

SIDE = 512
"""Side of the picture that is timed, pixels."""
_ROUNDS = 5
_ENOUGH = 4.0
"""Seconds: a method that took so long is not timed again."""
_WARM = 64
_HEAVY = 500_000_000
"""Bytes: a method that needs more is timed in one go, so that no two such are open at a time."""
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Spent:
    """What a call took.

    Attributes:
        wall: seconds by the clock.
        cpu: seconds of processor time, of all threads.
        memory: bytes at most beyond what the process held before; of the first call alone.
        held: bytes that the process holds afterwards; None where the system does not tell.
    """

    wall: float
    cpu: float
    memory: int | None
    held: int | None


def how(rounds: Mapping[str, Cost | None]) -> str:
    """What the costs are, in words."""
    cores = available_cores(physical=True)
    most = max((cost.rounds for cost in rounds.values() if cost), default=0)
    threads = f"{cores} thread{'' if cores == 1 else 's'}"
    return (
        f"measured on one picture of {SIDE} × {SIDE} pixels with {threads}, the methods in turn, each in a "
        f"process of its own, and told for a megapixel; the median of up to {most} rounds; neither reading "
        "files nor scoring is in it"
    )


def measure(
    denoisers: Mapping[str, Denoiser],
    noisy: FloatArray,
    sigma: float | None,
    *,
    rounds: int = _ROUNDS,
) -> dict[str, Cost | None]:
    """Time and memory of methods on one picture, in turn, so that other work on the machine falls on all.

    Args:
        denoisers: name -> method. One that cannot be handed to another process is left unmeasured.
        noisy: a picture (H, W, C); it is continued by reflection, or cut, to :data:`SIDE` pixels.
        sigma: what the methods are told of the noise, 8-bit units, or None.
        rounds: calls of each after the first, fewer where a method is slow.

    Returns:
        name -> what it takes, None where that is not known.

    Raises:
        DataError: a process died.
    """
    rows, columns = (reflected(length, SIDE) for length in noisy.shape[:2])
    picture = np.ascontiguousarray(noisy[rows][:, columns])
    found: dict[str, list[Spent]] = {name: [] for name in denoisers}
    processes: dict[str, Process] = {}

    def call_once(name: str) -> None:
        if name not in processes:
            processes[name] = Process(available_cores(physical=True))
        spent = found[name]
        spent.append(_ask(processes[name], name, (denoisers[name], picture, sigma, not spent)))

    def wants_more(name: str) -> bool:
        spent = found[name]
        return len(spent) <= rounds and sum(each.wall for each in spent) < _ENOUGH

    waiting = [name for name, denoiser in denoisers.items() if is_portable(denoiser)]
    try:
        while waiting:
            for name in waiting:
                call_once(name)
                if (found[name][0].held or 0) > _HEAVY:
                    while wants_more(name):
                        call_once(name)
                    processes.pop(name).stop()
            waiting = [name for name in waiting if name in processes and wants_more(name)]
    finally:
        for process in processes.values():
            process.stop()
    return {name: _cost(spent, picture) for name, spent in found.items()}


def _ask(process: Process, name: str, work: tuple[Denoiser, FloatArray, float | None, bool]) -> Spent:
    try:
        spent: Spent = process.call(call, work)
    except ProcessDied as death:
        raise DataError(
            f"{name} took its process down on {SIDE} × {SIDE} pixels ({death})",
            hint="Often the memory was full; leave that method out.",
        ) from None
    return spent


def call(work: tuple[Denoiser, FloatArray, float | None, bool]) -> Spent:
    """One call of a method, in this process."""
    denoiser, picture, sigma, first = work
    before = None
    if first:
        # Libraries load and allocate what they need at first use.
        denoiser(np.ascontiguousarray(picture[:_WARM, :_WARM]), sigma)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # forgets the peak until now
        before = resident("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    denoiser(picture, sigma)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resident("VmHWM") if before is not None else None
    memory = None if peak is None or before is None else max(0, peak - before)
    return Spent(wall, cpu, memory, resident("VmRSS"))


def resident(name: str) -> int | None:
    """Bytes of this process that Linux tells, ``VmRSS`` now or ``VmHWM`` at most; None elsewhere."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    told = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")]
    return told[0] if told else None


def _cost(spent: Sequence[Spent], picture: FloatArray) -> Cost | None:
    if not spent:
        return None
    pixels = picture.shape[0] * picture.shape[1]
    # The first call fills caches and pools; it counts where there is no other.
    later = spent[1:] or spent
    memory = spent[0].memory
    return Cost(
        seconds=statistics.median(each.wall for each in later) / pixels * 1e6,
        cpu_seconds=statistics.median(each.cpu for each in later) / pixels * 1e6,
        megabytes=None if memory is None else memory / pixels,
        pixels=pixels,
        rounds=len(later),
    )
