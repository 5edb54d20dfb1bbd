"""What a network loses, and how much faster it is, in other arithmetic than float32.

Columns: float32 in ONNX Runtime, static int8 (`unnoise.quantize`) in ONNX Runtime, float32 and bfloat16 in
OpenVINO where it is installed and the processor can. On central crops of training photographs with Gaussian
noise: PSNR, what is lost against float32, and processor time on one thread, all in turn in one run. int8 is
calibrated on other photographs than those that are measured.

    python benchmarks/int8.py [--data FOLDER] [--network NAME] [--pictures 8] [--keep WEIGHTS ...]

FOLDER holds photos/; it is $UNNOISE_DATA, or ../shared/data, if it is not given. The last line says what
loses at most 0.05 dB at every level and takes at most half the time.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from unnoise import images, noise, quantize
from unnoise.card import read_card
from unnoise.denoiser import find
from unnoise.errors import UnnoiseError
from unnoise.noise import SIGMA_SCALE
from unnoise.runtime import BACKENDS, BFLOAT16, FLOAT32, Backend

FloatArray = npt.NDArray[np.float32]

LEVELS = (5, 15, 25, 50)
CALIBRATION_LEVELS = (3, 6, 12, 25, 50, 75)
CALIBRATION_PICTURES, CALIBRATION_SIDE = 24, 160
SEED = 1
LARGEST_LOSS, LEAST_SPEED = 0.05, 2.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    parser.add_argument("--network", default="default")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--keep", nargs="*", help="weights that stay float; by default the first and last ones"
    )
    parser.add_argument("--without-int8", action="store_true")
    options = parser.parse_args()
    folder = options.data / "photos"
    if not folder.is_dir():
        print(f"no folder {folder}: nothing to measure; set UNNOISE_DATA or give --data")
        return 0
    files = sorted(folder.iterdir())
    chosen = [files[at] for at in np.random.default_rng(SEED).permutation(len(files))]
    measured = [crop(path, options.side) for path in chosen[: options.pictures]]
    others = chosen[options.pictures : options.pictures + CALIBRATION_PICTURES]
    path = find(options.network)
    if not read_card(path).sigma_input:
        print(f"{options.network} takes no sigma; this compares networks that do")
        return 2
    introduce(path, len(measured), options.side)
    with tempfile.TemporaryDirectory() as temporary:
        files_of = {"float32": path}
        if not options.without_int8:
            examples = [
                feed(crop(other, CALIBRATION_SIDE), CALIBRATION_LEVELS[at % len(CALIBRATION_LEVELS)], at)
                for at, other in enumerate(others)
            ]
            made = quantize.static(onnx.load(path), examples, options.keep)
            files_of["int8"] = Path(temporary, "int8.onnx")
            files_of["int8"].write_bytes(made.SerializeToString())
            print(f"files:    float {path.stat().st_size:,} bytes, int8 {made.ByteSize():,}")
        return compare(dict(ways(files_of)), measured, options.rounds)


def introduce(path: Path, pictures: int, side: int) -> None:
    versions = [f"{name} {version(name)}" for name in ("numpy", "onnx", "onnxruntime")]
    print("command: ", shlex.join([Path(sys.executable).name, *sys.argv]))
    print(f"machine:  {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"versions: Python {platform.python_version()}, {', '.join(versions)}")
    print(f"input:    {path.name}; {pictures} photographs of {side} × {side}; one thread")


def crop(path: Path, side: int) -> FloatArray:
    """float32 (3, side, side) in [0, 1], from the middle."""
    with images.open(path) as document:
        picture = next(iter(document))
    samples = np.asarray(picture.samples)[:, :, :3]
    top, left = ((size - side) // 2 for size in samples.shape[:2])
    cut = samples[top : top + side, left : left + side]
    return np.ascontiguousarray(cut.transpose(2, 0, 1), dtype=np.float32) / np.float32(picture.white)


def feed(clean: FloatArray, level: float, seed: int) -> dict[str, FloatArray]:
    """What a network is given for a clean picture with noise."""
    noisy = noise.parse(f"gaussian:{level:g}")(clean, np.random.default_rng([SEED, seed]))
    return {"noisy": noisy[None], "sigma": np.full((1, 1, 1, 1), level / SIGMA_SCALE, np.float32)}


def ways(files: dict[str, Path]) -> Iterator[tuple[str, Backend]]:
    """Names, and what runs."""
    for name, path in files.items():
        yield f"onnxruntime {name}", BACKENDS["onnxruntime"](path, 1, FLOAT32)
    for precision in (FLOAT32, BFLOAT16):
        try:
            yield f"openvino {precision}", BACKENDS["openvino"](files["float32"], 1, precision)
        except UnnoiseError as error:
            print(f"openvino {precision}: {error}")


def compare(methods: dict[str, Backend], pictures: Sequence[FloatArray], rounds: int) -> int:
    quality = {
        name: [
            float(np.mean([psnr(method, clean, level, at) for at, clean in enumerate(pictures)]))
            for level in LEVELS
        ]
        for name, method in methods.items()
    }
    seconds: dict[str, float] = {}
    example = feed(pictures[0], 25, 0)
    for _ in range(rounds):
        for name, method in methods.items():
            start = time.process_time()
            method.run(example)
            seconds[name] = min(seconds.get(name, np.inf), time.process_time() - start)
    first = next(iter(methods))
    print(
        f"{'PSNR (dB), loss at sigma':28}" + "".join(f"{level:>16}" for level in LEVELS) + "      ms  speed"
    )
    shipping = []
    for name, scores in quality.items():
        losses = [best - score for best, score in zip(quality[first], scores, strict=True)]
        speed = seconds[first] / seconds[name]
        cells = "".join(f"{score:9.2f} {loss:6.3f}" for score, loss in zip(scores, losses, strict=True))
        print(f"{name:28}{cells}  {1000 * seconds[name]:6.1f}  {speed:5.2f}")
        if max(losses) <= LARGEST_LOSS and speed >= LEAST_SPEED:
            shipping.append(name)
    print(
        f"at most {LARGEST_LOSS:g} dB lost at {LEAST_SPEED:g} times the speed of {first}: "
        f"{', '.join(shipping) or 'none'}"
    )
    return 0


def psnr(method: Backend, clean: FloatArray, level: float, seed: int) -> float:
    """Of one picture, clipped to [0, 1] as it would be stored."""
    made = np.clip(method.run(feed(clean, level, seed))[0], 0, 1)
    return float(-10 * np.log10(np.mean((made - clean) ** 2, dtype=np.float64)))


if __name__ == "__main__":
    raise SystemExit(main())
