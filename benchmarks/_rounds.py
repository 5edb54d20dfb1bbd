"""Methods timed in turn, so that whatever else the machine does falls on all alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from _machine import Product, Rate, Spent, timed
from _methods import Method
from unnoise.denoiser import Network
from unnoise.filters import Denoiser
from unnoise.runtime import Backend

GMAC_PIXELS = 256 * 256
PATIENCE = 60.0
"""Seconds after which a method is not timed again."""

FloatArray = npt.NDArray[np.float32]


class Watched:
    """A backend that keeps what each of its passes took."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.passes: list[Spent] = []

    def run(self, feed: Mapping[str, FloatArray]) -> FloatArray:
        """As the backend's."""
        made = []
        self.passes.append(timed(lambda: made.append(self._inner.run(feed))))
        return made[0]


@dataclass(frozen=True)
class Timing:
    """Calls of a method with one picture, and of a network the passes within them.

    Attributes:
        pixels: of the picture.
        calls: a round each.
        rate: of the fastest pass.
    """

    pixels: int
    calls: list[Spent] = field(default_factory=list)
    rate: Rate | None = None


def time_all(
    methods: Mapping[Method, Denoiser],
    pictures: Mapping[Method, FloatArray],
    sigma: float,
    rounds: int,
    products: Sequence[Product],
) -> tuple[dict[Method, Timing], Rate]:
    """Time the methods in turn, with matrix products between; one call each goes first and does not count."""
    watched = {method: _watch(each) for method, each in methods.items() if isinstance(each, Network)}
    found = {method: Timing(pictures[method][..., 0].size) for method in methods}
    peak = Rate(0, 0)
    for number in range(rounds + 1):
        for product in products:
            peak = peak.or_more(product())
        for method, denoiser in methods.items():
            calls = found[method].calls
            if sum(each.wall for each in calls) > PATIENCE:
                continue
            call = timed(lambda each=denoiser, noisy=pictures[method]: each(noisy, sigma))  # type: ignore[misc]
            calls.append(call)
            if number == 0 and call.wall < PATIENCE / 2:
                calls.clear()
                if method in watched:
                    watched[method].passes.clear()
        print(f"  round {number} of {rounds}{' (warms up)' if not number else ''}", flush=True)
    for method, watch in watched.items():
        network = methods[method]
        assert isinstance(network, Network)
        rate = _rate(network, found[method].pixels, pictures[method], watch.passes)
        found[method] = dataclasses.replace(found[method], rate=rate)
    return found, peak


def _watch(network: Network) -> Watched:
    watch = Watched(network._session._backend)
    network._session._backend = cast(Backend, watch)  # all of it that is used from here on
    return watch


def _rate(network: Network, pixels: int, picture: FloatArray, passes: Sequence[Spent]) -> Rate | None:
    """Operations on every pixel that the network is given, the border and what overlaps included."""
    gmac = network.card.record.get("gmac_256")
    grid = network.grid(*picture.shape[:2])
    if not gmac or len(grid) != 1 or not passes:
        return None
    area = grid.rows.tile * grid.columns.tile
    operations = 2 * gmac * 1e9 * area / GMAC_PIXELS
    assert area >= pixels
    rates = [Rate.of(operations, each) for each in passes]
    return Rate(max(each.wall for each in rates), max(each.cpu for each in rates))
