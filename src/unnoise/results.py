"""What a comparison found, as plain records that live in ``results.json`` and feed every report."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from unnoise.errors import DataError
from unnoise.tiles import DatasetInfo

SCHEMA = 1
FILE_NAME = "results.json"

Kind = Literal["input", "filter", "network"]


@dataclass(frozen=True)
class GroupScore:
    """A method's means over the test tiles of one colour group.

    Attributes:
        group: index in :attr:`DatasetInfo.colour_groups`.
        tiles: how many test tiles that is.
        mse: mean squared error, pixels in [0, 1].
        psnr: mean of the tiles' PSNR in dB.
        ssim: mean SSIM.
    """

    group: int
    tiles: int
    mse: float
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Training:
    """What a network received.

    Attributes:
        tiles_available: tiles in the training split that it could draw from.
        tiles_seen: tiles it was shown, each as often as it was shown.
        epochs: tiles_seen / tiles_available.
        minutes: time spent training and validating.
        steps: optimiser steps.
        optimizer: its name.
        finished: the planned end was reached, or early stopping.
        note: a word for readers, or nothing; stands beside the results.
    """

    tiles_available: int
    tiles_seen: int
    epochs: float
    minutes: float
    steps: int
    optimizer: str
    finished: bool = True
    note: str = ""


@dataclass(frozen=True)
class MethodResult:
    """A method's scores over the test tiles; output clipped to [0, 1] before it is scored.

    Attributes:
        name: unique; the key in :attr:`Results.curves`.
        label: for people.
        kind: ``input`` is the noisy picture itself.
        mse: mean over the tiles of the tile's mean squared error, pixels in [0, 1].
        psnr: mean of the tiles' PSNR in dB.
        psnr_of_mean_mse: -10 log10(mse), in dB.
        ssim: mean SSIM.
        tiles: test tiles that were scored.
        groups: the same per colour group.
        settings: how the method was set, in words.
        parameters: of a network.
        ms_per_tile: time that one tile takes on this machine.
        training: of a network.
        article_row: the row of :data:`unnoise.published.PUBLISHED` that is the same method, or None.
    """

    name: str
    label: str
    kind: Kind
    mse: float
    psnr: float
    psnr_of_mean_mse: float
    ssim: float
    tiles: int
    groups: tuple[GroupScore, ...] = ()
    settings: str = ""
    parameters: int | None = None
    ms_per_tile: float | None = None
    training: Training | None = None
    article_row: str | None = None


@dataclass(frozen=True)
class BlurTable:
    """The GaussianBlur search; rows are kernels, columns are sigmas.

    Attributes:
        kernels: odd widths in pixels.
        sigmas: of the blur, in pixels; 0 lets OpenCV derive it from the kernel.
        valid: mean squared errors on the validation split, on which the choice was made.
        test: likewise on the test split, to show.
        chosen: kernel and sigma of the lowest validation error.
    """

    kernels: tuple[int, ...]
    sigmas: tuple[float, ...]
    valid: tuple[tuple[float, ...], ...]
    test: tuple[tuple[float, ...], ...]
    chosen: tuple[int, float]


@dataclass(frozen=True)
class FilterSearch:
    """How a filter was tuned on the validation split.

    Attributes:
        name: the :attr:`MethodResult.name` of the tuned filter.
        label: for people.
        winner: the settings that won, in words.
        valid_mse: the winner's mean squared error on the validation split.
        grid: parameter -> the values tried.
        settings: combinations tried.
        tiles: validation tiles that each was tried on.
        at_edge: parameters whose winning value is the first or last of its grid, where the grid could go on.
        seconds: time that the search took.
    """

    name: str
    label: str
    winner: str
    valid_mse: float
    grid: dict[str, tuple[str, ...]]
    settings: int
    tiles: int
    at_edge: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class Curve:
    """A training's metrics.

    Attributes:
        batch: tiles a step.
        records: as in ``metrics.jsonl``: step, epoch, seconds, lr, train_loss, valid_loss, valid_mse,
            tiles_per_second.
    """

    batch: int
    records: tuple[dict[str, float], ...]

    def by_tiles(self) -> tuple[dict[str, float], ...]:
        """The records, each with the number of ``tiles`` seen until then."""
        return tuple({**record, "tiles": record["step"] * self.batch} for record in self.records)


@dataclass(frozen=True)
class Results:
    """All that a report says; nothing in a report comes from elsewhere.

    Attributes:
        created: ISO 8601 date and time.
        command: the command line that gives these results again.
        preset: its name, or ``custom``.
        elapsed_minutes: wall-clock time, over all sessions.
        dataset: what was prepared.
        dataset_hash: SHA-256 of the data set's manifest.
        baseline: name of the method that the others are compared with: the tuned GaussianBlur.
        methods: in any order; the noisy input is among them.
        budget_minutes: time that was granted to all of it, if it was limited.
        versions: package -> version.
        machine: property -> value.
        seeds: what was drawn -> seed.
        blur: the GaussianBlur search.
        searches: of all filters.
        curves: method's name -> its training.
        optimizers: names of methods that differ in the optimiser alone.
        notes: sentences that readers of the scores should know.
        timed: what :attr:`MethodResult.ms_per_tile` is, in words.
    """

    created: str
    command: str
    preset: str
    elapsed_minutes: float
    dataset: DatasetInfo
    dataset_hash: str
    baseline: str
    methods: tuple[MethodResult, ...]
    budget_minutes: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    blur: BlurTable | None = None
    searches: tuple[FilterSearch, ...] = ()
    curves: dict[str, Curve] = field(default_factory=dict)
    optimizers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    timed: str = ""

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        unknown = {self.baseline, *self.optimizers, *self.curves} - set(names)
        if unknown or len(set(names)) < len(names):
            raise ValueError(f"methods {names} have doubles, or lack {sorted(unknown)}")

    def method(self, name: str) -> MethodResult:
        """The method of that name."""
        return next(method for method in self.methods if method.name == name)

    def ranked(self, *kinds: Kind) -> list[MethodResult]:
        """Methods of these kinds, or all, the lowest error first."""
        return sorted((m for m in self.methods if not kinds or m.kind in kinds), key=lambda m: m.mse)

    def contenders(self, *kinds: Kind) -> list[MethodResult]:
        """:meth:`ranked`, without methods that were not scored on all the tiles that the baseline was."""
        tiles = self.method(self.baseline).tiles
        return [method for method in self.ranked(*kinds) if method.tiles == tiles]

    def ratio(self, method: MethodResult) -> float:
        """Error relative to the baseline's; below 1 is better. NaN where other tiles were scored."""
        baseline = self.method(self.baseline)
        return method.mse / baseline.mse if method.tiles == baseline.tiles and baseline.mse else math.nan

    def to_json(self) -> str:
        """The text of ``results.json``; standard JSON: numbers that are not finite become text."""
        plain = {"schema": SCHEMA, **dataclasses.asdict(self)}
        return json.dumps(_plain(plain), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of :meth:`to_json`.

        Raises:
            DataError: the text is damaged, or of another version of this program.
        """
        hint = "Run the experiment again with this version."
        try:
            plain = json.loads(text)
            schema = plain.pop("schema")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"these results are damaged: {error}", hint=hint) from None
        if schema != SCHEMA:
            raise DataError(f"these results have schema {schema}, this version reads {SCHEMA}", hint=hint)
        try:
            results: Self = decode(cls, plain)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"these results are damaged: {error}", hint=hint) from None
        return results


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def decode(kind: Any, value: Any) -> Any:
    """JSON's plain values as the annotated type ``kind`` of a record."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {value!r}")
        hints = typing.get_type_hints(kind)
        unknown = value.keys() - hints.keys()
        if unknown:
            raise ValueError(f"unknown {sorted(unknown)}")
        return typing.cast(Any, kind)(**{name: decode(hints[name], each) for name, each in value.items()})
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"expected a list, got {value!r}")
        kinds = [arguments[0]] * len(value) if arguments[1:] == (...,) else list(arguments)
        return tuple(decode(each, item) for each, item in zip(kinds, value, strict=True))
    if origin is dict:
        return {key: decode(arguments[1], each) for key, each in value.items()}
    if origin is types.UnionType:  # only "something or None" occurs
        return None if value is None else decode(arguments[0], value)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{value!r} is none of {arguments}")
        return value
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value
