"""Real camera noise: 15 crops of photographs at ISO 1600 to 6400, beside the mean of 500 shots of each.

Nam, Hwang, Matsushita and Kim, "A holistic approach to cross-channel image noise modeling and its application
to image denoising", CVPR 2016, doi:10.1109/CVPR.2016.186.

Networks are run as a user runs them, on the file's 8-bit samples, and give 8-bit samples back. A blind
network is told nothing. One that takes sigma is run twice: with sigma estimated, and with the sigma that
gives the best PSNR of this picture. Who has no clean picture cannot know that one: it is the most that could
be had.

    python benchmarks/real_noise.py [--networks default,...] [--pictures N] [--out FILE.png] [--data FOLDER]

FOLDER holds cc-real-noise/ (NAME_real.png and NAME_mean.png) and perhaps peers/; it is $UNNOISE_DATA, or
../shared/data, if it is not given. With --out, two crops of each picture, pixel by pixel, are laid side by
side: where the mean varies least, and where it varies most.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageDraw, ImageFont

import peers
from _machine import alone, introduce
from unnoise import images
from unnoise.denoiser import Network, load
from unnoise.figure import save_figure
from unnoise.metrics import psnr, ssim
from unnoise.tables import aligned

REAL, MEAN = "_real.png", "_mean.png"
COARSE = (1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 24.0, 36.0)
"""Sigmas that are tried first; then halves of the way to the neighbours of the best."""
HALVINGS = 3
SIDE, GAP, LINE = 160, 4, 16

Bytes = npt.NDArray[np.uint8]
Run = Callable[[Bytes, Bytes], tuple[Bytes, float | None]]
"""From the noisy picture and the mean, which only a choice by the truth looks at, to the result and sigma."""


@dataclass(frozen=True)
class Score:
    """Of a result: PSNR in dB, SSIM, and the sigma that was told, where one was."""

    psnr: float
    ssim: float
    sigma: float | None = None


def score(mean: Bytes, made: Bytes, sigma: float | None = None) -> Score:
    return Score(psnr(mean, made, data_range=255), ssim(mean, made, data_range=255), sigma)


def as_a_user(network: Network) -> Run:
    """Blind, or with sigma estimated."""

    def run(noisy: Bytes, _mean: Bytes) -> tuple[Bytes, float | None]:
        level, _ = network.level(noisy.astype(np.float32) / np.float32(255), None)
        return network.denoise(noisy), level

    return run


def by_the_truth(network: Network) -> Run:
    """With the sigma of best PSNR, to about half a step of 255."""

    def run(noisy: Bytes, mean: Bytes) -> tuple[Bytes, float | None]:
        made: dict[float, Bytes] = {}
        quality: dict[float, float] = {}

        def attempt(sigma: float) -> None:
            if sigma not in made:
                made[sigma] = network.denoise(noisy, sigma=sigma)
                quality[sigma] = psnr(mean, made[sigma], data_range=255)

        for sigma in COARSE:
            attempt(sigma)
        for _ in range(HALVINGS):
            tried = sorted(made)
            at = tried.index(max(tried, key=quality.__getitem__))
            for other in tried[max(0, at - 1) : at] + tried[at + 1 : at + 2]:
                attempt((tried[at] + other) / 2)
        best = max(made, key=quality.__getitem__)
        return made[best], best

    return run


def methods(names: Sequence[str], published: Mapping[str, Path]) -> dict[str, Run]:
    """Every way to run each network; the published one that takes sigma by the truth alone."""
    runs: dict[str, Run] = {}
    for name in names:
        network = load(name)
        label = Path(name).stem
        if network.card.sigma_input:
            runs[f"{label} auto"] = as_a_user(network)
            runs[f"{label} by truth"] = by_the_truth(network)
        else:
            runs[label] = as_a_user(network)
    for path in published.values():
        network = load(path)
        told = network.card.sigma_input
        runs[f"{network.name} by truth" if told else network.name] = (
            by_the_truth(network) if told else as_a_user(network)
        )
    return runs


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", default="default", help="names, files or runs, with commas between")
    parser.add_argument("--pictures", type=int, help="so many alone, the first ones")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="where to lay crops side by side")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    options = parser.parse_args()
    folder = options.data / "cc-real-noise"
    names = sorted(path.name.removesuffix(REAL) for path in folder.glob(f"*{REAL}"))[: options.pictures]
    if not names:
        print(f"no pictures in {folder}: nothing to measure; set UNNOISE_DATA or give --data")
        return 0
    introduce(("numpy", "onnxruntime"))
    with tempfile.TemporaryDirectory(prefix="real-noise-") as temporary:
        wanted = () if options.without_peers else tuple(peers.PEERS)
        published = alone(peers.export, options.data / "peers", Path(temporary), wanted) if wanted else {}
        runs = methods([name for name in options.networks.split(",") if name], published)
        found: dict[str, dict[str, Score]] = {}
        strips = []
        for name in names:
            noisy, mean = (read(folder / f"{name}{end}") for end in (REAL, MEAN))
            pictures = {"noisy": noisy}
            found[name] = {"noisy": score(mean, noisy)}
            for label, run in runs.items():
                pictures[label], sigma = run(noisy, mean)
                found[name][label] = score(mean, pictures[label], sigma)
            print(
                f"{name}: " + ", ".join(f"{each} {of.psnr:.2f}" for each, of in found[name].items()),
                flush=True,
            )
            strips += crops(name, {**pictures, "mean of 500": mean})
    print("\n" + psnr_table(found))
    print("\n" + summary(found))
    if options.out:
        save_figure(sheet(strips), options.out)
        print(options.out)
    return 0


def read(path: Path) -> Bytes:
    return np.asarray(images.read(path).samples, np.uint8)


def psnr_table(found: Mapping[str, Mapping[str, Score]]) -> str:
    """PSNR of each picture, and in brackets the sigma that was told."""
    labels = list(next(iter(found.values())))

    def cell(each: Score) -> str:
        return f"{each.psnr:.2f}" + ("" if each.sigma is None else f" ({each.sigma:.1f})")

    rows = [[name, *(cell(scores[label]) for label in labels)] for name, scores in found.items()]
    return aligned(["PSNR dB (sigma told)", *labels], rows)


def summary(found: Mapping[str, Mapping[str, Score]]) -> str:
    """Means of all pictures, and how many of them a method makes worse."""
    rows = []
    for label in next(iter(found.values())):
        scores = [each[label] for each in found.values()]
        gains = [each[label].psnr - each["noisy"].psnr for each in found.values()]
        quality, similarity = (np.mean([getattr(each, of) for each in scores]) for of in ("psnr", "ssim"))
        worse = str(sum(gain < 0 for gain in gains))
        rows.append([label, f"{quality:.2f}", f"{similarity:.4f}", f"{min(gains):+.2f}", worse])
    return aligned([f"mean of {len(found)}", "PSNR dB", "SSIM", "least gain dB", "made worse"], rows)


# --- what is looked at -----------------------------------------------------------------------------

Strip = tuple[str, dict[str, Bytes]]


def crops(name: str, pictures: Mapping[str, Bytes]) -> list[Strip]:
    """The flattest and the busiest square of a picture, of every method."""
    mean = pictures["mean of 500"].astype(np.float32).mean(axis=2)
    height, width = mean.shape
    corners = [
        (y, x)
        for y in range(0, max(1, height - SIDE + 1), SIDE // 2)
        for x in range(0, max(1, width - SIDE + 1), SIDE // 2)
    ]
    spread = [float(mean[y : y + SIDE, x : x + SIDE].std()) for y, x in corners]
    chosen = [corners[int(np.argmin(spread))], corners[int(np.argmax(spread))]]
    return [
        (name, {label: each[y : y + SIDE, x : x + SIDE] for label, each in pictures.items()})
        for y, x in chosen
    ]


def sheet(strips: Sequence[Strip]) -> PIL.Image.Image:
    """Crops pixel by pixel: a row for each, a column for each method."""
    labels = list(strips[0][1])
    step = SIDE + GAP
    canvas = PIL.Image.new("RGB", (len(labels) * step + GAP, len(strips) * (step + LINE) + LINE), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for column, label in enumerate(labels):
        pen.text((GAP + column * step, 2), label, "black", font)
    for row, (name, pieces) in enumerate(strips):
        top = LINE + row * (step + LINE)
        pen.text((GAP, top + 1), name, "grey", font)
        for column, piece in enumerate(pieces.values()):
            canvas.paste(_shown(piece), (GAP + column * step, top + LINE))
    return canvas


def _shown(piece: npt.NDArray[Any]) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.ascontiguousarray(piece))


if __name__ == "__main__":
    raise SystemExit(main())
