from __future__ import annotations

import os

import pytest

from unnoise import cores
from unnoise.cores import available_cores


def allow(monkeypatch: pytest.MonkeyPatch, cpus: set[int], *, quota: int = 100) -> None:
    monkeypatch.setattr(cores, "_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cpus, raising=False)


@pytest.mark.parametrize("physical", [False, True])
def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch, physical: bool) -> None:
    allow(monkeypatch, {0})
    assert available_cores(physical=physical) == 1
    # Processors that the system tells nothing of count as cores of their own.
    allow(monkeypatch, {100_000, 100_001, 100_002})
    assert available_cores(physical=physical) == 3


def test_hyper_threads_count_once_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, {0, 1, 2, 3})
    monkeypatch.setattr(cores, "_siblings", lambda cpu: f"{cpu % 2},{cpu % 2 + 2}\n")
    assert available_cores() == 4
    assert available_cores(physical=True) == 2


@pytest.mark.parametrize("physical", [False, True])
def test_a_containers_share_is_kept(monkeypatch: pytest.MonkeyPatch, physical: bool) -> None:
    allow(monkeypatch, set(range(100_000, 100_008)), quota=2)
    assert available_cores(physical=physical) == 2


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000", 1 << 16), ("200000 100000", 2), ("50000 100000", 1), ("", 1 << 16)]
)
def test_the_share_is_read_as_the_kernel_writes_it(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    monkeypatch.setattr(cores.Path, "read_text", lambda _: text)
    assert cores._quota() == expected


def test_systems_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert available_cores() == available_cores(physical=True) == (os.cpu_count() or 1)
