"""From a training run to a network file, ONNX with all that is needed to run it right inside; and back.

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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from unnoise import appetite, checkpoint, noise, quantize
from unnoise.card import KEY, SCHEMA, read_card
from unnoise.dataset import validation_batches
from unnoise.errors import ConfigError, NetworkError
from unnoise.files import replacing
from unnoise.models import Model, parameters
from unnoise.noise import FloatArray
from unnoise.run import Run
from unnoise.tiles import Dataset, load_dataset
from unnoise.trainconfig import TrainConfig

logger = logging.getLogger(__name__)

OPSET = 18
# Outputs are in [0, 1]: a hundredth of an 8-bit step.
PARITY_LIMIT = 0.01 / 255

_CALIBRATION_TILES, _JUDGED_TILES = 24, 16
_LEVELS = (5, 15, 25, 50)


def export_run(
    run: Path,
    out: Path | None = None,
    *,
    name: str | None = None,
    card: Mapping[str, Any] | None = None,
    int8: Path | None = None,
) -> Path:
    """Write the best weights of a run as a network file.

    Args:
        run: folder of a training run.
        out: the file; by default ``network.onnx`` in the run.
        name: what the network is called; by default what ``card`` says, or the run's folder.
        card: further entries for the card (description, licence, limits ...), also inside ``training`` and
            ``scores``. Scores say which weights they were measured on, in ``scores.weights_sha256``; those of
            others are left out, with a warning.
        int8: a prepared data set; the network's convolutions then compute in 8-bit integers, calibrated on
            its training tiles. What that loses is measured on its validation tiles and kept on the card.

    Returns:
        The path written.

    Raises:
        NetworkError: the run has no usable checkpoint, or ONNX Runtime disagrees with PyTorch.
        ConfigError: ``card`` says something that is measured here, or nothing can be computed in integers.
        DataError: ``int8`` is no prepared data set.
    """
    model, config, meta = Run(run).trained_model()
    out = out or Run(run).network
    extra = dict(_entries("the card", card or {}))
    told = extra.pop("name", None)
    training = _joined("training", _training_facts(config, meta), extra.pop("training", {}))
    scores = dict(_entries("scores", extra.pop("scores", {})))
    proto = to_onnx(model)
    agreement: dict[str, Any] = {"max_abs": parity(model, proto), "runtime": "onnxruntime"}
    if int8 is not None:
        proto, agreement["int8_loss_db"] = _in_integers(proto, load_dataset(int8), meta["data"]["noise"])
    weights = _hash_of_weights(proto)
    if scores and scores.pop("weights_sha256", None) != weights:
        logger.warning(
            "the scores of other weights are left out: measure again, and put "
            '"weights_sha256": "%s" beside the new ones',
            weights,
        )
        scores = {}
    facts = {
        "schema": SCHEMA,
        "name": name or told or run.resolve().name,
        "architecture": config.model,
        "sigma_input": model.sigma_input,
        "sigma_range": _sigma_range(meta["data"]["noise"]) if model.sigma_input else None,
        "size_multiple": model.size_multiple,
        "fixed_size": model.fixed_size,
        "halo": model.halo,
        "border": 0,
        "whole_image": config.normalize == "groups",
        "value_range": [0.0, 1.0],
        "parameters": parameters(model),
        "bytes_per_pixel": None if model.fixed_size else appetite.measured(proto.SerializeToString()),
        "gmac_256": None if model.fixed_size else round(multiply_adds(model, 256) / 1e9, 3),
        "training": training,
        "licence": extra.pop("licence", "not stated"),
        "scores": _joined("scores", {"valid_mse": meta["valid_mse"]}, scores),
        "weights_sha256": weights,
        "arithmetic": "float32" if int8 is None else "int8",
        "parity": agreement,
    }
    proto.metadata_props.add(key=KEY, value=json.dumps(_joined("the card", facts, extra)))
    with replacing(out) as temporary:
        temporary.write_bytes(proto.SerializeToString())
    return out


def _entries(where: str, told: Any) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        raise ConfigError(f"{where}: expected a table of names and values, got {told!r}")
    return told


def _joined(where: str, measured: Mapping[str, Any], told: Any) -> dict[str, Any]:
    """Both, unless they name the same thing."""
    if both := sorted(measured.keys() & _entries(where, told).keys()):
        raise ConfigError(
            f"{where}: {', '.join(both)} cannot be told, the export measures or knows it",
            hint="Leave it out of --card.",
        )
    return {**measured, **told}


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
    session = _session(proto)
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


def _in_integers(
    proto: onnx.ModelProto, dataset: Dataset, spec: str
) -> tuple[onnx.ModelProto, dict[str, float]]:
    """The network in 8-bit integers, and by level of noise the dB that it loses on validation tiles."""

    def feeds(
        split: str, level: noise.Noise, tiles: int
    ) -> Iterator[tuple[FloatArray, dict[str, FloatArray]]]:
        made = validation_batches(
            dataset.split(split), level, sigma=None, seed=0, batch=1, tiles=tiles, stored=False
        )
        told = any(port.name == "sigma" for port in proto.graph.input)
        for batch in made:
            feed = {"noisy": np.ascontiguousarray(batch.input.numpy())}
            yield batch.target.numpy(), feed | ({"sigma": batch.sigma.numpy()} if told else {})

    trained = noise.parse(spec)
    made = quantize.static(proto, (feed for _, feed in feeds("train", trained, _CALIBRATION_TILES)))
    both = [_session(each) for each in (proto, made)]
    lost = {}
    for level in (
        [trained] if not noise.has_levels(trained) else [noise.parse(f"gaussian:{s}") for s in _LEVELS]
    ):
        errors = [
            [float(np.square(s.run(None, feed)[0].clip(0, 1) - clean).mean()) for s in both]
            for clean, feed in feeds("valid", level, _JUDGED_TILES)
        ]
        ratios = np.log10(np.maximum(errors, 1e-10))
        lost[level.spec] = round(float(10 * (ratios[:, 1] - ratios[:, 0]).mean()), 3)
    return made, lost


def _session(proto: onnx.ModelProto) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


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
        NetworkError: the file is refused, is not readable as ONNX, or it computes in integers.
    """
    card = read_card(path)
    try:
        proto = onnx.load(str(path), load_external_data=False)
        weights = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in proto.graph.initializer}
    except Exception as error:  # protobuf's own decoding error has no public common base
        raise NetworkError(f"{path} is not a readable network file: {error}") from None
    if card.record.get("arithmetic") == "int8":
        raise NetworkError(
            f"{path} computes in integers, which are not trained on",
            hint="Start from the run that it was exported from, or from its float network.",
        )
    return weights


