"""What a comparison found, as plain records that live in ``results.json`` and feed every report."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from unnoise.errors import DataError
from unnoise.tiles import DatasetInfo, Leak

SCHEMA = 1
FILE_NAME = "results.json"

Kind = Literal["input", "filter", "network"]
Outcome = Literal["better", "worse", "can't tell"]


@dataclass(frozen=True)
class PicturesInfo:
    """Whole pictures that were scored, where there is no data set.

    Attributes:
        where: the folder, as it was given.
        pictures: how many.
        photographs: of how many photographs they are.
        noises: what was added, a spelling each; one entry, empty, where the noise is real.
        clipped: whether the noisy pictures were clipped to [0, 1], as those that come from files are.
        smallest: width and height of the smallest picture.
        largest: likewise.
        seed: of the noise.
        sha256: of the pictures' names and contents.
        tuned_on: the folder whose pictures the filters were searched on, or nothing.
        tuned_pictures: how many those are.
        tuned_sha256: of their names and contents.
        leaks: pictures that were tuned or trained on, and show what is scored, where that was allowed.
    """

    where: str
    pictures: int
    photographs: int
    noises: tuple[str, ...]
    clipped: bool
    smallest: tuple[int, int]
    largest: tuple[int, int]
    seed: int
    sha256: str
    tuned_on: str = ""
    tuned_pictures: int = 0
    tuned_sha256: str = ""
    leaks: tuple[Leak, ...] = ()


@dataclass(frozen=True)
class GroupScore:
    """A method's means over a part of the pictures that were scored.

    Attributes:
        group: index in :attr:`Results.groups`.
        tiles: how many tiles or pictures that is.
        mse: mean squared error, pixels in [0, 1].
        psnr: mean of the pictures' PSNR in dB.
        ssim: mean SSIM.
        psnr_of_mean_mse: -10 log10(mse), in dB.
        ms_ssim: mean multi-scale SSIM.
        edges: mean of :func:`unnoise.metrics.edges`, how well edges were kept, at most 1.
        settings: a filter's, where they differ from group to group.
    """

    group: int
    tiles: int
    mse: float
    psnr: float
    ssim: float
    psnr_of_mean_mse: float = math.nan
    ms_ssim: float = math.nan
    edges: float = math.nan
    settings: str = ""


@dataclass(frozen=True)
class Group:
    """A part of the pictures that is also scored by itself.

    Attributes:
        label: for people, in a word or two.
        detail: more about it, or nothing.
        colour: its colour (R, G, B) in [0, 1], where that is what makes it a group.
    """

    label: str
    detail: str = ""
    colour: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Cost:
    """What a method takes on this machine for one megapixel (1e6 pixels), with all cores at its disposal.

    Attributes:
        seconds: by the clock, median of the rounds.
        cpu_seconds: processor time, likewise.
        megabytes: the most memory (1e6 bytes) beyond what the process held before; None where the system
            does not tell.
        pixels: of the picture that was timed.
        rounds: how often.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float | None
    pixels: int
    rounds: int


@dataclass(frozen=True)
class Difference:
    """How one method differs from another on the same photographs.

    The differences in PSNR of a photograph's pictures are averaged first; the interval is a bootstrap over
    photographs, so tiles of one photograph do not count as evidence more than once.

    Attributes:
        method: name of the one.
        other: name of the other.
        group: index in :attr:`Results.groups`, or None for all pictures.
        photographs: how many there are.
        mean: PSNR of ``method`` less that of ``other``, mean over the photographs, dB.
        low: lower end of the interval.
        high: upper end.
        confidence: of the interval, such as 0.95.
        wins: photographs on which ``method`` is ahead.
        outcome: what that says of ``method``: better where ``low`` is above 0, worse where ``high`` is below.
    """

    method: str
    other: str
    group: int | None
    photographs: int
    mean: float
    low: float
    high: float
    confidence: float
    wins: int
    outcome: Outcome


