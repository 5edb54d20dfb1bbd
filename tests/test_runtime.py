from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny_network
from unnoise import runtime
from unnoise.card import Card, parse_card
from unnoise.runtime import AUTO, BACKENDS, BFLOAT16, FLOAT32, LARGEST_LOSS, LOSS, Session, resolved


def test_backends_in_a_process_of_their_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    tests = Path(__file__).with_name("openvino_backend.py")
    done = subprocess.run([*command, str(tests)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 5, done.stdout


# --- precision ----------------------------------------------------------------------------------------


class Fast(runtime.OnnxRuntime):
    """A backend that says it has bfloat16, and keeps what it was asked for."""

    asked = ""

    def __init__(self, path: Path, threads: int, precision: str) -> None:
        Fast.asked = precision
        super().__init__(path, threads, FLOAT32)

    @staticmethod
    def precisions() -> tuple[str, ...]:
        return (BFLOAT16, FLOAT32)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(BACKENDS, "fast", Fast)
    return "fast"


def card(told: Any = None) -> Card:
    scores = {} if told is None else {LOSS: told}
    return parse_card(json.dumps({**tiny_network.CARD, "scores": scores}), "here")


def test_auto_is_the_fastest_that_the_card_calls_harmless(fast: str) -> None:
    assert resolved(AUTO, fast, card({BFLOAT16: LARGEST_LOSS})) == BFLOAT16
    assert resolved(AUTO, fast, card({BFLOAT16: LARGEST_LOSS + 0.001})) == FLOAT32
    assert resolved(AUTO, "onnxruntime", card({BFLOAT16: 0.0})) == FLOAT32


@pytest.mark.parametrize("told", [{}, [], "bfloat16", {BFLOAT16: None}, {BFLOAT16: "0"}, {BFLOAT16: True}])
def test_auto_is_float32_where_the_card_says_nothing_of_use(fast: str, told: Any) -> None:
    assert resolved(AUTO, fast, card(told)) == FLOAT32


def test_auto_is_float32_where_nothing_was_measured(fast: str) -> None:
    assert resolved(AUTO, fast, card()) == FLOAT32


def test_what_was_named_is_taken(fast: str) -> None:
    described = card({BFLOAT16: 0.0})
    assert resolved(FLOAT32, fast, described) == FLOAT32
    assert resolved(BFLOAT16, fast, card()) == BFLOAT16


def test_a_session_says_what_auto_became(tmp_path: Path, fast: str) -> None:
    described = card({BFLOAT16: 0.01})
    path = tiny_network.save(tmp_path / "n.onnx")
    assert Session(path, described, 1, backend=fast, precision=AUTO).precision == BFLOAT16
    assert Fast.asked == BFLOAT16
    assert Session(path, described, 1, precision=AUTO).precision == FLOAT32
