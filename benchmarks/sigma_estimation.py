"""How well the noise level is estimated: ours beside the wavelet estimator of scikit-image.

White Gaussian noise is put on pictures of CBSD68, as floats, and as 8-bit files hold it (clipped, rounded),
in colour and in grey. Bias and mean absolute error are in 8-bit units, over the pictures.

    python benchmarks/sigma_estimation.py [FOLDER] [--pictures 12]

FOLDER is CBSD68 below $UNNOISE_DATA, or below ../shared/data, if it is not given.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unnoise import noise
from unnoise.estimate import estimate_sigma
from unnoise.images import read

SIGMAS = (5, 10, 15, 25, 50, 75)
FloatArray = npt.NDArray[np.float32]


def wavelets(pixels: FloatArray) -> float:
    from skimage.restoration import estimate_sigma as estimate

    found = estimate(pixels, channel_axis=2, average_sigmas=True)  # type: ignore[no-untyped-call]
    return 255 * float(found)


METHODS: dict[str, Callable[[FloatArray], float]] = {"unnoise": estimate_sigma, "wavelets": wavelets}


def as_stored(pixels: FloatArray) -> FloatArray:
    return (np.rint(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    data = Path(os.environ.get("UNNOISE_DATA", "../shared/data"))
    parser.add_argument("folder", nargs="?", type=Path, default=data / "CBSD68")
    parser.add_argument("--pictures", type=int, default=12)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.rglob("*.png"))
    if not files:
        print(f"no pictures in {arguments.folder}: nothing is measured")
        return 0
    files = files[:: max(1, len(files) // arguments.pictures)][: arguments.pictures]
    print("command:  ", shlex.join(["python", *sys.argv]))
    print("machine:  ", platform.platform(), platform.machine())
    print("versions: ", ", ".join(f"{name} {version(name)}" for name in ("numpy", "scikit-image")))
    print("pictures: ", len(files))
    colour = [read(path).pixels for path in files]
    grey = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[:, :, None].astype(np.float32) for p in colour]
    for kind, pictures in (("colour", colour), ("grey", grey)):
        for stored in (False, True):
            print(f"\n{kind}, {'8-bit files' if stored else 'floats'}: bias / mean absolute error")
            print("method    " + "".join(f"{f'σ {sigma}':>15}" for sigma in SIGMAS) + "    ms a picture")
            for name, method in METHODS.items():
                cells, spent = "", 0.0
                for sigma in SIGMAS:
                    errors = []
                    for number, clean in enumerate(pictures):
                        noisy = noise.apply(noise.Gaussian(sigma, sigma), clean, number)
                        noisy = as_stored(noisy) if stored else noisy
                        start = time.perf_counter()
                        errors.append(method(noisy) - sigma)
                        spent += time.perf_counter() - start
                    cells += f"{np.mean(errors):+8.2f} /{np.mean(np.abs(errors)):5.2f}"
                print(f"{name:10}{cells}{1000 * spent / len(pictures) / len(SIGMAS):10.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
