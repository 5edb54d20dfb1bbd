"""How strong the noise of a picture is, from the picture alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from unnoise import grain, patches
from unnoise.codecs.base import Rows
from unnoise.noise import SIGMA_SCALE
from unnoise.patches import BoolArray, Decode, FloatArray, Samples

_SIZES, _SIZES_OF_GREY = (6, 4, 2), (8, 6, 4, 2)
_MAX_PATCHES = 20_000
_FLATTEST_PART, _ENOUGH_A_DIMENSION = 0.1, 60
_FEW_TO_TELL_GREY = 400
_MUCH, _LITTLE = 0.2, 0.05


def _as_it_is(samples: Samples) -> FloatArray:
    return samples


def estimate_sigma(
    pixels: Rows,
    shown: Rows | None = None,
    *,
    decode: Decode = _as_it_is,
    thin_chroma: bool = False,
) -> float:
    """The level of white Gaussian noise for which a denoiser does best on a picture, in 8-bit units.

    Where the noise is white, that is its standard deviation. Small patches of a photograph vary in few
    directions, noise varies in all alike. So the eigenvalues of the patches' covariance are a few large ones
    and a bulk around σ². The bulk is found by taking large ones away until the mean of the rest is no more
    than their median: Chen, Zhu and Heng, "An Efficient Statistical Method for Image Noise Level Estimation",
    ICCV 2015, doi:10.1109/ICCV.2015.62.

    Two things are added. Patches are split by one level of the Haar transform: those whose averages vary
    least are chosen, the details are measured. Averages and details of white noise are independent, so the
    choice favours flat places without favouring weak noise. And patches at the ends of the range, where
    noise is cut off, are left out. At most 20,000 patches, evenly spread, bound time and memory.

    A camera's noise is smeared over neighbouring pixels, and hardly any of it is seen that way. So a colour
    picture whose noise does not fill all directions alike is looked at again, brightness and colour apart, at
    its size, at half and at a quarter of it: see :mod:`unnoise.grain`. Grey pictures, and those below about
    50 pixels, are taken to have white noise: without colour, texture looks like smeared noise.

    Colour that was stored more coarsely than brightness has lost its share of the white noise, so there, and
    where the channels say the same but for rounding, brightness alone is asked for that.

    Args:
        pixels: (H, W, C), C 1 or 3, an array or anything that gives rows; grey pictures may have one channel
            or three equal ones.
        shown: (H, W): where the picture is (not 0); patches that touch anything else are left out.
        decode: what makes float32 in [0, 1] of ``pixels``, where they are something else.
        thin_chroma: whether colour was stored more coarsely than brightness (4:2:0 and the like).

    Returns:
        sigma in 8-bit units; 0.0 for a picture of one colour, or a page or drawing on white or black.
    """
    found = _white(pixels, shown, decode, thin_chroma)
    if found is None:
        return _of_few(pixels, shown, decode)
    sigma, coloured = found
    if not coloured or sigma == 0:
        return sigma
    # What all channels show at the finest scale is there at least; brightness alone may show texture.
    told = grain.told(pixels, shown, sigma, decode=decode)
    return told if thin_chroma else max(told, sigma)


def white_sigma(
    pixels: Rows,
    shown: Rows | None = None,
    *,
    decode: Decode = _as_it_is,
    thin_chroma: bool = False,
) -> float:
    """Standard deviation of white noise alone, in 8-bit units; as :func:`estimate_sigma` otherwise."""
    found = _white(pixels, shown, decode, thin_chroma)
    return _of_few(pixels, shown, decode) if found is None else found[0]


def _of_few(pixels: Rows, shown: Rows | None, decode: Decode) -> float:
    height = pixels.shape[0]
    few = decode(pixels[0:height])
    return estimate_sigma_mad(few, None if shown is None else shown[0:height] != 0)


def _white(pixels: Rows, shown: Rows | None, decode: Decode, thin_chroma: bool) -> tuple[float, bool] | None:
    """σ as if the noise were white, and whether the picture has colour; None if there are too few patches."""
    for size in _SIZES_OF_GREY if thin_chroma or _is_grey(pixels) else _SIZES:
        if min(pixels.shape[:2]) >= size:
            found = _of_size(pixels, shown, size, decode, thin_chroma)
            if found is not None:
                return found
    return None


def _is_grey(pixels: Rows) -> bool:
    if pixels.shape[2] == 1 or min(pixels.shape[:2]) < 2:
        return True
    few = patches.spread(pixels, 2, _FEW_TO_TELL_GREY)
    return patches.without_copies(few, pixels.shape[2])[1] == 1


def _of_size(
    pixels: Rows, shown: Rows | None, size: int, decode: Decode, thin_chroma: bool
) -> tuple[float, bool] | None:
    made, channels = patches.without_copies(
        decode(patches.spread(pixels, size, _MAX_PATCHES)), pixels.shape[2]
    )
    gain, coloured = 1.0, channels == 3
    if coloured and thin_chroma:
        made, channels, gain = patches.brightness(made), 1, patches.LUMA_SHARE
    elif coloured and patches.dependent(made):
        made, channels, coloured = patches.brightness(made), 1, False
    clipped = float(made.min()) >= 0 and float(made.max()) <= 1
    if shown is not None:
        made = made[(patches.spread(shown, size, _MAX_PATCHES) != 0).all(axis=1)]
    if not len(made):
        return None
    usable = patches.informative(made, channels, clipped)
    if size >= _SIZES[0] and _is_drawn(made, usable):
        return 0.0, coloured
    chosen = made[usable]
    if not patches.suffice(len(chosen), size, channels):
        return None
    _, sigma = patches.flattest(chosen, size, channels, clipped, _FLATTEST_PART, _ENOUGH_A_DIMENSION)
    return sigma * SIGMA_SCALE / gain, coloured


def estimate_sigma_mad(pixels: FloatArray, shown: BoolArray | None = None) -> float:
    """Standard deviation of white noise from the median size of the finest diagonal Haar details.

    For pictures of few pixels.

    Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994,
    doi:10.1093/biomet/81.3.425.
    """
    if shown is None:
        shown = np.ones(pixels.shape[:2], dtype=np.bool_)
    if pixels.shape[0] < 2 or pixels.shape[1] < 2:
        seen = shown.ravel()
        steps = np.diff(pixels.reshape(-1, pixels.shape[2]), axis=0) / np.sqrt(2)
        return _mad(steps[seen[:-1] & seen[1:]])
    a, b = pixels[:-1, :-1], pixels[:-1, 1:]
    c, d = pixels[1:, :-1], pixels[1:, 1:]
    whole = shown[:-1, :-1] & shown[:-1, 1:] & shown[1:, :-1] & shown[1:, 1:]
    return _mad(((a - b - c + d) / 2)[whole])


_MAD_OF_NORMAL = 0.6744897501960817


def _mad(details: npt.NDArray[np.floating]) -> float:
    if not details.size:
        return 0.0
    return float(np.median(np.abs(details))) / _MAD_OF_NORMAL * SIGMA_SCALE


def _is_drawn(made: FloatArray, usable: BoolArray) -> bool:
    """Whether a picture is a page or a drawing on white or black: much of it is even, the rest is edges."""
    if not len(made):
        return False
    even = (made == made[:, :1]).all(axis=1).mean()
    return bool(even > _MUCH and usable.mean() < _LITTLE)
