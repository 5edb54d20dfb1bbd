"""Published networks that ours are measured against, written as network files: FFDNet and DnCNN for colour.

Their weights come as PyTorch state dicts. They become ONNX graphs with a card, so that they run as our
networks do: in the same runtime, with the same threads, through the same code.

    python benchmarks/peers.py --out FOLDER [--data FOLDER]

Reads peers/*.pth in --data ($UNNOISE_DATA, or ../shared/data, if it is not given) and writes
FOLDER/ffdnet.onnx and FOLDER/dncnn.onnx. Every command takes these: unnoise evaluate DATA --with ffdnet.onnx
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from unnoise.card import KEY, SCHEMA
from unnoise.files import replacing

FloatArray = npt.NDArray[np.float32]
State = Mapping[str, FloatArray]

OPSET = 18
CHANNELS = 3
GMAC_SIDE = 256
_LAYER = re.compile(r"model\.(\d+)\.(weight|bias)")


@dataclass(frozen=True)
class Peer:
    """A plain stack of 3×3 convolutions with ReLU between them.

    Attributes:
        title: as its authors call it.
        file: its state dict's name.
        factor: pixels of a square of this side become channels before the first layer, and pixels again after
            the last: channel ``c · factor² + y · factor + x``, the order of PyTorch's ``pixel_unshuffle``.
        sigma_range: of the noise that it was trained for, 8-bit units; it is told sigma as one more channel,
            after those of the picture. None: it is blind.
        subtracts: whether what it makes is the noise.
        source: the paper.
    """

    title: str
    file: str
    factor: int
    sigma_range: tuple[float, float] | None
    subtracts: bool
    source: str


PEERS: dict[str, Peer] = {
    "ffdnet": Peer(
        title="FFDNet",
        file="ffdnet_color.pth",
        factor=2,
        sigma_range=(0, 75),
        subtracts=False,
        source="Zhang, Zuo and Zhang, FFDNet: Toward a fast and flexible solution for CNN-based image "
        "denoising, IEEE TIP 2018, doi:10.1109/TIP.2018.2839891",
    ),
    "dncnn": Peer(
        title="DnCNN",
        file="dncnn_color_blind.pth",
        factor=1,
        sigma_range=None,
        subtracts=True,
        source="Zhang, Zuo, Chen, Meng and Zhang, Beyond a Gaussian denoiser: Residual learning of deep CNN "
        "for image denoising, IEEE TIP 2017, doi:10.1109/TIP.2017.2662206",
    ),
}


def layers(peer: Peer, state: State) -> list[tuple[FloatArray, FloatArray]]:
    """Weights (out, in, 3, 3) and biases (out,) from the first layer to the last.

    Raises:
        ValueError: a name is not ``model.NUMBER.weight`` or ``.bias``, or the shapes make no such network.
    """
    found: dict[int, dict[str, FloatArray]] = {}
    for name, values in state.items():
        told = _LAYER.fullmatch(name)
        if told is None:
            raise ValueError(f"{peer.title}: {name!r} is no layer of it")
        found.setdefault(int(told[1]), {})[told[2]] = values
    channels = CHANNELS * peer.factor**2
    expected = channels + (peer.sigma_range is not None)
    made = []
    for number in sorted(found):
        weight, bias = (found[number].get(kind, np.zeros(0, np.float32)) for kind in ("weight", "bias"))
        if weight.shape[1:] != (expected, 3, 3) or bias.shape != weight.shape[:1]:
            raise ValueError(f"{peer.title}: layer {number} is {weight.shape}, expected {expected} inputs")
        made.append((weight, bias))
        expected = len(weight)
    if expected != channels:
        raise ValueError(f"{peer.title}: the last layer makes {expected} channels, not {channels}")
    return made


def multiply_adds(peer: Peer, state: State, side: int) -> float:
    """Multiplications (each with an addition) on a picture of ``side`` × ``side`` pixels."""
    return sum(weight.size for weight, _ in layers(peer, state)) * (side / peer.factor) ** 2


def graph(peer: Peer, state: State) -> onnx.ModelProto:
    """The network as ONNX: ``noisy`` (N, 3, H, W) and perhaps ``sigma`` (N, 1, 1, 1) to ``denoised``.

    Height and width must be multiples of the factor.
    """
    stack = layers(peer, state)
    nodes, held, at = [], [], "noisy"
    if peer.factor > 1:
        # SpaceToDepth has the channels of a picture innermost, so the first layer's weights change places.
        first, bias = stack[0]
        stack[0] = (_innermost(first, peer.factor), bias)
        nodes.append(helper.make_node("SpaceToDepth", [at], ["squares"], blocksize=peer.factor))
        at = "squares"
    if peer.sigma_range is not None:
        # A true map: at the picture's edge the convolution continues it by zeros, as in training.
        nodes += [
            helper.make_node("Shape", [at], ["size"], start=2, end=4),
            helper.make_node("Concat", ["ones", "size"], ["map size"], axis=0),
            helper.make_node("Expand", ["sigma", "map size"], ["map"]),
            helper.make_node("Concat", [at, "map"], ["told"], axis=1),
        ]
        held.append(numpy_helper.from_array(np.ones(2, np.int64), "ones"))
        at = "told"
    for number, (weight, bias) in enumerate(stack):
        names = [f"{number} weight", f"{number} bias"]
        held += [
            numpy_helper.from_array(np.ascontiguousarray(values), name)
            for values, name in zip((weight, bias), names, strict=True)
        ]
        nodes.append(
            helper.make_node("Conv", [at, *names], [f"{number} made"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        )
        at = f"{number} made"
        if number < len(stack) - 1:
            nodes.append(helper.make_node("Relu", [at], [f"{number} kept"]))
            at = f"{number} kept"
    if peer.factor > 1:
        nodes.append(helper.make_node("DepthToSpace", [at], ["pixels"], blocksize=peer.factor, mode="CRD"))
        at = "pixels"
    last = ("Sub", ["noisy", at]) if peer.subtracts else ("Identity", [at])
    nodes.append(helper.make_node(*last, ["denoised"]))
    picture: list[str | int | None] = ["N", CHANNELS, "H", "W"]
    inputs = [helper.make_tensor_value_info("noisy", TensorProto.FLOAT, picture)]
    if peer.sigma_range is not None:
        inputs.append(helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["N", 1, 1, 1]))
    outputs = [helper.make_tensor_value_info("denoised", TensorProto.FLOAT, picture)]
    made = helper.make_graph(nodes, peer.title, inputs, outputs, held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _innermost(weight: FloatArray, factor: int) -> FloatArray:
    """Inputs from ``c · factor² + place`` to ``place · C + c``; a noise level behind them stays there."""
    picture = CHANNELS * factor**2
    places = weight[:, :picture].reshape(len(weight), CHANNELS, factor**2, 3, 3).swapaxes(1, 2)
    return np.concatenate([places.reshape(len(weight), picture, 3, 3), weight[:, picture:]], axis=1)


def card(name: str, state: State) -> dict[str, Any]:
    """What the runtime must know to run it."""
    peer = PEERS[name]
    return {
        "schema": SCHEMA,
        "name": peer.title,
        "architecture": name,
        "sigma_input": peer.sigma_range is not None,
        "sigma_range": peer.sigma_range,
        "size_multiple": peer.factor,
        "fixed_size": None,
        "halo": len(layers(peer, state)) * peer.factor + peer.factor - 1,
        "parameters": sum(values.size for values in state.values()),
        "gmac_256": round(multiply_adds(peer, state, GMAC_SIDE) / 1e9, 3),
        "description": "A published network, to measure against. No part of this project.",
        "licence": "not stated",
        "training": {"source": peer.source},
    }


def write(name: str, state: State, folder: Path) -> Path:
    """Write a peer's network file; the file is the old or the new one at any moment."""
    model = graph(PEERS[name], state)
    model.metadata_props.add(key=KEY, value=json.dumps(card(name, state)))
    path = folder / f"{name}.onnx"
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return path


def read(path: Path) -> dict[str, FloatArray]:
    """A state dict. Nothing in it is executed."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: values.numpy().astype(np.float32) for name, values in state.items()}


def export(weights: Path, folder: Path, names: tuple[str, ...] = tuple(PEERS)) -> dict[str, Path]:
    """Network files of those peers whose weights are in a folder, by their names."""
    there = [name for name in names if (weights / PEERS[name].file).is_file()]
    return {name: write(name, read(weights / PEERS[name].file), folder) for name in there}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    written = export(options.data / "peers", options.out)
    for path in written.values():
        print(path)
    if not written:
        print(f"no weights in {options.data / 'peers'}: nothing to write; set UNNOISE_DATA or give --data")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
