"""Quality and cost side by side: our networks, FFDNet, DnCNN, tuned filters and CBM3D, in one run on CBSD68.

Quality: whole pictures, float Gaussian noise that is not clipped, sigma told, output clipped to [0, 1]; PSNR
and SSIM are means over the pictures. The noise of a picture is keyed by its name, so every method sees the
same pixels. The filters are searched for each sigma on crops of other photographs, then frozen.

Time: one picture of 1024 × 1024 pixels (--side), one call of each method in turn, so that whatever else the
machine does falls on all alike; medians of the rounds. Ratios are medians of the rounds' ratios to FFDNet in
the same backend. Memory: what one such call needs at most, in a process of its own, beyond what that held
before. Share of the peak: a network's operations (additions and multiplications of its convolutions on all
pixels that it is given) in its fastest pass, beside the fastest product of two float32 matrices that ONNX
Runtime, OpenVINO, torch or numpy made with as many threads, before and between the rounds.

    python benchmarks/quality_vs_time.py [--networks default,...] [--pictures N] [--sigmas 15,25,50]
        [--out FILE.png] [--json FILE] [--data FOLDER]

FOLDER holds CBSD68/, photos/ (the filters are searched on them) and peers/ (published weights); it is
$UNNOISE_DATA, or ../shared/data, if it is not given. CBM3D takes part where a person installed the package
bm3d, whose licence allows non-commercial use only; it takes long, so on --cbm3d pictures alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peers
from _machine import Rate, alone, introduce, machine_peak, memory_of
from _methods import Cbm3d, Method, NetworkMethod, networks, opened, tuned
from _rounds import time_all
from _rows import Row, describe, on_the_same, reference, table
from _scatter import Point, draw
from unnoise import noise
from unnoise.cores import available_cores
from unnoise.evaluate import pictures_in
from unnoise.pairs import Pairs, of_pictures
from unnoise.runtime import BACKENDS, FLOAT32
from unnoise.scores import PSNR
from unnoise.scoring import Doubles, score_all
from unnoise.tiling import reflected

FILTERS = ("nlm", "wavelet", "tv")
PACKAGES = (
    "numpy",
    "onnxruntime",
    "openvino",
    "torch",
    "opencv-python-headless",
    "scikit-image",
    "PyWavelets",
    "bm3d",
)
SIDE = 1024
PRODUCTS = "1024,3072,2048"
SHOWN = 25.0
"""The sigma that is timed and drawn, where it is among those asked for."""


def scores_of(
    methods: Sequence[Method], pairs_of: Mapping[Method, Mapping[float, Pairs]], threads: int
) -> dict[Method, dict[float, Doubles]]:
    """Scores (pictures, metrics) of each method for each sigma."""
    found: dict[Method, dict[float, Doubles]] = {method: {} for method in methods}
    for method in methods:
        for sigma, pairs in pairs_of[method].items():
            found[method][sigma] = score_all(pairs, [method.open(sigma, threads)], workers=threads)[0]
        means = (f"{rows[:, PSNR].mean():.2f}" for rows in found[method].values())
        print(f"  scored {method.label}: {' / '.join(means)} dB", flush=True)
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", default="default", help="names, files or runs, with commas between")
    parser.add_argument("--pictures", type=int, default=68, help="of CBSD68, evenly spread")
    parser.add_argument("--sigmas", default="15,25,50")
    parser.add_argument("--backends", help=f"those of {', '.join(BACKENDS)}; all that are there")
    parser.add_argument("--filters", default=",".join(FILTERS), help="may be empty")
    parser.add_argument("--peers", default=",".join(peers.PEERS), help="may be empty")
    parser.add_argument("--cbm3d", type=int, default=8, metavar="N", help="pictures for CBM3D; 0: without it")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=SIDE, help="of the picture that is timed")
    parser.add_argument("--products", default=PRODUCTS, help="sides of the matrices; the last is taken again")
    parser.add_argument("--threads", type=int, default=available_cores(physical=True))
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="where to draw PSNR against time")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    return parser.parse_args()


def parts(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def main() -> int:
    options = arguments()
    test, photos = options.data / "CBSD68", options.data / "photos"
    if not (test.is_dir() and photos.is_dir()):
        print(f"no {test} or no {photos}: nothing to measure; set UNNOISE_DATA or give --data")
        return 0
    introduce(PACKAGES, options.threads)
    with tempfile.TemporaryDirectory(prefix="quality-vs-time-") as folder:
        return measure(options, test, photos, Path(folder))


def measure(options: argparse.Namespace, test: Path, photos: Path, folder: Path) -> int:
    sigmas, threads = [float(part) for part in parts(options.sigmas)], int(options.threads)
    shown = SHOWN if SHOWN in sigmas else sigmas[len(sigmas) // 2]
    backends = parts(options.backends or "") or [
        each for each in BACKENDS if importlib.util.find_spec(each) is not None
    ]
    # In a process of its own: torch and OpenVINO in one are known to crash.
    exported = alone(peers.export, options.data / "peers", folder, tuple(parts(options.peers)))
    if not exported:
        print(f"no weights in {options.data / 'peers'}, or none asked for: no peers, no ratios")
    methods: list[Method] = [*networks(parts(options.networks), "ours", backends)]
    for name, path in exported.items():
        methods += networks([str(path)], "peer", backends if name == "ffdnet" else backends[:1])
    methods += tuned(parts(options.filters), photos, sigmas)
    if options.cbm3d and Cbm3d.is_installed():
        methods.append(Cbm3d())
    elif options.cbm3d:
        print("left out: CBM3D (bm3d is not installed; its licence allows non-commercial use only)")
    denoisers = opened(methods, shown, threads)
    methods = list(denoisers)

    files = list(pictures_in(test).items())
    files = files[:: max(1, len(files) // options.pictures)][: options.pictures]
    places = list(range(0, len(files), max(1, len(files) // max(options.cbm3d, 1))))[: options.cbm3d]
    few = [files[place] for place in places]
    chosen = {method: few if isinstance(method, Cbm3d) else files for method in methods}
    _, natural = of_pictures(dict(files[:1]), noise.parse(f"gaussian:{shown:g}"), where=str(test)).pick(0)
    rows, columns = (reflected(length, options.side) for length in natural.shape[:2])
    large = natural[rows][:, columns]
    inputs = {method: natural if isinstance(method, Cbm3d) else large for method in methods}

    peak, products = machine_peak(threads, folder, backends, [int(part) for part in parts(options.products)])
    print(
        f"timing {len(methods)} methods in turn, {options.side}² pixels, sigma {shown:g}",
        flush=True,
    )
    times, seen = time_all(denoisers, inputs, shown, options.rounds, products)
    peak = peak.or_more(seen)
    memory = {
        method: alone(memory_of, method.open, inputs[method], shown, threads) / inputs[method][..., 0].size
        for method in methods
    }
    print(f"scoring on {len(files)} pictures", flush=True)
    pairs = {
        (sigma, len(part)): of_pictures(dict(part), noise.parse(f"gaussian:{sigma:g}"), where=str(test))
        for sigma in sigmas
        for part in (files, few)
        if part
    }
    scores = scores_of(
        methods,
        {method: {sigma: pairs[sigma, len(chosen[method])] for sigma in sigmas} for method in methods},
        threads,
    )
    found = [describe(each, denoisers[each], times, scores[each], memory[each]) for each in methods]
    print(f"\n{len(files)} pictures of {test.name}; {options.rounds} rounds; greatest product: ", end="")
    print(f"{peak.wall:.0f} GFLOP/s, {peak.cpu:.0f} GFLOP in a second of processor time")
    print(table(found, sigmas, shown, peak))
    marks = {row.label: row.psnr[f"{shown:g}"] for row in found}
    below = ""
    for method in methods:
        other = reference(method, methods)
        if other is None or len(chosen[method]) == len(files):
            continue
        ahead = on_the_same(scores, method, other, places)
        told = ", ".join(f"{value:+.2f} dB at {sigma:g}" for sigma, value in ahead.items())
        print(f"{method.label} on {len(few)} pictures; from {other.label} on the same: {told}")
        marks[method.label] = marks[other.label] + ahead[shown]
        below = f"; {method.label} by its distance to {other.label} on {len(few)} of them"
    if options.json:
        options.json.write_text(json.dumps(record(options, found, peak, shown), indent=1, ensure_ascii=False))
        print(options.json)
    if options.out:
        points = [
            point(method, row, marks[row.label])
            for method, row in zip(methods, found, strict=True)
            # In another backend alone, a network would stand nearly where it stands.
            if not isinstance(method, NetworkMethod) or method.is_usual or method.precision != FLOAT32
        ]
        title = f"PSNR (dB) on CBSD68, σ = {shown:g}, against time: up and to the left is better"
        draw(points, title, f"{len(files)} pictures; cores: {threads}{below}", options.out)
        print(options.out)
    return 0


def point(method: Method, row: Row, psnr: float) -> Point:
    """In the picture; a network in another backend or precision is a variant of what it is in the first."""
    if not isinstance(method, NetworkMethod) or method.is_usual:
        return Point(row.label, row.kind, row.wall, psnr)
    return Point(method.way, row.kind, row.wall, psnr, variant_of=method.name)


def record(options: argparse.Namespace, rows: Sequence[Row], peak: Rate, shown: float) -> dict[str, Any]:
    """The run for programs."""
    return {
        "threads": options.threads,
        "pictures": options.pictures,
        "timed": {"side": options.side, "sigma": shown, "rounds": options.rounds},
        "peak_gflops": dataclasses.asdict(peak),
        "methods": [dataclasses.asdict(row) for row in rows],
    }


if __name__ == "__main__":
    raise SystemExit(main())
