"""From a training run to a network file: ONNX, with all that is needed to run it right inside.

The file's one metadata entry holds the card (JSON): value range, noise level input, size constraints, halo,
training, licence, a hash of the weights, and how far ONNX Runtime's output lies from PyTorch's, measured
at export. Nothing is looked up beside the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from unnoise import noise
from unnoise.errors import NetworkError
from unnoise.files import replacing
from unnoise.models import Model, parameters
from unnoise.run import Run, TrainConfig

CARD_KEY = "unnoise"
OPSET = 18
# Outputs are in [0, 1]: a hundredth of an 8-bit step.
PARITY_LIMIT = 0.01 / 255


def export_run(
    run: Path, out: Path | None = None, *, name: str | None = None, card: Mapping[str, Any] | None = None
) -> Path:
    """Write the best weights of a run as a network file.

    Args:
        run: folder of a training run.
        out: the file; by default ``network.onnx`` in the run.
        name: what the network is called; by default the run's folder.
        card: further entries for the card (description, licence, data, scores, limits), over
            the measured ones.

    Returns:
        The path written.

    Raises:
        NetworkError: the run has no usable checkpoint, or ONNX Runtime disagrees with PyTorch.
    """
    model, config, meta = Run(run).trained_model()
    out = out or Run(run).network
    extra = dict(card or {})
    facts = {
        "schema": 1,
        "name": name or run.name,
        "architecture": config.model,
        "sigma_input": model.sigma_input,
        "sigma_range": _sigma_range(meta["data"]["noise"]) if model.sigma_input else None,
        "size_multiple": model.size_multiple,
        "fixed_size": model.fixed_size,
        "halo": model.halo,
        "border": model.border,
        "whole_image": config.normalize == "groups",
        "value_range": [0.0, 1.0],
        "parameters": parameters(model),
        "gmac_256": None if model.fixed_size else round(multiply_adds(model, 256) / 1e9, 3),
        "training": {**_training_facts(config, meta), **extra.pop("training", {})},
        "licence": "not stated",
        "scores": {"valid_mse": meta["valid_mse"], **extra.pop("scores", {})},
        **extra,
    }
    proto = to_onnx(model)
    facts["weights_sha256"] = _hash_of_weights(proto)
    facts["parity"] = {"max_abs": parity(model, proto), "runtime": "onnxruntime"}
    proto.metadata_props.add(key=CARD_KEY, value=json.dumps(facts))
    with replacing(out) as temporary:
        temporary.write_bytes(proto.SerializeToString())
    return out


def to_onnx(model: Model) -> onnx.ModelProto:
    """The model as an ONNX graph in float32, with the inputs of :class:`unnoise.models.Model`."""
    size = model.fixed_size or 8 * model.size_multiple
    inputs: dict[str, Tensor] = {"noisy": torch.rand(2, 3, size, size)}
    batch = torch.export.Dim("batch", min=1)
    shapes: dict[str, dict[int, Any]] = {"noisy": {0: batch}}
    if not model.fixed_size:
        for axis, letter in ((2, "h"), (3, "w")):
            units = torch.export.Dim(letter, min=1, max=1 << 16)
            shapes["noisy"][axis] = model.size_multiple * units
    if model.sigma_input:
        inputs["sigma"] = torch.full((2, 1, 1, 1), 0.1)
        shapes["sigma"] = {0: batch}
    with _quiet():
        program = torch.onnx.export(
            model.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=["denoised"],
            dynamic_shapes=shapes,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    # Where every operator came from in Python is of no use to a user and would name this machine's folders.
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer):
        del value.metadata_props[:]
    return proto


@torch.no_grad()
def parity(model: Model, proto: onnx.ModelProto) -> float:
    """Largest difference between ONNX Runtime's output and PyTorch's on random pictures of two sizes.

    Raises:
        NetworkError: the difference is above :data:`PARITY_LIMIT`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    unit = model.size_multiple
    sizes = [(model.fixed_size,) * 2] if model.fixed_size else [(8 * unit, 8 * unit), (5 * unit, 11 * unit)]
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for height, width in sizes:
        noisy = torch.rand(2, 3, height, width, generator=generator)
        sigma = torch.tensor([0.05, 0.2]).reshape(2, 1, 1, 1)
        feeds = {"noisy": noisy.numpy()} | ({"sigma": sigma.numpy()} if model.sigma_input else {})
        got = session.run(None, feeds)[0]
        # np.maximum keeps NaN, which max() drops.
        worst = float(np.maximum(worst, np.abs(got - model(noisy, sigma).numpy()).max()))
    if not worst <= PARITY_LIMIT:
        raise NetworkError(
            f"ONNX Runtime's output differs from PyTorch's by {worst:.2g}, more than {PARITY_LIMIT:.2g}",
            hint="The network is not written. Another version of onnxruntime or torch may agree.",
        )
    return worst


@torch.no_grad()
def multiply_adds(model: Model, size: int) -> int:
    """Multiply-accumulate operations for ``size``×``size`` pixels, in convolutions and linear layers."""
    total = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.ConvTranspose2d):
            # Each input position meets the whole kernel.
            total += inputs[0].shape[2] * inputs[0].shape[3] * module.weight.numel()
        elif isinstance(module, nn.Conv2d):
            total += output.shape[2] * output.shape[3] * module.weight.numel()
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    hooks = [m.register_forward_hook(count) for m in model.modules()]
    model(torch.zeros(1, 3, size, size), torch.zeros(1, 1, 1, 1))
    for hook in hooks:
        hook.remove()
    return total


def weights_of(path: Path) -> dict[str, Tensor]:
    """The named weights inside a network file, to start a training from.

    Raises:
        NetworkError: the file is not readable as ONNX.
    """
    try:
        proto = onnx.load(str(path), load_external_data=False)
        return {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in proto.graph.initializer}
    except Exception as error:  # protobuf's own decoding error has no public common base
        raise NetworkError(f"{path} is not a readable network file: {error}") from None


def _sigma_range(spec: str) -> list[float]:
    model = noise.parse(spec)
    return [model.low, model.high] if isinstance(model, noise.Gaussian) else [0.0, noise.SIGMA_SCALE]


def _training_facts(config: TrainConfig, meta: Mapping[str, Any]) -> dict[str, Any]:
    kept = (
        "optimizer",
        "lr",
        "weight_decay",
        "schedule",
        "loss",
        "float_noise",
        "batch",
        "patch",
        "ema",
        "seed",
        "normalize",
        "balance",
    )
    return {
        **meta["data"],
        "steps": meta["step"],
        "examples": meta["step"] * config.batch,
        "minutes": round(meta["seconds"] / 60, 1),
        **{key: getattr(config, key) for key in kept},
        "torch": torch.__version__,
    }


def _hash_of_weights(proto: onnx.ModelProto) -> str:
    digest = hashlib.sha256()
    for tensor in sorted(proto.graph.initializer, key=lambda t: str(t.name)):
        digest.update(tensor.name.encode())
        digest.update(numpy_helper.to_array(tensor).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of torchvision and of its own deprecations; none of it is the user's concern."""
    loggers = [
        logging.getLogger(n)
        for n in ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript")
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
