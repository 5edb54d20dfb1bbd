"""What can be set on a classical filter, and which values a search tries."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unnoise.errors import ConfigError, UnknownName

Value = int | float | str

FilterFunction = Callable[..., npt.NDArray[np.float32]]
"""``function(noisy, level, *, parameter=value, …)``: float32 (H, W, C) and the noise's sigma or None."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a filter.

    Attributes:
        values: what a search tries, numbers in rising order; for text, all that there is.
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

    def is_at_edge(self, value: Value) -> bool:
        """Whether the grid ends at ``value`` although it could go on."""
        return (self.open_low and value == self.values[0]) or (self.open_high and value == self.values[-1])

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
        parameters: name -> parameter; their values' product is the grid of a search.
        extra: the optional dependencies that it needs, or None.
        modules: those dependencies' modules.
        stackable: each channel is worked on by itself and any number is allowed, so a search may lay many
            pictures of one size side by side in the channels.
        search_pixels: a search uses as many pictures as hold this many pixels; None uses all.
    """

    function: FilterFunction
    label: str
    parameters: Mapping[str, Parameter]
    extra: str | None = None
    modules: tuple[str, ...] = ()
    stackable: bool = False
    search_pixels: int | None = None

    @property
    def is_available(self) -> bool:
        """Whether all that it needs is installed."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)
