"""Fingerprints of many pictures in a folder of plain arrays, which several processes map into memory."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.fingerprints import Fingerprint

_DTYPES = {
    "features": np.float32,
    "descriptors": np.uint8,
    "codes": np.uint64,
    "owners": np.int32,
    "turned": np.bool_,
    "small": np.uint8,
}
_WIDTHS = {"features": 4, "descriptors": 128, "codes": 2}
_INDEX = "index.npy"

Integers = npt.NDArray[np.int64]


def fill(folder: Path, prints: Iterable[Fingerprint], sides: Iterable[int] | None = None) -> list[str]:
    """Write fingerprints one after another, so that few are held at a time.

    Args:
        folder: an empty folder.
        prints: in the order in which they are numbered.
        sides: a number for each; two pictures of the same one are not compared. None compares all.

    Returns:
        The pictures' digests.
    """
    digests, rows = [], []
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in _DTYPES}
        for each in prints:
            for name, file in files.items():
                file.write(np.ascontiguousarray(getattr(each, name)).data)
            digests.append(each.digest)
            rows.append(
                (
                    each.height,
                    each.width,
                    each.scale,
                    len(each.features),
                    len(each.codes),
                    *each.small.shape,
                )
            )
    numbers = list(sides) if sides is not None else list(range(len(rows)))
    index = np.column_stack([np.array(rows, np.float64).reshape(-1, 7), np.array(numbers, np.float64)])
    np.save(folder / _INDEX, index)
    return digests


@dataclass(frozen=True)
class Shelf:
    """The arrays of a folder, and where in them each picture's part lies.

    Attributes:
        arrays: name of a part of :class:`unnoise.fingerprints.Fingerprint` -> that of all pictures.
        index: a row a picture: height, width, scale, features, codes, height and width in small, side.
        features: where each picture's features start, and where the last ones end.
        codes: likewise.
        small: likewise, in bytes.
    """

    arrays: dict[str, npt.NDArray[Any]]
    index: npt.NDArray[np.float64]
    features: Integers
    codes: Integers
    small: Integers

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Fingerprint:
        height, width, scale, *_ = self.index[number].tolist()
        rows = slice(*self.features[number : number + 2])
        codes = slice(*self.codes[number : number + 2])
        shape = self.index[number, 5:7].astype(int)
        get = self.arrays
        return Fingerprint(
            int(height),
            int(width),
            "",
            scale,
            np.asarray(get["features"][rows]),
            np.asarray(get["descriptors"][rows]),
            np.asarray(get["codes"][codes]),
            np.asarray(get["owners"][codes]),
            np.asarray(get["turned"][codes]),
            np.asarray(get["small"][slice(*self.small[number : number + 2])]).reshape(shape),
        )


@lru_cache(maxsize=1)
def opened(folder: Path) -> Shelf:
    """The shelf that :func:`fill` left in a folder; a process keeps the last one open."""
    index = np.load(folder / _INDEX)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, dtype in _DTYPES.items():
        file = folder / name
        # an empty file cannot be mapped
        flat: npt.NDArray[Any] = np.memmap(file, dtype, "r") if file.stat().st_size else np.zeros(0, dtype)
        arrays[name] = flat.reshape(-1, _WIDTHS[name]) if name in _WIDTHS else flat
    starts = [
        np.concatenate([[0], np.cumsum(column)]).astype(np.int64)
        for column in (index[:, 3], index[:, 4], index[:, 5] * index[:, 6])
    ]
    return Shelf(arrays, index, *starts)
