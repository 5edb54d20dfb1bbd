"""A float network made ready for integers: the same function, with activations whose ranges are alike.

Three steps, each exact but for the rounding of floats: :func:`steadied` makes the ranges nearly independent
of sigma, :func:`calibrate` watches the network at work, :func:`equalized` makes the channels' ranges alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

from unnoise.noise import SIGMA_SCALE

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

SPAN = 40 / SIGMA_SCALE
"""What is added to sigma before a picture is divided by it."""
EVENNESS = 0.8
"""1 makes the ranges of all channels the same, 0 leaves them; between, rare values find some room."""
TAILS = (0.0, 1e-5)
"""Shares of the values that may lie beyond a range on either side: what is cut off costs more than steps."""
LEVELS = 255
"""Steps between the lowest and the highest integer of an activation."""

_SAMPLES = 200
"""Positions of a picture that calibration keeps."""
_FLOOR = 1e-3
_SCALING = {"Conv", "Relu", "Add", "Resize", "Concat", "Reshape", "Transpose", "Expand", "DepthToSpace"}
_SUMS = {"Add", "Concat"}
_KIN = {"Add", "Relu", "Resize"}


@dataclass(frozen=True)
class Layer:
    """A convolution that may be quantised.

    Attributes:
        name: of its weights.
        node: itself.
        weights: float32 (O, I, kh, kw).
        source: what it reads, or what is enlarged to what it reads.
        target: what it gives, after a ReLU that is its only reader.
        positive: whether there is such a ReLU.
    """

    name: str
    node: NodeProto
    weights: FloatArray
    source: str
    target: str
    positive: bool


def layers(network: onnx.ModelProto) -> list[Layer]:
    """The convolutions without biases, in the order of the graph."""
    graph = network.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    makers = {made: node for node in graph.node for made in node.output}
    readers = readers_of(graph)
    found = []
    for node in graph.node:
        if node.op_type != "Conv" or len(node.input) != 2 or node.input[1] not in known:
            continue
        source, target = node.input[0], node.output[0]
        if source in makers and is_twice(makers[source], known) and len(readers[source]) == 1:
            source = makers[source].input[0]
        after = readers[target]
        positive = len(after) == 1 and after[0].op_type == "Relu"
        weights = numpy_helper.to_array(known[node.input[1]]).astype(np.float32)
        target = after[0].output[0] if positive else target
        found.append(Layer(node.input[1], node, weights, source, target, positive))
    return found


def is_twice(node: NodeProto, known: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether it is an enlargement by 2 to the nearest neighbour."""
    if node.op_type != "Resize" or len(node.input) != 3 or node.input[2] not in known:
        return False
    scales = numpy_helper.to_array(known[node.input[2]]).tolist()
    mode = next((item.s for item in node.attribute if item.name == "mode"), b"nearest")
    return scales == [1, 1, 2, 2] and mode == b"nearest"


