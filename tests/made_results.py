"""A made evaluation: ten methods, three noises, pictures to look at; all numbers are invented."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from unnoise.metrics import psnr_of_mse
from unnoise.records import (
    Cost,
    Difference,
    FilterSearch,
    GroupScore,
    Kind,
    MethodResult,
    Outcome,
    PicturesInfo,
    Sample,
)
from unnoise.results import Results

NOISES = ("gaussian:15", "gaussian:25", "gaussian:50")
PHOTOGRAPHS = 68
NOISY = (24.78, 20.48, 14.89)
METHODS: dict[str, tuple[str, Kind, tuple[float, float, float], float, float, int | None]] = {
    # label, kind, PSNR for each noise, seconds and megabytes a megapixel, parameters
    "noisy": ("noisy input", "input", NOISY, 0, 0, None),
    "default": ("default", "network", (33.55, 30.92, 27.71), 1.62, 310, 1_261_440),
    "gaussian": ("gaussian", "network", (33.98, 31.29, 28.04), 1.66, 312, 1_262_016),
    "dncnn": ("DnCNN-colour", "network", (33.89, 31.22, 27.92), 4.9, 1240, 668_000),
    "small": ("small U-Net", "network", (33.21, 30.61, 27.4), 0.31, 120, 190_000),
    "gaussian-blur": ("Gaussian blur", "filter", (27.4, 26.1, 24.2), 0.0042, 24, None),
    "median": ("median", "filter", (26.9, 25.6, 23.1), 0.021, 24, None),
    "bilateral": ("bilateral", "filter", (29.9, 27.4, 24.0), 0.11, 24, None),
    "nlm": ("NLM", "filter", (30.6, 28.5, 25.3), 0.93, 41, None),
    "tv": ("total variation", "filter", (30.1, 28.0, 25.1), 1.9, 190, None),
    "wavelet": ("wavelet", "filter", (29.6, 27.3, 24.6), 0.22, 96, None),
}
SETTINGS = {
    "gaussian-blur": ("ksize=3,sigma=0", "ksize=5,sigma=0", "ksize=7,sigma=0"),
    "median": ("ksize=3", "ksize=3", "ksize=5"),
    "bilateral": (
        "diameter=5,colour=40,space=2",
        "diameter=7,colour=80,space=2",
        "diameter=9,colour=150,space=3",
    ),
    "nlm": ("h=9,template=3,search=13", "h=16,template=5,search=13", "h=36,template=5,search=21"),
    "tv": ("weight=0.06", "weight=0.11", "weight=0.24"),
    "wavelet": ("method=bayes,wavelet=db2,levels=3",) * 3,
}

Pixels = npt.NDArray[np.float32]


def scores() -> dict[str, npt.NDArray[np.float64]]:
    """PSNR of each method: (photographs, noises)."""
    drawn = np.random.default_rng(7)
    easy = drawn.normal(0, 2.2, (PHOTOGRAPHS, 1))
    return {
        name: np.asarray(mean)
        + easy * (0 if name == "noisy" else 1)
        + drawn.normal(0, 0.02 if name == "noisy" else 0.15, (PHOTOGRAPHS, 1))
        for name, (_, _, mean, *_) in METHODS.items()
    }


def differences(found: dict[str, npt.NDArray[np.float64]]) -> tuple[Difference, ...]:
    """Every method against every other, with intervals of the normal distribution."""
    made = []
    for group in (None, *range(len(NOISES))):
        part = {name: v.mean(axis=1) if group is None else v[:, group] for name, v in found.items()}
        for one, mine in part.items():
            for other, theirs in part.items():
                if one == other:
                    continue
                gaps = mine - theirs
                mean, margin = float(gaps.mean()), 1.96 * float(gaps.std()) / math.sqrt(PHOTOGRAPHS)
                low, high = mean - margin, mean + margin
                outcome: Outcome = "better" if low > 0 else "worse" if high < 0 else "can't tell"
                wins = int((gaps > 0).sum())
                made.append(Difference(one, other, group, PHOTOGRAPHS, mean, low, high, 0.95, wins, outcome))
    return tuple(made)


def method(name: str, psnr: npt.NDArray[np.float64]) -> MethodResult:
    label, kind, _, seconds, megabytes, parameters = METHODS[name]
    groups = []
    for i in range(len(NOISES)):
        mse = float((10 ** (-psnr[:, i] / 10)).mean())
        mean = float(psnr[:, i].mean())
        ssim = 1 / (1 + math.exp(-(mean - 22) / 4))
        how = SETTINGS[name][i] if name in SETTINGS else ""
        groups.append(
            GroupScore(i, PHOTOGRAPHS, mse, mean, ssim, psnr_of_mse(mse), ssim**0.5, 2 * ssim - 1, how)
        )
    mse = sum(g.mse for g in groups) / len(groups)
    ssim = sum(g.ssim for g in groups) / len(groups)
    return MethodResult(
        name=name,
        label=label,
        kind=kind,
        mse=mse,
        psnr=float(psnr.mean()),
        psnr_of_mean_mse=psnr_of_mse(mse),
        ssim=ssim,
        tiles=PHOTOGRAPHS * len(NOISES),
        groups=tuple(groups),
        settings="tuned for each noise" if kind == "filter" else "",
        parameters=parameters,
        ms_ssim=ssim**0.5,
        edges=2 * ssim - 1,
        cost=Cost(seconds, seconds * 1.8, float(megabytes), 1_048_576, 5) if kind != "input" else None,
        source=f"networks/{name}.onnx, SHA-256 {name[0] * 8}…" if kind == "network" else "",
    )


def encoded(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def layers(clean: Pixels, sigma: float, seed: int) -> dict[str, Pixels]:
    """What the methods might make of it; networks are the clean picture with a little of what is lost."""
    noise = np.random.default_rng(seed).normal(0, sigma / 255, clean.shape).astype(np.float32)
    noisy = np.clip(clean + noise, 0, 1).astype(np.float32)
    blurred = cv2.GaussianBlur(clean, (0, 0), 0.6 + sigma / 60)
    grain = cv2.GaussianBlur(noise, (0, 0), 1.2)
    bytes_ = np.rint(noisy * 255).astype(np.uint8)
    made = {
        "clean": clean,
        "noisy": noisy,
        "gaussian-blur": cv2.GaussianBlur(noisy, (0, 0), 0.8 + sigma / 50),
        "median": cv2.medianBlur(bytes_, 5).astype(np.float32) / 255,
        "bilateral": cv2.bilateralFilter(noisy, 7, sigma / 85, 2),
        "nlm": cv2.fastNlMeansDenoising(bytes_, None, sigma * 0.75, 5, 13).astype(np.float32) / 255,
    }
    for name, kept in (("gaussian", 0.7), ("default", 0.66), ("dncnn", 0.69), ("small", 0.55)):
        made[name] = kept * clean + (1 - kept) * blurred + (1 - kept) * grain
    made["tv"] = 0.5 * made["nlm"] + 0.5 * made["gaussian-blur"]
    made["wavelet"] = 0.6 * made["gaussian-blur"] + 0.4 * noisy
    return made


def samples(side: int = 320) -> tuple[tuple[Sample, ...], dict[str, bytes]]:
    """Squares cut from photographs of scikit-image, and their files."""
    from skimage import data

    wanted = (
        ("astronaut.png", data.astronaut(), (60, 0), 1, ("gaussian", "default"), ()),
        ("cat.png", data.cat(), (70, 10), 2, ("nlm",), ()),
        ("coffee.png", data.coffee(), (150, 60), 0, (), ("median", "gaussian-blur")),
        ("rocket.png", data.rocket(), (180, 20), 2, (), ("gaussian", "dncnn", "default")),
    )
    found, files = [], {}
    for index, (name, picture, (left, top), group, best, worst) in enumerate(wanted):
        cut = picture[top : top + side, left : left + side]
        clean = cut.astype(np.float32) / 255
        made = layers(clean, float(NOISES[group].split(":")[1]), index)
        names = {layer: f"samples/{index}-{layer}.png" for layer in made}
        files |= {names[layer]: encoded(pixels) for layer, pixels in made.items()}
        psnr = {
            layer: psnr_of_mse(float(((pixels - clean) ** 2).mean()))
            for layer, pixels in made.items()
            if layer != "clean"
        }
        size = (picture.shape[1], picture.shape[0])
        place = (left, top, cut.shape[1], cut.shape[0])
        found.append(Sample(name, group, place, size, names, psnr, best, worst))
    return tuple(found), files


def evaluation(**changes: object) -> Results:
    """Everything but the samples."""
    found = scores()
    fields: dict[str, object] = {
        "created": "2026-05-02T09:11:40+00:00",
        "command": "unnoise evaluate photographs --noise gaussian:15,gaussian:25,gaussian:50 --tune-on "
        "others "
        "--with default --with gaussian -o out",
        "preset": "",
        "elapsed_minutes": 41.2,
        "dataset": None,
        "dataset_hash": "",
        "baseline": "gaussian-blur",
        "methods": tuple(method(name, psnr) for name, psnr in found.items()),
        "versions": {"unnoise": "0.1.0", "python": "3.12.3", "numpy": "2.4.1", "onnxruntime": "1.23.0"},
        "machine": {"processor": "x86-64", "cores": "2", "system": "Linux 6.8"},
        "seeds": {"noise": 0, "bootstrap": 0},
        "searches": tuple(
            FilterSearch(
                name,
                METHODS[name][0],
                SETTINGS[name][1],
                10 ** (-METHODS[name][2][1] / 10),
                {"strength": ("1", "2", "3")},
                3,
                24,
            )
            for name in SETTINGS
        ),
        "notes": ("Filters and networks that take the noise's level were told it.",),
        "timed": "median of 5 rounds on a picture of 1024 × 1024 pixels, all cores",
        "program": "evaluate",
        "pictures": PicturesInfo(
            where="photographs/CBSD68",
            pictures=PHOTOGRAPHS,
            photographs=PHOTOGRAPHS,
            noises=NOISES,
            clipped=False,
            smallest=(321, 481),
            largest=(481, 321),
            seed=0,
            sha256="ab" * 32,
            tuned_on="photographs/others",
            tuned_pictures=24,
            tuned_sha256="cd" * 32,
        ),
        "differences": differences(found),
    }
    return Results(**{**fields, **changes})  # type: ignore[arg-type]


def lone(found: Results, *names: str) -> Results:
    """The same with these methods alone."""
    return replace(
        found,
        methods=tuple(each for each in found.methods if each.name in names),
        differences=tuple(d for d in found.differences if {d.method, d.other} <= set(names)),
        baseline=found.baseline if found.baseline in names else names[0],
    )
