"""What a method takes is measured where nothing else happens, and told for a megapixel."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pytest

from unnoise import costs
from unnoise.errors import DataError
from unnoise.filters import FloatArray, parse


@dataclass(frozen=True)
class Busy:
    """Sleeps, and holds memory meanwhile."""

    name: str
    seconds: float = 0.0
    megabytes: int = 0
    fingerprint: str = "busy"

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        held = np.ones(self.megabytes * 125_000)
        time.sleep(self.seconds)
        return noisy + np.float32(held[:1].sum() if self.megabytes else 0)


@dataclass(frozen=True)
class Deadly:
    name: str = "deadly"
    fingerprint: str = "deadly"

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        raise SystemExit(3)


class Local:
    """Cannot be told from others, so it is not handed over."""

    name = "local"

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        raise AssertionError


NOISY = np.random.default_rng(0).random((40, 30, 3), np.float32)


def test_time_and_memory_are_those_of_a_megapixel() -> None:
    methods = {
        "slow": Busy("slow", seconds=0.05),
        "large": Busy("large", megabytes=100),
        "median": parse("median"),
        "local": Local(),
    }
    found = costs.measure(methods, NOISY, 25, rounds=2)
    assert found["local"] is None
    slow, large, median = found["slow"], found["large"], found["median"]
    assert slow is not None
    assert large is not None
    assert median is not None
    assert slow.pixels == costs.SIDE**2
    assert slow.rounds == 2
    assert slow.seconds > 0.05 / slow.pixels * 1e6
    assert slow.cpu_seconds < slow.seconds
    assert median.seconds > 0
    # Where the system tells: 100 MB for a picture of 0.26 megapixels are 381 MB for a whole one.
    assert large.megabytes is None or 380 < large.megabytes < 480
    assert slow.megabytes is None or slow.megabytes < 60
    assert "512 × 512" in costs.how(found)
    assert "2 rounds" in costs.how(found)


def test_a_slow_method_is_not_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_ENOUGH", 0.1)
    found = costs.measure({"slow": Busy("slow", seconds=0.2)}, NOISY, None, rounds=5)["slow"]
    assert found is not None
    assert found.rounds == 1


def test_large_methods_are_not_open_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_HEAVY", 1)
    order: list[str] = []
    ask = costs._ask
    monkeypatch.setattr(
        costs, "_ask", lambda process, name, work: (order.append(name), ask(process, name, work))[1]
    )
    costs.measure({"a": Busy("a"), "b": Busy("b")}, NOISY, None, rounds=2)
    if costs.resident("VmRSS") is not None:
        assert order == ["a"] * 3 + ["b"] * 3


def test_a_method_that_takes_its_process_down_is_named() -> None:
    with pytest.raises(DataError, match="deadly took its process down"):
        costs.measure({"deadly": Deadly()}, NOISY, None)