def readers_of(graph: onnx.GraphProto) -> Mapping[str, list[NodeProto]]:
    """Tensor -> the nodes that read it."""
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def copied(network: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that may be changed."""
    made = onnx.ModelProto()
    made.CopyFrom(network)
    return made


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Put these nodes, in this order, into a graph; they may be its own."""
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


# --- sigma --------------------------------------------------------------------------------------------


def steadied(network: onnx.ModelProto) -> onnx.ModelProto:
    """The same function, computed on a picture that is divided by ``sigma + SPAN``, where that is exact.

    A network without biases scales with its input (Mohan et al., "Robust and interpretable blind image
    denoising via bias-free CNNs", ICLR 2020, arXiv:1906.05478): picture and sigma may be divided by any
    number, if the noise that is found is multiplied by it. Networks that don't take sigma, that have biases,
    or that do not add what they find to the picture as their last step come back as they are.
    """
    made = copied(network)
    graph = made.graph
    last = graph.node[-1]
    adds = last.op_type == "Add" and "noisy" in last.input and "denoised" in last.output
    if not (adds and {"noisy", "sigma"} == {port.name for port in graph.input} and _scales(graph)):
        return made
    for node in graph.node[:-1]:
        if node.op_type != "Shape":
            _rename(node, {"noisy": "noisy_steady", "sigma": "sigma_steady"})
    found = next(name for name in last.input if name != "noisy")
    _rename(last, {found: "found"})
    graph.initializer.append(numpy_helper.from_array(np.asarray(SPAN, np.float32), "span"))
    before = [
        helper.make_node("Add", ["sigma", "span"], ["gain"], name="gain"),
        helper.make_node("Div", ["noisy", "gain"], ["noisy_steady"], name="noisy_steady"),
        helper.make_node("Div", ["sigma", "gain"], ["sigma_steady"], name="sigma_steady"),
    ]
    after = helper.make_node("Mul", [found, "gain"], ["found"], name="found")
    replace_nodes(graph, [*before, *graph.node[:-1], after, last])
    return made


def _scales(graph: onnx.GraphProto) -> bool:
    """Whether the output of a graph is scaled with its inputs."""
    scaled = {port.name for port in graph.input}
    for node in graph.node:
        if node.op_type == "Shape" or not scaled.intersection(node.input):
            continue
        every = node.input if node.op_type in _SUMS else node.input[:1]
        others = node.input[2:] if node.op_type == "Conv" else ()
        if node.op_type not in _SCALING or others or not scaled.issuperset(every):
            return False
        scaled.update(node.output)
    return True


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    for at, name in enumerate(node.input):
        node.input[at] = names.get(name, name)


# --- calibration --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Calibration:
    """What flows through a network on noisy photographs.

    Attributes:
        values: tensor -> float32 (C, samples), each picture's extremes among them.
        moments: name of weights -> (I·kh·kw, I·kh·kw), mean products of what a kernel sees.
    """

    values: Mapping[str, FloatArray]
    moments: Mapping[str, FloatArray]


def calibrate(
    network: onnx.ModelProto, examples: Iterable[Mapping[str, FloatArray]], *, seed: int = 0
) -> Calibration:
    """Watch a float network at work.

    Args:
        network: from :func:`steadied`.
        examples: its inputs, a picture each.
        seed: of the choice of positions.

    Raises:
        ValueError: there are no examples.
    """
    import onnxruntime

    found = layers(network)
    watched = sorted({name for layer in found for name in (layer.source, layer.target, layer.node.input[0])})
    opened = copied(network)
    already = {port.name for port in opened.graph.output}
    opened.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in watched
        if name not in already
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        opened.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(seed)
    values: dict[str, list[FloatArray]] = defaultdict(list)
    moments = {layer.name: np.zeros(2 * (layer.weights[0].size,), np.float32) for layer in found}
    count = 0
    for feed in examples:
        made = dict(zip(watched, session.run(watched, dict(feed)), strict=True))
        count += 1
        for name, tensor in made.items():
            flat = tensor[0].reshape(tensor.shape[1], -1)
            values[name].append(flat[:, rng.integers(0, flat.shape[1], _SAMPLES)])
            values[name].append(np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1))
        for layer in found:
            seen = _patches(made[layer.node.input[0]][0], layer.weights.shape[2:], rng)
            moments[layer.name] += seen.T @ seen / np.float32(len(seen))
    if not count:
        raise ValueError("give at least one example")
    return Calibration(
        {name: np.concatenate(some, axis=1) for name, some in values.items()},
        {name: np.asarray(moment / count, np.float32) for name, moment in moments.items()},
    )


