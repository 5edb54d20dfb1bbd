"""A network's convolutions in 8-bit integers: static ranges, U8 activations, S8 weights per channel.

What a plain static quantisation loses here has four causes, and each has its answer:

- The range of the activations grows with sigma, and differs between channels: :mod:`unnoise.equalize`.
- The residual path adds up what the layers find. It stays in float; only what convolutions read and what
  they give is rounded, and of what is only added to that path, every channel in steps of its own.
- Errors next to the output go straight to it: the convolutions that see the picture and the last one stay
  float, and all 1×1 ones, which cost next to nothing.
- Neighbouring pixels are alike, so the errors of a kernel's nine weights add up. Weights are rounded in turn,
  each making good for the error of those before (Frantar et al., "GPTQ", ICLR 2023, arXiv:2210.17323).

The graph holds pairs of QuantizeLinear and DequantizeLinear around float operators; ONNX Runtime makes one
integer operator of each such group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

from unnoise.equalize import (
    LEVELS,
    Calibration,
    FloatArray,
    Layer,
    calibrate,
    copied,
    equalized,
    is_twice,
    layers,
    range_of,
    readers_of,
    replace_nodes,
    steadied,
)
from unnoise.errors import ConfigError

_LARGEST_WEIGHT = 127
_DAMPING = 0.01
_SMALLEST_STEP = 1e-9


def static(
    network: onnx.ModelProto,
    examples: Iterable[Mapping[str, FloatArray]],
    keep: Collection[str] | None = None,
) -> onnx.ModelProto:
    """A float network in 8-bit integers.

    Args:
        network: with the inputs ``noisy`` and, where it takes the noise level, ``sigma``.
        examples: such inputs to calibrate on, each a noisy training photograph, of all levels of noise.
        keep: names of weights that stay float; None is those that :func:`ends` names.

    Returns:
        a network of the same inputs and outputs, without metadata.

    Raises:
        ConfigError: there are no convolutions without biases.
        ValueError: there are no examples.
    """
    if not layers(network):
        raise ConfigError(
            "this network has no convolutions without biases, and others are not computed in integers",
            hint="Leave --int8 out.",
        )
    steady = steadied(network)
    kept = ends(steady) if keep is None else keep
    return quantized(*equalized(steady, calibrate(steady, examples), kept), kept)


def ends(network: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the weights of all convolutions that see the picture, of the last one, and of all 1×1 ones."""
    found = layers(network)
    seen = {port.name for port in network.graph.input}
    for node in network.graph.node:
        if node.op_type not in ("Conv", "Shape") and seen.intersection(node.input):
            seen.update(node.output)
    first = [layer.name for layer in found if layer.source in seen]
    small = [layer.name for layer in found if layer.weights.shape[2:] == (1, 1)]
    return tuple(dict.fromkeys((*first, *small, *(layer.name for layer in found[-1:]))))


@dataclass(frozen=True)
class Steps:
    """How a tensor is rounded.

    A value is ``step * (integer - zero)``; where channels have their own, ``lowest[c] + step[c] * integer``.

    Attributes:
        step: () or (C,).
        zero: the integer of 0.
        lowest: (C,), or empty where all channels have the same steps.
    """

    step: FloatArray
    zero: np.uint8
    lowest: FloatArray

    @property
    def own(self) -> bool:
        """Whether every channel has steps of its own."""
        return len(self.lowest) > 0


def steps_for(values: FloatArray, *, own: bool) -> Steps:
    """Steps that fit the sampled values (C, samples)."""
    low, high = range_of(values if own else values.reshape(1, -1))
    step = np.maximum((high - low) / LEVELS, _SMALLEST_STEP).astype(np.float32)
    if own:
        return Steps(step, np.uint8(0), low)
    return Steps(step[0], np.uint8(np.round(-low[0] / step[0])), low[:0])


