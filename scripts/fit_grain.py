"""Fit the numbers of `unnoise.grain`: from what is seen of a picture's noise to the sigma to be told.

Clean photographs get noise of many kinds: white, white and JPEG, smeared over pixels, of a camera (see
`unnoise.camera`, and one here that develops picture and noise together), none. A network that takes sigma
denoises each at nine levels. What is fitted is the level that loses least PSNR to the best one. Photographs
that are held out say how well that goes. The numbers go into src/unnoise/grain.py by hand.

    python scripts/fit_grain.py --data FOLDER [--network gaussian] [--pairs 900]

FOLDER holds photos/ (varied photographs) and cracks-cc0/ (concrete). It takes about five minutes of a core.
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

SIDE = 256
LEVELS = np.array([0, 2, 4, 7, 11, 17, 26, 40, grain.HIGHEST])
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
        share: to which part it is white, 0 to 1.
        thin: whether its colour was thinned out.
        lost: PSNR in dB below the best, at each of FINE.
    """

    kind: str
    name: str
    features: Array
    white: float
    share: float
    thin: bool
    lost: Array


_JPEG_SHARE = 0.6
"""Of the pictures of most kinds."""


# --- noise -----------------------------------------------------------------------------------------


def rounded(pixels: npt.NDArray[np.floating]) -> FloatArray:
    return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255) / 255, np.float32)


def jpeg(pixels: FloatArray, quality: int, thin: bool) -> FloatArray:
    """Stored and read back, with a fourth of the colour if it is to be thin."""
    stream = io.BytesIO()
    samples = np.rint(pixels * 255).astype(np.uint8)
    PIL.Image.fromarray(samples).save(stream, "JPEG", quality=quality, subsampling=2 if thin else 0)
    return np.asarray(PIL.Image.open(stream), np.float32) / np.float32(255)


