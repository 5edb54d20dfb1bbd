"""What benchmarks of speed share: what they say first, what the machine can do, what a method takes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from unnoise.costs import call
from unnoise.filters import Denoiser
from unnoise.provenance import machine
from unnoise.runtime import BACKENDS, FLOAT32

FloatArray = npt.NDArray[np.float32]
Given = ParamSpec("Given")
Made = TypeVar("Made")

LIBRARIES = ("numpy", "torch")
REPEATS = 4


def introduce(packages: Sequence[str], threads: int | None = None) -> None:
    """Print the command, the machine and the versions, as far as the packages are installed."""
    here = machine(threads)
    told = "" if threads is None else f"; {threads} threads for each method"
    versions = [f"Python {platform.python_version()}"]
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    print("command: ", shlex.join([Path(sys.executable).name, *sys.argv]))
    print(f"machine:  {here['processor']}, {here['cores']} cores, {here['system']}", end="")
    print(f", load {os.getloadavg()[0]:.1f}{told}")
    print(f"versions: {', '.join(versions)}", flush=True)


def alone(function: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
    """What a function gives in a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


# --- time ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of processor time in all threads of this process."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Spent:
    """What one call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


# --- the machine's peak ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """The most that was seen: float32 operations (1e9) a second by the clock, and of processor time."""

    wall: float
    cpu: float

    def or_more(self, other: Rate) -> Rate:
        """The greater of each."""
        return Rate(max(self.wall, other.wall), max(self.cpu, other.cpu))

    @classmethod
    def of(cls, operations: float, spent: Spent) -> Rate:
        """So many operations in that time."""
        return cls(operations / spent.wall / 1e9, operations / max(spent.cpu, 1e-9) / 1e9)


class Product:
    """A product of two square matrices of float32 in a backend, opened as it opens networks."""

    def __init__(self, backend: str, side: int, threads: int, folder: Path) -> None:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        rng = np.random.default_rng(0)
        left, right = (rng.random((side, side), np.float32) for _ in range(2))
        square: list[str | int | None] = [side, side]
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["noisy", "right"], ["denoised"])],
            "product",
            [helper.make_tensor_value_info("noisy", TensorProto.FLOAT, square)],
            [helper.make_tensor_value_info("denoised", TensorProto.FLOAT, square)],
            [numpy_helper.from_array(right, "right")],
        )
        path = folder / f"product{side}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
        self.operations = 2 * side**3
        self._backend = BACKENDS[backend](path, threads, FLOAT32)
        self._left = left

    def __call__(self) -> Rate:
        """One product."""
        return Rate.of(self.operations, timed(lambda: self._backend.run({"noisy": self._left})))


def library_product(name: str, side: int, repeats: int, threads: int) -> Rate:
    """The same in numpy (which keeps its number of threads) or torch, the best of some."""
    rng = np.random.default_rng(0)
    left, right = (rng.random((side, side), np.float32) for _ in range(2))
    if name == "torch":
        import torch

        torch.set_num_threads(threads)
        a, b = torch.from_numpy(left), torch.from_numpy(right)
        rates = [Rate.of(2 * side**3, timed(lambda: a @ b)) for _ in range(repeats)]
    else:
        rates = [Rate.of(2 * side**3, timed(lambda: left @ right)) for _ in range(repeats)]
    return Rate(max(rate.wall for rate in rates), max(rate.cpu for rate in rates))


def machine_peak(
    threads: int, folder: Path, backends: Sequence[str], sides: Sequence[int]
) -> tuple[Rate, list[Product]]:
    """The most that each runtime and library reaches, printed; products of the last side to take again."""
    peak, again = Rate(0, 0), []
    for backend in backends:
        best = Rate(0, 0)
        for side in sides:
            product = Product(backend, side, threads, folder)
            for _ in range(REPEATS):
                best = best.or_more(product())
            again += [product] if side == sides[-1] else []
        _say_peak(backend, best)
        peak = peak.or_more(best)
    for library in LIBRARIES:
        if importlib.util.find_spec(library) is not None:
            best = alone(library_product, library, sides[-1], REPEATS, threads)
            _say_peak(library, best)
            peak = peak.or_more(best)
    return peak, again


def _say_peak(name: str, rate: Rate) -> None:
    print(f"product of float32 matrices, {name}: {rate.wall:.0f} GFLOP/s", end="")
    print(f", {rate.cpu:.0f} GFLOP in a second of processor time", flush=True)


# --- memory ----------------------------------------------------------------------------------------


def memory_of(
    opened: Callable[[float, int], Denoiser],
    picture: FloatArray,
    sigma: float,
    threads: int,
) -> int:
    """Bytes that this process needs at most for a picture, beyond what it held before; see :func:`alone`."""
    return call((opened(sigma, threads), picture, sigma, True)).memory or 0
