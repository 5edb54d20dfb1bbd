"""Samples whose white is not the largest number of their dtype, for formats that know no other white."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from unnoise.codecs.base import Bands, Frame, Image, Samples


def full_range(image: Image, bands: Bands) -> Frame:
    """A frame of integer samples, stretched with its alpha so that white is 255 or 65535.

    Samples of a PGM file whose greatest value is 1023 would look black in a PNG file.
    """
    if image.dtype.kind != "u" or image.white == np.iinfo(image.dtype).max:
        return image, bands
    top = int(np.iinfo(image.dtype).max)
    alpha = None if image.alpha is None else _stretched(image.alpha[0 : image.size[1]], top / image.white)
    # Of the samples only what they are counts from here on; the stretched ones come in bands.
    return replace(image, white=float(top), alpha=alpha), _all_stretched(bands, top / image.white)


def _all_stretched(bands: Bands, factor: float) -> Iterator[Samples]:
    for band in bands:
        yield _stretched(band, factor)


def _stretched(samples: Samples, factor: float) -> Samples:
    stretched = np.rint(samples.astype(np.float64) * factor)
    made: Samples = np.minimum(stretched, np.iinfo(samples.dtype).max).astype(samples.dtype)
    return made