@dataclass(frozen=True)
class Sample:
    """A picture, or a square cut from one, that a report shows; pixel for pixel.

    Attributes:
        picture: its name.
        group: index in :attr:`Results.groups`, or None.
        place: left, top, width and height of what is shown, in the picture's pixels.
        size: width and height of the picture.
        files: layer -> file name of the image, PNG or JPEG; layers are ``clean``, ``noisy`` and methods'
            names.
        psnr: method's name -> PSNR of the whole picture, dB; of the noisy input too.
        best_of: names of the methods that gained more here, in dB over the noisy input, than anywhere else.
        worst_of: likewise, that gained least.
    """

    picture: str
    group: int | None
    place: tuple[int, int, int, int]
    size: tuple[int, int]
    files: dict[str, str]
    psnr: dict[str, float]
    best_of: tuple[str, ...] = ()
    worst_of: tuple[str, ...] = ()


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
        ms_ssim: mean multi-scale SSIM; NaN where the pictures are too small for it.
        edges: mean of :func:`unnoise.metrics.edges`, how well edges were kept, at most 1.
        perceptual: mean of a perceptual score, where one was asked for.
        cost: time and memory that it takes.
        source: what it was loaded from, and the SHA-256 of that file; of a network.
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
    training: Training | None = None
    article_row: str | None = None
    ms_ssim: float = math.nan
    edges: float = math.nan
    perceptual: float | None = None
    cost: Cost | None = None
    source: str = ""


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
class SearchRound:
    """A part of a search.

    Attributes:
        settings: combinations tried.
        tiles: validation tiles or pictures that each was tried on.
    """

    settings: int
    tiles: int


@dataclass(frozen=True)
class FilterSearch:
    """How a filter was tuned on the validation split.

    Attributes:
        name: the :attr:`MethodResult.name` of the tuned filter.
        label: for people.
        winner: the settings that won, in words.
        valid_mse: the winner's mean squared error on the validation tiles that decided.
        grid: parameter -> the values tried.
        settings: combinations tried.
        tiles: validation tiles that decided; the best were tried on all of these.
        at_edge: parameters whose winning value is the first or last that was tried, where others would make
            sense.
        seconds: processor time that the search took.
        rounds: how many settings were tried on how many tiles, one after the other.
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
    rounds: tuple[SearchRound, ...] = ()


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
        dataset: the data set whose test tiles were scored; or None.
        dataset_hash: SHA-256 of the data set's manifest; empty where there is none.
        baseline: name of the method that the others are compared with: the tuned GaussianBlur, where it took
            part.
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
        timed: what :attr:`MethodResult.cost` is, in words.
        program: the command that wrote them: ``experiment`` or ``evaluate``.
        pictures: the pictures that were scored, where there is no data set.
        differences: of every method to every other, on all pictures and on each group.
        samples: pictures to look at.
    """

    created: str
    command: str
    preset: str
    elapsed_minutes: float
    dataset: DatasetInfo | None
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
    program: str = "experiment"
    pictures: PicturesInfo | None = None
    differences: tuple[Difference, ...] = ()
    samples: tuple[Sample, ...] = ()

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        unknown = {self.baseline, *self.optimizers, *self.curves} - set(names)
        if unknown or len(set(names)) < len(names):
            raise ValueError(f"methods {names} have doubles, or lack {sorted(unknown)}")

    @property
    def groups(self) -> tuple[Group, ...]:
        """The parts that are scored by themselves too: by colour in a data set, else by noise, if several."""
        if self.dataset is not None:
            total = sum(group.size for group in self.dataset.colour_groups) or 1
            return tuple(
                Group(f"group {i + 1}", f"{group.size / total:.0%} of training", group.centre)
                for i, group in enumerate(self.dataset.colour_groups)
            )
        noises = self.pictures.noises if self.pictures else ()
        return tuple(Group(noise) for noise in noises) if len(noises) > 1 else ()

    def method(self, name: str) -> MethodResult:
        """The method of that name."""
        return next(method for method in self.methods if method.name == name)

    def difference(self, method: str, other: str, group: int | None = None) -> Difference | None:
        """How ``method`` differs from ``other``, whichever way round it was kept; None where it was not."""
        if found := self._pairs.get((method, other, group)):
            return found
        found = self._pairs.get((other, method, group))
        if found is None:
            return None
        turned: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}
        return dataclasses.replace(
            found,
            method=method,
            other=other,
            mean=-found.mean,
            low=-found.high,
            high=-found.low,
            wins=found.photographs - found.wins,
            outcome=turned.get(found.outcome, found.outcome),
        )

    @functools.cached_property
    def _pairs(self) -> dict[tuple[str, str, int | None], Difference]:
        return {(each.method, each.other, each.group): each for each in self.differences}

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
