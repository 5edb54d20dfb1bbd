"""The card of a network file: read, checked, and its weights checked against it."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from unnoise.errors import NetworkError
from unnoise.onnxfile import KEY, Model

__all__ = ["KEY", "SCHEMA", "Card", "check_weights", "parse_card", "read_card"]

SCHEMA = 1
_RETRY = "Export it again with: unnoise export RUN -o NETWORK.onnx"

_DEEPEST = 20
"""Tables inside tables."""

# Far beyond every network there is, and near enough that tiles of such a size can be tried.
_MOST = {"size_multiple": 1024, "halo": 4096, "border": 1024, "fixed_size": 4096}


@dataclass(frozen=True)
class Card:
    """All that is needed to use a network right, and to judge it.

    Attributes:
        name: what a person calls it.
        architecture: the key in the table of models.
        sigma_input: whether it is told the noise level; otherwise it is blind.
        sigma_range: lowest and highest noise (8-bit units) that it was trained for; None if it is blind.
        size_multiple: height and width must be multiples of it.
        fixed_size: the only height and width that it takes, or None.
        halo: radius of its receptive field in pixels.
        border: pixels by which a picture should be continued by reflection on every side, since the network
            knows less near the edge of what it is given.
        whole_image: whether it must see all of a picture at once, so that tiles would change the result.
        parameters: how many weights, or None if not known.
        bytes_per_pixel: memory that its activations take for each pixel of a tile, or None if not measured.
        training: noise, data and the rest of how it came to be.
        scores: what it was measured to reach.
        licence: SPDX name of the licence of the weights.
        record: the whole card as it is in the file: the above, and what only people read (hashes, limits, …).
    """

    name: str
    architecture: str
    sigma_input: bool
    sigma_range: tuple[float, float] | None
    size_multiple: int
    fixed_size: int | None
    halo: int
    border: int = 0
    whole_image: bool = False
    parameters: int | None = None
    bytes_per_pixel: float | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


def parse_card(text: str, where: str) -> Card:
    """A card from its JSON text.

    Raises:
        NetworkError: no JSON, another schema, or values that make no sense.
    """
    try:
        record = json.loads(
            text, object_pairs_hook=_table, parse_constant=_no_number, parse_float=_finite_number
        )
        if not isinstance(record, dict):
            raise ValueError("it is no table of names and values")
        if record["schema"] != SCHEMA or isinstance(record["schema"], bool):
            raise NetworkError(
                f"{where}: its card has the schema {record['schema']!r:.40}, this version reads {SCHEMA}",
                hint="Take a newer version of unnoise.",
            )
        _check_depth(record, _DEEPEST)
        known = {item.name: record[item.name] for item in fields(Card) if item.name in record}
        card = Card(**{**known, "sigma_range": _range(record["sigma_range"]), "record": record})
        _check(card)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise NetworkError(f"{where}: its card is damaged: {told}", hint=_RETRY) from None
    return card


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice!r:.60} is there twice")
    return table


def _check_depth(value: Any, room: int) -> None:
    if not room:
        raise ValueError("its tables are nested too deeply")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        _check_depth(each, room - 1)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite_number(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(f"{text:.40}")


def _range(told: Any) -> tuple[float, float] | None:
    if told is None:
        return None
    if not isinstance(told, list) or len(told) != 2 or not all(map(_is_number, told)):
        raise ValueError(f"sigma_range must be two numbers, got {told!r:.60}")
    low, high = map(float, told)
    if not 0 <= low <= high <= 255 or high == 0:
        raise ValueError(f"sigma_range must lie between 0 and 255, got {low:g} to {high:g}")
    return low, high


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(card: Card) -> None:
    least = {"size_multiple": 1, "halo": 0, "border": 0, "fixed_size": 1}
    for name, most in _MOST.items():
        value = getattr(card, name)
        if name == "fixed_size" and value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not least[name] <= value <= most:
            raise ValueError(
                f"{name} must be a whole number from {least[name]} to {most}, got {_shown(value)}"
            )
    if not isinstance(card.name, str) or not 0 < len(card.name) <= 200:
        raise ValueError("name must be a text of 1 to 200 letters")
    kinds = {
        str: ("architecture", "licence"),
        bool: ("sigma_input", "whole_image"),
        dict: ("training", "scores"),
    }
    for kind, names in kinds.items():
        for name in names:
            if not isinstance(getattr(card, name), kind):
                raise ValueError(f"{name} must be a {kind.__name__}, got {_shown(getattr(card, name))}")
    count = card.parameters
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        raise ValueError(f"parameters must be a whole number, got {_shown(count)}")
    size = card.bytes_per_pixel
    if size is not None and not (_is_number(size) and 0 < size <= 1e9):
        raise ValueError(f"bytes_per_pixel must be above 0, got {_shown(size)}")
    if card.sigma_input and card.sigma_range is None:
        raise ValueError("it takes sigma, but says not in what range")


def _shown(value: object) -> str:
    # A number of a thousand digits cannot even be printed.
    return (
        f"a number of {value.bit_length()} bits"
        if isinstance(value, int) and abs(value) > 1 << 99
        else f"{value!r:.60}"
    )


def read_card(path: Path, *, weights: bool = True) -> Card:
    """The card of an .onnx file, which must hold all its weights and plain operators only.

    Args:
        path: the file.
        weights: whether to check them, too (:func:`check_weights`).

    Raises:
        NetworkError: not readable, no ONNX, external data, custom operators, no card, or bad weights.
    """
    model = _read(path)
    card = parse_card(model.card, str(path))
    if weights:
        _check_once(path, _state(path))
    return card


def check_weights(path: Path) -> None:
    """Check that the weights are numbers, and those that the card was written for.

    It takes a second for two gigabytes, so it is done once a process for a file that does not change, and
    can be done beside the loading of a large one.

    Raises:
        NetworkError: NaN or Inf among them, or others than the card's ``weights_sha256`` promises.
    """
    _check_once(path, _state(path))


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise NetworkError(f"{path}: cannot be read: {error.strerror}", hint="Check its rights.") from None
    return found.st_size, found.st_mtime_ns, found.st_ino


@lru_cache(maxsize=64)
def _check_once(path: Path, _unchanged: tuple[int, int, int]) -> None:
    model = _read(path)
    card = parse_card(model.card, str(path))
    for tensor in (*model.weights, *model.inner):
        try:
            bad = tensor.is_not_finite()
        except ValueError:
            raise NetworkError(f"{path}: the weights {tensor.name!r:.80} are cut off", hint=_RETRY) from None
        if bad:
            raise NetworkError(
                f"{path}: the weights {tensor.name!r:.80} hold NaN or Inf",
                hint="The training went wrong there; take another network.",
            )
    promised = card.record.get("weights_sha256")
    if promised is None:
        return
    digest = hashlib.sha256()
    for tensor in sorted(model.weights, key=lambda tensor: tensor.name):
        digest.update(tensor.name.encode())
        digest.update(tensor.data())
    if digest.hexdigest() != promised:
        raise NetworkError(
            f"{path}: does not hold the weights that its card was written for",
            hint="The file is damaged or was changed; copy or export it again.",
        )


def _read(path: Path) -> Model:
    try:
        with path.open("rb") as file:
            # Mapped, since a dense network is most of a gigabyte; unmapped when nothing refers to it.
            model = Model(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except (OSError, ValueError, IndexError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise NetworkError(f"{path}: not a readable ONNX file: {told}", hint=_RETRY) from None
    if model.external:
        raise NetworkError(
            f"{path}: keeps its weights in other files ({model.external:.80})", hint="Export it as one file."
        )
    if model.foreign:
        raise NetworkError(
            f"{path}: uses operators that are not standard: {', '.join(sorted(model.foreign)):.200}",
            hint="Export it with the operators of ONNX alone.",
        )
    if not model.card:
        raise NetworkError(f"{path}: has no card, so how to feed it is not known", hint=_RETRY)
    return model
