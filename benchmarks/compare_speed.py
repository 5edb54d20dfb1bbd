"""How fast the search of the 16 GaussianBlur settings is beside the article's way, with the same means.

The article's way: for each setting, read both files of every tile again with ``cv2.imread``,
make them float32 in [0, 1], blur, and take the mean squared error. `unnoise compare` reads every tile once,
from the packed arrays. Both take turns on the same tiles of the same data set.

    python benchmarks/compare_speed.py [DATA] [--tiles 4096] [--rounds 3]

DATA is a folder made by `unnoise prepare`; if it is not given, one is prepared in a temporary folder from the
cracks below $UNNOISE_DATA, or below ../shared/data.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from unnoise.pairs import of_split
from unnoise.prepare import PrepareConfig, load_dataset, prepare
from unnoise.search import BLUR, search
from unnoise.tiles import Dataset

TARGET = 5.0
SAME = 1e-6
KERNELS, SIGMAS = (3, 5, 7, 9), (0, 1, 2, 3)


def article(folder: Path, split: str, suffix: str, names: Sequence[str], ending: str) -> list[float]:
    means = []
    for kernel in KERNELS:
        for sigma in SIGMAS:
            errors = []
            for name in names:
                raw = cv2.imread(f"{folder}/{split}/{name}_raw.{ending}")
                noised = cv2.imread(f"{folder}/{split}-{suffix}/{name}_noised.{ending}")
                clean = np.asarray(raw).astype(np.float32) / 255
                noisy = np.asarray(noised).astype(np.float32) / 255
                blurred = cv2.GaussianBlur(noisy, (kernel, kernel), sigma)
                errors.append(np.mean((clean - blurred) ** 2))
            means.append(float(np.mean(errors, dtype=np.float64)))
    return means


def ours(dataset: Dataset, tiles: int) -> list[float]:
    pairs = of_split(dataset, "valid", limit=tiles)
    return [setting.mse for setting in search(pairs, [BLUR])[0].settings]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--tiles", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="compare-speed-") as temporary:
        data = options.data
        if data is None:
            source = Path(os.environ.get("UNNOISE_DATA", "../shared/data")) / "cracks"
            if not source.is_dir():
                print(f"no folder {source}: nothing to measure; set UNNOISE_DATA or give a data set")
                return 0
            data = prepare(PrepareConfig((source,), Path(temporary) / "data", allow_leaks=True)).path
        dataset = load_dataset(data)
        return measure(dataset, options.tiles, options.rounds)


def measure(dataset: Dataset, tiles: int, rounds: int) -> int:
    names = of_split(dataset, "valid", limit=tiles).names
    noise, ending = dataset.info.noise.partition(":")[0], dataset.info.format
    print("command: ", shlex.join([Path(sys.executable).name, *sys.argv]))
    print(f"machine:  {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"versions: Python {platform.python_version()}, OpenCV {cv2.__version__}, numpy {np.__version__}; "
        f"OpenCV threads in the article's loop: {cv2.getNumThreads()}"
    )
    side = dataset.info.tile
    print(
        f"input:    {len(names)} validation tiles of {side} × {side}, {ending}, 16 settings; best of {rounds}"
    )
    seconds: dict[str, list[float]] = {"article": [], "unnoise": []}
    difference = 0.0
    for _ in range(rounds):
        start = time.perf_counter()
        mine = ours(dataset, tiles)
        middle = time.perf_counter()
        theirs = article(dataset.path, "valid", noise, names, ending)
        seconds["article"].append(time.perf_counter() - middle)
        seconds["unnoise"].append(middle - start)
        difference = max(difference, *(abs(a - b) for a, b in zip(mine, theirs, strict=True)))
    for name, times in seconds.items():
        print(f"{name:8} {min(times):8.2f} s   {16 * len(names) / min(times):10,.0f} settings × tiles / s")
    ratio = min(seconds["article"]) / min(seconds["unnoise"])
    print(f"ratio (article / unnoise): {ratio:.1f}, aim {TARGET:g}")
    print(f"largest difference of the 16 means: {difference:.1e}, aim {SAME:g}")
    return 0 if ratio >= TARGET and difference <= SAME else 1


if __name__ == "__main__":
    raise SystemExit(main())
