from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import tiny_dataset
import tiny_network
from unnoise import export
from unnoise.card import Card, read_card
from unnoise.denoiser import load
from unnoise.errors import ConfigError, NetworkError
from unnoise.export import export_run, load_initial, multiply_adds, parity, to_onnx, weights_of
from unnoise.models import Model, build, parameters
from unnoise.models.normalized import normalized
from unnoise.run import Run, State
from unnoise.tiles import load_dataset
from unnoise.trainconfig import TrainConfig

OPTIONS: dict[str, dict[str, Any]] = {
    "dense": {"size": 16},
    "split-dense": {"size": 16},
    "residual-unet": {"widths": [16, 16], "depths": [1, 1]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "split-dense", "convolutional", "unet", "residual-unet", "blind"])
def test_every_architecture_exports_with_parity(name: str) -> None:
    torch.manual_seed(0)
    if name == "blind":
        model = build("residual-unet", {**OPTIONS["residual-unet"], "blind": True}).eval()
    else:
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


def test_parity_is_measured_on_pictures_that_are_not_square_too(tmp_path: Path) -> None:
    class Uneven(Model):
        def forward(self, noisy: torch.Tensor, sigma: torch.Tensor | None = None) -> torch.Tensor:
            return noisy if noisy.shape[2] == noisy.shape[3] else noisy + 0.1

    with pytest.raises(NetworkError, match=r"by 0\.1"):
        parity(Uneven(), onnx.load(tiny_network.identity(tmp_path / "n.onnx")))


def test_multiply_adds_of_known_layers() -> None:
    model = build("convolutional")
    down = 128**2 * 3 * 64 * 9 + 64**2 * 64 * 128 * 9 + 32**2 * 128 * 256 * 9
    up = 32**2 * 256 * 128 * 9 + 64**2 * 128 * 64 * 9 + 128**2 * 64 * 3 * 9
    assert multiply_adds(model, 256) == down + up
    assert multiply_adds(build("residual-unet"), 256) == pytest.approx(3.02e9, rel=0.002)


COSTS = {"default": 2.99, "gaussian": 2.91, "small": 1.03}


@pytest.mark.parametrize("name", COSTS)
def test_the_bundled_networks_are_whole_and_can_be_trained_on(name: str) -> None:
    network = load(name)
    assert network.name == name
    assert network.card.sigma_input is (name != "default")
    assert network.path.stat().st_size <= 8 * 2**20
    model = build("residual-unet", network.card.training["model_options"])
    load_initial(model, network.path)
    card = json.loads(onnx.load(network.path).metadata_props[0].value)
    assert card["weights_sha256"] == export._hash_of_weights(onnx.load(network.path))
    assert card["parity"]["max_abs"] <= export.PARITY_LIMIT
    assert card["licence"] == "Apache-2.0"
    assert card["gmac_256"] == pytest.approx(COSTS[name], abs=0.01)
    for entry in ("description", "limits", "not_for"):
        assert card[entry]
    for source in ("CID22", "CLIC", "CC0"):
        assert source in json.dumps(card["training"]["data"])


# --- the card -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never trained: the export asks for its weights and for what is known of them."""
    run = Run(tmp_path_factory.mktemp("export") / "mine")
    config = TrainConfig(
        Path("/home/somebody/tiles"), run.path, model_options=OPTIONS["residual-unet"], minutes=3,
        noise="gaussian:0-55", beta2=0.98, clip=0.5, warmup=7, augment=False, init=Path("/home/somebody/old"),
    )  # fmt: skip
    run.create(config)
    torch.manual_seed(0)
    info = SimpleNamespace(noise="gaussian:50", counts={"train": 40}, photographs={"train": 4}, tile=16)
    state = State(step=5, examples=320, seconds=60.0, best=0.01, data_sha256="d5")
    run.save_best(config, info, build("residual-unet", OPTIONS["residual-unet"]), state)  # type: ignore[arg-type]
    return run.path


@pytest.fixture(scope="module")
def graph(run: Path) -> bytes:
    return to_onnx(Run(run).trained_model()[0]).SerializeToString()