def with_options_of(source: Path, config: TrainConfig) -> TrainConfig:
    """``config`` with the model options of what it is to start from, unless it has its own.

    Args:
        source: a run, one of its checkpoints, or a network file.
        config: of the run that starts.

    Raises:
        NetworkError: ``source`` is another kind of network, or not usable.
    """
    recipe = _recipe_of(source)
    for name in ("model", "normalize"):
        wanted = getattr(config, name)
        if recipe[name] != wanted:
            raise NetworkError(
                f"{source} does not fit: its {name} is {recipe[name]}, not {wanted}",
                hint=f"Take --{name} {recipe[name]}.",
            )
    if _is_network_file(source) and config.normalize != "none":
        raise NetworkError(
            f"{source} does not hold its normalisation in a form to train on",
            hint="Start from the run that it was exported from.",
        )
    return replace(config, model_options=config.model_options or recipe["model_options"])


def load_initial(model: Model, source: Path) -> None:
    """Put the weights of a run, a checkpoint or a network file into ``model``.

    Raises:
        NetworkError: they do not fit; the message names them, the hint the options they were built with.
    """
    if _is_network_file(source):
        # A graph holds constants beside the weights; only weights belong to a layer and have a dotted name.
        weights = {name: tensor for name, tensor in weights_of(source).items() if "." in name}
    else:
        weights = checkpoint.load(_checkpoint_of(source))[0]
        # The whole state of a training: what would ship, had it ended there.
        if shipping := {n: t for n, t in weights.items() if n.startswith("averaged.")}:
            weights = {name.removeprefix("averaged."): tensor for name, tensor in shipping.items()}
    try:
        checkpoint.load_weights(model, model.completed(weights), source)
    except NetworkError as error:
        options = _recipe_of(source)["model_options"]
        hint = f"It was built with the model options {options}" if options else "It was built without options"
        raise NetworkError(str(error), hint=f"{hint}; leave out --model-option.") from None


def _is_network_file(source: Path) -> bool:
    return source.suffix == ".onnx"


def _checkpoint_of(source: Path) -> Path:
    if not source.is_dir():
        return source
    run = Run(source)
    return run.best if run.best.exists() or not run.last.exists() else run.last


def _recipe_of(source: Path) -> Mapping[str, Any]:
    """The entries of a configuration that say what network this is."""
    if not _is_network_file(source):
        recipe: Mapping[str, Any] = checkpoint.load_meta(_checkpoint_of(source))["config"]
        return recipe
    card = read_card(source)
    # What the first cards did not say was the default.
    return {"model_options": {}, "normalize": "none", **card.training, "model": card.architecture}


def _sigma_range(spec: str) -> list[float]:
    low, high = noise.parse(spec).levels or (0.0, noise.SIGMA_SCALE)
    return [min(low, noise.SIGMA_SCALE), min(high, noise.SIGMA_SCALE)]


def _training_facts(config: TrainConfig, meta: Mapping[str, Any]) -> dict[str, Any]:
    """The whole recipe, and what came of it; without the folders of the machine that trained."""
    recipe = config.to_json()
    for name in ("data", "out", "model", "noise", "checkpoint_minutes", "tensorboard"):
        del recipe[name]
    planned = {name: value for name in ("steps", "epochs", "minutes") if (value := recipe.pop(name))}
    return {
        **recipe,
        **meta["data"],
        "strategy": config.strategy,
        "init": config.init and config.init.name,
        "planned": planned,
        "steps": meta["step"],
        "examples": meta.get("examples", meta["step"] * config.batch),
        "minutes": round(meta["seconds"] / 60, 1),
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