def smeared(clean: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Gaussian noise that was blurred, enlarged, or has a coarse part; sometimes little of it in colour."""
    height, width = clean.shape[:2]
    sigma = 10 ** rng.uniform(0.7, 2) / 255
    way = rng.random()
    if way < 0.4:
        added = cv2.GaussianBlur(sigma * rng.normal(size=clean.shape), (0, 0), rng.uniform(0.4, 1.6))
    elif way < 0.8:
        factor = rng.uniform(1.1, 3)
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
_MID_GREY = 0.2


@dataclass(frozen=True)
class Camera:
    """One draw of a camera that develops picture and noise together, and of its noise reduction.

    Its noise reduction sees both, so it smooths flat places more than detailed ones, and leaves grain of two
    or three pixels. What such a picture would be without noise is the mean of many.

    Attributes:
        balance: what white balance multiplies (red, green, blue) by.
        gain: variance of the shot noise where linear light is 1.
        read: deviation of the noise that light doesn't change, in linear light.
        demosaicing: OpenCV's code.
        contrast: 0 to 1, how much of an S-shaped curve follows the sRGB curve.
        chroma_blur: sigma in pixels of the blur of colour; 0 for none.
        luma_blur: sigma in pixels of the smoothing of luma; 0 for none.
        luma_share: how much of the smoothed luma replaces it.
        by_edges: whether that smoothing stops at edges that are well above the noise.
        sharpening: amount of an unsharp mask on luma.
        size: by what the developed picture is enlarged.
        quality: of the JPEG; None is no JPEG.
        thin: whether the JPEG has a fourth of the colour.
    """

    balance: FloatArray
    gain: float
    read: float
    demosaicing: int
    contrast: float
    chroma_blur: float
    luma_blur: float
    luma_share: float
    by_edges: bool
    sharpening: float
    size: float
    quality: int | None
    thin: bool

    @staticmethod
    def drawn(rng: np.random.Generator) -> Camera:
        """A camera with all at random, from base sensitivity to beyond ISO 6400."""

        def sometimes(share: float, value: float) -> float:
            return value if rng.random() < share else 0.0

        stored = rng.random() < _JPEG_SHARE
        return Camera(
            balance=np.array([rng.uniform(1.2, 2.5), 1, rng.uniform(1.2, 2.5)], np.float32),
            gain=10 ** rng.uniform(-4, -1.6),
            read=10 ** rng.uniform(-3.2, -1.7),
            demosaicing=_DEMOSAICING[rng.integers(2)],
            contrast=rng.uniform(0, 1),
            chroma_blur=sometimes(0.7, rng.uniform(0.6, 3)),
            luma_blur=sometimes(0.7, rng.uniform(0.6, 1.8)),
            luma_share=rng.uniform(0.4, 1),
            by_edges=bool(rng.random() < 0.5),
            sharpening=sometimes(0.5, rng.uniform(0.2, 1)),
            size=1 + sometimes(0.3, rng.uniform(0, 1)),
            quality=int(rng.integers(80, 100)) if stored else None,
            thin=stored and bool(rng.random() < 0.5),
        )

    def shoot(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """The picture with noise, developed, as an 8-bit file has it."""
        light = lineared(clean) / self.balance
        mosaic = light[:, :, 1].copy()
        mosaic[0::2, 0::2], mosaic[1::2, 1::2] = light[0::2, 0::2, 0], light[1::2, 1::2, 2]
        mosaic += rng.normal(size=mosaic.shape) * np.sqrt(np.maximum(mosaic, 0) * self.gain + self.read**2)
        samples = np.clip((mosaic + _BLACK) * _STEPS, 0, 65535).astype(np.uint16)
        colours = (cv2.cvtColor(samples, self.demosaicing) / _STEPS - _BLACK) * self.balance
        shown = np.clip(encoded(colours.astype(np.float32)), 0, 1)
        shown = shown + np.float32(self.contrast) * (shown**2 * (3 - 2 * shown) - shown)
        luma = shown @ LUMA
        colour = shown - luma[..., None]
        if self.chroma_blur:
            colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), self.chroma_blur), np.float32)
        pixels = self._smoothed(luma)[..., None] + colour
        if self.size > 1:
            enlarged = cv2.resize(pixels, None, fx=self.size, fy=self.size, interpolation=cv2.INTER_CUBIC)
            pixels = np.asarray(enlarged, np.float32)
        made = rounded(pixels[: clean.shape[0], : clean.shape[1]])
        return made if self.quality is None else jpeg(made, self.quality, self.thin)

    def _smoothed(self, luma: FloatArray) -> FloatArray:
        if self.luma_blur and self.by_edges:
            reach = 2.75 * float(np.sqrt(_MID_GREY * self.gain + self.read**2))
            luma = luma + self.luma_share * (cv2.bilateralFilter(luma, 7, reach, self.luma_blur) - luma)
        elif self.luma_blur:
            luma = luma + self.luma_share * (cv2.GaussianBlur(luma, (0, 0), self.luma_blur) - luma)
        if self.sharpening:
            luma = luma + self.sharpening * (luma - cv2.GaussianBlur(luma, (0, 0), 1.0))
        return np.asarray(luma, np.float32)


_SHOTS = 16


def spoiled(kind: str, clean: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, bool]:
    """The picture with noise; what it is without; whether its colour was thinned out."""
    if kind == "camera":
        camera = Camera.drawn(rng)
        noisy = camera.shoot(clean, rng)
        others = [camera.shoot(clean, rng) for _ in range(_SHOTS)]
        return noisy, np.mean(others, axis=0, dtype=np.float32), camera.thin
    if kind == "realistic":
        return noise.Realistic()(clean, rng), clean, False
    if kind == "white":
        sigma = float(rng.choice([2, 5, 10, 15, 25, 50, 75]))
        noisy = noise.Gaussian(sigma, sigma)(clean, rng)
        return (rounded(noisy) if rng.random() < 0.5 else noisy), clean, False
    if kind == "white, JPEG":
        sigma = 10 ** rng.uniform(0.5, 1.8)
        noisy = rounded(noise.Gaussian(sigma, sigma)(clean, rng))
    else:
        noisy = smeared(clean, rng) if kind == "smeared" else rounded(clean)
    thin = bool(rng.random() < 0.5)
    if kind == "white, JPEG" or rng.random() < _JPEG_SHARE:
        return jpeg(noisy, int(rng.integers(70, 101)), thin), clean, thin
    return noisy, clean, False


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
    reached = []
    for level in LEVELS:
        made = network.denoise(noisy, sigma=float(level)) if level else noisy
        reached.append(-10 * np.log10(np.mean(np.square(np.clip(made, 0, 1) - clean)) + FLOOR))
    fine = np.interp(FINE, np.log(LEVELS + grain.OFFSET), reached)
    return np.asarray(fine.max() - fine, np.float64)


def pair(number: int, paths: list[Path], network: Network) -> Pair | None:
    """One seeded pair; None where a picture is too small, too dark or too drawn to say anything."""
    rng = np.random.default_rng([7, number])
    path = paths[int(rng.integers(len(paths)))]
    clean, kind = crop(path, rng), KINDS[number % len(KINDS)]
    noisy, aim, thin = spoiled(kind, clean, rng)
    levels = grain.levels(noisy, None, decode=as_it_is)
    if levels is None:
        return None
    white, share = white_sigma(noisy, thin_chroma=thin), grain.white_share(noisy, None, decode=as_it_is)
    return Pair(kind, path.name, grain.features(levels), white, share, thin, curve(network, noisy, aim))


def as_it_is(samples: FloatArray) -> FloatArray:
    return samples


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
    """(14,) powers and the logarithm of the factor, by Adam on the capped loss, from least squares on."""
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
    rows: dict[str, list[tuple[float, ...]]] = {}
    for held in range(folds):
        weights = fitted([each for each in pairs if fold[each.name] != held])
        for each in pairs:
            if fold[each.name] == held:
                told = sigma(each, weights)
                levels = np.log(np.array([told, each.white]) + grain.OFFSET)
                rows.setdefault(each.kind, []).append((*np.interp(levels, FINE, each.lost), told))
    print(f"{'held out: dB below the best σ':32}{'pairs':>8}{'fitted':>10}{'white':>10}{'median σ':>12}")
    for kind, values in rows.items():
        fitted_lost, white_lost, _ = np.mean(values, axis=0)
        middle = np.median([told for *_, told in values])
        print(f"{kind:32}{len(values):>8}{fitted_lost:10.2f}{white_lost:10.2f}{middle:12.1f}")


def sigma(each: Pair, weights: Array) -> float:
    """What an estimate with these weights would say, but for the limit."""
    smeared = max(0.0, float(np.exp(each.features @ weights[:-1] + weights[-1])) - grain.OFFSET)
    told = each.share * each.white + (1 - each.share) * smeared
    return told if each.thin else max(told, each.white)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="gaussian")
    parser.add_argument("--pairs", type=int, default=900)
    options = parser.parse_args()
    paths, network = photographs(options.data), load(options.network, threads=1)
    made = (pair(number, paths, network) for number in range(options.pairs))
    pairs = [each for each in made if each is not None]
    print(f"{len(pairs)} pairs of {options.pairs}")
    report(pairs)
    *powers, factor = fitted(pairs)
    print(
        "FACTOR",
        f"{factor:.3f}",
        "POWERS of luma, colour, averages, diagonal",
        ", ".join(f"{p:.2f}" for p in powers),
    )


if __name__ == "__main__":
    main()
