"""How often the audit flags good denoising, and how often it flags damage.

Photographs with Gaussian, Poisson-Gaussian and realistic noise, clipped and rounded as 8-bit files have them,
are denoised by the bundled network that suits the noise (`gaussian` told the level; for realistic noise
`default`): that should not be flagged. Then by other networks, and in ways that do damage: that should. The
photographs are shuffled by seed: on the first 60 the limits in `unnoise.audit.LIMITS` were set (calibration),
the next 60 are to check them. `--quantiles` prints what limits are set by.

    python benchmarks/audit.py [--data FOLDER] [--part check] [--photographs 60] [--workers 2] [--quantiles]

FOLDER holds photos/; it is $UNNOISE_DATA, or ../shared/data, if it is not given. Takes about four seconds of
processor time a picture, of which there are three a photograph.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from _machine import introduce
from unnoise import noise
from unnoise.audit import LIMITS, Audit, audit
from unnoise.denoiser import Network, load
from unnoise.estimate import estimate_sigma
from unnoise.images import read
from unnoise.selfsimilar import nlm
from unnoise.smoothing import gaussian_blur, median, tv

FloatArray = npt.NDArray[np.float32]

NOISES = ("gaussian:5-50", "poisson-gaussian:0.2-3,0-5", "realistic:0.2-1")
PARTS, PART = ("calibration", "check"), 60
SUITED = "suited network"
_SIDE = 320
_LEVEL = np.float32(1 / 255)


@dataclass(frozen=True)
class Case:
    """A noisy picture, and what is known of it."""

    name: str
    noise: str
    noisy: FloatArray
    level: float


@dataclass(frozen=True)
class Found:
    """What the audit said of one way to denoise a case."""

    noise: str
    way: str
    audit: Audit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    parser.add_argument("--part", choices=PARTS, default=PARTS[1])
    parser.add_argument("--photographs", type=int, default=PART)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--side", type=int, default=_SIDE, help="of the middle that is cut out, in pixels")
    parser.add_argument("--quantiles", action="store_true", help="of the measures of good denoising")
    arguments = parser.parse_args()
    introduce(("numpy", "opencv-python-headless", "scikit-image", "onnxruntime"), 1)
    files = part_of(arguments.data / "photos", arguments.part)[: arguments.photographs]
    if not files:
        print(f"no photographs in {arguments.data / 'photos'}: nothing is measured")
        return 0
    with ProcessPoolExecutor(arguments.workers) as pool:
        work = partial(audits, side=arguments.side)
        found = [each for several in pool.map(work, files) for each in several]
    print(f"{len(files)} photographs of the {arguments.part} part, {arguments.side} pixels a side")
    table(found)
    if arguments.quantiles:
        quantiles([each for each in found if each.way == SUITED])
    return 0


def part_of(folder: Path, part: str) -> list[Path]:
    """The photographs of a part, in the order in which they were shuffled."""
    files = sorted(folder.glob("*.webp"))
    order = np.random.default_rng(42).permutation(len(files))
    start = PART * PARTS.index(part)
    return [files[index] for index in order[start : start + PART]]


def stored(pixels: FloatArray) -> FloatArray:
    """As an 8-bit file holds it."""
    levels: FloatArray = np.rint(np.clip(pixels, 0, 1) * np.float32(255))
    return levels / np.float32(255)


def cases(path: Path, side: int) -> Iterator[Case]:
    whole = read(path).pixels
    top, left = (max(0, (each - side) // 2) for each in whole.shape[:2])
    clean = np.ascontiguousarray(whole[top : top + side, left : left + side])
    for spec in NOISES:
        model = noise.parse(spec)
        rng = np.random.default_rng(noise.keyed_seed(0, path.name, model))
        drawn = model.draw(rng)
        noisy = stored(drawn(clean, rng))
        level = estimate_sigma(noisy) if drawn.sigma is None else drawn.sigma
        yield Case(path.name, model.name, noisy, level)


def audits(path: Path, side: int) -> list[Found]:
    """What becomes of one photograph, all noises and ways."""
    cv2.setNumThreads(1)
    found = []
    for case in cases(path, side):
        made = {way: make(case) for way, make in GOOD.items()}
        made |= {way: spoil(case, made[SUITED]) for way, spoil in DAMAGE.items()}
        found += [Found(case.noise, way, audit(case.noisy, stored(each))) for way, each in made.items()]
    return found


# --- ways to denoise -------------------------------------------------------------------------------


@cache
def network(name: str) -> Network:
    return load(name, threads=1)


def told(case: Case, factor: float, name: str = "gaussian") -> FloatArray:
    return network(name)(case.noisy, min(75.0, factor * case.level))


def suited(case: Case) -> FloatArray:
    return network("default")(case.noisy) if case.noise == "realistic" else told(case, 1)


GOOD: dict[str, Callable[[Case], FloatArray]] = {
    SUITED: suited,
    "gaussian, told": lambda case: told(case, 1),
    "small, told": lambda case: told(case, 1, "small"),
    "default, blind": lambda case: network("default")(case.noisy),
    "nothing done": lambda case: case.noisy,
}


def field(shape: tuple[int, ...], scale: float, strength: float) -> FloatArray:
    """Smooth random values (H, W, 1) of a standard deviation in 8-bit units."""
    values = cv2.GaussianBlur(np.random.default_rng(0).normal(size=shape[:2]), (0, 0), scale)
    return np.asarray(values * (strength / 255 / values.std()), np.float32)[:, :, None]


def lines(shape: tuple[int, ...], strength: float) -> FloatArray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = np.sin(2 * np.pi * (x + 0.3 * y) / 6) * np.sqrt(2) * strength / 255
    return np.asarray(waves, np.float32)[:, :, None]


def jpeg(pixels: FloatArray, quality: int) -> FloatArray:
    samples = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", samples[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32)
    return decoded[:, :, ::-1] * _LEVEL


def sharpened(pixels: FloatArray) -> FloatArray:
    return np.asarray(pixels + 0.7 * (pixels - cv2.GaussianBlur(pixels, (0, 0), 1.2)), np.float32)


DAMAGE: dict[str, Callable[[Case, FloatArray], FloatArray]] = {
    "told twice the level": lambda case, _: told(case, 2),
    "told 3 times the level": lambda case, _: told(case, 3),
    "Gaussian blur of 1.5 pixels": lambda case, _: gaussian_blur(case.noisy, None, ksize=9, sigma=1.5),
    "Gaussian blur of 2.5 pixels": lambda case, _: gaussian_blur(case.noisy, None, ksize=13, sigma=2.5),
    "median of 11 pixels": lambda case, _: median(case.noisy, None, ksize=11),
    "non-local means, h = 3 σ": lambda case, _: nlm(
        case.noisy, None, h=max(5.0, 3 * case.level), template=7, search=21
    ),
    "total variation, weight 0.4": lambda case, _: tv(case.noisy, None, weight=0.4),
    "2 levels brighter": lambda _, good: good + 2 * _LEVEL,
    "red + 2, blue - 2 levels": lambda _, good: good + _LEVEL * np.array([2, 0, -2], np.float32),
    "contrast less by 5 %": lambda _, good: np.float32(0.5) + np.float32(0.95) * (good - np.float32(0.5)),
    "sharpened": lambda _, good: sharpened(good),
    "lines added, 2 levels": lambda _, good: good + lines(good.shape, 2),
    "lines added, 4 levels": lambda _, good: good + lines(good.shape, 4),
    "grain added, 2 levels": lambda _, good: good + field(good.shape, 1.2, 2),
    "grain added, 4 levels": lambda _, good: good + field(good.shape, 1.2, 4),
    "blotches added, 2 levels": lambda _, good: good + field(good.shape, 6, 2),
    "JPEG, quality 30": lambda _, good: jpeg(good, 30),
    "JPEG, quality 60": lambda _, good: jpeg(good, 60),
}
"""The last ones spoil what the suited network gave."""


# --- tables ----------------------------------------------------------------------------------------


def table(found: list[Found]) -> None:
    kinds = list(dict.fromkeys(each.noise for each in found))
    print("flagged, of those judged; the measures that flag most often")
    print(f"{'':30}" + "".join(f"{kind:>18}" for kind in kinds) + f"{'all':>18}")
    for way in (*GOOD, *DAMAGE):
        rows = [each for each in found if each.way == way]
        parts = [[each for each in rows if each.noise == kind] for kind in kinds]
        print(f"{way:30}" + "".join(f"{rate(part):>18}" for part in (*parts, rows)) + f"  {by(rows)}")


def rate(found: list[Found]) -> str:
    judged = [each for each in found if np.isfinite(each.audit.structure)]
    flagged = sum(bool(each.audit.flags) for each in judged)
    return f"{flagged}/{len(judged)} {100 * flagged / max(1, len(judged)):5.1f} %"


def by(found: list[Found]) -> str:
    counts = {name: sum(outside(each.audit, name) for each in found) for name in LIMITS}
    most = sorted(counts, key=lambda name: -counts[name])[:3]
    return ", ".join(f"{name} {counts[name]}" for name in most if counts[name])


def outside(found: Audit, name: str) -> bool:
    value = getattr(found, name)
    return bool(value < LIMITS[name].low or value > LIMITS[name].high)


def quantiles(found: list[Found]) -> None:
    shares = (0, 0.005, 0.01, 0.02, 0.5, 0.98, 0.99, 0.995, 1)
    print(f"\n{SUITED}: quantiles of the measures")
    print(f"{'':12}" + "".join(f"{share:>9}" for share in shares) + "   limits")
    for name, limit in LIMITS.items():
        values = np.nanquantile([getattr(each.audit, name) for each in found], shares)
        cells = "".join(f"{value:9.3f}" for value in values)
        print(f"{name:12}{cells}   {limit.low:g} to {limit.high:g}")


if __name__ == "__main__":
    raise SystemExit(main())
