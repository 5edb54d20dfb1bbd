"""Fit the numbers of `unnoise.grain`: from what is seen of a picture's noise to the sigma to be told.

Clean photographs get noise of many kinds: white, white and JPEG, smeared over pixels, of a camera (see
`unnoise.camera`, and a plainer one here that demosaics picture and noise together), none. A network that
takes sigma denoises the middle of each at nine levels. What is fitted is the level that loses least PSNR to
the best one. Photographs that are held out say how well that goes. The numbers go into src/unnoise/grain.py
by hand.

    python scripts/fit_grain.py --data FOLDER [--network gaussian] [--pairs 330]

FOLDER holds photos/ (varied photographs) and cracks-cc0/ (concrete). It takes some minutes of a core or more.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from unnoise import grain, noise
from unnoise.camera import LUMA
from unnoise.denoiser import Network, load
from unnoise.denoising import encoded, lineared
from unnoise.estimate import white_sigma

SIDE, MIDDLE = 256, 128
LEVELS = np.array([0, 2, 4, 7, 11, 17, 26, 40, 62.0])
FLOOR = 10**-4.0
"""Mean squared error that is as good as none: 40 dB."""
FINE = np.linspace(np.log(grain.OFFSET), np.log(LEVELS[-1] + grain.OFFSET), 160)

Array = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """What one noisy picture teaches.

    Attributes:
        kind: of noise.
        name: of the photograph.
        features: what the estimator sees of it.
        white: σ as if its noise were white.
        lost: PSNR in dB below the best, at each of FINE.
    """

    kind: str
    name: str
    features: Array
    white: float
    lost: Array


# --- noise -----------------------------------------------------------------------------------------


def rounded(pixels: npt.NDArray[np.floating]) -> FloatArray:
    return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255) / 255, np.float32)


def jpeg(pixels: FloatArray, rng: np.random.Generator, least: int = 70) -> tuple[FloatArray, bool]:
    """Stored and read back; whether colour was thinned out."""
    thin = bool(rng.random() < 0.5)
    stream = io.BytesIO()
    samples = np.rint(pixels * 255).astype(np.uint8)
    PIL.Image.fromarray(samples).save(
        stream, "JPEG", quality=int(rng.integers(least, 101)), subsampling=2 if thin else 0
    )
    return np.asarray(PIL.Image.open(stream), np.float32) / np.float32(255), thin


def smeared(clean: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Gaussian noise that was blurred, enlarged, or has a coarse part; sometimes little of it in colour."""
    height, width = clean.shape[:2]
    sigma = 10 ** rng.uniform(0.7, 2) / 255
    way = rng.random()
    if way < 0.4:
        added = cv2.GaussianBlur(sigma * rng.normal(size=clean.shape), (0, 0), rng.uniform(0.4, 1.2))
    elif way < 0.8:
        factor = rng.uniform(1.1, 2.2)
        small = sigma * rng.normal(size=(int(height / factor) + 2, int(width / factor) + 2, 3))
        added = cv2.resize(small, (width, height), interpolation=_ENLARGING[rng.integers(2)])
    else:
        fine = sigma * rng.normal(size=clean.shape)
        added = fine + cv2.resize(
            cv2.resize(fine, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), (width, height)
        )
    if rng.random() < 0.4:
        grey = (added @ LUMA)[..., None]
        added = added + rng.uniform(-0.7, -0.2) * (added - grey)
    return rounded(clean + added)


_ENLARGING = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)
_BLACK, _STEPS = 0.2, 40_000
_DEMOSAICING = (cv2.COLOR_BayerRGGB2RGB, cv2.COLOR_BayerRGGB2RGB_EA)


