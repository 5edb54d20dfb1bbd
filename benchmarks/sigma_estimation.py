"""How well the noise level is estimated, and what an estimate costs.

Five parts; `--parts` takes some of them:

- white: white Gaussian noise on pictures of CBSD68, as floats, and as 8-bit files hold it (clipped, rounded),
  in colour and in grey; beside the wavelet estimator of scikit-image. Bias and mean absolute error, in 8-bit
  units.
- texture: the same noise on photographs of cracks (asphalt, concrete, plaster), whose fine texture may be
  mistaken for noise: how much too high the estimate is in per cent; and what the photographs get as they are.
- cost: PSNR of the network that is told the estimate, less that of the network that is told the truth.
- camera: crops of photographs that were taken with high ISO (correlated noise, demosaiced, JPEG), beside the
  mean of 500 shots: PSNR with the estimate, and with the level that is best by the truth.
- time: milliseconds a megapixel, of processor time on one core.

    python benchmarks/sigma_estimation.py [--data FOLDER] [--parts white,cost] [--pictures 12] [--network X]

FOLDER holds CBSD68/, cracks/ and cc-real-noise/; it is $UNNOISE_DATA, or ../shared/data, if it is not given.
The network must take sigma. cost and camera compute with it; the others take seconds.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unnoise import noise
from unnoise.denoiser import Network, load
from unnoise.estimate import estimate_sigma
from unnoise.images import read
from unnoise.metrics import psnr

SIGMAS = (5, 10, 15, 25, 50, 75)
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Options:
    """What the parts are told."""

    data: Path
    pictures: int
    network: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--pictures", type=int, default=12, help="of CBSD68 and of cracks, evenly spread")
    parser.add_argument("--network", default="gaussian")
    arguments = parser.parse_args()
    asked = arguments.parts.split(",")
    if unknown := [name for name in asked if name not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    options = Options(arguments.data, arguments.pictures, arguments.network)
    print("command:  ", shlex.join(["python", *sys.argv]))
    print("machine:  ", platform.platform(), platform.machine())
    print("versions: ", ", ".join(f"{name} {version(name)}" for name in ("numpy", "scikit-image")))
    for name in asked:
        print(f"\n=== {name}", flush=True)
        PARTS[name](options)
    return 0


def some(folder: Path, ending: str, count: int | None) -> list[Path]:
    """Files of a folder, evenly spread; a word where there are none."""
    files = sorted(folder.glob(f"*{ending}"))
    if not files:
        print(f"no pictures in {folder}: nothing is measured")
    return files if count is None else files[:: max(1, len(files) // count)][:count]


def with_noise(clean: FloatArray, sigma: float, key: int) -> FloatArray:
    return noise.apply(noise.Gaussian(sigma, sigma), clean, key)


def as_stored(pixels: FloatArray) -> FloatArray:
    return (np.rint(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


def row(name: str, cells: list[str]) -> None:
    print(f"{name:12}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


# --- white -----------------------------------------------------------------------------------------


def wavelets(pixels: FloatArray) -> float:
    from skimage.restoration import estimate_sigma as estimate

    found = estimate(pixels, channel_axis=2, average_sigmas=True)  # type: ignore[no-untyped-call]
    return 255 * float(found)


METHODS: dict[str, Callable[[FloatArray], float]] = {"unnoise": estimate_sigma, "wavelets": wavelets}


def white(options: Options) -> None:
    files = some(options.data / "CBSD68", ".png", options.pictures)
    colour = [read(path).pixels for path in files]
    grey = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[:, :, None].astype(np.float32) for p in colour]
    print(f"{len(files)} pictures; bias / mean absolute error")
    for kind, pictures in (("colour", colour), ("grey", grey)):
        for stored in (False, True):
            print(f"\n{kind}, {'8-bit files' if stored else 'floats'}")
            row("", [f"σ {sigma}" for sigma in SIGMAS])
            for name, method in METHODS.items():
                cells = []
                for sigma in SIGMAS:
                    noisy = (with_noise(clean, sigma, key) for key, clean in enumerate(pictures))
                    found = np.array([method(as_stored(each) if stored else each) for each in noisy])
                    cells.append(f"{np.mean(found - sigma):+.2f} /{np.mean(np.abs(found - sigma)):5.2f}")
                row(name, cells)


# --- texture ---------------------------------------------------------------------------------------


def texture(options: Options) -> None:
    files = some(options.data / "cracks", ".jpg", options.pictures)
    if not files:
        return
    pictures = [read(path) for path in files]
    print(f"{len(files)} photographs; noise is added as floats: the estimate is too high by, in per cent")
    row("", [f"σ {sigma}" for sigma in SIGMAS])
    for kind in ("colour", "brightness"):
        found = np.array(
            [
                [
                    estimate_sigma(with_noise(each.pixels, sigma, key), thin_chroma=kind == "brightness")
                    for sigma in SIGMAS
                ]
                for key, each in enumerate(pictures)
            ]
        )
        over = 100 * (found / np.array(SIGMAS) - 1)
        row(f"{kind}:", [])
        row("  mean", [f"{value:+.1f}" for value in over.mean(axis=0)])
        row("  worst", [f"{value:+.1f}" for value in over.max(axis=0)])
        row("  above 15", [f"{(column > 15).sum()} of {len(column)}" for column in over.T])
    print("as they are, in 8-bit units: least, median, nine tenths, most")
    for thin in (True, False):
        kept = [each for each in pictures if each.thin_chroma == thin]
        if kept:
            levels = [estimate_sigma(each.pixels, thin_chroma=thin) for each in kept]
            told = ", ".join(f"{value:.1f}" for value in np.quantile(levels, [0, 0.5, 0.9, 1]))
            print(f"  {'thin' if thin else 'full'} chroma, {len(kept)} photographs: {told}")


# --- what it costs ---------------------------------------------------------------------------------


def quality(network: Network, noisy: FloatArray, clean: FloatArray, sigma: float) -> float:
    made = network.denoise(noisy, sigma=sigma) if sigma > 0 else noisy
    return psnr(clean, np.clip(made, 0, 1), data_range=1)


def cost(options: Options) -> None:
    files = some(options.data / "CBSD68", ".png", options.pictures)
    if not files:
        return
    network = load(options.network)
    pictures = [read(path).pixels for path in files]
    for stored in (False, True):
        print(f"{len(files)} pictures, {'8-bit files' if stored else 'floats'}: PSNR in dB")
        row("", ["known σ", "estimated", "difference", "worst"])
        for sigma in SIGMAS:
            told = []
            for key, clean in enumerate(pictures):
                noisy = with_noise(clean, sigma, key)
                noisy = as_stored(noisy) if stored else noisy
                found = estimate_sigma(noisy)
                told.append([quality(network, noisy, clean, level) for level in (sigma, found)])
            known, guessed = np.array(told).T
            lost = guessed - known
            row(
                f"σ {sigma}",
                [
                    f"{known.mean():.2f}",
                    f"{guessed.mean():.2f}",
                    f"{lost.mean():+.3f}",
                    f"{lost.min():+.3f}",
                ],
            )


_LEVELS = np.geomspace(2, 75, 12)


def camera(options: Options) -> None:
    files = some(options.data / "cc-real-noise", "_real.png", None)
    if not files:
        return
    network = load(options.network)
    rows = []
    row("", ["noisy dB", "estimate", "dB", "best σ", "dB"])
    for path in files:
        image = read(path)
        clean = read(path.with_name(path.name.replace("_real", "_mean"))).pixels
        found = estimate_sigma(image.pixels, thin_chroma=image.thin_chroma)
        before = psnr(clean, image.pixels, data_range=1)
        reached = quality(network, image.pixels, clean, found)
        curve = [quality(network, image.pixels, clean, float(level)) for level in _LEVELS]
        best = int(np.argmax(curve))
        rows.append([before, found, reached, float(_LEVELS[best]), max(*curve, reached)])
        row(path.stem.removesuffix("_real"), [f"{value:.2f}" for value in rows[-1]])
    row("mean", [f"{value:.2f}" for value in np.mean(rows, axis=0)])


def duration(_: Options) -> None:
    print("an unnoised picture of noise alone; milliseconds, and that divided by megapixels")
    row("", ["ms", "ms a megapixel"])
    for height, width in ((321, 481), (1024, 1024), (1600, 2400)):
        pixels = np.random.default_rng(0).normal(0.5, 0.1, (height, width, 3)).astype(np.float32)
        estimate_sigma(pixels[:64, :64])
        start = time.process_time()
        estimate_sigma(pixels)
        spent = 1000 * (time.process_time() - start)
        row(f"{width}×{height}", [f"{spent:.0f}", f"{spent * 1e6 / height / width:.0f}"])


PARTS: dict[str, Callable[[Options], None]] = {
    "white": white,
    "texture": texture,
    "cost": cost,
    "camera": camera,
    "time": duration,
}


if __name__ == "__main__":
    sys.exit(main())