@pytest.fixture
def quick(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter's seconds are spent once."""
    monkeypatch.setattr(export, "to_onnx", lambda _: onnx.load_from_string(graph))


def card_of(run: Path, out: Path, told: dict[str, Any], name: str | None = None) -> Card:
    return read_card(export_run(run, out, name=name, card=told))


@pytest.mark.usefixtures("quick")
def test_the_card_holds_the_whole_recipe(run: Path, tmp_path: Path) -> None:
    card = card_of(run, tmp_path / "n.onnx", {})
    assert (card.name, card.record["schema"], card.licence) == ("mine", 1, "not stated")
    facts = {
        "noise": "gaussian:0-55", "strategy": "supervised", "beta2": 0.98, "clip": 0.5, "warmup": 7,
        "augment": False, "precision": "bf16", "ema": 0.999, "lookahead_k": 5, "patience": 0, "threads": None,
        "model_options": OPTIONS["residual-unet"], "init": "old", "planned": {"minutes": 3}, "minutes": 1.0,
        "steps": 5, "examples": 320, "data_sha256": "d5", "tiles": 40,
    }  # fmt: skip
    assert {key: card.training[key] for key in facts} == facts
    left_out = {"data", "out", "model", "checkpoint_minutes", "tensorboard", "epochs"}
    assert {field.name for field in fields(TrainConfig)} - left_out <= card.training.keys()
    assert b"somebody" not in (tmp_path / "n.onnx").read_bytes()


@pytest.mark.usefixtures("quick")
def test_the_card_says_how_to_run_the_network(run: Path) -> None:
    model, _, _ = Run(run).trained_model()
    path = export_run(run)
    assert path == Run(run).network
    card = read_card(path)
    assert card.record["parity"]["max_abs"] < 1e-5
    assert card.record["weights_sha256"] == export._hash_of_weights(onnx.load(path))
    assert card.record["gmac_256"] == round(multiply_adds(model, 256) / 1e9, 3)
    assert (card.architecture, card.parameters) == ("residual-unet", parameters(model))
    assert (card.sigma_input, card.sigma_range) == (True, (0.0, 55.0))
    assert (card.size_multiple, card.fixed_size, card.halo, card.border) == (4, None, model.halo, 0)
    assert card.halo > 0
    assert (card.whole_image, card.scores) == (False, {"valid_mse": 0.01})


def another(run: Path, folder: Path, network: Model, **changes: Any) -> Run:
    """A run like that one, of another network."""
    _, config, _ = Run(run).trained_model()
    made = Run(folder / "other")
    config = replace(config, out=made.path, model_options={}, init=None, **changes)
    info = SimpleNamespace(noise="", counts={"train": 40}, photographs={"train": 4}, tile=16)
    made.create(config)
    made.save_best(config, info, network, State(step=5, examples=320, best=0.01))  # type: ignore[arg-type]
    return made


@pytest.mark.usefixtures("quick")
def test_the_card_of_a_blind_network_of_one_size(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "parity", lambda *_: 0.0)
    card = read_card(export_run(another(run, tmp_path, build("dense", {"size": 16}), model="dense").path))
    assert (card.sigma_input, card.sigma_range, card.fixed_size) == (False, None, 16)
    assert card.record["gmac_256"] is None


@pytest.mark.usefixtures("quick")
def test_a_network_of_colour_groups_must_see_the_whole_picture(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "parity", lambda *_: 0.0)
    statistics = [[0.2] * 3, [0.8] * 3]
    network = normalized(build("convolutional"), statistics, statistics, statistics)
    made = another(run, tmp_path, network, model="convolutional", normalize="groups")
    assert read_card(export_run(made.path)).whole_image


@pytest.mark.usefixtures("quick")
def test_a_failed_export_leaves_the_old_file_alone(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = another(run, tmp_path, build("residual-unet"))  # the graph is of another network
    made.network.write_bytes(b"old")
    with pytest.raises(NetworkError, match="differs from PyTorch"):
        export_run(made.path)
    monkeypatch.setattr(export, "parity", lambda *_: 0.0)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        export_run(made.path)
    assert made.network.read_bytes() == b"old"


@pytest.mark.usefixtures("quick")
def test_what_is_told_stands_beside_what_is_measured(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "n.onnx"
    told = {
        "name": "told",
        "licence": "CC0-1.0",
        "limits": ["none"],
        "training": {"data": ["my photographs"]},
    }
    card = card_of(run, out, told)
    assert (card.name, card.licence, card.record["limits"]) == ("told", "CC0-1.0", ["none"])
    assert (card.training["data"], card.training["steps"]) == (["my photographs"], 5)
    assert card_of(run, out, told, name="given").name == "given"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "told",
    [
        *({name: 1} for name in ("schema", "parameters", "gmac_256", "parity", "weights_sha256", "border")),
        {"training": {"steps": 10**9}}, {"training": {"data_sha256": "0"}}, {"training": 3}, {"scores": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_measured_cannot_be_told(run: Path, tmp_path: Path, told: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(told))):
        export_run(run, tmp_path / "n.onnx", card=told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_scores_are_those_of_the_weights(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out, scores = tmp_path / "n.onnx", {"CBSD68": 30.6}
    own = card_of(run, out, {}).record["weights_sha256"]
    for other in ({}, {"weights_sha256": "4ce2"}):
        caplog.clear()
        assert card_of(run, out, {"scores": {**scores, **other}}).scores == {"valid_mse": 0.01}
        assert "scores of other weights are left out" in caplog.text
        assert own in caplog.text
    caplog.clear()
    kept = card_of(run, out, {"scores": {**scores, "weights_sha256": own}})
    assert kept.scores == {"valid_mse": 0.01, **scores}
    assert caplog.text == ""
    with pytest.raises(ConfigError, match="valid_mse"):
        export_run(run, out, card={"scores": {"valid_mse": 0, "weights_sha256": own}})


@pytest.mark.slow
def test_integers_are_calibrated_on_a_data_set_and_the_card_says_what_they_lose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny_dataset.build(tmp_path).path
    network = build("residual-unet", {"widths": [16, 32], "depths": [1, 1]})
    made = Run(tmp_path / "r")
    config = TrainConfig(
        data, made.path, model_options={"widths": [16, 32], "depths": [1, 1]}, noise="gaussian:0-75", steps=1
    )
    info = SimpleNamespace(noise="", counts={"train": 40}, photographs={"train": 4}, tile=32)
    made.create(config)
    made.save_best(config, info, network, State(step=1, best=0.01))  # type: ignore[arg-type]
    plain, small = (
        export_run(made.path, tmp_path / "f.onnx"),
        export_run(made.path, tmp_path / "i.onnx", int8=data),
    )
    operators = {node.op_type for node in onnx.load(small).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    card = read_card(small).record
    assert (card["arithmetic"], read_card(plain).record["arithmetic"]) == ("int8", "float32")
    assert list(card["parity"]["int8_loss_db"]) == [f"gaussian:{level}" for level in (5, 15, 25, 50)]
    with pytest.raises(NetworkError, match="computes in integers"):
        load_initial(network, small)
    clean = load_dataset(data).split("valid").clean[0].astype(np.float32) / 255
    float_made, made_of_integers = (load(path)(clean, 25) for path in (plain, small))
    assert 0 < np.abs(float_made - made_of_integers).max() < 0.5 * np.abs(float_made - clean).max()


@pytest.mark.parametrize("name", COSTS)
def test_the_shipped_cards_are_those_in_the_files_and_their_scores_of_the_weights(name: str) -> None:
    path = load(name).path
    told = json.loads(path.with_suffix(".card.json").read_text(encoding="utf-8"))
    card = read_card(path)
    said = {name: value for name, value in told.items() if name not in ("scores", "training")}
    assert said.items() <= card.record.items()
    assert told["training"].items() <= card.training.items()
    assert told["scores"].pop("weights_sha256") == card.record["weights_sha256"]
    assert told["scores"].items() <= card.scores.items()


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nonsense")
    with pytest.raises(NetworkError, match="not a readable"):
        weights_of(tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("gaussian:25", [25, 25]),
        ("gaussian:0-75", [0, 75]),
        ("gaussian:5-20/gaussian:10-75", [5, 75]),
        ("realistic", [0, 255]),
        ("gaussian:5/realistic", [0, 255]),
        ("gaussian:3-8+gaussian:4-6", [5, 10]),
        ("gaussian:5+jpeg:80", [0, 255]),
        ("poisson-gaussian:0,2-9", [2, 9]),
        ("gaussian:0-255+gaussian:255", [255, 255]),
    ],
)
def test_a_card_s_range_of_sigma_is_that_of_the_training_noise(spec: str, told: list[float]) -> None:
    assert export._sigma_range(spec) == told
