from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from unnoise import export
from unnoise.denoiser import load
from unnoise.errors import NetworkError
from unnoise.export import multiply_adds, parity, to_onnx, weights_of
from unnoise.models import build
from unnoise.models.normalized import normalized

OPTIONS = {
    "dense": {"size": 16},
    "split-dense": {"size": 16},
    "residual-unet": {"widths": [16, 16], "depths": [1, 1]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "split-dense", "convolutional", "unet", "residual-unet"])
def test_every_architecture_exports_with_parity(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, OPTIONS.get(name)).eval()
    proto = to_onnx(model)
    onnx.checker.check_model(proto)
    assert parity(model, proto) < 1e-5
    assert {v.name for v in proto.graph.input} == ({"noisy", "sigma"} if model.sigma_input else {"noisy"})
    assert [v.name for v in proto.graph.output] == ["denoised"]
    assert {o.domain for o in proto.opset_import} <= {"", "ai.onnx"}
    assert b"site-packages" not in proto.SerializeToString()
    assert str(Path(__file__).parents[1]).encode() not in proto.SerializeToString()


@pytest.mark.slow
def test_group_normalisation_is_inside_the_file() -> None:
    torch.manual_seed(0)
    model = normalized(
        build("residual-unet", OPTIONS["residual-unet"]),
        [[0.2] * 3, [0.8] * 3], [[0.1] * 3, [0.3] * 3], [[0.2] * 3, [0.8] * 3],
    ).eval()  # fmt: skip
    proto = to_onnx(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for value in (0.1, 0.9):
        noisy = np.full((1, 3, 16, 24), value, np.float32)
        sigma = np.full((1, 1, 1, 1), 0.1, np.float32)
        expected = model(torch.from_numpy(noisy), torch.from_numpy(sigma)).detach().numpy()
        got = session.run(None, {"noisy": noisy, "sigma": sigma})[0]
        assert np.abs(got - expected).max() < 1e-5


def test_disagreement_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = build("residual-unet", OPTIONS["residual-unet"]).eval()
    proto = to_onnx(model)
    with torch.no_grad():
        model.tail.weight.add_(0.01)  # type: ignore[union-attr, operator]
    with pytest.raises(NetworkError, match="differs from PyTorch"):
        parity(model, proto)
    monkeypatch.setattr(export, "PARITY_LIMIT", 1e9)
    assert parity(model, proto) > 1e-4
    with torch.no_grad():
        model.tail.weight.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(NetworkError, match="by nan"):
        parity(model, proto)


def test_multiply_adds_of_known_layers() -> None:
    model = build("convolutional")
    down = 128**2 * 3 * 64 * 9 + 64**2 * 64 * 128 * 9 + 32**2 * 128 * 256 * 9
    up = 32**2 * 256 * 128 * 9 + 64**2 * 128 * 64 * 9 + 128**2 * 64 * 3 * 9
    assert multiply_adds(model, 256) == down + up
    assert multiply_adds(build("residual-unet"), 256) == pytest.approx(2.99e9, rel=0.002)


def test_the_shipped_network_is_whole_and_can_be_trained_on() -> None:
    network = load("default")
    assert network.path.stat().st_size <= 8 * 2**20
    weights = weights_of(network.path)
    model = build("residual-unet")
    assert model.state_dict().keys() <= weights.keys()
    card = json.loads(onnx.load(network.path).metadata_props[0].value)
    assert card["weights_sha256"] == export._hash_of_weights(onnx.load(network.path))
    assert card["parity"]["max_abs"] <= export.PARITY_LIMIT
    assert card["licence"] == "Apache-2.0"
    assert card["gmac_256"] == pytest.approx(3, abs=0.1)
    for source in ("CID22", "CLIC", "CC0"):
        assert source in json.dumps(card["training"]["data"])


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nonsense")
    with pytest.raises(NetworkError, match="not a readable network"):
        weights_of(tmp_path / "x.onnx")
