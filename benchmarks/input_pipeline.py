"""Does the input pipeline keep the model fed? Steps on batches as they are made, against batches in memory.

Usage: python benchmarks/input_pipeline.py [DATA] [--model residual-unet] [--rounds 7]

Both sides run the same step (forward, loss, backward, optimiser) in alternating rounds; the ratio of their
tiles a second is printed for each round, and the median. DATA is a folder made by ``unnoise prepare``;
without it, one is made from $UNNOISE_DATA/cracks (or ../shared/data/cracks).
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from unnoise import noise
from unnoise.dataset import Batch, Stage, TrainingBatches, prefetched
from unnoise.models import build
from unnoise.strategies import STRATEGIES
from unnoise.tiles import Dataset, load_dataset


def open_data(given: Path | None, folder: Path) -> Dataset:
    if given:
        return load_dataset(given)
    source = Path(os.environ.get("UNNOISE_DATA", "../shared/data")) / "cracks"
    if not source.is_dir():
        print(f"skipped: no photographs at {source}; give a prepared folder, or set UNNOISE_DATA")
        sys.exit(0)
    from unnoise.prepare import PrepareConfig, prepare

    return prepare(
        PrepareConfig((source,), folder / "data", packed_only=True, allow_leaks=True), progress=False
    )


def steps_a_second(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: Iterator[Batch]
) -> float:
    count, start = 0, 0.0
    for index, batch in enumerate(batches):
        if index == 3:  # the first steps warm up caches and threads
            start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            output = model(batch.input, batch.sigma)
        loss = (output.float() - batch.target).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        count = index - 2
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--model", default="residual-unet")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_data(options.data, Path(folder))
        tile = dataset.info.tile
        source = TrainingBatches(
            dataset.split("train"),
            noise.parse(dataset.info.noise),
            STRATEGIES["supervised"],
            (Stage(0.0, tile, options.batch),),
            0,
        )
        torch.manual_seed(0)
        model = build(options.model, size=tile)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
        print(f"command: {' '.join(['python', *sys.argv])}")
        print(
            f"machine: {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
            f"; python {platform.python_version()}, torch {torch.__version__}"
        )
        print(f"{options.model}, batch {options.batch} of {tile}×{tile}, {options.steps} steps a round")
        total = options.steps + 3
        in_memory = [source(step) for step in range(4)]
        ratios = []
        for number in range(options.rounds):
            ready = steps_a_second(model, optimizer, itertools.islice(itertools.cycle(in_memory), total))
            made = steps_a_second(model, optimizer, prefetched(source, number * total, (number + 1) * total))
            ratios.append(made / ready)
            print(
                f"round {number + 1}: in memory {ready * options.batch:7.1f} tiles/s, "
                f"pipeline {made * options.batch:7.1f} tiles/s, ratio {made / ready:.3f}"
            )
        print(f"median ratio {statistics.median(ratios):.3f} (wanted: 0.95 or more)")


if __name__ == "__main__":
    main()
