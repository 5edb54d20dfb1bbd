"""Classical denoisers, and the grid over which each is searched.

A filter with its settings is a :class:`Filter`: a frozen record that is called as any denoiser is, and that
people spell ``nlm`` or ``gaussian-blur:ksize=7,sigma=0``. :data:`FILTERS` holds, for each, the function and
its parameters with the values that a search tries.

Parameters are in the units of the library that does the work, and their names are its names; so the
``sigma`` of ``gaussian-blur`` is the width of the blur in pixels. The noise's sigma, which a denoiser may be
told, is in 8-bit units as everywhere; of these filters only ``wavelet`` uses it.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.errors import ConfigError, MissingExtra, UnknownName
from unnoise.estimate import white_sigma
from unnoise.noise import SIGMA_SCALE
from unnoise.parameters import FilterEntry, Parameter, Value

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]


@runtime_checkable
class Denoiser(Protocol):
    """What filters and networks alike offer."""

    @property
    def name(self) -> str:
        """For tables and records."""

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        """Denoise a picture.

        Args:
            noisy: float32 (H, W, C), C 1 or 3, RGB, [0, 1]; values outside are noise too.
            sigma: standard deviation of the noise in 8-bit units, or None where it is not known.

        Returns:
            float32 of the same shape, not necessarily clipped.
        """


@runtime_checkable
class Stacking(Denoiser, Protocol):
    """A denoiser that is quicker with many small pictures at once."""

    def stack(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        """Denoise ``noisy``, (N, H, W, C), as N calls would."""


@dataclass(frozen=True)
class Filter:
    """A filter with its settings: a denoiser.

    Args:
        name: the key in :data:`FILTERS`.
        settings: value of each of its parameters, in the entry's order; :func:`configure` fills them in.
    """

    name: str
    settings: tuple[tuple[str, Value], ...] = field(default=())

    @property
    def spec(self) -> str:
        """The text that :func:`parse` turns back into an equal filter."""
        return f"{self.name}:{self.settings_text}"

    @property
    def settings_text(self) -> str:
        """The settings as ``ksize=7,sigma=0``."""
        return ",".join(f"{name}={_shown(value)}" for name, value in self.settings)

    @property
    def entry(self) -> FilterEntry:
        """What :data:`FILTERS` says of it."""
        return FILTERS[self.name]

    def at_edge(self) -> tuple[str, ...]:
        """Parameters whose value is the last that a search tries, where others would make sense."""
        parameters = self.entry.parameters
        return tuple(name for name, value in self.settings if parameters[name].is_at_edge(value))

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        """Denoise ``noisy`` (float32 (H, W, C), [0, 1]); see :class:`Denoiser`.

        Raises:
            MissingExtra: the packages that it needs are not installed.
        """
        require(self.name)
        denoised = self.entry.function(noisy, sigma, **dict(self.settings))
        return denoised.reshape(noisy.shape).astype(np.float32, copy=False)


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def require(name: str) -> None:
    """Make sure that a filter can run.

    Raises:
        MissingExtra: the packages that it needs are not installed.
    """
    entry = FILTERS[name]
    if entry.extra and not entry.is_available:
        raise MissingExtra(f"the filter {name!r}", entry.extra)


def configure(name: str, settings: Mapping[str, Value]) -> Filter:
    """A filter with ``settings``, and defaults for what they leave out.

    Raises:
        UnknownName: there is no such filter, or it has no such parameter.
    """
    if name not in FILTERS:
        raise UnknownName("filter", name, FILTERS)
    parameters = FILTERS[name].parameters
    for each in settings:
        if each not in parameters:
            raise UnknownName(f"parameter of {name}", each, parameters)
    return Filter(name, tuple((key, settings.get(key, each.default)) for key, each in parameters.items()))


def parse(spec: str) -> Filter:
    """Turn ``nlm`` or ``gaussian-blur:ksize=7,sigma=0`` into a filter; what is not said gets its default.

    Raises:
        UnknownName: there is no such filter, or it has no such parameter.
        ConfigError: a setting is not ``name=value``, or its value makes no sense.
    """
    name, _, text = spec.strip().partition(":")
    if name not in FILTERS:
        raise UnknownName("filter", name, FILTERS)
    parameters = FILTERS[name].parameters
    settings: dict[str, Value] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = (each.strip() for each in part.partition("="))
        if not equals:
            raise ConfigError(f"{part!r} is no setting of {name}", hint=f"Write {configure(name, {}).spec}")
        if key not in parameters:
            raise UnknownName(f"parameter of {name}", key, parameters)
        settings[key] = parameters[key].read(value, f"{key} of {name}")
    return configure(name, settings)


def grid(name: str) -> Iterator[Filter]:
    """Every setting that a search of this filter tries, the last parameter changing fastest.

    Raises:
        UnknownName: there is no such filter.
    """
    if name not in FILTERS:
        raise UnknownName("filter", name, FILTERS)
    parameters = FILTERS[name].parameters
    for values in itertools.product(*(each.values for each in parameters.values())):
        yield Filter(name, tuple(zip(parameters, values, strict=True)))


# --- the filters -----------------------------------------------------------------------------------


def gaussian_blur(noisy: FloatArray, _level: float | None, *, ksize: int, sigma: float) -> FloatArray:
    """OpenCV's GaussianBlur in float32 with its default border (mirrored, edge pixel not repeated).

    Args:
        noisy: (H, W, C).
        ksize: odd width of the kernel in pixels.
        sigma: of the kernel in pixels; 0 lets OpenCV derive it from the width.
    """
    return np.asarray(cv2.GaussianBlur(noisy, (ksize, ksize), sigma), np.float32)


def median(noisy: FloatArray, _level: float | None, *, ksize: int) -> FloatArray:
    """Median of each channel over a square.

    OpenCV takes float32 up to a width of 5. Wider squares are worked on in 8 bits: the picture is clipped to
    [0, 1] and rounded, which costs nothing where it came from an 8-bit file.

    Args:
        noisy: (H, W, C).
        ksize: odd width of the square in pixels.
    """
    if ksize <= 5:
        return np.asarray(cv2.medianBlur(noisy, ksize), np.float32)
    return _from_bytes(cv2.medianBlur(_to_bytes(noisy), ksize))


def bilateral(
    noisy: FloatArray, _level: float | None, *, ksize: int, colour: float, space: float
) -> FloatArray:
    """Mean of the neighbours, weighted by distance in space and in colour (OpenCV, float32).

    Tomasi and Manduchi, "Bilateral filtering for gray and color images", ICCV 1998,
    doi:10.1109/ICCV.1998.710815. The distance in colour is the sum over the channels.

    Args:
        noisy: (H, W, C).
        ksize: diameter of the neighbourhood in pixels.
        colour: standard deviation of the weight in colour, 8-bit units.
        space: standard deviation of the weight in space, pixels.
    """
    return np.asarray(cv2.bilateralFilter(noisy, ksize, colour / SIGMA_SCALE, space), np.float32)


def nlm(noisy: FloatArray, _level: float | None, *, h: float, template: int, search: int) -> FloatArray:
    """Non-local means: mean of the pixels around, weighted by how alike their surroundings are (OpenCV).

    Buades, Coll and Morel, "A non-local algorithm for image denoising", CVPR 2005,
    doi:10.1109/CVPR.2005.38. Works in 8 bits on the three channels together; in our measurements that
    left less error than OpenCV's variant for colour, which works in Lab.

    Args:
        noisy: (H, W, C); clipped to [0, 1] and rounded.
        h: strength, 8-bit units; about 0.8 times the noise's sigma is good.
        template: odd width of the surroundings in pixels.
        search: odd width of the window that is searched, in pixels; the time grows with its square.
    """
    return _from_bytes(cv2.fastNlMeansDenoising(_to_bytes(noisy), None, h, template, search))


def tv(noisy: FloatArray, _level: float | None, *, weight: float) -> FloatArray:
    """Total variation: the picture that is near the noisy one and has little gradient (scikit-image).

    Chambolle, "An algorithm for total variation minimization and applications", JMIV 2004,
    doi:10.1023/B:JMIV.0000011325.36760.1e. Each channel by itself, to a relative change of 5e-5.

    Args:
        noisy: (H, W, C).
        weight: larger is smoother.
    """
    from skimage.restoration import denoise_tv_chambolle

    denoise: Any = denoise_tv_chambolle
    return np.asarray(denoise(noisy, weight=weight, eps=5e-5, channel_axis=-1), np.float32)


def wavelet(noisy: FloatArray, level: float | None, *, method: str, wavelet: str, levels: int) -> FloatArray:
    """Soft thresholds on wavelet coefficients, in YCbCr where there is colour (scikit-image, PyWavelets).

    Chang, Yu and Vetterli, "Adaptive wavelet thresholding for image denoising and compression", IEEE TIP
    2000, doi:10.1109/83.862633 (BayesShrink); Donoho and Johnstone, "Ideal spatial adaptation by wavelet
    shrinkage", Biometrika 1994, doi:10.1093/biomet/81.3.425 (VisuShrink).

    Args:
        noisy: (H, W, C).
        level: the noise's sigma in 8-bit units; None estimates it.
        method: how the threshold is found, ``BayesShrink`` or ``VisuShrink``.
        wavelet: its name in PyWavelets.
        levels: of the decomposition, as far as the picture's size allows.
    """
    from skimage.restoration import denoise_wavelet

    height, width, channels = noisy.shape
    most = int(math.log2(max(1, min(height, width))))
    if level is None:
        level = white_sigma(noisy)
    if most < 1 or level <= 0:  # a line of pixels has no decomposition in two dimensions
        return noisy.copy()
    with warnings.catch_warnings():
        # PyWavelets says that the borders reach everywhere; on small tiles that is so, and still best.
        warnings.filterwarnings("ignore", message="Level value of", category=UserWarning)
        return np.asarray(
            denoise_wavelet(
                noisy,
                sigma=level / SIGMA_SCALE,
                wavelet=wavelet,
                wavelet_levels=min(levels, most),
                method=method,
                mode="soft",
                convert2ycbcr=channels == 3,
                channel_axis=-1,
            ),
            np.float32,
        )


def _to_bytes(pixels: FloatArray) -> ByteArray:
    scaled: FloatArray = np.clip(pixels, 0, 1) * np.float32(255)
    return np.rint(scaled).astype(np.uint8)


def _from_bytes(pixels: npt.NDArray[Any]) -> FloatArray:
    return pixels.astype(np.float32) / np.float32(255)


_TILES = 56 * 56  # pixels in one of the article's tiles

FILTERS: dict[str, FilterEntry] = {
    # The article's 16 settings, neither more nor fewer.
    "gaussian-blur": FilterEntry(
        gaussian_blur,
        "Gaussian blur",
        {
            "ksize": Parameter((3, 5, 7, 9), 7, "px", odd=True, minimum=1, open_high=True),
            "sigma": Parameter((0.0, 1.0, 2.0, 3.0), 0.0, "px", open_high=True),
        },
        stackable=True,
    ),
    "median": FilterEntry(
        median,
        "median",
        {"ksize": Parameter((3, 5, 7, 9, 11), 5, "px", odd=True, minimum=1, open_high=True)},
    ),
    "bilateral": FilterEntry(
        bilateral,
        "bilateral",
        {
            # 27 pixels hold three standard deviations of the widest space on each side: all that there is.
            "ksize": Parameter((11, 19, 27), 11, "px", odd=True, minimum=1),
            "colour": Parameter(
                (25.0, 50.0, 75.0, 100.0, 150.0, 200.0, 250.0, 300.0, 400.0, 600.0),
                100.0,
                "8-bit units",
                minimum=1,
                open_low=True,
                open_high=True,
            ),
            "space": Parameter(
                (1.0, 1.5, 2.0, 3.0, 4.0), 2.0, "px", minimum=0.1, open_low=True, open_high=True
            ),
        },
        search_pixels=128 * _TILES,
    ),
    "nlm": FilterEntry(
        nlm,
        "non-local means",
        {
            "h": Parameter(
                (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0, 65.0),
                20.0,
                "8-bit units",
                minimum=0.1,
                open_low=True,
                open_high=True,
            ),
            # 1 would compare single pixels, which is no non-local means.
            "template": Parameter((3, 5, 7), 3, "px", odd=True, minimum=1, open_high=True),
            # 49 nearly span the article's tiles, and on photographs of any size 21 did best.
            "search": Parameter((7, 11, 21, 35, 49), 21, "px", odd=True, minimum=1, open_low=True),
        },
        search_pixels=48 * _TILES,
    ),
    "tv": FilterEntry(
        tv,
        "total variation",
        {
            "weight": Parameter(
                (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25, 0.3, 0.4),
                0.08,
                minimum=1e-4,
                open_low=True,
                open_high=True,
            )
        },
        extra="filters",
        modules=("skimage",),
        search_pixels=128 * _TILES,
    ),
    "wavelet": FilterEntry(
        wavelet,
        "wavelet shrinkage",
        {
            "method": Parameter(("BayesShrink", "VisuShrink"), "BayesShrink"),
            "wavelet": Parameter(("db1", "db2", "sym4", "sym8", "sym16", "dmey"), "sym8"),
            "levels": Parameter((3, 4, 5, 6), 4, minimum=1, open_low=True, open_high=True),
        },
        extra="filters",
        modules=("skimage", "pywt"),
        search_pixels=128 * _TILES,
    ),
}
