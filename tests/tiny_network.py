"""Small ONNX networks with cards, for tests of everything that runs one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CARD: dict[str, Any] = {
    "schema": 1,
    "name": "tiny",
    "architecture": "tiny",
    "sigma_input": True,
    "sigma_range": [0, 75],
    "size_multiple": 2,
    "fixed_size": None,
    "halo": 4,
    "parameters": 1000,
    "gmac_256": 0.01,
    "training": {"noise": "gaussian:0-75"},
    "licence": "CC0-1.0",
    "weights_sha256": "",
    "parity": {"max_abs": 0.0},
    "scores": {"CBSD68": {"25": 30.6}},
}


def card(**changes: Any) -> dict[str, Any]:
    return {**CARD, **changes}


def build(described: dict[str, Any], *, domain: str = "") -> onnx.ModelProto:
    """Three 3×3 convolutions, down by a stride of 2 and up again, with the noise level as a channel.

    The receptive field's radius is 4 at most: one pixel for each convolution and one for the grid of two.
    """
    rng = np.random.default_rng(0)
    size = described["fixed_size"]
    shape = ["N", 3, size or "H", size or "W"]
    sigma_input = described["sigma_input"]
    first = 4 if sigma_input else 3

    def weights(name: str, *dims: int) -> TensorProto:
        return numpy_helper.from_array(rng.normal(0, 0.25, dims).astype(np.float32), name)

    pads: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["a"], **pads),
        helper.make_node("Relu", ["a"], ["b"], domain=domain),
        helper.make_node("Conv", ["b", "w2"], ["c"], strides=[2, 2], **pads),
        helper.make_node("Resize", ["c", "", "scales"], ["d"], mode="nearest"),
        helper.make_node("Conv", ["d", "w3"], ["e"], **pads),
        helper.make_node("Add", ["noisy", "e"], ["denoised"]),
    ]
    initializers = [
        weights("w1", 8, first, 3, 3),
        weights("w2", 8, 8, 3, 3),
        weights("w3", 3, 8, 3, 3),
        numpy_helper.from_array(np.array([1, 1, 2, 2], dtype=np.float32), "scales"),
    ]
    inputs = [helper.make_tensor_value_info("noisy", TensorProto.FLOAT, shape)]
    if sigma_input:
        inputs.append(helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["N", 1, 1, 1]))
        initializers.append(numpy_helper.from_array(np.array([0], dtype=np.float32), "zero"))
        initializers.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"))
        nodes = [
            helper.make_node("ReduceMean", ["noisy", "axis"], ["grey"], keepdims=1),
            helper.make_node("Mul", ["grey", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "sigma"], ["level"]),
            helper.make_node("Concat", ["noisy", "level"], ["input"], axis=1),
            *nodes,
        ]
    else:
        nodes.insert(0, helper.make_node("Identity", ["noisy"], ["input"]))
    outputs = [helper.make_tensor_value_info("denoised", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def weights_sha256(model: onnx.ModelProto) -> str:
    """What a card says of its weights: all of them by name, each as its name and its values."""
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda tensor: tensor.name):
        digest.update(tensor.name.encode())
        digest.update(numpy_helper.to_array(tensor).tobytes())
    return digest.hexdigest()


CARD["weights_sha256"] = weights_sha256(build(CARD))


def write(path: Path, model: onnx.ModelProto, described: dict[str, Any] | None = None) -> Path:
    """Write a network with a card; its hash is made right unless it was changed on purpose."""
    described = dict(CARD if described is None else described)
    if described["weights_sha256"] == CARD["weights_sha256"]:
        described["weights_sha256"] = weights_sha256(model)
    path.write_bytes(model.SerializeToString())
    return put_card(path, described)


def put_card(path: Path, described: dict[str, Any]) -> Path:
    """Put this card, as it is, into a network file."""
    model = onnx.load(path)
    del model.metadata_props[:]
    model.metadata_props.add(key="unnoise", value=json.dumps(described))
    path.write_bytes(model.SerializeToString())
    return path


def save(path: Path, described: dict[str, Any] | None = None, *, domain: str = "") -> Path:
    """Write a network with a card (the usual one, or the one given)."""
    described = CARD if described is None else described
    return write(path, build(described, domain=domain), described)


def identity(path: Path, **changes: Any) -> Path:
    """A blind network that changes nothing: what comes out is what went in."""
    described = card(sigma_input=False, sigma_range=None, halo=0, size_multiple=1, **changes)
    shape = ["N", 3, "H", "W"]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("noisy", "denoised")]
    node = helper.make_node("Identity", ["noisy"], ["denoised"])
    graph = helper.make_graph([node], "identity", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return write(path, model, described)
