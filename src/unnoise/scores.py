"""Scores of methods on pictures, and the files that they are written to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.errors import ConfigError
from unnoise.files import replacing
from unnoise.metrics import METRICS
from unnoise.records import MethodResult
from unnoise.search import Search

Doubles = npt.NDArray[np.float64]

MSE, PSNR, SSIM = (list(METRICS).index(name) for name in ("mse", "psnr", "ssim"))
"""Where the metrics stand in the last axis of a score array."""

SCORES_NAME = "scores.jsonl"
SEARCHES_NAME = "searches.jsonl"
FIGURE_NAME = "figure.png"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of several methods on the same noisy pictures.

    Attributes:
        where: the pictures, for people.
        names: of the pictures.
        photographs: the photograph that each picture is of.
        groups: a data set's colour groups, or the number of the noise where there are several, else None.
        methods: a summary of each method; ``tiles`` counts pictures.
        scores: (methods, pictures, metrics), in the order of :data:`unnoise.metrics.METRICS`, then ``more``.
        more: keys of :data:`unnoise.metrics.ON_DEMAND`.
    """

    where: str
    names: Sequence[str]
    photographs: Sequence[str]
    groups: npt.NDArray[np.int16] | None
    methods: tuple[MethodResult, ...]
    scores: Doubles
    more: tuple[str, ...] = ()

    def records(self) -> Iterator[dict[str, Any]]:
        """For each method and picture: names, group and every metric; None where it is no finite number."""
        columns = (*METRICS, *self.more)
        for method, scores in zip(self.methods, self.scores, strict=True):
            for index, (name, row) in enumerate(zip(self.names, scores, strict=True)):
                group = None if self.groups is None else int(self.groups[index])
                measured = {metric: _finite(value) for metric, value in zip(columns, row, strict=True)}
                yield {"method": method.name, "name": name, "group": group, **measured}


def check_outputs(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Make the folder, and see that the files to be written there would replace none.

    Raises:
        ConfigError: they would, and ``overwrite`` is not set; or the folder cannot be made.
    """
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise ConfigError(
            f"{folder} holds {', '.join(there)} already", hint="Take another -o, or --overwrite."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}", hint="Take another -o.") from None


def plain(record: object) -> dict[str, Any]:
    """A record as JSON's plain values; numbers that are not finite become None."""
    return {key: _plain(value) for key, value in asdict(record).items()}  # type: ignore[call-overload]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def write_scores(evaluation: Evaluation, folder: Path) -> Path:
    """Write a line for each picture and method."""
    return write_lines(folder / SCORES_NAME, evaluation.records())


def write_searches(searches: Sequence[Search], folder: Path) -> Path:
    """Write a line for each setting of each filter in each round of its search."""
    lines = (
        {
            "filter": each.name,
            "settings": dict(setting.filter.settings),
            "mse": setting.mse,
            "images": part.pictures,
            "round": index + 1,
        }
        for each in searches
        for index, part in enumerate(each.rounds)
        for setting in part.settings
    )
    return write_lines(folder / SEARCHES_NAME, lines)


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    """Write JSON Lines, line by line, since there may be millions.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            for record in records:
                file.write(json.dumps(record, allow_nan=False) + "\n")
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", hint="Check the room and the rights."
        ) from None
    return path


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
