from __future__ import annotations

import os

import pytest

from unnoise import runtime


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_quota", lambda: 100)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert runtime.available_cores() == 1
    # Processors that the system tells nothing of count as cores of their own.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {100_000, 100_001, 100_002}, raising=False)
    assert runtime.available_cores() == 3


def test_a_containers_share_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(100_000, 100_008)), raising=False)
    monkeypatch.setattr(runtime, "_quota", lambda: 2)
    assert runtime.available_cores() == 2


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", 1 << 16), ("200000 100000", 2), ("50000 100000", 1), ("", 1 << 16)]
)
def test_the_share_is_read_as_the_kernel_writes_it(
    monkeypatch: pytest.MonkeyPatch, text: str, cores: int
) -> None:
    monkeypatch.setattr(runtime.Path, "read_text", lambda _: text)
    assert runtime._quota() == cores


def test_systems_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert runtime.available_cores() == (os.cpu_count() or 1)
