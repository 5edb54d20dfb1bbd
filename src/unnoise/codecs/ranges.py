"""Samples whose white is not the largest number of their dtype, for formats that know no other white."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unnoise.codecs.base import Bands, Image, Samples


def full_range(image: Image, bands: Bands) -> Iterator[Samples]:
    """Bands of integer samples, stretched so that white is 255 or 65535.

    Samples of a PGM file whose greatest value is 1023 would look black in a PNG file.
    """
    top = np.iinfo(image.dtype).max
    for band in bands:
        if image.white == top:
            yield band
        else:
            stretched = np.rint(band.astype(np.float64) * (top / image.white))
            yield np.minimum(stretched, top).astype(image.dtype)
