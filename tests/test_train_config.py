"""A configuration that makes no sense is refused before anything is read or written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from unnoise.errors import ConfigError
from unnoise.run import TrainConfig
from unnoise.strategies import STRATEGIES


def config(**changes: Any) -> TrainConfig:
    if not {"steps", "epochs", "minutes"} & changes.keys():
        changes["steps"] = 1
    return TrainConfig(Path("data"), Path("run"), **changes)


# For each number: one that is just out of its range, and one just inside.
EDGES: dict[str, tuple[float, float]] = {
    "batch": (0, 1), "validations": (0, 1), "valid_tiles": (0, 1), "threads": (0, 1), "patch": (0, 1),
    "lookahead_k": (0, 1), "steps": (0, 1), "epochs": (0, 0.1), "minutes": (-1, 0.1), "lr": (0, 1e-9),
    "checkpoint_minutes": (0, 1e-4), "warmup": (-1, 0), "clip": (-0.1, 0), "weight_decay": (-1e-9, 0),
    "patience": (-1, 0), "seed": (-1, 0), "ema": (1, 0), "beta2": (1, 0), "lookahead_alpha": (0, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_numbers_out_of_range_are_refused_by_the_option_s_name(name: str) -> None:
    wrong, right = EDGES[name]
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} ") as caught:
        config(**{name: wrong})
    assert caught.value.hint.startswith("Give ")
    assert getattr(config(**{name: right}), name) == right


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("minutes", math.inf), ("lr", math.inf), ("clip", math.inf), ("ema", -0.1), ("beta2", -0.1),
        ("lookahead_alpha", 1.1), ("seed", 1 << 64),
        *((name, math.nan) for name in ("lr", "minutes", "epochs", "clip", "ema", "beta2", "weight_decay")),
    ],
)  # fmt: skip
def test_what_is_no_number_or_beyond_the_other_end(name: str, wrong: float) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} "):
        config(**{name: wrong})


def test_stored_copies_are_trained_on_as_pairs() -> None:
    assert config(noise="stored").strategy == "pairs"
    assert config().strategy == config(noise="gaussian:25").strategy == "supervised"
    assert {"pairs", "supervised"} == set(STRATEGIES)
