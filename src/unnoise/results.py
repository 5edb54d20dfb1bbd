"""All that a comparison found, as it lives in ``results.json`` and feeds every report."""

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
from unnoise.records import (
    BlurTable,
    Curve,
    Difference,
    FilterSearch,
    Group,
    Kind,
    MethodResult,
    Outcome,
    PicturesInfo,
    Sample,
)
from unnoise.tiles import DatasetInfo

SCHEMA = 1
FILE_NAME = "results.json"


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
