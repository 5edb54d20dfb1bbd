"""The methods that benchmarks compare: networks in a backend, tuned filters, CBM3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2

from cbsd68 import crops
from unnoise import noise
from unnoise.denoiser import Network, load
from unnoise.errors import ConfigError, MissingExtra, NetworkError
from unnoise.filters import FILTERS, Denoiser, Filter, parse
from unnoise.pairs import of_pictures
from unnoise.runtime import BACKENDS, FLOAT32
from unnoise.search import available, search

Kind = Literal["ours", "peer", "filter"]

_TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
_FIRST = next(iter(BACKENDS))


class Method(Protocol):
    """What can be opened in this process and in another.

    Attributes:
        label: for tables and pictures.
        kind: whose it is.
    """

    @property
    def label(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    def open(self, sigma: float, threads: int) -> Denoiser:
        """The denoiser for noise of that sigma."""


@dataclass(frozen=True)
class NetworkMethod:
    """A network in a backend.

    Attributes:
        name: its name.
        kind: ours or a peer.
        source: name of a bundled network, file, or run.
        backend: the key in :data:`unnoise.runtime.BACKENDS`.
        precision: of its arithmetic.
    """

    name: str
    kind: Kind
    source: str
    backend: str = _FIRST
    precision: str = FLOAT32

    @property
    def is_usual(self) -> bool:
        """Whether backend and precision are those that nobody had to ask for."""
        return (self.backend, self.precision) == (_FIRST, FLOAT32)

    @property
    def way(self) -> str:
        """Backend and precision, as far as they are not the usual ones."""
        words = [_TITLES.get(self.backend, self.backend)] if self.backend != _FIRST else []
        return " ".join([*words, *([self.precision] if self.precision != FLOAT32 else [])])

    @property
    def label(self) -> str:
        """Name and way."""
        return f"{self.name} {self.way}".strip()

    def open(self, sigma: float, threads: int) -> Network:  # noqa: ARG002 - it is told sigma when it is called
        """See :class:`Method`."""
        return load(self.source, threads=threads, backend=self.backend, precision=self.precision)


@dataclass(frozen=True)
class FilterMethod:
    """A filter with the settings that were found for each sigma."""

    label: str
    found: tuple[tuple[float, Filter], ...]
    kind: Kind = "filter"

    def open(self, sigma: float, threads: int) -> Filter:
        """See :class:`Method`."""
        cv2.setNumThreads(threads)
        return dict(self.found)[sigma]


@dataclass(frozen=True)
class Cbm3d:
    """Block matching and 3D filtering of colour pictures, where the package bm3d is installed."""

    label: str = "CBM3D"
    kind: Kind = "filter"

    def open(self, sigma: float, threads: int) -> Filter:  # noqa: ARG002 - it is told sigma when it is called
        """See :class:`Method`; the package has its own threads."""
        return parse("bm3d")

    @staticmethod
    def is_installed() -> bool:
        """Whether a person who may use it has installed it."""
        return FILTERS["bm3d"].is_available


def networks(names: Sequence[str], kind: Kind, backends: Sequence[str]) -> list[NetworkMethod]:
    """Networks in every backend; ours in every precision, too."""
    titles = [Path(name).stem if kind == "ours" else load(name, threads=1).name for name in names]
    return [
        NetworkMethod(title, kind, name, backend, precision)
        for title, name in zip(titles, names, strict=True)
        for backend in backends
        # The usual one first.
        for precision in sorted(BACKENDS[backend].precisions(), key=lambda each: each != FLOAT32)
        if kind == "ours" or precision == FLOAT32
    ]


def opened(methods: Sequence[Method], sigma: float, threads: int) -> dict[Method, Denoiser]:
    """Those that can be opened here; of the others is said why not."""
    made: dict[Method, Denoiser] = {}
    for method in methods:
        try:
            made[method] = method.open(sigma, threads)
        except (ConfigError, MissingExtra, NetworkError) as error:
            print(f"left out: {method.label}: {error}")
    return made


def tuned(names: Sequence[str], photos: Path, sigmas: Sequence[float]) -> list[FilterMethod]:
    """Filters searched for each sigma on crops of photographs, then frozen."""
    there, left_out = available(names)
    for each in left_out:
        print(f"left out: {each.name} {each.reason}")
    if not there:
        return []
    clean = crops(photos)
    winners: dict[str, list[tuple[float, Filter]]] = {name: [] for name in there}
    for sigma in sigmas:
        added = noise.parse(f"gaussian:{sigma:g}")
        pairs = of_pictures(clean, added, where=f"{len(clean)} crops of {photos}")
        for found in search(pairs, there):
            winners[found.name].append((sigma, found.best.filter))
            print(
                f"searched at sigma {sigma:g}: {found.best.filter.spec}, of {len(found.settings)} settings "
                f"on {found.pictures} crops",
                flush=True,
            )
    return [FilterMethod(settings[0][1].entry.label, tuple(settings)) for settings in winners.values()]
