"""Does cleaning a folder keep the processor as busy as the bare network on pixels in memory?

Usage: python benchmarks/folder_throughput.py [PHOTOGRAPHS] [--count 500] [--rounds 5] [--format jpg]
       [--network default]

Photographs of 2.4 megapixels are put together from those in PHOTOGRAPHS ($UNNOISE_DATA/cracks, or
../shared/data/cracks), get noise of sigma 15, and are stored. Then, in rounds: ``unnoise denoise FOLDER -o
OUT`` on a share of the folder, from the start of the process to its end, and beside it a plain ONNX Runtime
session with its default options, on all cores, on the same pixels, which are float32 tensors in memory
already. The ratio of their megapixels per second is printed for each round and for all.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import PIL.Image

from unnoise.cores import available_cores
from unnoise.denoiser import find

SIZE = (1792, 1344)
SIGMA = 15
DIFFERENT = 25


def make_photographs(source: Path, folder: Path, count: int, suffix: str) -> list[Path]:
    """``count`` files of 25 pictures, each of crops of real photographs, with noise."""
    rng = np.random.default_rng(0)
    crops = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".png", ".webp"))
    rng.shuffle(crops)
    made = []
    for number in range(min(DIFFERENT, count)):
        canvas = PIL.Image.new("RGB", SIZE)
        for place in range(12):
            with PIL.Image.open(crops[(12 * number + place) % len(crops)]) as crop:
                piece = crop.convert("RGB").resize((448, 448))
            canvas.paste(piece, (place % 4 * 448, place // 4 * 448))
        noisy = np.asarray(canvas) + rng.normal(0, SIGMA, (SIZE[1], SIZE[0], 3))
        path = folder / f"{number:03}.{suffix}"
        PIL.Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).save(path, quality=95)
        made.append(path)
    for number in range(len(made), count):
        path = folder / f"{number:03}.{suffix}"
        shutil.copyfile(made[number % len(made)], path)
        made.append(path)
    return made


def tensors(paths: list[Path]) -> list[npt.NDArray[np.float32]]:
    pixels = [np.asarray(PIL.Image.open(path), dtype=np.float32) / 255 for path in paths]
    return [np.ascontiguousarray(array.transpose(2, 0, 1)[None]) for array in pixels]


def bare(session: onnxruntime.InferenceSession, inputs: list[npt.NDArray[np.float32]]) -> float:
    told = {"sigma": np.full((1, 1, 1, 1), SIGMA / 255, np.float32)} if len(session.get_inputs()) > 1 else {}
    start = time.perf_counter()
    for noisy in inputs:
        session.run(None, {"noisy": noisy, **told})
    return time.perf_counter() - start


def cleaned(folder: Path, out: Path, network: str) -> float:
    command = [sys.executable, "-m", "unnoise", "denoise", str(folder), "-o", str(out), "-q"]
    command += ["--network", network]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photographs", nargs="?", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--format", default="jpg", choices=("jpg", "png", "tif", "webp"))
    parser.add_argument("--network", default="default")
    args = parser.parse_args()
    source = args.photographs or Path(os.environ.get("UNNOISE_DATA", "../shared/data")) / "cracks"
    if not source.is_dir():
        print(f"skipped: no photographs at {source}; give a folder of them, or set UNNOISE_DATA")
        return
    print(" ".join(["python", *sys.argv]))
    print(
        f"{platform.processor() or platform.machine()}, {available_cores(physical=True)} cores; "
        f"Python {platform.python_version()}, onnxruntime {version('onnxruntime')}, "
        f"unnoise {version('unnoise')}"
    )
    session = onnxruntime.InferenceSession(str(find(args.network)), providers=["CPUExecutionProvider"])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        share = args.count // args.rounds
        parts = []
        made_in = folder / "all"
        made_in.mkdir()
        paths = make_photographs(source, made_in, args.count, args.format)
        for number in range(args.rounds):
            part = folder / f"part{number}"
            part.mkdir()
            for path in paths[number * share : (number + 1) * share]:
                path.rename(part / path.name)
            parts.append(part)
        inputs = tensors(sorted(parts[0].iterdir())[:DIFFERENT])
        megapixels = SIZE[0] * SIZE[1] / 1e6
        bare(session, inputs[:2])
        ratios, spent = [], np.zeros(2)
        for number, part in enumerate(parts):
            before = bare(session, inputs)
            ours = cleaned(part, folder / f"out{number}", args.network) / share
            plain = (before + bare(session, inputs)) / 2 / len(inputs)
            ratios.append(plain / ours)
            spent += ours, plain
            print(
                f"round {number + 1}: folder {megapixels / ours:.3f} MP/s, "
                f"bare session {megapixels / plain:.3f} MP/s, ratio {plain / ours:.3f}",
                flush=True,
            )
            shutil.rmtree(folder / f"out{number}")
        print(
            f"{share * args.rounds} files of {megapixels:.2f} MP ({args.format}): "
            f"ratio {spent[1] / spent[0]:.3f} (median {statistics.median(ratios):.3f}; wanted: 0.9)"
        )


if __name__ == "__main__":
    main()
