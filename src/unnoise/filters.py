"""Classical denoisers by name, and the values that a search of each begins with.

A filter with its settings is a :class:`Filter`: a frozen record that is called as any denoiser is, and that
people spell ``nlm`` or ``gaussian-blur:ksize=7,sigma=0``. :data:`FILTERS` holds, for each, the function and
its parameters with the values that a search tries.

Parameters are in the units of the library that does the work, and their names are its names; so the
``sigma`` of ``gaussian-blur`` is the width of the blur in pixels. The noise's sigma, which a denoiser may be
told, is in 8-bit units as everywhere; :attr:`FilterEntry.told` says which filters use it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from unnoise import selfsimilar, shrinkage, smoothing
from unnoise.errors import ConfigError, MissingExtra, UnknownName
from unnoise.parameters import FilterEntry, Parameter, Value

FloatArray = npt.NDArray[np.float32]


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
        return f"{self.name}:{self.settings_text}" if self.settings else self.name

    @property
    def settings_text(self) -> str:
        """The settings as ``ksize=7,sigma=0``."""
        return ",".join(f"{name}={_shown(value)}" for name, value in self.settings)

    @property
    def entry(self) -> FilterEntry:
        """What :data:`FILTERS` says of it."""
        return FILTERS[self.name]

    @property
    def fingerprint(self) -> str:
        """What its results depend on, in a line."""
        return f"filter {self.spec} {self.entry.work}"

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        """Denoise ``noisy`` (float32 (H, W, C), [0, 1]); see :class:`Denoiser`.

        Raises:
            ConfigError: the packages that it needs are not installed.
        """
        require(self.name)
        denoised = self.entry.function(noisy, sigma, **dict(self.settings))
        return denoised.reshape(noisy.shape).astype(np.float32, copy=False)


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def require(name: str) -> None:
    """Make sure that a filter can run.

    Raises:
        MissingExtra: packages that it needs are not installed, and an extra brings them.
        ConfigError: they are not installed, and nothing but the person can bring them.
    """
    entry = FILTERS[name]
    if entry.is_available:
        return
    if entry.extra:
        raise MissingExtra(f"the filter {name!r}", entry.extra)
    modules = " and ".join(entry.modules)
    raise ConfigError(f"the filter {name!r} needs {modules}, which is not installed", hint=entry.missing)


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
            raise ConfigError(f"{part!r} is no setting of {name}", hint=f"Write {configure(name, {}).spec}.")
        if key not in parameters:
            raise UnknownName(f"parameter of {name}", key, parameters)
        settings[key] = parameters[key].read(value, f"{key} of {name}")
    return configure(name, settings)


def grid(name: str) -> Iterator[Filter]:
    """The settings that a search of this filter begins with, the last parameter changing fastest.

    Raises:
        UnknownName: there is no such filter.
    """
    if name not in FILTERS:
        raise UnknownName("filter", name, FILTERS)
    parameters = FILTERS[name].parameters
    for values in itertools.product(*(each.values for each in parameters.values())):
        yield Filter(name, tuple(zip(parameters, values, strict=True)))


_TILES = 56 * 56  # pixels in one of the article's tiles

FILTERS: dict[str, FilterEntry] = {
    # The article's 16 settings, neither more nor fewer.
    "gaussian-blur": FilterEntry(
        smoothing.gaussian_blur,
        "Gaussian blur",
        {
            "ksize": Parameter((3, 5, 7, 9), 7, "px", odd=True, minimum=1, open_high=True),
            "sigma": Parameter((0.0, 1.0, 2.0, 3.0), 0.0, "px", open_high=True),
        },
        exhaustive=True,
        stackable=True,
    ),
    "median": FilterEntry(
        smoothing.median,
        "median",
        {"ksize": Parameter((3, 5, 7, 9), 5, "px", odd=True, minimum=1, open_high=True)},
        search_pixels=1024 * _TILES,
    ),
    "bilateral": FilterEntry(
        smoothing.bilateral,
        "bilateral",
        {
            # 27 pixels hold three standard deviations of the widest space on each side: all that there is.
            "ksize": Parameter((11, 19, 27), 11, "px", odd=True, minimum=1),
            "colour": Parameter(
                (35.0, 50.0, 70.0, 100.0, 140.0, 200.0, 280.0),
                100.0,
                "8-bit units",
                minimum=1,
                open_low=True,
                open_high=True,
            ),
            "space": Parameter((1.0, 2.0, 4.0), 2.0, "px", minimum=0.1, open_low=True, open_high=True),
        },
        search_pixels=128 * _TILES,
    ),
    "guided": FilterEntry(
        smoothing.guided,
        "guided filter",
        {
            "radius": Parameter((1, 2, 3, 4), 2, "px", minimum=1, open_high=True),
            "contrast": Parameter(
                (10.0, 14.0, 20.0, 28.0, 40.0, 56.0, 80.0),
                28.0,
                "8-bit units",
                minimum=0.1,
                open_low=True,
                open_high=True,
            ),
        },
        search_pixels=256 * _TILES,
    ),
    "anisotropic": FilterEntry(
        smoothing.anisotropic,
        "anisotropic diffusion",
        {
            "contrast": Parameter(
                (10.0, 14.0, 20.0, 28.0, 40.0, 56.0, 80.0),
                40.0,
                "8-bit units",
                minimum=0.1,
                open_low=True,
                open_high=True,
            ),
            "steps": Parameter((2, 4, 8, 12, 16, 20), 4, minimum=1, open_high=True),
        },
        search_pixels=256 * _TILES,
    ),
    "tv": FilterEntry(
        smoothing.tv,
        "total variation",
        {
            "weight": Parameter(
                (0.028, 0.04, 0.056, 0.08, 0.113, 0.16, 0.226),
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
        shrinkage.wavelet,
        "wavelet shrinkage",
        {
            "method": Parameter(("BayesShrink", "VisuShrink"), "BayesShrink"),
            "wavelet": Parameter(("db1", "db2", "sym4", "sym8", "sym16", "dmey"), "sym8"),
            "levels": Parameter((3, 4, 5, 6), 4, minimum=1, open_low=True, open_high=True),
        },
        told=True,
        extra="filters",
        modules=("skimage", "pywt"),
        search_pixels=128 * _TILES,
    ),
    "dct": FilterEntry(
        shrinkage.dct,
        "DCT thresholds",
        {
            "threshold": Parameter((2.0, 2.5, 3.0), 2.7, "σ", minimum=0.1, open_low=True, open_high=True),
            # 16 pixels left no less error than 12 and took three times as long.
            "patch": Parameter((6, 8, 12), 8, "px", minimum=2, open_low=True),
        },
        told=True,
        search_pixels=64 * _TILES,
    ),
    "nlm": FilterEntry(
        selfsimilar.nlm,
        "non-local means",
        {
            # Not coarser: a wider search wants a smaller h, and with both wrong a search would not get away.
            "h": Parameter(
                (7.0, 10.0, 14.0, 20.0, 28.0, 40.0, 56.0),
                20.0,
                "8-bit units",
                minimum=0.1,
                open_low=True,
                open_high=True,
            ),
            # 1 would compare single pixels, which is no non-local means.
            "template": Parameter((3, 5, 7), 3, "px", odd=True, minimum=1, open_high=True),
            "search": Parameter(
                (7, 11, 21, 35), 21, "px", odd=True, minimum=3, open_low=True, open_high=True
            ),
        },
        search_pixels=48 * _TILES,
    ),
    "nlm-skimage": FilterEntry(
        selfsimilar.nlm_skimage,
        "non-local means (scikit-image)",
        {
            "h": Parameter((0.5, 0.7, 1.0), 0.7, "σ", minimum=0.01, open_low=True, open_high=True),
            "patch": Parameter((3, 5, 7), 5, "px", odd=True, minimum=3, open_high=True),
            "distance": Parameter((4, 7, 11), 7, "px", minimum=1, open_low=True, open_high=True),
        },
        told=True,
        extra="filters",
        modules=("skimage",),
        search_pixels=48 * _TILES,
    ),
    "bm3d": FilterEntry(
        selfsimilar.bm3d,
        "BM3D",
        {},
        told=True,
        modules=("bm3d",),
        missing="Its licence allows non-commercial use only; if that is yours, install it: pip install bm3d",
        licence_note="the package bm3d may be used for non-commercial purposes only",
        on_request=True,
        search_pixels=8 * _TILES,
    ),
}
