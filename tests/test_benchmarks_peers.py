"""Published networks as network files do what their authors' code does; with weights made up here."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from unnoise import denoiser

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import peers

State = dict[str, np.ndarray]


def made_up(name: str, width: int = 8, depth: int = 4) -> State:
    peer = peers.PEERS[name]
    rng = np.random.default_rng(0)
    picture = 3 * peer.factor**2
    widths = [picture + (peer.sigma_range is not None), *[width] * (depth - 1), picture]
    state: State = {}
    for number, (before, after) in enumerate(itertools.pairwise(widths)):
        scale = (2 / (9 * before)) ** 0.5
        state[f"model.{2 * number}.weight"] = rng.normal(0, scale, (after, before, 3, 3)).astype(np.float32)
        state[f"model.{2 * number}.bias"] = rng.normal(0, 0.1, after).astype(np.float32)
    return state


def convolved(state: State, made: torch.Tensor) -> torch.Tensor:
    numbers = sorted({int(name.split(".")[1]) for name in state})
    for number in numbers:
        weight, bias = (torch.from_numpy(state[f"model.{number}.{kind}"]) for kind in ("weight", "bias"))
        made = functional.conv2d(made, weight, bias, padding=1)
        if number != numbers[-1]:
            made = functional.relu(made)
    return made


def ffdnet(state: State, noisy: torch.Tensor, sigma: float) -> torch.Tensor:
    squares = functional.pixel_unshuffle(noisy, 2)
    level = torch.full_like(squares[:, :1], sigma / 255)
    return functional.pixel_shuffle(convolved(state, torch.cat([squares, level], 1)), 2)


def dncnn(state: State, noisy: torch.Tensor, _sigma: float) -> torch.Tensor:
    return noisy - convolved(state, noisy)


REFERENCES: dict[str, Callable[[State, torch.Tensor, float], torch.Tensor]] = {
    "ffdnet": ffdnet,
    "dncnn": dncnn,
}


@pytest.mark.parametrize("name", sorted(peers.PEERS))
def test_a_peer_runs_as_its_reference_does(name: str, tmp_path: Path) -> None:
    state = made_up(name)
    network = denoiser.load(peers.write(name, state, tmp_path), threads=1)
    noisy = np.random.default_rng(1).random((30, 44, 3), dtype=np.float32)
    for sigma in (10.0, 60.0):
        expected = REFERENCES[name](state, torch.from_numpy(noisy.transpose(2, 0, 1)[None]), sigma)
        np.testing.assert_allclose(network(noisy, sigma), expected[0].numpy().transpose(1, 2, 0), atol=2e-6)


@pytest.mark.parametrize("name", sorted(peers.PEERS))
def test_its_halo_is_all_that_a_pixel_depends_on(name: str, tmp_path: Path) -> None:
    state = made_up(name)
    network = denoiser.load(peers.write(name, state, tmp_path), threads=1)
    halo = network.card.halo
    noisy = np.random.default_rng(1).random((4 * halo + 20, 8, 3), dtype=np.float32)
    middle = 2 * halo + 10
    before = network(noisy, 25)[middle]
    noisy[: middle - halo] += 1
    noisy[middle + halo + 1 :] += 1
    np.testing.assert_array_equal(network(noisy, 25)[middle], before)


@pytest.mark.parametrize(
    ("name", "width", "depth", "gmac", "parameters"),
    [("ffdnet", 96, 12, 13.943, 852_108), ("dncnn", 64, 20, 43.714, 668_227)],
)
def test_the_published_size_has_the_published_cost(
    name: str, width: int, depth: int, gmac: float, parameters: int
) -> None:
    card = peers.card(name, made_up(name, width, depth))
    assert card["gmac_256"] == pytest.approx(gmac, abs=0.001)
    assert card["parameters"] == parameters


def test_weights_of_another_network_are_refused() -> None:
    state = made_up("ffdnet")
    with pytest.raises(ValueError, match="expected 3 inputs"):
        peers.graph(peers.PEERS["dncnn"], state)
    with pytest.raises(ValueError, match="no layer of it"):
        peers.graph(peers.PEERS["ffdnet"], {**state, "body.0.weight": state["model.0.weight"]})
    with pytest.raises(ValueError, match="makes 12 channels"):
        peers.graph(replace(peers.PEERS["ffdnet"], factor=1), {**state, **_narrow(state)})


def _narrow(state: State) -> State:
    return {"model.0.weight": np.ascontiguousarray(state["model.0.weight"][:, :4])}


def test_nothing_is_written_where_there_are_no_weights(tmp_path: Path) -> None:
    assert peers.export(tmp_path, tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
