"""An ONNX file read from its bytes alone, as far as it decides whether the file may be used.

It is one protobuf message. The few fields that matter are found by walking the wire format
(https://protobuf.dev/programming-guides/encoding) with the field numbers of onnx.proto, so a file is
judged before any runtime loads it, and listing networks costs no session. Time and memory are bounded,
whatever the file says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

KEY = "unnoise"
"""The metadata entry that holds the card, a JSON text."""

_LONGEST = 1 << 20
"""Bytes of a card, at most."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 32
_MAX_FIELDS = 400_000
"""A second's work; networks have some thousands."""
_STANDARD_DOMAINS = ("", "ai.onnx")

# Field numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_FUNCTION_NODE = 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_KIND, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 2, 8, 9, 13, 14
_TENSOR_INTEGERS, _TENSOR_FLOATS = (5, 7, 11), (4, 10)
_SPARSE_TENSORS = (1, 2)

_KINDS = {
    1: "<f4",
    2: "u1",
    3: "i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "u1",
    10: "<f2",
    11: "<f8",
} | {
    12: "<u4",
    13: "<u8",
    16: "<u2",
}
"""Data types of onnx.proto as numpy spells them; bfloat16 as the integers of its bits."""
_FLOAT_KINDS, _BFLOAT16 = (1, 10, 11), 16
_CHUNK = 1 << 24


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
    """Field numbers and values of one message; fixed-width numbers as their bytes."""
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
        yield number, data[at : at + length]
        at += length


@dataclass
class Tensor:
    """One set of weights: its name, its kind, and its values as the file has them."""

    name: str = "a tensor"
    kind: int = 0
    elsewhere: bool = False
    raw: memoryview | None = None
    floats: list[memoryview] = field(default_factory=list)
    integers: list[int] = field(default_factory=list)

    def data(self) -> memoryview | bytes:
        """The values as little-endian bytes."""
        if self.raw is not None:
            return self.raw
        if self.integers:
            import numpy as np

            dtype = np.dtype(_KINDS.get(self.kind, "<i8"))
            kept = np.array(self.integers, dtype=np.uint64)  # negative ones as 64 bits of two's complement
            return kept.astype(dtype.str.replace("f", "u") if dtype.kind == "f" else dtype).tobytes()
        return b"".join(self.floats)

    def is_not_finite(self) -> bool:
        """Whether NaN or Inf is among the values."""
        if self.kind not in (*_FLOAT_KINDS, _BFLOAT16):
            return False
        import numpy as np

        values = np.frombuffer(self.data(), dtype=_KINDS[self.kind])
        for at in range(0, len(values), _CHUNK):
            some = values[at : at + _CHUNK]
            odd = (some & 0x7F80) == 0x7F80 if self.kind == _BFLOAT16 else ~np.isfinite(some)
            if odd.any():
                return True
        return False


class Model:
    """What counts in a ModelProto: card, weights, foreign operators, weights that are kept elsewhere.

    Attributes:
        card: the text of the card.
        weights: the initialisers of the graph itself, which the card's hash is about.
        inner: those of its branches, and sparse ones.
        foreign: operators that are not standard.
        external: a tensor whose values are in another file.
    """

    def __init__(self, data: memoryview) -> None:
        """Read it.

        Raises:
            ValueError, IndexError: no such message, or one that nobody made in good faith.
        """
        self.card = ""
        self.weights: list[Tensor] = []
        self.inner: list[Tensor] = []
        self.foreign: set[str] = set()
        self.external = ""
        self._fields = 0
        graphs = 0
        for number, part in self._parts(data, _MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS):
            if number == _MODEL_GRAPH:
                graphs += 1
                self._graph(part, 0)
            elif number == _MODEL_METADATA:
                self._entry(part)
            else:
                for _, node in self._parts(part, _FUNCTION_NODE):
                    self._node(node, 0)
        if graphs != 1:
            raise ValueError("it holds no network")

    def _all(self, data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        for item in _walk(data):
            self._count(1)
            yield item

    def _parts(self, data: memoryview, *numbers: int) -> Iterator[tuple[int, memoryview]]:
        """The length-delimited fields with these numbers."""
        for number, value in self._all(data):
            if number in numbers and isinstance(value, memoryview):
                yield number, value

    def _count(self, fields: int) -> None:
        self._fields += fields
        if self._fields > _MAX_FIELDS:
            raise ValueError("it has too many parts")

    def _entry(self, data: memoryview) -> None:
        entry = dict(self._parts(data, _ENTRY_KEY, _ENTRY_VALUE))
        if bytes(entry.get(_ENTRY_KEY, b"")[: len(KEY) + 1]) != KEY.encode():
            return
        text = entry.get(_ENTRY_VALUE, memoryview(b""))
        if self.card:
            raise ValueError("it has two cards")
        if len(text) > _LONGEST:
            raise ValueError(f"its card is {len(text)} bytes long")
        self.card = bytes(text).decode()

    def _graph(self, data: memoryview, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        for number, part in self._parts(data, _GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE):
            if number == _GRAPH_NODE:
                self._node(part, depth)
            elif number == _GRAPH_INITIALIZER:
                (self.inner if depth else self.weights).append(self._tensor(part))
            else:
                self._sparse(part)

    def _node(self, data: memoryview, depth: int) -> None:
        operator = domain = ""
        for number, part in self._parts(data, _NODE_OPERATOR, _NODE_DOMAIN, _NODE_ATTRIBUTE):
            if number == _NODE_OPERATOR:
                operator = bytes(part).decode()
            elif number == _NODE_DOMAIN:
                domain = bytes(part).decode()
            else:
                self._attribute(part, depth)
        if domain not in _STANDARD_DOMAINS:
            self.foreign.add(f"{domain}.{operator}")

    def _attribute(self, data: memoryview, depth: int) -> None:
        for number, part in self._parts(data, *_ATTRIBUTE_TENSORS, *_ATTRIBUTE_GRAPHS, *_ATTRIBUTE_SPARSE):
            if number in _ATTRIBUTE_TENSORS:
                self._tensor(part)  # a constant may well be infinite
            elif number in _ATTRIBUTE_GRAPHS:
                self._graph(part, depth + 1)
            else:
                self._sparse(part)

    def _sparse(self, data: memoryview) -> None:
        self.inner += [self._tensor(tensor) for _, tensor in self._parts(data, *_SPARSE_TENSORS)]

    def _tensor(self, data: memoryview) -> Tensor:
        tensor = Tensor()
        for number, value in self._all(data):
            if number in _TENSOR_INTEGERS:
                tensor.integers += [value] if isinstance(value, int) else self._numbers(value)
            elif number == _TENSOR_KIND and isinstance(value, int):
                tensor.kind = value
            elif number == _TENSOR_LOCATION:
                tensor.elsewhere |= value == 1
            elif number == _TENSOR_EXTERNAL:
                tensor.elsewhere = True
            elif isinstance(value, memoryview):
                if number == _TENSOR_NAME:
                    tensor.name = bytes(value).decode()
                elif number == _TENSOR_RAW:
                    tensor.raw = value
                elif number in _TENSOR_FLOATS:
                    tensor.floats.append(value)
        if tensor.elsewhere:
            self.external = self.external or tensor.name
        return tensor

    def _numbers(self, data: memoryview) -> list[int]:
        found, at = [], 0
        while at < len(data):
            value, at = _varint(data, at)
            found.append(value & (1 << 64) - 1)
            self._count(1)
        return found
