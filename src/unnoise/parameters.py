"""What can be set on a classical filter, and which values a search tries."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unnoise.errors import ConfigError, UnknownName

Value = int | float | str

FilterFunction = Callable[..., npt.NDArray[np.float32]]
"""``function(noisy, level, *, parameter=value, …)``: float32 (H, W, C) and the noise's sigma or None."""


_CLOSE = 1.13
"""Values whose ratio is less have nothing between them that is worth a search."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a filter.

    Attributes:
        values: what a search tries first, numbers in rising order; for text, all that there is.
        default: taken where a person says nothing.
        unit: of the value, or an empty string.
        odd: only odd whole numbers make sense.
        minimum: the least value that makes sense.
        open_low: smaller values than the first make sense too, so a winner there may not be the best.
        open_high: likewise for larger values than the last.
    """

    values: tuple[Value, ...]
    default: Value
    unit: str = ""
    odd: bool = False
    minimum: float = 0
    open_low: bool = False
    open_high: bool = False

    @property
    def is_continuous(self) -> bool:
        """Whether there are further values between any two."""
        return isinstance(self.default, float)

    def is_at_edge(self, value: Value, tried: Iterable[Value] = ()) -> bool:
        """Whether ``value`` is the first or last of the grid and of those ``tried``, which could go on."""
        if isinstance(value, str):
            return False
        numbers = [each for each in (*self.values, *tried) if not isinstance(each, str)]
        low = self.open_low and value == min(numbers) and value > self.minimum
        return low or (self.open_high and value == max(numbers))

    def neighbours(self, value: Value, tried: Iterable[Value]) -> tuple[Value, ...]:
        """What to try next around ``value``, the best until now.

        Of text that is everything else; of whole numbers the next in the grid; of others what lies midway to
        the next that was ``tried``, until those are close. An open grid goes on beyond its ends.
        """
        if isinstance(value, str):
            return tuple(other for other in self.values if other != value)
        numbers = {each for each in (*self.values, *tried) if not isinstance(each, str)}
        below = sorted((each for each in numbers if each < value), reverse=True)
        above = sorted(each for each in numbers if each > value)
        low = self._next(value, below, above) if below or self.open_low else None
        high = self._next(value, above, below) if above or self.open_high else None
        return tuple(each for each in (low, high) if each is not None and each >= self.minimum)

    def _next(self, value: int | float, side: Sequence[float], other: Sequence[float]) -> float | None:
        """A value on one ``side`` of ``value``: between it and the first there, or beyond where none is."""
        if not (side or other):
            return None
        near = (side or other)[0]
        if not self.is_continuous:
            return int(near if side else 2 * value - near)
        is_geometric = near > 0 and value > 0
        if side and is_geometric and max(near, value) < _CLOSE * min(near, value):
            return None
        if is_geometric:
            made = math.sqrt(near * value) if side else value * value / near
        else:
            made = (near + value) / 2 if side else 2 * value - near
        # So that it reads well, and is the same again when it is read.
        return float(f"{made:.3g}")

    def read(self, text: str, where: str) -> Value:
        """The value that a person wrote.

        Raises:
            ConfigError: the text makes no sense for this parameter.
        """
        if isinstance(self.default, str):
            if text not in self.values:
                raise UnknownName(where, text, (str(value) for value in self.values))
            return text
        try:
            value = type(self.default)(text)
        except ValueError:
            kind = "a whole number" if isinstance(self.default, int) else "a number"
            raise ConfigError(
                f"{where} must be {kind}, got {text!r}", hint=f"For example {self.default:g}."
            ) from None
        if not math.isfinite(value) or value < self.minimum or (self.odd and value % 2 == 0):
            kind = "an odd number" if self.odd else "a number"
            raise ConfigError(
                f"{where} must be {kind} of at least {self.minimum:g}, got {text}",
                hint=f"For example {self.default:g}.",
            )
        return value


@dataclass(frozen=True)
class FilterEntry:
    """A filter as :data:`FILTERS` knows it.

    Attributes:
        function: does the work.
        label: for people.
        parameters: name -> parameter; their values' product is the grid that a search begins with.
        told: it uses the noise's sigma where that is known, and estimates it where not; others don't ask.
        extra: the optional dependencies that it needs, or None.
        modules: those dependencies' modules.
        missing: what to do where they are missing and no extra brings them.
        licence_note: what to know of the licence of those modules before results are used, or nothing.
        on_request: it takes part only where it is named, since it is slow.
        exhaustive: a search tries all the values' combinations on all pictures, and no other values.
        stackable: each channel is worked on by itself and any number is allowed, so a search may lay many
            pictures of one size side by side in the channels.
        search_pixels: a search decides by as many pictures as hold this many pixels; None takes all.
    """

    function: FilterFunction
    label: str
    parameters: Mapping[str, Parameter]
    told: bool = False
    extra: str | None = None
    modules: tuple[str, ...] = ()
    missing: str = ""
    licence_note: str = ""
    on_request: bool = False
    exhaustive: bool = False
    stackable: bool = False
    search_pixels: int | None = None

    @property
    def is_available(self) -> bool:
        """Whether all that it needs is installed."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)

    @property
    def work(self) -> str:
        """What does the work, in a line: the code of the function's module, and the libraries' versions."""
        try:
            code = inspect.getsource(sys.modules[self.function.__module__])
        except (OSError, TypeError, KeyError):
            code = ""
        versions = " ".join(f"{package} {_version(package)}" for package in _PACKAGES)
        return f"{hashlib.sha256(code.encode()).hexdigest()[:16]} {versions}"


_PACKAGES = ("numpy", "opencv-python-headless", "scikit-image", "scipy", "PyWavelets", "bm3d")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
