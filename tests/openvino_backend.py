"""Every backend gives what the others give.

Run by test_runtime.py in a process of its own: OpenVINO and torch each have a oneDNN inside, and one that
trains after it has loaded both may crash.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny_network
from unnoise.denoiser import load
from unnoise.errors import ConfigError, MissingExtra, NetworkError, UnknownName
from unnoise.runtime import AUTO, BACKENDS, BFLOAT16, FLOAT32, LOSS, Session


def noisy(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@pytest.mark.parametrize("backend", sorted(set(BACKENDS) - {"onnxruntime"}))
@pytest.mark.parametrize("threads", [1, 2])
def test_backends_agree_in_float32(backend: str, threads: int) -> None:
    pytest.importorskip(backend)
    picture = noisy(200, 264, 3)
    expected = load(threads=1, precision=FLOAT32)(picture, 25)
    made = load(backend=backend, threads=threads, precision=FLOAT32)(picture, 25)
    # A two-hundredth of an 8-bit step; bfloat16, which OpenVINO takes by itself where it can, is a hundred
    # times further off.
    assert np.abs(made - expected).max() < 0.005 / 255
    assert np.abs(made - picture).max() > 0.1


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_network_of_any_card_runs_in_every_backend(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    for number, described in enumerate(
        (
            tiny_network.card(),
            tiny_network.card(sigma_input=False, sigma_range=None),
            tiny_network.card(sigma_input=False, sigma_range=None, fixed_size=56),
        )
    ):
        path = tiny_network.save(tmp_path / f"{number}.onnx", described)
        picture = noisy(70, 33, 3)
        expected = load(path)(picture, 25)
        np.testing.assert_allclose(load(path, backend=backend)(picture, 25), expected, atol=1e-5)


def test_results_are_not_overwritten_by_the_next_pass() -> None:
    pytest.importorskip("openvino")
    network = load("gaussian", backend="openvino", threads=1)
    first = network._run(noisy(1, 64, 64, 3), 0.1)
    kept = first.copy()
    network._run(noisy(1, 64, 64, 3) * 0, 0.1)
    np.testing.assert_array_equal(first, kept)


def test_bfloat16_is_only_taken_where_it_was_asked_for() -> None:
    pytest.importorskip("openvino")
    picture = noisy(64, 64, 3)
    try:
        coarse = load(backend="openvino", precision="bfloat16")(picture, 25)
    except ConfigError as error:
        assert "bfloat16" in str(error)  # noqa: PT017 - an old processor has none
        return
    fine = load()(picture, 25)
    assert 0.05 / 255 < np.abs(coarse - fine).max() < 4 / 255


def test_auto_takes_bfloat16_where_the_card_and_the_processor_allow() -> None:
    pytest.importorskip("openvino")
    network = load()
    scores = {LOSS: {BFLOAT16: 0.02}}
    able = BACKENDS["openvino"].precisions()
    for told, expected in ((scores, able[0]), ({}, FLOAT32)):
        card = replace(network.card, scores=told)
        assert Session(network.path, card, 1, backend="openvino", precision=AUTO).precision == expected


def test_unknown_names_are_listed() -> None:
    with pytest.raises(UnknownName, match="unknown backend 'openvina'") as caught:
        load(backend="openvina")
    assert "openvino" in caught.value.hint
    with pytest.raises(UnknownName, match="unknown precision"):
        load(precision="int3")
    with pytest.raises(ConfigError, match="no bfloat16"):
        load(precision="bfloat16")


def test_a_missing_extra_gives_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingExtra, match="OpenVINO") as caught:
        load(backend="openvino")
    assert "openvino" in caught.value.hint


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_graph_that_does_not_load_is_one_line(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    model = tiny_network.build(tiny_network.CARD)
    model.graph.node[-1].input[1] = "nowhere"
    with pytest.raises(NetworkError, match="cannot load it") as caught:
        load(tiny_network.write(tmp_path / "n.onnx", model), backend=backend)
    assert "\n" not in str(caught.value)
