"""A small prepared data set of drawn pictures, for tests of everything that measures on one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from unnoise.prepare import PrepareConfig, prepare
from unnoise.tiles import Dataset


def picture(seed: int, side: int = 96) -> npt.NDArray[np.uint8]:
    """Smooth colours, some edges and a little texture: what denoisers can and cannot keep."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (4, 4, 3)).astype(np.float32)
    image = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    for _ in range(6):
        centre, radius = rng.integers(0, side, 2), int(rng.integers(4, side // 4))
        cv2.circle(image, (int(centre[0]), int(centre[1])), radius, rng.integers(0, 256, 3).tolist(), -1)
    image += cv2.GaussianBlur(rng.normal(0, 20, image.shape).astype(np.float32), (3, 3), 1)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def build(folder: Path, *, photographs: int = 14, side: int = 96, tile: int = 32) -> Dataset:
    source = folder / "source"
    source.mkdir(parents=True)
    for seed in range(photographs):
        PIL.Image.fromarray(picture(seed, side)).save(source / f"photo{seed}.png")
    config = PrepareConfig(
        (source,), folder / "data", tile=tile, group_by="(.+)", workers=1, split=(0.4, 0.3, 0.3)
    )
    return prepare(config, progress=False)
