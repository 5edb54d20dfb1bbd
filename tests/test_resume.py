"""What a run goes on from or starts from: its own checkpoint, its own data, weights that fit."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from click.testing import CliRunner, Result

import tiny_dataset
from unnoise import checkpoint, cli
from unnoise.dataset import data_hash
from unnoise.denoiser import find
from unnoise.errors import ConfigError, DataError, NetworkError
from unnoise.export import export_run, weights_of
from unnoise.run import Run
from unnoise.train import train
from unnoise.trainconfig import TrainConfig

SMALL: dict[str, Any] = {"widths": [16, 16], "depths": [1, 1]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset.build(tmp_path_factory.mktemp("resume"), side=48, tile=16).path


def config(data: Path, out: Path, **changes: Any) -> TrainConfig:
    base = TrainConfig(data, out, model_options=SMALL, steps=6, batch=4, validations=3, warmup=0, threads=1)
    return replace(base, **changes)


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- the checkpoint ----------------------------------------------------------------------------------


def test_a_finished_run_without_its_checkpoint_is_left_alone(data: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "r")
    train(config(data, run.path))
    run.network.touch()
    run.last.unlink()
    before = contents(run.path)
    with pytest.raises(ConfigError, match="is finished") as caught:
        train(run.config(), resume=True)
    assert f"--from {run.path}" in caught.value.hint
    assert contents(run.path) == before


def test_a_run_killed_before_its_first_checkpoint_begins_again(data: Path, tmp_path: Path) -> None:
    whole, run = train(config(data, tmp_path / "whole")), Run(tmp_path / "r")
    train(config(data, run.path))
    # It had validated, so there are metrics and a best, but neither a checkpoint nor the end.
    run.last.unlink()
    lines: list[str] = []
    result = train(run.config(), resume=True, log=lines.append)
    assert "no checkpoint yet" in lines[0]
    assert (result.steps, result.best) == (whole.steps, whole.best)
    assert [m["step"] for m in run.metrics()] == [2, 4, 6]


def test_a_checkpoint_of_another_version_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "r")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "SCHEMA", 99)
        train(config(data, run.path))
    for use in (lambda: train(run.config(), resume=True), run.trained_model, run.state):
        with pytest.raises(NetworkError, match=r"another version of unnoise \(schema 99, this one reads 1\)"):
            use()


# --- the data ----------------------------------------------------------------------------------------


def test_a_run_goes_on_with_its_own_data_only(data: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "r")
    train(config(data, run.path))
    moved, other = tmp_path / "moved", tmp_path / "other"
    for copy in (moved, other):
        shutil.copytree(data, copy)
    text = (other / "manifest.jsonl").read_text(encoding="ascii")
    (other / "manifest.jsonl").write_text(re.sub(r'"noise_seed": ?\d', '"noise_seed":9', text, count=1))
    before = contents(run.path)
    with pytest.raises(DataError, match="another data set"):
        train(replace(run.config(), data=other), resume=True)
    assert contents(run.path) == before
    assert train(replace(run.config(), data=moved), resume=True).finished

    # Checkpoints from before this was kept.
    tensors, meta = checkpoint.load(run.last)
    del meta["state"]["data_sha256"]
    checkpoint.save(run.last, tensors, meta)
    assert train(replace(run.config(), data=other), resume=True).finished


def test_the_data_is_known_by_what_describes_it(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "copy")
    assert data_hash(tmp_path / "copy") == data_hash(data)
    with (tmp_path / "copy" / "dataset.json").open("a") as file:
        file.write("\n")
    assert data_hash(tmp_path / "copy") != data_hash(data)
    (tmp_path / "copy" / "manifest.jsonl").unlink()
    with pytest.raises(DataError, match="not whole"):
        data_hash(tmp_path / "copy")


# --- weights to start from ---------------------------------------------------------------------------


def test_training_starts_from_the_bundled_network(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unnoise.export.export_run", lambda run: run)
    length = ["--steps", 1, "--batch", 4, "--lr", 1e-9, "--ema", 0, "--threads", 1, "--precision", "float32"]
    done = command("train", data, "-o", tmp_path / "r", "--from", "gaussian", *map(str, length))
    assert done.exit_code == 0, done.output
    shipped = weights_of(find("gaussian"))
    tensors = checkpoint.load(Run(tmp_path / "r").best)[0]
    assert tensors.keys() == {name for name in shipped if "." in name}
    assert all(torch.allclose(tensor, shipped[name], atol=1e-6) for name, tensor in tensors.items())

    done = command("train", data, "-o", tmp_path / "x", "--from", "defautl", "--steps", "1")
    assert done.exit_code == 2
    assert "Did you mean 'default'?" in done.stderr


def test_a_folder_with_a_bundled_name_is_reached_by_its_path(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(config(data, tmp_path / "default"))
    monkeypatch.setattr("unnoise.export.export_run", lambda run: run)
    length = ["--steps", "1", "--batch", "4", "--threads", "1"]
    done = command("train", data, "-o", "r", "--from", "./default", *length)
    assert done.exit_code == 0, done.output
    assert Run(tmp_path / "r").config().model_options == SMALL


@pytest.mark.parametrize("kind", ["run", pytest.param("network", marks=pytest.mark.slow)])
def test_the_model_options_come_from_what_it_starts_from(data: Path, tmp_path: Path, kind: str) -> None:
    first = train(config(data, tmp_path / "a"))
    source = tmp_path / "a" if kind == "run" else export_run(tmp_path / "a", tmp_path / "a.onnx")
    start = {"steps": 1, "validations": 1, "lr": 1e-9, "ema": 0.0}
    second = train(config(data, tmp_path / "b", init=source, model_options={}, **start))
    assert Run(tmp_path / "b").config().model_options == SMALL
    assert second.best == pytest.approx(first.best, rel=0.02)
    with pytest.raises(NetworkError, match="does not fit") as caught:
        train(config(data, tmp_path / "c", init=source, model_options={"widths": [16, 32], "depths": [1, 1]}))
    assert "[16, 16]" in caught.value.hint
    with pytest.raises(NetworkError, match=r"its model is residual-unet, not unet"):
        train(config(data, tmp_path / "c", init=source, model="unet", model_options={}))
    with pytest.raises(NetworkError, match="does not fit: its normalize is none, not dataset") as caught:
        train(config(data, tmp_path / "c", init=source, normalize="dataset"))
    assert caught.value.hint == "Take --normalize none."


def test_weights_that_the_model_has_no_place_for_are_named(data: Path, tmp_path: Path) -> None:
    shallow = {"widths": [32, 32, 64], "depths": [4, 1, 1]}
    with pytest.raises(NetworkError, match=r"unexpected middle\.1\.first\.weight") as caught:
        train(config(data, tmp_path / "r", init=find("gaussian"), model_options=shallow))
    assert "{'widths': [32, 32, 64], 'depths': [4, 1, 2]}" in caught.value.hint
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_a_network_file_whose_normalisation_is_folded_in_is_refused(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "a", normalize="dataset"))
    file = export_run(tmp_path / "a", tmp_path / "a.onnx")
    with pytest.raises(NetworkError, match="normalisation") as caught:
        train(config(data, tmp_path / "b", normalize="dataset", init=file))
    assert "the run" in caught.value.hint
    train(config(data, tmp_path / "b", normalize="dataset", init=tmp_path / "a", steps=1))


def test_a_file_with_other_weights_than_its_card_says_is_refused(tmp_path: Path) -> None:
    proto = onnx.load(find("small"))
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == "tail.weight")
    weight.raw_data = bytes(4) + weight.raw_data[4:]
    onnx.save(proto, tmp_path / "changed.onnx")
    with pytest.raises(NetworkError, match="weights that its card was written for"):
        weights_of(tmp_path / "changed.onnx")


# --- what a person sees ------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_tiles_a_second_and_no_line_is_printed_into_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    train(config(data, tmp_path / "r"), log=lambda line: print(line, file=terminal))
    shown = terminal.getvalue()
    assert re.search(r"[1-9]\d* tiles/s\]", shown)
    lines = re.findall(r"(.)step \d+ .*? min", shown, flags=re.DOTALL)
    assert len(lines) == 3
    assert set(lines) <= {"\r", "\n"}  # each begins where a line begins, not behind the bar

    quiet = io.StringIO()
    monkeypatch.setattr("sys.stderr", quiet)
    train(config(data, tmp_path / "q"))
    assert quiet.getvalue() == ""
