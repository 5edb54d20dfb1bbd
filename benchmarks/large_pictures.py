"""How much memory do very large pictures take, and are they what the network gives without tiles?

Usage: python benchmarks/large_pictures.py [--megapixels 100] [--format png jpg tif] [--gigapixel]

A picture of so many megapixels (noise on a photograph that scikit-image ships, repeated) is cleaned by
``unnoise denoise`` in a process of its own, at default settings and with ``--memory 512MB``. Printed are the
peak of its resident memory, its time, and the largest distance between the stored result and the network run
without tiles on crops, of which some lie on the seams: in units of 1/255, beyond the rounding to 8 bits.

``--gigapixel`` streams a tiled TIFF of 32768 × 30720 pixels through instead; ``--network`` may be a small
one to keep that short.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise import images
from unnoise.codecs.base import Image
from unnoise.cores import available_cores
from unnoise.denoiser import Network, load
from unnoise.formats import format_of
from unnoise.tiling import reflected, round_up

LIMITS = {"default": 1500, "512MB": 600}
SIGMA = 20
CROP = 256


def noisy_rows(width: int, rows: int, seed: int) -> npt.NDArray[np.uint8]:
    import skimage.data

    photograph = np.asarray(skimage.data.coffee(), dtype=np.float32)  # type: ignore[no-untyped-call]
    tiled = np.tile(photograph, (-(-rows // len(photograph)), -(-width // photograph.shape[1]), 1))
    noise = np.random.default_rng(seed).normal(0, SIGMA, (rows, 2048, 3)).astype(np.float32)
    repeated = np.tile(noise, (1, -(-width // 2048), 1))[:, :width]
    made: npt.NDArray[np.uint8] = np.clip(np.rint(tiled[:rows, :width] + repeated), 0, 255).astype(np.uint8)
    return made


def bands(width: int, height: int) -> Iterator[npt.NDArray[np.uint8]]:
    for top in range(0, height, 1000):
        yield noisy_rows(width, min(1000, height - top), top)


class Lazy:
    """Rows that nobody holds."""

    def __init__(self, width: int, height: int) -> None:
        self.shape = (height, width, 3)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, rows: slice) -> Any:
        raise NotImplementedError


def make(path: Path, width: int, height: int) -> None:
    lazy = path.suffix == ".tif"
    samples: Any = Lazy(width, height) if lazy else np.empty((height, width, 3), np.uint8)
    options = {"tile": "256x256", "compression": "deflate"} if lazy else {}
    image = Image(samples=samples, format="tiff" if lazy else "", options=options)
    with path.open("w+b") as file:
        images.store(file, format_of(path), iter([(image, bands(width, height))]), 1)


def clean(source: Path, out: Path, more: list[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of a process."""
    command = [sys.executable, "-m", "unnoise", "denoise", str(source), "-o", str(out), "-q"]
    command += ["--sigma", str(SIGMA), "--max-megapixels", "2000", *more]
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        # Of the process alone: what wait4 tells includes the parent's memory at the time of the fork.
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = max(peak, int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return time.perf_counter() - start, peak / 1024


def farthest(network: Network, before: Path, after: Path, seams: list[tuple[int, int]]) -> float:
    """Largest distance on crops, in 1/255 beyond what rounding to 8 bits makes."""
    limits = images.Limits(max_pixels=2 * 10**9)
    noisy, made = images.read(before, limits).samples, images.read(after, limits).samples
    height, width = noisy.shape[:2]
    worst = 0.0
    scaled = SIGMA / 255
    for top, left in seams:
        rows, above = _around(top, height, network)
        columns, beside = _around(left, width, network)
        low = int(rows.min())
        piece = noisy[low : int(rows.max()) + 1][rows - low][:, columns].astype(np.float32) / np.float32(255)
        whole = network._run(piece[None], scaled)[0] * 255
        got = made[top : top + CROP][:, left : left + CROP].astype(np.float32)
        crop = np.clip(whole[above:, beside:][: got.shape[0], : got.shape[1]], 0, 255)
        worst = max(worst, float(np.abs(crop - got).max()) - 0.5)
    return worst


def _around(start: int, length: int, network: Network) -> tuple[npt.NDArray[np.intp], int]:
    """The pixels that a crop depends on, mirrored beyond the picture; where it begins in them."""
    card = network.card
    end = round_up(length + 2 * card.border, card.size_multiple) - card.border
    low, high = max(start - card.halo, -card.border), min(start + CROP + card.halo, end)
    shown = reflected(length, end + card.border, card.border)
    return shown[low + card.border : high + card.border], start - low


def crops(network: Network, width: int, height: int) -> list[tuple[int, int]]:
    """Corners of crops, multiples of the network's grid: all over, more of them near the picture's edges."""
    rng = np.random.default_rng(0)
    tall, wide = height // 8 - 32, width // 8 - 32
    places = [
        (int(a) * 8, int(b) * 8)
        for a, b in zip(rng.integers(0, tall, 24), rng.integers(0, wide, 24), strict=True)
    ]
    grid = network.grid(height, width)
    for start in grid.rows.starts[1:3]:
        places += [
            (max(0, (start - grid.rows.border) // 8 * 8), int(b) * 8) for b in rng.integers(0, wide, 4)
        ]
    for start in grid.columns.starts[1:3]:
        places += [
            (int(a) * 8, max(0, (start - grid.columns.border) // 8 * 8)) for a in rng.integers(0, tall, 4)
        ]
    return [*places, (0, 0), (tall * 8, wide * 8), (0, wide * 8)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=100)
    parser.add_argument("--format", nargs="+", default=["png", "jpg", "tif"], choices=("png", "jpg", "tif"))
    parser.add_argument("--gigapixel", action="store_true")
    parser.add_argument("--network", default="default")
    parser.add_argument("--folder", type=Path, help="where to work; some gigabytes are needed")
    args = parser.parse_args()
    try:
        import skimage  # noqa: F401
    except ImportError:
        print("skipped: scikit-image, whose photograph is used, is not installed (the extra 'filters')")
        return
    print(" ".join(["python", *sys.argv]))
    print(
        f"{platform.processor() or platform.machine()}, {available_cores(physical=True)} cores; "
        f"Python {platform.python_version()}, onnxruntime {version('onnxruntime')}, "
        f"unnoise {version('unnoise')}"
    )
    width, height = (32768, 30720) if args.gigapixel else (10000, int(args.megapixels * 100))
    limits = {"default": 2000} if args.gigapixel else LIMITS
    network = load(args.network)
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        for suffix in ["tif"] if args.gigapixel else args.format:
            source = Path(temporary, f"in.{suffix}")
            make(source, width, height)
            places = crops(network, width, height)
            print(f"{suffix}: {width} × {height}, {source.stat().st_size / 1e6:.0f} MB", flush=True)
            for memory, limit in limits.items():
                more = [] if memory == "default" else ["--memory", memory]
                # A JPEG result would be off by what JPEG loses, so that one is also written as PNG.
                for kind in dict.fromkeys([suffix, "png"] if suffix == "jpg" else [suffix]):
                    out = Path(temporary, f"out.{kind}")
                    seconds, peak = clean(source, out, [*more, "--network", args.network])
                    told = (
                        ""
                        if kind == "jpg"
                        else (
                            f"; at most {farthest(network, source, out, places):.4f} of 1/255 "
                            "from the network without tiles (wanted: 0.1)"
                        )
                    )
                    speed = width * height / 1e6 / seconds
                    print(
                        f"  to {kind}, memory {memory}: peak {peak:.0f} MB (wanted: {limit}), "
                        f"{speed:.2f} MP/s{told}",
                        flush=True,
                    )
                    out.unlink()
            source.unlink()


if __name__ == "__main__":
    main()
