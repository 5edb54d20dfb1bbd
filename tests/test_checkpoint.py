from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from unnoise import checkpoint
from unnoise.errors import NetworkError

WEIGHTS = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.tensor([0.5])}


def test_comes_back_equal(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.safetensors", WEIGHTS, {"step": 3, "name": "σ"})
    tensors, meta = checkpoint.load(tmp_path / "c.safetensors")
    assert meta == {"step": 3, "name": "σ"} == checkpoint.load_meta(tmp_path / "c.safetensors")
    assert tensors.keys() == WEIGHTS.keys()
    assert all(torch.equal(tensors[n], WEIGHTS[n]) for n in WEIGHTS)


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, WEIGHTS, {"step": 1})

    def broken(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {"a.weight": torch.zeros(99)}, {"step": 2})
    assert checkpoint.load_meta(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch pwned",))


def test_a_pickle_is_refused_and_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "raw.safetensors": pickle.dumps(_Payload()),
        "torch.safetensors": None,
    }.items():
        if content is None:
            torch.save({"x": _Payload()}, name)
        else:
            Path(name).write_bytes(content)
        with pytest.raises(NetworkError, match="not a whole checkpoint"):
            checkpoint.load(Path(name))
    assert not Path("pwned").exists()


def test_damage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, WEIGHTS, {})
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[:-1], whole + b"x", b"\xff" * 8 + whole[8:]):
        path.write_bytes(damaged)
        with pytest.raises(NetworkError):
            checkpoint.load(path)
    with pytest.raises(NetworkError, match="does not exist"):
        checkpoint.load(tmp_path / "none.safetensors")


def test_files_of_another_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "SCHEMA", 2)
        checkpoint.save(path, WEIGHTS, {})
        assert checkpoint.load_meta(path) == {}
    for read in (checkpoint.load, checkpoint.load_meta):
        with pytest.raises(NetworkError, match=r"another version of unnoise \(schema 2, this one reads 1\)"):
            read(path)
    for meta in ("[]", "{}", "3"):
        save_file(WEIGHTS, path, {"unnoise": meta})
        with pytest.raises(NetworkError, match="not a whole checkpoint"):
            checkpoint.load_meta(path)


def test_nan_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint.save(
        tmp_path / "c.safetensors", {"good": torch.zeros(2), "bad": torch.tensor([float("nan")])}, {}
    )
    with pytest.raises(NetworkError, match="infinity in bad"):
        checkpoint.load(tmp_path / "c.safetensors")


def test_weights_that_do_not_fit_are_named() -> None:
    model = torch.nn.Linear(4, 3)
    with pytest.raises(NetworkError) as caught:
        checkpoint.load_weights(model, {"weight": torch.zeros(3, 5), "extra": torch.zeros(1)}, Path("x"))
    assert "missing bias" in str(caught.value)
    assert "unexpected extra" in str(caught.value)
    assert "weight is (3, 5) instead of (3, 4)" in str(caught.value)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text(max_size=3)
    | st.floats(allow_nan=False, allow_infinity=False)
)
keys = st.integers(0, 9) | st.text(max_size=3) | st.tuples(st.integers(0, 3), st.integers(0, 3))
trees = st.recursive(
    scalars | st.integers(0, 5).map(torch.arange),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@settings(deadline=None, max_examples=60)
@given(trees)
def test_any_optimiser_state_comes_back(tree: Any) -> None:
    import json

    tensors: dict[str, torch.Tensor] = {}
    image = json.loads(json.dumps(checkpoint.flatten(tree, "s", tensors)))
    assert same(checkpoint.unflatten(image, tensors), tree)