def rounded(weights: FloatArray, moment: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Weights as integers and a step for each output channel.

    Args:
        weights: (O, I, kh, kw).
        moment: (I·kh·kw, I·kh·kw), mean products of what a kernel sees.

    Returns:
        int8 (O, I, kh, kw), from -127 to 127, and float32 (O,).
    """
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    step = np.maximum(np.abs(flat).max(axis=1), _SMALLEST_STEP) / _LARGEST_WEIGHT
    strength = np.diag(moment).astype(np.float64)
    damped = moment + (_DAMPING * strength.mean() + 1e-12) * np.eye(len(moment))
    order = np.argsort(-strength, kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left = (flat / step[:, None])[:, order]
    made = np.empty_like(left)
    for at in range(left.shape[1]):
        made[:, at] = np.clip(np.round(left[:, at]), -_LARGEST_WEIGHT, _LARGEST_WEIGHT)
        error = (left[:, at] - made[:, at]) / factor[at, at]
        left[:, at + 1 :] -= error[:, None] * factor[at, at + 1 :]
    back = np.empty(made.shape, np.int8)
    back[:, order] = made
    return back.reshape(weights.shape), step.astype(np.float32)


def quantized(
    network: onnx.ModelProto, calibration: Calibration, keep: Collection[str] = ()
) -> onnx.ModelProto:
    """A network with all its convolutions but ``keep`` in integers.

    Args:
        network: from :func:`unnoise.equalize.equalized`.
        calibration: of it.
        keep: names of the weights that stay float.
    """
    made = copied(network)
    graph = made.graph
    del made.metadata_props[:]
    known = {tensor.name: tensor for tensor in graph.initializer}
    chosen = {layer.node.output[0]: layer for layer in layers(network) if layer.name not in keep}
    read = {layer.source for layer in chosen.values()}
    positive = {layer.target for layer in chosen.values() if layer.positive}
    targets = {layer.target for layer in chosen.values()}
    steps = {
        name: steps_for(calibration.values[name], own=name not in read | positive)
        for name in sorted(read | targets)
    }
    readers = readers_of(graph)
    writer = _Writer(graph, steps)
    for node in network.graph.node:
        layer = chosen.get(node.output[0])
        if layer is not None:
            if layer.source not in writer.integer:
                writer.to_integers(layer.source)
            writer.convolution(layer, calibration.moments[layer.name])
        elif node.output[0] in positive:
            pass  # it went with its convolution
        elif is_twice(node, known) and all(each.output[0] in chosen for each in readers[node.output[0]]):
            writer.enlarged.add(node.output[0])
        else:
            for name in node.input:
                if name in targets:
                    writer.to_float(name)
            writer.nodes.append(node)
    replace_nodes(graph, writer.nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [onnx.TensorProto.FromString(t.SerializeToString()) for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    onnx.checker.check_model(made)
    return made


class _Writer:
    """Writes the nodes of the quantised graph.

    Attributes:
        nodes: in order.
        integer: tensors that exist in integers -> the name of these.
        enlarged: tensors that are not made in float, being twice the size of one in integers.
    """

    def __init__(self, graph: onnx.GraphProto, steps: Mapping[str, Steps]) -> None:
        self.nodes: list[NodeProto] = []
        self.integer: dict[str, str] = {}
        self.enlarged: set[str] = set()
        self._graph = graph
        self._steps = steps
        self._names: set[str] = set()

    def to_integers(self, name: str) -> None:
        """A float tensor in integers."""
        self.integer[name] = self._op("QuantizeLinear", [name, *self._rounding(name)], f"{name}.integer")

    def to_float(self, name: str) -> None:
        """A convolution's integers as floats, once, for all that is no convolution."""
        if name in self._names:
            return
        self._names.add(name)
        steps, integers = self._steps[name], [self.integer[name], *self._rounding(name)]
        if not steps.own:
            self._op("DequantizeLinear", integers, name)
            return
        # A DequantizeLinear for each channel takes ten times as long as this.
        counted = self._op("DequantizeLinear", integers, f"{name}.counted")
        inputs = [
            self._constant(f"{name}.{part}", value)
            for part, value in (
                ("steps", steps.step),
                ("lowest", steps.lowest),
                ("mean", np.zeros_like(steps.step)),
                ("variance", np.ones_like(steps.step)),
            )
        ]
        self._op("BatchNormalization", [counted, *inputs], name, epsilon=0.0)

    def convolution(self, layer: Layer, moment: FloatArray) -> None:
        """One layer, from integers to integers."""
        name, ours, theirs = layer.name, self._steps[layer.source], self._steps[layer.target]
        source = self.integer[layer.source]
        if layer.node.input[0] in self.enlarged:
            source = self._twice(source, layer.node.input[0])
        unit = theirs.step[:, None, None, None] if theirs.own else np.float32(1)
        integers, step = rounded(layer.weights / unit, moment)
        weights = [
            self._constant(f"{name}.integer", integers),
            self._constant(f"{name}.step", step),
            self._constant(f"{name}.zero", np.zeros(len(step), np.int8)),
        ]
        inputs = [
            self._op("DequantizeLinear", [source, *self._rounding(layer.source)], f"{name}.input"),
            self._op("DequantizeLinear", weights, f"{name}.float", axis=0),
        ]
        if theirs.own:
            both = (step * ours.step).astype(np.float32)
            shift = [
                self._constant(
                    f"{name}.shift", np.round(-theirs.lowest / theirs.step / both).astype(np.int32)
                ),
                self._constant(f"{name}.shift_step", both),
                self._constant(f"{name}.shift_zero", np.zeros(len(step), np.int32)),
            ]
            inputs.append(self._op("DequantizeLinear", shift, f"{name}.bias", axis=0))
        node = NodeProto.FromString(layer.node.SerializeToString())
        del node.input[:]
        node.input.extend(inputs)
        node.output[0] = f"{name}.output"
        self.nodes.append(node)
        result = node.output[0]
        if layer.positive:
            result = self._op("Relu", [result], f"{name}.positive")
        integer = self._op(
            "QuantizeLinear", [result, *self._rounding(layer.target)], f"{layer.target}.integer"
        )
        self.integer[layer.target] = integer

    def _twice(self, source: str, name: str) -> str:
        """Every row and column of some integers twice: Resize takes ten times as long, channels last."""
        last = self._op("Transpose", [source], f"{name}.last", perm=[0, 2, 3, 1])
        two, zero, one = (self._constant(f"integer_{i}", np.asarray(i, np.int64)) for i in (2, 0, 1))
        for axis in (2, 1):
            size = self._op("Shape", [last], f"{name}.size{axis}", start=axis, end=axis + 1)
            scalar = self._op("Squeeze", [size], f"{name}.scalar{axis}")
            twice = self._op("Mul", [scalar, two], f"{name}.twice{axis}")
            places = self._op("Range", [zero, twice, one], f"{name}.places{axis}")
            sources = self._op("Div", [places, two], f"{name}.sources{axis}")
            last = self._op("Gather", [last, sources], f"{name}.gathered{axis}", axis=axis)
        return self._op("Transpose", [last], f"{name}.integer", perm=[0, 3, 1, 2])

    def _rounding(self, name: str) -> list[str]:
        steps = self._steps[name]
        step = np.asarray(1 if steps.own else steps.step, np.float32)
        return [
            self._constant(f"{name}.step", step),
            self._constant(f"{name}.zero", np.asarray(steps.zero)),
        ]

    def _op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}.{kind}", **attributes))
        return output

    def _constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        if name not in self._names:
            self._names.add(name)
            self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name
