"""Several processes on one run, as ``torchrun`` starts them; alone, every function is the identity."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes when started by ``torchrun``."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    # Functions in there take the group of all processes as a default when they are defined. Imported later,
    # as optimisers do, they would keep it alive: its threads would outlive the interpreter, and now and then
    # abort the process at its end.
    importlib.import_module("torch.distributed.nn.functional")

    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank_and_world() -> tuple[int, int]:
    """This process's number, from 0, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def wait_for_all() -> None:
    """Return when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def summed(values: Tensor) -> Tensor:
    """The element-wise sum over the processes, on each of them."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def agreed(value: float) -> float:
    """The first process's value, so that all take the same decisions."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)
