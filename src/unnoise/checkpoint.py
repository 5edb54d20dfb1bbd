"""Weights and training state on disk: safetensors with its JSON inside, one file, whole or not there.

Nothing here unpickles: a file is data, never code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unnoise.errors import NetworkError
from unnoise.files import replacing

_META = "unnoise"
SCHEMA = 1
"""Version of what the JSON holds; files of another are refused."""


def save(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write ``tensors`` and the JSON-able ``meta``; at every moment the old file is there, or the new one."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, {_META: json.dumps({"schema": SCHEMA, **meta})})


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the meta of a checkpoint.

    Raises:
        NetworkError: the file is missing, truncated, not safetensors, not ours, of another version, or holds
            NaN or infinity.
    """
    tensors, meta = _open(path, lambda file: {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    if broken := not_finite(tensors):
        raise NetworkError(
            f"{path} holds NaN or infinity in {', '.join(broken[:5])}", hint="Take an earlier run."
        )
    return tensors, meta


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity, with which :func:`load` refuses a file."""
    return [n for n, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]


def _open(path: Path, read: Callable[[Any], dict[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            tensors, meta = read(file), json.loads((file.metadata() or {})[_META])
            schema = meta.pop("schema")
    except FileNotFoundError:
        raise NetworkError(f"{path} does not exist", hint="Give the folder of a training run.") from None
    except (SafetensorError, KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise NetworkError(
            f"{path} is not a whole checkpoint of this program: {error}",
            hint="Only safetensors files written by 'unnoise train' are read; pickles are refused.",
        ) from None
    if schema != SCHEMA:
        raise NetworkError(
            f"{path} was written by another version of unnoise (schema {schema!r}, this one reads {SCHEMA})",
            hint="Use it with that version, or train again.",
        )
    return tensors, meta


def load_meta(path: Path) -> dict[str, Any]:
    """The meta alone, without reading the tensors; raises as :func:`load` does."""
    return _open(path, lambda _: {})[1]


def load_weights(model: torch.nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Put ``weights`` into ``model``, all of them and no others.

    Raises:
        NetworkError: keys or shapes differ; the message names them.
    """
    own = model.state_dict()
    wrong = [f"missing {n}" for n in own.keys() - weights.keys()]
    wrong += [f"unexpected {n}" for n in weights.keys() - own.keys()]
    wrong += [
        f"{n} is {tuple(weights[n].shape)} instead of {tuple(own[n].shape)}"
        for n in own.keys() & weights.keys()
        if own[n].shape != weights[n].shape
    ]
    if wrong:
        shown = "; ".join(sorted(wrong)[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise NetworkError(
            f"{source} does not fit this architecture: {shown}",
            hint="Build the model with the options that the weights were trained with.",
        )
    model.load_state_dict(weights)


def flatten(state: Any, prefix: str, tensors: dict[str, Tensor]) -> Any:
    """The JSON image of a nested state, its tensors moved into ``tensors`` under names from ``prefix`` on.

    Dicts keep keys of any plain kind (an optimiser's are integers and tuples), tuples stay tuples.
    """
    if isinstance(state, Tensor):
        tensors[prefix] = state
        return {"tensor": prefix}
    if isinstance(state, dict):
        items = [
            [flatten(k, "", {}), flatten(v, f"{prefix}.{i}", tensors)]
            for i, (k, v) in enumerate(state.items())
        ]
        return {"dict": items}
    if isinstance(state, list | tuple):
        kind = "list" if isinstance(state, list) else "tuple"
        return {kind: [flatten(v, f"{prefix}.{i}", tensors) for i, v in enumerate(state)]}
    return {"value": state}


def unflatten(image: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of :func:`flatten`."""
    ((kind, content),) = image.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {unflatten(k, tensors): unflatten(v, tensors) for k, v in content}
    if kind in ("list", "tuple"):
        values = [unflatten(v, tensors) for v in content]
        return values if kind == "list" else tuple(values)
    return content
