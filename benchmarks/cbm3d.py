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
import importlib.util
import multiprocessing
import os
import platform
import shlex
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.evaluate import evaluate
from unnoise.methods import choose
from unnoise.metrics import psnr_of_mse
from unnoise.noise import SIGMA_SCALE
from unnoise.pairs import of_split
from unnoise.scores import MSE, PSNR, SSIM
from unnoise.scoring import score
from unnoise.search import BLUR
from unnoise.subjects import tiles
from unnoise.tables import aligned
from unnoise.tiles import load_dataset

PROCESSES = 2
FloatArray = npt.NDArray[np.float32]


def cbm3d(noisy: FloatArray, sigma: float) -> FloatArray:
    """Dabov et al., "Color image denoising via sparse 3D collaborative filtering", ICIP 2007.

    doi:10.1109/ICIP.2007.4378954
    """
    import bm3d

    return np.asarray(bm3d.bm3d_rgb(noisy.astype(np.float64), sigma_psd=sigma / SIGMA_SCALE), np.float32)


def one(task: tuple[FloatArray, FloatArray, float]) -> tuple[tuple[float, ...], float]:
    clean, noisy, sigma = task
    start = time.perf_counter()
    denoised = cbm3d(noisy, sigma)
    return score(clean, denoised), time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--with", dest="others", action="append", default=[], metavar="RUN|NETWORK|FILTER")
    parser.add_argument("--tiles", type=int, default=100)
    options = parser.parse_args()
    if importlib.util.find_spec("bm3d") is None:
        print("bm3d is not installed: nothing to compare with. Its licence allows non-commercial use only;")
        print("if that is yours, install it with: pip install bm3d")
        return 0
    dataset = load_dataset(options.data)
    pairs = of_split(dataset, "test", limit=options.tiles)
    sigma = pairs.sigma
    if sigma is None:
        print(f"the noise of {options.data} is {dataset.info.noise}: CBM3D needs one sigma")
        return 2
    print("command: ", shlex.join([Path(sys.executable).name, *sys.argv]))
    print(f"machine:  {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"versions: Python {platform.python_version()}, bm3d {importlib.metadata.version('bm3d')}, "
        f"OpenCV {cv2.__version__}, numpy {np.__version__}"
    )
    print(
        f"input:    {len(pairs)} seeded tiles of the {pairs.where}, "
        f"{dataset.info.noise} ({dataset.info.format})"
    )
    contenders = choose([BLUR, *options.others], tuning=tiles(dataset).tuning, log=print)
    found = evaluate(dataset, contenders.denoisers[0], limit=options.tiles)
    tasks = [(*pairs.pick(index), sigma) for index in range(len(pairs))]
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(one, tasks))
    scores = np.array([row for row, _ in results])
    means = {each.name: (each.mse, each.psnr, each.ssim) for each in found.methods}
    mean = scores.mean(axis=0)
    means["CBM3D"] = float(mean[MSE]), float(mean[PSNR]), float(mean[SSIM])
    reference, blur = means["CBM3D"][0], means[BLUR][0]

    def row(name: str, mse: float, psnr: float, ssim: float) -> list[str]:
        decibels = f"{psnr:.2f}", f"{psnr_of_mse(mse):.2f}"
        return [name, f"{mse:.6f}", *decibels, f"{ssim:.4f}", f"{mse / reference:.3f}", f"{mse / blur:.3f}"]

    rows = [row(name, *each) for name, each in sorted(means.items(), key=lambda pair: pair[1][0])]
    header = ["method", "MSE", "PSNR", "PSNR of mean MSE", "SSIM", "× CBM3D's MSE", "× tuned blur's MSE"]
    print(aligned(header, rows))
    each_tile = np.median([seconds for _, seconds in results])
    print(f"CBM3D took {each_tile:.2f} s a tile (median, {PROCESSES} processes at once)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
