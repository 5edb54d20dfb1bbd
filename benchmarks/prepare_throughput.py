"""How fast `unnoise prepare` is beside a bare OpenCV decode + encode loop on the same files.

The bare loop does the least that leaves the same folder of single tiles: it decodes each source with
``cv2.imread``, cuts the tiles and writes each of them, and a noisy copy computed beforehand, with
``cv2.imwrite``. It checks nothing, draws no noise, splits nothing, and writes neither the packed arrays nor
the manifest. Both take turns, once with one worker and once with two; the bare loop's two workers are two
forked processes.

Both write PNG files, but not of the same size: ``cv2.imwrite`` compresses with its default settings, and
unnoise doesn't compress what is mostly noise (see ``unnoise.cutting.plain_png``). The sizes are printed, and
``--compression 0`` makes the bare loop store its pixels plain, too. CPU seconds are printed as well: on a
machine that is busy with other things they tell more than wall time. ``--output /dev/shm`` takes the disk out
of the comparison, which is then as hard on unnoise as it can be.

    python benchmarks/prepare_throughput.py [FOLDER] [--files 120] [--rounds 3]
        [--output FOLDER] [--compression 0..9]

FOLDER is the cracks folder below $UNNOISE_DATA, or below ../shared/data, if it is not given.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL

from unnoise import noise
from unnoise.prepare import PrepareConfig, prepare

TILE = 56
TARGET = 0.7
Tiles = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Photograph:
    """A source file, and the noisy tiles that the bare loop writes for it."""

    path: Path
    noisy: Tiles


def cut(image: Tiles) -> Tiles:
    rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
    grid = image[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, 3)
    return grid.swapaxes(1, 2).reshape(-1, TILE, TILE, 3)


def load(path: Path) -> Photograph:
    clean = cut(np.asarray(cv2.imread(str(path)), np.uint8)).astype(np.float32) / np.float32(255)
    noisy = noise.apply(noise.parse("gaussian:50"), clean, 0)
    return Photograph(path, np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8))


def bare(photograph: Photograph, folder: Path) -> None:
    image = np.asarray(cv2.imread(str(photograph.path)), np.uint8)
    stem = photograph.path.stem
    for number, tile in enumerate(cut(image)):
        cv2.imwrite(f"{folder}/train/{stem}_{number}_raw.png", tile, SETTINGS)
        cv2.imwrite(f"{folder}/train-gaussian/{stem}_{number}_noised.png", photograph.noisy[number], SETTINGS)


def bare_share(folder: Path, first: int, workers: int) -> None:
    for photograph in PHOTOGRAPHS[first::workers]:
        bare(photograph, folder)


def bare_loop(folder: Path, workers: int) -> None:
    (folder / "train").mkdir(parents=True)
    (folder / "train-gaussian").mkdir()
    if workers == 1:
        bare_share(folder, 0, 1)
        return
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=bare_share, args=(folder, first, workers)) for first in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def ours(folder: Path, workers: int) -> None:
    sources = tuple(each.path for each in PHOTOGRAPHS)
    prepare(PrepareConfig(sources, folder, workers=workers, allow_leaks=True), progress=False)


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measured(work: Callable[[Path], None], folder: Path) -> tuple[float, float]:
    cpu, start = cpu_seconds(), time.perf_counter()
    work(folder)
    return time.perf_counter() - start, cpu_seconds() - cpu


def compare(workers: int, rounds: int, root: Path) -> float:
    tiles = sum(len(each.noisy) for each in PHOTOGRAPHS)
    ways = {"bare": partial(bare_loop, workers=workers), "unnoise": partial(ours, workers=workers)}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, work in ways.items():
            # Nothing is deleted in between: ext4 makes new files slowly where many were just deleted.
            taken[name].append(measured(work, root / f"{name}-{workers}-{number}"))
    for name in ways:
        size = sum(path.stat().st_size for path in (root / f"{name}-{workers}-0").rglob("*.png"))
        print(f"workers {workers}: {name:8} wrote {size / 1e6:.0f} MB of PNG files")
    best = {name: [min(each[kind] for each in times) for kind in (0, 1)] for name, times in taken.items()}
    for name, (wall, cpu) in best.items():
        rate = tiles / wall
        print(f"workers {workers}: {name:8} {wall:7.2f} s, {cpu:7.2f} CPU s, {rate:7.0f} tiles/s")
    wall, cpu = (best["bare"][kind] / best["unnoise"][kind] for kind in (0, 1))
    print(f"workers {workers}: ratio of throughput {wall:.2f} (by CPU time {cpu:.2f}), aim {TARGET}")
    return wall


def chosen(options: argparse.Namespace) -> Sequence[Path]:
    paths = sorted(options.folder.glob("*.jpg"))
    return paths[:: max(1, len(paths) // options.files)][: options.files]


PHOTOGRAPHS: list[Photograph] = []
SETTINGS: list[int] = []


def main() -> int:
    parser = argparse.ArgumentParser()
    default = Path(os.environ.get("UNNOISE_DATA", "../shared/data")) / "cracks"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument("--files", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--output", type=Path, default=None, help="where to write; default: the temporary folder"
    )
    parser.add_argument(
        "--compression", type=int, choices=range(10), help="of the bare loop's PNG files; default: OpenCV's"
    )
    options = parser.parse_args()
    paths = chosen(options)
    if not paths:
        print(f"no JPEG files in {options.folder}: nothing to measure; set UNNOISE_DATA or give a folder")
        return 0
    cv2.setNumThreads(1)
    if options.compression is not None:
        SETTINGS.extend((cv2.IMWRITE_PNG_COMPRESSION, options.compression))
    PHOTOGRAPHS.extend(load(path) for path in paths)
    print("command: ", shlex.join([Path(sys.executable).name, *sys.argv]))
    print(f"machine:  {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"versions: Python {platform.python_version()}, OpenCV {cv2.__version__}, numpy {np.__version__}, "
        f"Pillow {PIL.__version__}"
    )
    print(f"input:    {len(paths)} files in tiles of {TILE} pixels, PNG; best of {options.rounds} rounds")
    root = Path(tempfile.mkdtemp(prefix="prepare-throughput-", dir=options.output))
    print(f"output:   {root}")
    try:
        ratios = [compare(workers, options.rounds, root) for workers in (1, 2)]
    finally:
        shutil.rmtree(root)
    return 0 if min(ratios) >= TARGET else 1


if __name__ == "__main__":
    raise SystemExit(main())
