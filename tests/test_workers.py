from __future__ import annotations

import math
import operator
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from unnoise.errors import DataError, UnnoiseError
from unnoise.workers import Workers


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_the_items(count: int) -> None:
    with Workers(count) as pool:
        assert list(pool.map(math.sqrt, [float(n * n) for n in range(40)], name=str)) == list(range(40))


def test_the_work_is_done_in_other_processes_and_they_are_gone_afterwards() -> None:
    with Workers(2) as pool:
        identities = set(pool.map(eval, ["__import__('os').getpid()"] * 12, name=str))
    assert os.getpid() not in identities
    assert 1 <= len(identities) <= 2
    for identity in identities:
        with pytest.raises(ProcessLookupError):
            os.kill(identity, 0)


@pytest.mark.parametrize("count", [1, 2])
def test_an_unforeseen_error_names_the_item(count: int) -> None:
    with Workers(count) as pool, pytest.raises(DataError, match=r"photo -1\.0.*ValueError"):
        list(pool.map(math.sqrt, [4.0, -1.0, 9.0], name=lambda item: f"photo {item}"))


def test_an_error_for_the_user_comes_through_with_its_hint() -> None:
    code = 'exec(\'from unnoise.errors import ImageError; raise ImageError("bad", hint="do this")\')'
    with Workers(2) as pool, pytest.raises(UnnoiseError, match="bad") as caught:
        list(pool.map(eval, [code], name=str))
    assert (caught.value.code, caught.value.hint) == ("image", "do this")


def test_a_worker_that_dies_names_the_item() -> None:
    with Workers(2) as pool, pytest.raises(DataError, match=r"died \(exit status 7\).*photo 7"):
        list(pool.map(os._exit, [7], name=lambda item: f"photo {item}"))


def test_leaving_early_does_not_wait_for_the_rest() -> None:
    start = time.monotonic()
    with Workers(2) as pool:
        results = pool.map(time.sleep, [0.0] + [30.0] * 6, name=str)
        next(results)
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert time.monotonic() - start < 15


def test_printing_does_not_disturb_the_results() -> None:
    with Workers(2) as pool:
        assert list(pool.map(partial(operator.mod, "%s"), ["a"], name=str)) == ["a"]
        assert list(pool.map(print, ["noise"] * 3, name=str)) == [None] * 3


def test_a_script_without_a_guard_may_use_workers(tmp_path: Path) -> None:
    script = (
        "import math\nfrom unnoise.workers import Workers\n"
        "with Workers(2) as pool: print(list(pool.map(math.sqrt, [4.0], name=str)))"
    )
    done = subprocess.run(
        [sys.executable, "-"], input=script, capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == "[2.0]"


def test_workers_import_nothing_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)
    with Workers(2) as pool:
        assert list(pool.map(math.sqrt, [4.0], name=str)) == [2.0]