def _patches(tensor: FloatArray, kernel: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """(C, H, W) -> (samples, C·kh·kw), what kernels see at random positions."""
    windows = np.lib.stride_tricks.sliding_window_view(tensor, kernel, axis=(1, 2))
    rows, columns = (rng.integers(0, size, _SAMPLES) for size in windows.shape[1:3])
    seen = windows[:, rows, columns].transpose(1, 0, 2, 3)
    return np.ascontiguousarray(seen, dtype=np.float32).reshape(_SAMPLES, -1)


def range_of(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest value of every row, zero always between them, that round it with a small error."""
    best_low = best_high = np.zeros(len(values), np.float32)
    least = np.full(len(values), np.inf)
    ordered = np.sort(values, axis=1)
    count = values.shape[1]
    for tail in TAILS:
        at = int(tail * count)
        low, high = np.minimum(ordered[:, at], 0), np.maximum(ordered[:, count - 1 - at], 0)
        beyond = np.maximum(ordered - high[:, None], 0) + np.maximum(low[:, None] - ordered, 0)
        error = (beyond**2).mean(axis=1) + ((high - low) / LEVELS) ** 2 / 12
        better = error < least
        least = np.where(better, error, least)
        best_low, best_high = np.where(better, low, best_low), np.where(better, high, best_high)
    return best_low, best_high


# --- channels -----------------------------------------------------------------------------------------


def equalized(
    network: onnx.ModelProto, calibration: Calibration, keep: Collection[str] = ()
) -> tuple[onnx.ModelProto, Calibration]:
    """The same function with channels whose ranges are alike, and what calibration would have seen in it.

    The weights before and after a channel take its factor up, as in cross-layer equalisation (Nagel et al.,
    "Data-free quantization through weight equalization and bias correction", ICCV 2019, arXiv:1906.04721).
    Tensors that are added to one another share their factors f[c]. One with the ranges r[t, c] is rounded in
    steps of max_c r[t, c] / f[c], and its errors reach the layers that read it f[c]² g[c] strong, g being the
    squares of their weights. So the factors are those that make
    sum_t max_c (r[t, c] / f[c])² · sum_c g[c] f[c]² small.

    Args:
        network: from :func:`steadied`.
        calibration: of it.
        keep: names of the weights that stay float.
    """
    made = copied(network)
    known = {tensor.name: tensor for tensor in made.graph.initializer}
    chosen = [layer for layer in layers(network) if layer.name not in keep]
    shared = {layer.source for layer in chosen} | {layer.target for layer in chosen if layer.positive}
    values, moments = dict(calibration.values), dict(calibration.moments)
    for tied in _tied(network.graph, known.keys()):
        ours = sorted(shared & tied)
        convolutions = [node for node in made.graph.node if node.op_type == "Conv"]
        readers = [known[node.input[1]] for node in convolutions if node.input[0] in tied]
        if not ours or not readers:
            continue
        ranges = np.stack([np.maximum(high, -low) for low, high in (range_of(values[name]) for name in ours)])
        gains = np.sum([(numpy_helper.to_array(each) ** 2).sum(axis=(0, 2, 3)) for each in readers], axis=0)
        factors = (_factors(ranges.astype(np.float64), gains.astype(np.float64)) ** EVENNESS).astype(
            np.float32
        )
        for node in convolutions:
            if node.output[0] in tied:
                _scale(known[node.input[1]], np.reciprocal(factors)[:, None, None, None])
        for tensor in readers:
            _scale(tensor, factors[None, :, None, None])
            if tensor.name in moments:
                each = np.repeat(factors, int(np.prod(tensor.dims[2:])))
                moments[tensor.name] = moments[tensor.name] / each[:, None] / each[None, :]
        values.update({name: values[name] / factors[:, None] for name in tied & values.keys()})
    return made, Calibration(values, moments)


def _scale(tensor: onnx.TensorProto, factors: FloatArray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factors, tensor.name))


def _tied(graph: onnx.GraphProto, constants: Collection[str]) -> list[set[str]]:
    """Sets of tensors whose channels may be scaled together without a change of the result."""
    of: dict[str, set[str]] = {}
    outside = {port.name for port in (*graph.input, *graph.output)} | set(constants)
    for node in graph.node:
        if node.op_type in _KIN:
            names = {*node.input[: 2 if node.op_type == "Add" else 1], node.output[0]}
        else:
            names = {node.output[0]}
        joined = names.union(*(of.get(name, {name}) for name in names))
        of.update(dict.fromkeys(joined, joined))
        plain = node.op_type == "Conv" and len(node.input) == 2 and node.input[1] in constants
        if not plain and node.op_type not in _KIN:
            outside.update((*node.input, *node.output))
    unique = {id(tied): tied for tied in of.values()}
    return [tied for tied in unique.values() if not tied & outside]


def _factors(ranges: DoubleArray, gains: DoubleArray) -> DoubleArray:
    """Factors (C,) for ranges (T, C) and gains (C,), by descent over the width that each tensor will have."""
    ranges = np.maximum(ranges, _FLOOR * ranges.max(axis=1, keepdims=True) + 1e-12)

    def factors(widths: DoubleArray) -> DoubleArray:
        found: DoubleArray = (ranges / widths[:, None]).max(axis=0)
        return found

    def cost(widths: DoubleArray) -> float:
        each = factors(widths)
        return float(((ranges / each).max(axis=1) ** 2).sum() * (gains * each**2).sum())

    widths = ranges.max(axis=1)
    for factor in (2.0, 1.4, 1.1):
        for _ in range(8):
            for at in range(len(widths)):
                tries = [widths.copy() for _ in range(3)]
                tries[1][at] *= factor
                tries[2][at] /= factor
                widths = min(tries, key=cost)
    return factors(widths)
