"""CBM3D beside the tuned GaussianBlur and any networks, on the same test tiles of a data set, in one run.

The package ``bm3d`` may be used for non-commercial purposes only, so it is no dependency of this project, not
even of its development extra: whoever may use it installs it by hand. Without it this script says so.

All methods get the stored noisy tiles and the noise's sigma; outputs are clipped to [0, 1]. The blur is tuned
on the validation tiles.

    python benchmarks/cbm3d.py DATA [--with RUN|NETWORK|FILTER ...] [--tiles 100]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np

from unnoise.evaluate import choose, evaluate
from unnoise.filters import FILTERS, parse
from unnoise.search import BLUR
from unnoise.tables import aligned
from unnoise.tiles import load_dataset

CBM3D = "bm3d"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--with", dest="others", action="append", default=[], metavar="RUN|NETWORK|FILTER")
    parser.add_argument("--tiles", type=int, default=100)
    options = parser.parse_args()
    if not FILTERS[CBM3D].is_available:
        print(f"bm3d is not installed: nothing to compare with. {FILTERS[CBM3D].missing}")
        return 0
    dataset = load_dataset(options.data)
    print("command: ", shlex.join([Path(sys.executable).name, *sys.argv]))
    print(f"machine:  {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"versions: Python {platform.python_version()}, bm3d {importlib.metadata.version('bm3d')}, "
        f"OpenCV {cv2.__version__}, numpy {np.__version__}"
    )
    methods = [parse(CBM3D), *choose([BLUR, *options.others], dataset, log=print)]
    found = evaluate(dataset, methods, limit=options.tiles)
    print(
        f"input:    {len(found.names)} seeded tiles of the {found.where}, "
        f"{dataset.info.noise} ({dataset.info.format}); {FILTERS[CBM3D].licence_note}"
    )
    errors = {each.name: each.mse for each in found.methods}
    rows = [
        [
            each.name,
            f"{each.mse:.6f}",
            f"{each.psnr:.2f}",
            f"{each.psnr_of_mean_mse:.2f}",
            f"{each.ssim:.4f}",
            f"{each.mse / errors[CBM3D]:.3f}",
            f"{each.mse / errors[BLUR]:.3f}",
            "–" if each.ms_per_tile is None else f"{each.ms_per_tile:.3g}",
        ]
        for each in sorted(found.methods, key=lambda each: each.mse)
    ]
    header = [
        "method",
        "MSE",
        "PSNR",
        "PSNR of mean MSE",
        "SSIM",
        "× CBM3D's MSE",
        "× tuned blur's MSE",
        "ms",
    ]
    print(aligned(header, rows))
    print(f"ms: {found.timed}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
