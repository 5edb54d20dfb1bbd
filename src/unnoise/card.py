"""The card of a network file, and what makes a file refused, read from its bytes alone.

An ONNX file is one protobuf message. The few fields that matter are found by walking the wire format
(https://protobuf.dev/programming-guides/encoding) with the field numbers of onnx.proto, so a file is
judged before any runtime loads it, and listing networks costs no session.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from unnoise.errors import NetworkError

KEY = "unnoise"
"""The metadata entry that holds the card, a JSON text."""

SCHEMA = 1
_RETRY = "Export it again with: unnoise export RUN -o NETWORK.onnx"


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
        record = json.loads(text)
        if record["schema"] != SCHEMA:
            raise NetworkError(
                f"{where}: its card has the schema {record['schema']!r}, this version reads {SCHEMA}",
                hint="Take a newer version of unnoise.",
            )
        known = {item.name: record[item.name] for item in fields(Card) if item.name in record}
        low, high = (float(value) for value in record["sigma_range"] or (0, 0))
        limits = (low, high) if record["sigma_range"] else None
        card = Card(**{**known, "sigma_range": limits, "record": record})
        numbers = [
            card.size_multiple,
            card.halo,
            card.border,
            *([card.fixed_size] if card.fixed_size is not None else []),
        ]
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError("sizes must be whole numbers")
        if card.size_multiple < 1 or min(card.halo, card.border) < 0 or not 0 <= low <= high or not card.name:
            raise ValueError("a size or a range is impossible")
        if card.sigma_input and card.sigma_range is None:
            raise ValueError("it takes sigma, but says not in what range")
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkError(f"{where}: its card is damaged: {error}", hint=_RETRY) from None
    return card


def read_card(path: Path) -> Card:
    """The card of an .onnx file, which must hold all its weights and plain operators only.

    Raises:
        NetworkError: not readable, no ONNX, external data, custom operators, or no card.
    """
    try:
        with path.open("rb") as file:
            # Mapped, since a dense network is most of a gigabyte; unmapped when nothing refers to it.
            model = _Model(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except (OSError, ValueError, IndexError) as error:
        raise NetworkError(f"{path}: not a readable ONNX file: {error}", hint=_RETRY) from None
    if model.external:
        raise NetworkError(
            f"{path}: keeps its weights in other files ({model.external})", hint="Export it as one file."
        )
    if model.foreign:
        raise NetworkError(
            f"{path}: uses operators that are not standard: {', '.join(sorted(model.foreign))}",
            hint="Export it with the operators of ONNX alone.",
        )
    if KEY not in model.metadata:
        raise NetworkError(f"{path}: has no card, so how to feed it is not known", hint=_RETRY)
    return parse_card(model.metadata[KEY], str(path))


# --- the wire format -------------------------------------------------------------------------------

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 32
_STANDARD_DOMAINS = ("", "ai.onnx")

# Field numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_FUNCTION_NODE = 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14
_SPARSE_TENSORS = (1, 2)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("no protobuf message")


def _walk(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of one message, without fixed-width numbers, which nothing here needs."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("no protobuf message")
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("no protobuf message")
        if at + length > len(data):
            raise ValueError("the file is cut off")
        if kind == _BYTES:
            yield number, data[at : at + length]
        at += length


def _parts(data: memoryview, *numbers: int) -> Iterator[tuple[int, memoryview]]:
    """The length-delimited fields with these numbers."""
    for number, value in _walk(data):
        if number in numbers and isinstance(value, memoryview):
            yield number, value


class _Model:
    """What counts in a ModelProto: its metadata, operators of foreign domains, weights kept elsewhere."""

    def __init__(self, data: memoryview) -> None:
        self.metadata: dict[str, str] = {}
        self.foreign: set[str] = set()
        self.external = ""
        graphs = 0
        for number, part in _parts(data, _MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS):
            if number == _MODEL_GRAPH:
                graphs += 1
                self._graph(part, 0)
            elif number == _MODEL_METADATA:
                entry = {key: bytes(value).decode() for key, value in _parts(part, _ENTRY_KEY, _ENTRY_VALUE)}
                self.metadata[entry.get(_ENTRY_KEY, "")] = entry.get(_ENTRY_VALUE, "")
            else:
                for _, node in _parts(part, _FUNCTION_NODE):
                    self._node(node, 0)
        if graphs != 1:
            raise ValueError("it holds no network")

    def _graph(self, data: memoryview, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        for number, part in _parts(data, _GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE):
            if number == _GRAPH_NODE:
                self._node(part, depth)
            elif number == _GRAPH_INITIALIZER:
                self._tensor(part)
            else:
                self._sparse(part)

    def _node(self, data: memoryview, depth: int) -> None:
        operator = domain = ""
        for number, part in _parts(data, _NODE_OPERATOR, _NODE_DOMAIN, _NODE_ATTRIBUTE):
            if number == _NODE_OPERATOR:
                operator = bytes(part).decode()
            elif number == _NODE_DOMAIN:
                domain = bytes(part).decode()
            else:
                self._attribute(part, depth)
        if domain not in _STANDARD_DOMAINS:
            self.foreign.add(f"{domain}.{operator}")

    def _attribute(self, data: memoryview, depth: int) -> None:
        for number, part in _parts(data, *_ATTRIBUTE_TENSORS, *_ATTRIBUTE_GRAPHS, *_ATTRIBUTE_SPARSE):
            if number in _ATTRIBUTE_TENSORS:
                self._tensor(part)
            elif number in _ATTRIBUTE_GRAPHS:
                self._graph(part, depth + 1)
            else:
                self._sparse(part)

    def _sparse(self, data: memoryview) -> None:
        for _, tensor in _parts(data, *_SPARSE_TENSORS):
            self._tensor(tensor)

    def _tensor(self, data: memoryview) -> None:
        name, elsewhere = "a tensor", False
        for number, value in _walk(data):
            if number == _TENSOR_NAME and isinstance(value, memoryview):
                name = bytes(value).decode()
            elsewhere |= number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value == 1)
        if elsewhere:
            self.external = self.external or name