def through_a_camera(clean: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Picture and noise demosaiced together, which blurs both."""
    balance = np.array([rng.uniform(1.2, 2.5), 1, rng.uniform(1.2, 2.5)])
    light = lineared(clean) / balance
    mosaic = light[:, :, 1].copy()
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = light[0::2, 0::2, 0], light[1::2, 1::2, 2]
    gain, read = 10 ** rng.uniform(-4, -1.6), 10 ** rng.uniform(-3.2, -1.7)
    mosaic += rng.normal(size=mosaic.shape) * np.sqrt(np.maximum(mosaic, 0) * gain + read**2)
    samples = np.clip((mosaic + _BLACK) * _STEPS, 0, 65535).astype(np.uint16)
    colours = cv2.cvtColor(samples, _DEMOSAICING[rng.integers(2)]) / _STEPS - _BLACK
    if rng.random() < 0.3:
        grey = (colours @ LUMA)[..., None]
        colours = grey + cv2.GaussianBlur(colours - grey, (0, 0), rng.uniform(0.6, 2))
    pixels = encoded((colours * balance).astype(np.float32))
    if rng.random() < 0.3:
        pixels += rng.uniform(0.2, 0.8) * (pixels - cv2.GaussianBlur(pixels, (0, 0), 1.0))
    return rounded(pixels)


def spoiled(kind: str, clean: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, bool]:
    """The picture with noise; whether its colour was thinned out."""
    if kind == "realistic":
        return noise.Realistic()(clean, rng), False
    if kind == "white":
        sigma = float(rng.choice([2, 5, 10, 15, 25, 50, 75]))
        noisy = noise.Gaussian(sigma, sigma)(clean, rng)
        return (rounded(noisy) if rng.random() < 0.5 else noisy), False
    if kind == "white, JPEG":
        sigma = 10 ** rng.uniform(0.5, 1.8)
        return jpeg(rounded(noise.Gaussian(sigma, sigma)(clean, rng)), rng)
    if kind == "smeared":
        noisy = smeared(clean, rng)
    else:
        noisy = through_a_camera(clean, rng) if kind == "camera" else rounded(clean)
    return jpeg(noisy, rng) if rng.random() < _JPEG_SHARE else (noisy, False)


_JPEG_SHARE = 0.6
KINDS = (
    "white",
    "realistic",
    "smeared",
    "none",
    "camera",
    "realistic",
    "white, JPEG",
    "none",
    "camera",
    "smeared",
)


# --- pairs -----------------------------------------------------------------------------------------


def photographs(data: Path) -> list[Path]:
    found = sorted([*(data / "photos").glob("*.webp"), *(data / "cracks-cc0").glob("*.png")])
    if not found:
        raise SystemExit(f"no photographs in {data}/photos and {data}/cracks-cc0")
    return found


def crop(path: Path, rng: np.random.Generator) -> FloatArray:
    """A part of a photograph, of half its size where that is large: the less noise of its own it has."""
    pixels = np.asarray(PIL.Image.open(path).convert("RGB"), np.float32) / np.float32(255)
    if min(pixels.shape[:2]) >= 2 * SIDE + 100 and rng.random() < 0.7:
        half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        pixels = half.astype(np.float32)
    y, x = (int(rng.integers(0, extent - SIDE + 1)) for extent in pixels.shape[:2])
    return np.ascontiguousarray(pixels[y : y + SIDE, x : x + SIDE])


def curve(network: Network, noisy: FloatArray, clean: FloatArray) -> Array:
    """PSNR below the best, at each of FINE."""
    middle = slice((SIDE - MIDDLE) // 2, (SIDE + MIDDLE) // 2)
    part, aim = np.ascontiguousarray(noisy[middle, middle]), clean[middle, middle]
    reached = []
    for level in LEVELS:
        made = network.denoise(part, sigma=float(level)) if level else part
        reached.append(-10 * np.log10(np.mean(np.square(np.clip(made, 0, 1) - aim)) + FLOOR))
    fine = np.interp(FINE, np.log(LEVELS + grain.OFFSET), reached)
    return np.asarray(fine.max() - fine, np.float64)


def pair(number: int, paths: list[Path], network: Network) -> Pair | None:
    """One seeded pair; None where a picture is too small, too dark or too drawn to say anything."""
    rng = np.random.default_rng([7, number])
    path = paths[int(rng.integers(len(paths)))]
    clean, kind = crop(path, rng), KINDS[number % len(KINDS)]
    noisy, thin = spoiled(kind, clean, rng)
    levels = grain.levels(noisy, None, decode=lambda samples: samples)
    white = white_sigma(noisy, thin_chroma=thin)
    if levels is None:
        return None
    return Pair(kind, path.name, grain.features(levels), white, curve(network, noisy, clean))


# --- the fit ---------------------------------------------------------------------------------------


def looked_up(lost: Array, told: Array) -> tuple[Array, Array]:
    """What the told levels lose, and its slope; beyond the ends of FINE the slope leads back."""
    step = FINE[1] - FINE[0]
    place = np.clip((told - FINE[0]) / step, 0, len(FINE) - 1.001)
    left = place.astype(int)
    rows = np.arange(len(lost))
    low, high = lost[rows, left], lost[rows, left + 1]
    slope = np.where(told <= FINE[0], -_BACK, np.where(told >= FINE[-1], _BACK, (high - low) / step))
    return low + (high - low) * (place - left), slope


_BACK, _PULL, _CAP, _NEAR = 0.3, 0.1, 4.0, 0.25
_STEPS_OF_FIT, _RATE = 500, 0.02
_CLEAN, _CLEAN_WEIGHT = 0.1, 1.0
"""What each unit of sigma costs a clean photograph in dB on top: nobody asks for that smoothing."""


def fitted(pairs: list[Pair]) -> Array:
    """(10,) powers and the logarithm of the factor, by Adam on the capped loss, from least squares on."""
    pairs = [each for each in pairs if each.kind != "white"]
    clean = np.array([each.kind == "none" for each in pairs])
    lost = np.array([each.lost for each in pairs])
    best = FINE[lost.argmin(axis=1)]
    lost[clean] += _CLEAN * np.exp(FINE)
    features = np.array([each.features for each in pairs])
    mean, spread = features.mean(axis=0), features.std(axis=0)
    inputs = np.column_stack([(features - mean) / spread, np.ones(len(pairs))])
    ridge = np.sqrt(_NEAR) * np.eye(inputs.shape[1])
    weights = np.linalg.lstsq(np.vstack([inputs, ridge]), np.append(best, np.zeros(len(ridge))), rcond=None)[
        0
    ]
    share = np.where(clean, _CLEAN_WEIGHT, 1.0) / np.where(clean, _CLEAN_WEIGHT, 1.0).sum()
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, _STEPS_OF_FIT + 1):
        told = inputs @ weights
        loss, slope = looked_up(lost, told)
        slopes = inputs.T @ (share * (slope / (1 + loss / _CAP) + _PULL * np.where(clean, 0, told - best)))
        first, second = 0.9 * first + 0.1 * slopes, 0.999 * second + 0.001 * slopes**2
        rate = _RATE * (1 - (step - 1) / _STEPS_OF_FIT)
        weights = weights - rate * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    powers = weights[:-1] / spread
    return np.append(powers, weights[-1] - powers @ mean)


def report(pairs: list[Pair], folds: int = 5) -> None:
    """What photographs lose that the fit has not seen, beside what σ as of white noise loses."""
    names = sorted({each.name for each in pairs})
    order = np.random.default_rng(1).permutation(len(names))
    fold = {names[i]: int(place) % folds for place, i in enumerate(order)}
    rows: dict[str, list[tuple[float, float]]] = {}
    for held in range(folds):
        weights = fitted([each for each in pairs if fold[each.name] != held])
        for each in pairs:
            if fold[each.name] == held:
                smeared = float(np.exp(each.features @ weights[:-1] + weights[-1])) - grain.OFFSET
                told = (max(each.white, smeared), each.white)
                lost = [float(np.interp(np.log(t + grain.OFFSET), FINE, each.lost)) for t in told]
                rows.setdefault(each.kind, []).append((lost[0], lost[1]))
    print(f"{'held out: dB below the best σ':32}{'pairs':>8}{'fitted':>10}{'white':>10}")
    for kind, values in rows.items():
        told, white = np.mean(values, axis=0)
        print(f"{kind:32}{len(values):>8}{told:10.2f}{white:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="gaussian")
    parser.add_argument("--pairs", type=int, default=330)
    options = parser.parse_args()
    paths, network = photographs(options.data), load(options.network, threads=1)
    made = (pair(number, paths, network) for number in range(options.pairs))
    pairs = [each for each in made if each is not None]
    print(f"{len(pairs)} pairs of {options.pairs}")
    report(pairs)
    *powers, factor = fitted(pairs)
    print("FACTOR", f"{factor:.3f}", "POWERS", ", ".join(f"{each:.2f}" for each in powers))


if __name__ == "__main__":
    main()
