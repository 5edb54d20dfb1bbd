"""Bundled networks beside every searched filter on CBSD68, at sigma 15, 25 and 50, in one run.

As published results do it: whole pictures, float Gaussian noise that is not clipped, output clipped to
[0, 1], the mean over the pictures of the picture's PSNR. The noise of a picture is keyed by its name, so
every method sees the same pixels. The filters are searched for each sigma on crops of other photographs,
then frozen; wavelets, and networks that are not blind, are told sigma.

    python benchmarks/cbsd68.py [--with gaussian] [--sigmas 15,25,50] [--without-filters] [--data FOLDER]

FOLDER holds CBSD68/ and photos/; it is $UNNOISE_DATA, or ../shared/data, if it is not given.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unnoise import denoiser, images, noise
from unnoise.evaluate import evaluate_folder, pictures_in
from unnoise.filters import Denoiser, Filter
from unnoise.pairs import of_pictures
from unnoise.results import MethodResult
from unnoise.search import available, search
from unnoise.tables import methods_table

CBM3D = {15.0: 33.52, 25.0: 30.71, 50.0: 27.38}
"""Mean PSNR in dB as published: what ships is to be ahead of it."""

CROPS, SIDE = 64, 128


def crops(folder: Path) -> dict[str, npt.NDArray[np.float32]]:
    """One seeded crop from each of some seeded photographs."""
    rng = np.random.default_rng(0)
    files = list(pictures_in(folder).items())
    chosen = {}
    for index in sorted(rng.permutation(len(files))[:CROPS]):
        name, path = files[index]
        pixels = images.read(path).pixels
        y, x = (int(rng.integers(0, extent - SIDE + 1)) for extent in pixels.shape[:2])
        chosen[name] = np.ascontiguousarray(pixels[y : y + SIDE, x : x + SIDE])
    return chosen


def tuned(clean: dict[str, npt.NDArray[np.float32]], added: noise.Noise) -> list[Filter]:
    names, left_out = available()
    for missing in left_out:
        print(f"left out: {missing.name} {missing.reason}")
    pairs = of_pictures(clean, added, where=f"{len(clean)} crops of photographs")
    found = search(pairs, names, progress=True)
    for each in found:
        print(
            f"  searched {each.name}: {len(each.settings)} settings on {each.pictures} crops of "
            f"{SIDE} × {SIDE}: {each.best.filter.settings_text}"
        )
        if each.warning:
            print(f"  note: {each.warning}")
    return [each.best.filter for each in found]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--with", dest="networks", action="append", metavar="NETWORK")
    parser.add_argument("--sigmas", default="15,25,50")
    parser.add_argument("--without-filters", action="store_true")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    options = parser.parse_args()
    test, photos = options.data / "CBSD68", options.data / "photos"
    if not (test.is_dir() and photos.is_dir()):
        print(f"no {test} or no {photos}: nothing to measure; set UNNOISE_DATA or give --data")
        return 0
    networks = [denoiser.load(name) for name in options.networks or ["gaussian"]]
    print("command: ", shlex.join([Path(sys.executable).name, *sys.argv]))
    print(f"machine:  {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"versions: Python {platform.python_version()}, OpenCV {cv2.__version__}, numpy {np.__version__}")
    for each in networks:
        digest = hashlib.sha256(each.path.read_bytes()).hexdigest()
        print(f"network:  {each.name}, {each.path}, SHA-256 {digest[:16]}…")
    clean = {} if options.without_filters else crops(photos)
    met = True
    for sigma in (float(part) for part in options.sigmas.split(",")):
        added = noise.parse(f"gaussian:{sigma:g}")
        print(f"\nsigma {sigma:g}")
        methods: list[Denoiser] = [*networks, *(tuned(clean, added) if clean else [])]
        found = evaluate_folder(test, added, methods, progress=True)
        print(f"  {len(found.names)} pictures; PSNR is the mean over the pictures, in dB; ms: one picture")
        print(methods_table(found.methods))
        met = verdict(found.methods, sigma) and met
    return 0 if met else 1


def verdict(methods: tuple[MethodResult, ...], sigma: float) -> bool:
    """Whether every network is ahead of all filters, and of CBM3D as published; and a line for each."""
    best = max((each for each in methods if each.kind == "filter"), key=lambda each: each.psnr, default=None)
    met = True
    for network in (each for each in methods if each.kind == "network"):
        aims = {"CBM3D, as published": CBM3D[sigma]} if sigma in CBM3D else {}
        if best is not None:
            aims[best.name] = best.psnr
        if not aims:
            continue
        told = ", ".join(
            f"{network.psnr - aim:+.2f} dB from {name} ({aim:.2f})" for name, aim in aims.items()
        )
        print(f"{network.name}: {network.psnr:.2f} dB, {told}; aim: ahead of all")
        met = met and all(network.psnr > aim for aim in aims.values())
    return met


if __name__ == "__main__":
    raise SystemExit(main())
