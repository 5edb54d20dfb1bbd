"""Bundled networks, FFDNet, DnCNN, CBM3D and searched filters on CBSD68, beside what was published.

As published results do it: whole pictures, float Gaussian noise that is not clipped, known sigma, output
clipped to [0, 1], the mean over the pictures of the picture's PSNR. The filters are searched for each sigma
on crops of other photographs, then frozen. It is what `unnoise evaluate` does; the peers' published weights
become network files first, and what it finds is set beside their published numbers: where those come out,
the benchmark itself is right.

    python benchmarks/cbsd68.py --out FOLDER [--with gaussian,small,ffdnet,...] [--sigmas 15,25,50]
        [--data FOLDER]

Killed at any point, the same command goes on, and nothing is scored twice. FOLDER/report.html is the report.
--data holds CBSD68/, photos/ and peers/; it is $UNNOISE_DATA, or ../shared/data, if it is not given. bm3d
takes part where a person installed that package, whose licence allows non-commercial use only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import peers
from _machine import alone, introduce
from unnoise.assessment import assess, open_journal, show_files
from unnoise.filters import FILTERS
from unnoise.methods import choose
from unnoise.noise import parse
from unnoise.report import RENDERERS
from unnoise.results import Results
from unnoise.subjects import clean_pictures
from unnoise.tables import aligned, results_text

PUBLISHED: Mapping[str, Mapping[float, float]] = {
    "FFDNet": {15: 33.87, 25: 31.21, 50: 27.96},
    "DnCNN": {15: 33.90, 25: 31.24, 50: 27.95},
    "bm3d": {15: 33.52, 25: 30.71, 50: 27.38},
}
"""Mean PSNR in dB by sigma, as listed by Zhang et al., "Plug-and-play image restoration with deep denoiser
prior", TPAMI 2021, doi:10.1109/TPAMI.2021.3088914."""
WITHIN: Mapping[str, float] = {"FFDNet": 0.05, "DnCNN": 0.05, "bm3d": 0.1}
"""dB. How near to that the same method is to come out here."""
METHODS = "gaussian,small,ffdnet,dncnn,bm3d,dct,wavelet,nlm,bilateral,tv,gaussian-blur"
PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "scikit-image", "PyWavelets", "bm3d")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True, help="folder for the report and all scores")
    parser.add_argument("--with", dest="methods", default=METHODS, help="with commas between")
    parser.add_argument("--sigmas", default="15,25,50")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    options = parser.parse_args()
    test, photos = options.data / "CBSD68", options.data / "photos"
    if not (test.is_dir() and photos.is_dir()):
        print(f"no {test} or no {photos}: nothing to measure; set UNNOISE_DATA or give --data")
        return 0
    introduce(PACKAGES)
    sigmas = [float(part) for part in options.sigmas.split(",")]
    subject = clean_pictures(test, [parse(f"gaussian:{sigma:g}") for sigma in sigmas], tune=photos)
    asked = {"methods": options.methods, "sigmas": sigmas}
    journal = open_journal(options.out, asked, overwrite=True)
    named = [name for name in options.methods.split(",") if name]
    if "bm3d" in named and not FILTERS["bm3d"].is_available:
        print("left out: bm3d, which is not installed (its licence allows non-commercial use only)")
        named.remove("bm3d")
    wanted = tuple(name for name in peers.PEERS if name in named)
    # In a process of its own: what writes network files needs torch, which is not to be in the others.
    files = alone(peers.export, options.data / "peers", options.out, wanted) if wanted else {}
    for missing in set(wanted) - set(files):
        print(f"left out: {missing}, whose weights are not in {options.data / 'peers'}")
        named.remove(missing)
    contenders = choose(
        [str(files.get(name, name)) for name in named],
        len(sigmas),
        subject.tuning,
        log=print,
        progress=True,
        cache=subject.searches(options.out),
    )
    command = f"python benchmarks/cbsd68.py --out {options.out} --with {options.methods}"
    found = assess(
        subject, contenders, options.out, journal=journal, command=command, log=print, progress=True
    )
    print(f"\n{results_text(found.results, str(test))}\n")
    shown = show_files(options.out, found.results.samples)
    for name, render in RENDERERS.items():
        (options.out / name).write_text(render(found.results, shown), encoding="utf-8")
    return 0 if beside_published(found.results, sigmas) else 1


def beside_published(results: Results, sigmas: list[float]) -> bool:
    """Print how far each method is from its published PSNR, and whether all are near."""
    rows, near = [], True
    for name, published in PUBLISHED.items():
        method = next((each for each in results.methods if each.name == name), None)
        if method is None:
            continue
        here = [score.psnr for score in method.groups] or [method.psnr]
        off = [
            measured - published[sigma]
            for measured, sigma in zip(here, sigmas, strict=True)
            if sigma in published
        ]
        near = near and all(abs(each) <= WITHIN[name] for each in off)
        rows.append(
            [
                name,
                " / ".join(f"{each:.2f}" for each in here),
                " / ".join(f"{each:.2f}" for each in published.values()),
                " / ".join(f"{each:+.2f}" for each in off),
                f"{WITHIN[name]:g}",
            ]
        )
    print(
        aligned(
            ["PSNR dB at " + " / ".join(f"{s:g}" for s in sigmas), "here", "published", "off", "aim"], rows
        )
    )
    return near


if __name__ == "__main__":
    raise SystemExit(main())
