"""What the system does to a run: full and read-only disks, kills, interruptions, pipes, little memory."""

from __future__ import annotations

import io
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import tiny_network

pytestmark = pytest.mark.skipif(os.name == "nt", reason="other systems have other faults")

UNNOISE = (sys.executable, "-m", "unnoise")
NETWORK = ("--network", "networks/default.onnx")
SAME = ("--network", "networks/same.onnx")
"""Changes nothing, so that noise stays as large as it is."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and a folder for photographs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "networks").mkdir()
    tiny_network.save(tmp_path / "networks" / "default.onnx")
    tiny_network.identity(tmp_path / "networks" / "same.onnx")
    (tmp_path / "photos").mkdir()
    return tmp_path


def photograph(name: str, height: int = 30, width: int = 41, seed: int = 0) -> Path:
    samples = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    PIL.Image.fromarray(samples).save(name)
    return Path(name)


def command(*arguments: str | Path, network: tuple[str, str] = NETWORK) -> list[str]:
    return [*UNNOISE, "denoise", *(str(each) for each in arguments), *network]


# --- disks -----------------------------------------------------------------------------------------

Shell = Callable[[str], subprocess.CompletedProcess[str]]


SHARED_MEMORY = Path("/dev/shm")
FEW = 512_000_000


def in_namespace(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script where mounts are its own, and end with it."""
    user = () if os.geteuid() == 0 else ("-U", "-r")
    return subprocess.run(
        ["unshare", *user, "-m", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def mounted_disk(here: Path) -> Shell:
    """Runs a script with a file system of a megabyte at ``disk``: a real one, so that its errors are real."""
    Path("disk").mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {shlex.quote(str(here / 'disk'))}"
    try:
        tried = in_namespace(f"{mount} && head -c 2000000 /dev/zero > disk/x; ls -l disk")
    except OSError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    if "No space left" not in tried.stderr:
        pytest.skip(f"nothing can be mounted here: {tried.stderr.strip()}")
    return lambda script: in_namespace(f"{mount} && {script}")


@pytest.fixture
def small_disk(here: Path, request: pytest.FixtureRequest) -> Iterator[Shell]:
    """The same; where nothing can be mounted, what a container's small shared memory has left is one."""
    try:
        yield request.getfixturevalue("mounted_disk")
        return
    except pytest.skip.Exception as skipped:
        free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_mount() else 0
        if not 2_000_000 < free < FEW:
            pytest.skip(f"there is no small file system: {skipped}, and none at {SHARED_MEMORY}")
    Path("disk").rmdir()
    filler = Path(tempfile.mkdtemp(dir=SHARED_MEMORY))

    def run(script: str) -> subprocess.CompletedProcess[str]:
        folder = Path(tempfile.mkdtemp(dir=SHARED_MEMORY))
        Path("disk").symlink_to(folder)
        try:
            with (filler / "filler").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(SHARED_MEMORY).free - 1_048_576)
            return subprocess.run(
                ["sh", "-c", script], capture_output=True, text=True, check=False, timeout=120
            )
        finally:
            (filler / "filler").unlink()
            Path("disk").unlink()
            shutil.rmtree(folder)

    yield run
    filler.rmdir()


def test_a_disk_that_fills_up_costs_only_what_does_not_fit(small_disk: Shell) -> None:
    for number in range(6):
        photograph(f"photos/{number}.png", 300, 300, seed=number)  # 270 kB each, 1.6 MB in all
    run = shlex.join(command("photos", "-o", "disk/out", "--threads", "2", "--json", network=SAME))
    done = small_disk(f"{run}; echo status $? >&2; ls -A disk/out >&2; cp -r disk/out kept")
    assert "status 1" in done.stderr
    records = {record["source"]: record for record in map(json.loads, done.stdout.splitlines())}
    assert len(records) == 6
    good = [record for record in records.values() if record["status"] == "done"]
    bad = [record for record in records.values() if record["status"] == "failed"]
    assert 2 <= len(good) <= 3
    for record in bad:
        assert "o space left" in record["error"]
        assert record["hint"]
        assert record["error"].count(record["source"]) == 1
    assert "Traceback" not in done.stderr
    left = {path.name for path in Path("kept").iterdir()}
    assert left == {Path(record["target"]).name for record in good} | {"manifest.jsonl"}
    for path in Path("kept").glob("*.png"):
        PIL.Image.open(io.BytesIO(path.read_bytes())).load()
    told = [json.loads(line) for line in Path("kept/manifest.jsonl").read_text().splitlines() if line]
    assert {line["target"] for line in told if line["status"] == "done"} >= {
        path for path in left if "png" in path
    }


def test_a_single_file_that_does_not_fit_leaves_nothing(small_disk: Shell) -> None:
    photograph("big.png", 600, 700)
    for output in ("disk/big.png", "disk/big.tif"):
        run = shlex.join(command("big.png", "-o", output, "-q", network=SAME))
        done = small_disk(f"{run}; echo status $?; ls -A disk")
        assert done.stdout == "status 1\n"
        assert f"unnoise: big.png: {output}: cannot be written: No space left on device" in done.stderr


def test_in_place_on_a_full_disk_keeps_the_picture(small_disk: Shell) -> None:
    original = photograph("big.png", 400, 500).read_bytes()
    run = shlex.join(command("disk/big.png", "--in-place", "-q", network=SAME))
    done = small_disk(f"cp big.png disk; {run}; echo status $?; ls -A disk; cp disk/big.png after.png")
    assert done.stdout == "status 1\nbig.png\n"
    assert "o space left" in done.stderr
    assert Path("after.png").read_bytes() == original


def test_a_disk_that_is_full_already_is_said_before_any_work(small_disk: Shell) -> None:
    photograph("photos/big.png", 400, 500)
    run = shlex.join(command("photos", "-o", "disk/out"))
    done = small_disk(f"head -c 1000000 /dev/zero > disk/x 2> /dev/null; {run}; echo status $?; ls -A disk")
    assert done.stdout == "status 2\nx\n"
    assert done.stderr.startswith("unnoise: ")
    assert "not enough space: about " in done.stderr
    assert "network tiny" not in done.stderr


def test_a_disk_that_is_read_only_is_said_before_any_work(mounted_disk: Shell) -> None:
    photograph("photos/a.png")
    run = shlex.join(command("photos", "-o", "disk/out"))
    done = mounted_disk(f"mount -o remount,ro {Path('disk').absolute()}; {run}; echo status $?; ls -A disk")
    assert done.stdout == "status 2\n"
    assert "disk: cannot be written to" in done.stderr
    assert "network tiny" not in done.stderr


def test_a_picture_on_a_disk_that_is_read_only_is_not_replaced(mounted_disk: Shell) -> None:
    photograph("a.png")
    folder = Path("disk").absolute()
    run = shlex.join(command("disk/a.png", "--in-place"))
    done = mounted_disk(f"cp a.png disk; mount -o remount,ro {folder}; {run}; echo status $?; ls -A disk")
    assert done.stdout == "status 2\na.png\n"
    assert "disk: cannot be written to" in done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_said_before_any_work(here: Path) -> None:
    photograph("photos/a.png")
    Path("locked").mkdir(mode=0o555)
    done = subprocess.run(command("photos", "-o", "locked/out"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "locked: cannot be written to" in done.stderr


# --- kills -----------------------------------------------------------------------------------------

REPLACING = '''
import itertools, os, random, signal, sys, time
from pathlib import Path
from unnoise import denoising
from unnoise.cleaning import Job, clean_file
from unnoise.denoising import Settings
from unnoise.files import LEFTOVERS, remove_leftovers
from unnoise.manifest import Manifest, Recipe
from unnoise.planning import Task

class Nothing:
    """A network that is not asked."""
    def clean(self, image, settings, on_tile=None):
        return denoising.clean(None, image, settings, on_tile)

class Turn:
    network, settings = Nothing(), Settings(strength=0)
    def expect(self, size): pass
    def footprint(self, image): return 0
    def on_tile(self, done, total): pass

def replace_for_ever(turn):
    job = Job(manifest=Manifest("manifest.jsonl", Recipe("none", "0")))
    for source in itertools.cycle(["a.png", "b.png"] if turn % 2 else ["b.png", "a.png"]):
        result = clean_file(Task(source, "out.png", may_replace=True), job, Turn())
        assert result.status == "done", result

moments = random.Random(0)
whole = {}
for source in ("a.png", "b.png"):
    assert clean_file(Task(source, "out.png", may_replace=True), Job(), Turn()).status == "done"
    whole[Path("out.png").read_bytes()] = source
assert len(whole) == 2
seen, left = set(), 0
for turn in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        try:
            replace_for_ever(turn)
        finally:
            os._exit(3)
    time.sleep(moments.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    data = Path("out.png").read_bytes()
    assert data in whole, "neither the old nor the new file"
    seen.add(whole[data])
    left += len(list(Path().glob(LEFTOVERS)))
    if Path("manifest.jsonl").exists():
        manifest = Manifest("manifest.jsonl", Recipe("none", "0"))
        assert manifest.standing(whole[data], "out.png") in ("current", "stale"), "without a record"
    remove_leftovers(Path("."), shared=True)
    assert not list(Path().glob(LEFTOVERS))
print(len(seen), left)
'''


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file_and_its_record(here: Path) -> None:
    for seed, name in enumerate(("a.png", "b.png")):
        photograph(name, 150, 200, seed=seed)
    done = subprocess.run(
        [sys.executable, "-c", REPLACING, "200"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    seen, left = map(int, done.stdout.split())
    assert seen == 2  # it was killed after writing either of them
    assert left > 10  # and often in the middle


@pytest.mark.slow
def test_what_was_killed_twice_is_resumed_without_redoing_or_missing_a_file(here: Path) -> None:
    for number in range(120):
        photograph(f"photos/{number:03}.png", 64, 64, seed=number)
    moments = random.Random(1)
    arguments = command("photos", "-o", "out", "--sigma", "10", "--threads", "2")
    times: dict[str, int] = {}
    for attempt in range(2):
        process = subprocess.Popen([*arguments, "--resume"], stderr=subprocess.DEVNULL)
        enough = len(times) + 15
        while process.poll() is None and len(list(Path().glob("out/*.png"))) < enough:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.01))
        process.kill()
        assert process.wait() == -signal.SIGKILL, attempt
        for path in Path().glob("out/*.png"):
            assert times.setdefault(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    assert 30 <= len(times) < 120
    done = subprocess.run([*arguments, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{120 - len(times)} done, {len(times)} existed already, 0 failed" in done.stderr
    assert {path.name for path in Path("out").iterdir()} == {
        "manifest.jsonl",
        *(f"{number:03}.png" for number in range(120)),
    }
    for name, before in times.items():
        assert Path("out", name).stat().st_mtime_ns == before
    told: Counter[str] = Counter()
    for line in Path("out/manifest.jsonl").read_text().splitlines():
        try:
            told[json.loads(line)["target"]] += 1
        except ValueError:
            continue
    assert set(told) == {f"{number:03}.png" for number in range(120)}
    # At each kill, each of two workers may have been between a record and its file.
    assert sum(told.values()) <= 120 + 2 * 2
    again = subprocess.run([*arguments, "--resume"], capture_output=True, text=True, check=False)
    assert "0 done, 120 existed already, 0 failed" in again.stderr


def test_resuming_makes_again_what_was_made_otherwise(here: Path) -> None:
    for number in range(3):
        photograph(f"photos/{number}.png", seed=number)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command("photos", "-o", "out", "--sigma", "10", *arguments),
            capture_output=True,
            text=True,
            check=False,
        )

    assert run().returncode == 0
    first = {path.name: path.read_bytes() for path in Path().glob("out/*.png")}
    photograph("photos/1.png", seed=9)
    assert "1 done, 2 existed already" in run("--resume").stderr
    assert Path("out/1.png").read_bytes() != first["1.png"]
    assert "3 done, 0 existed already" in run("--resume", "--strength", "0.5").stderr
    Path("out/2.png").write_bytes(b"by hand")
    refused = run("--resume", "--strength", "0.5")
    assert refused.returncode == 2
    assert "changed since: out/2.png" in refused.stderr
    assert Path("out/2.png").read_bytes() == b"by hand"
    assert "1 done, 2 existed already" in run("--resume", "--strength", "0.5", "--overwrite").stderr
    assert "0 done, 3 existed already" in run("--skip-existing").stderr
    without = run("--resume", "--no-manifest")
    assert without.returncode == 2
    assert "--resume needs a manifest" in without.stderr


def test_in_place_resuming_does_not_denoise_twice(here: Path) -> None:
    for number in range(3):
        photograph(f"photos/{number}.png", seed=number)
    arguments = command("photos", "--in-place", "--sigma", "10", "--manifest", "log.jsonl", "-q")
    assert subprocess.run(arguments, check=False).returncode == 0
    after = {path.name: path.read_bytes() for path in Path("photos").iterdir()}
    photograph("photos/3.png", seed=3)
    assert subprocess.run([*arguments, "--resume"], check=False).returncode == 0
    assert {name: Path("photos", name).read_bytes() for name in after} == after
    assert len(Path("log.jsonl").read_text().splitlines()) == 4


# --- interruptions and pipes -----------------------------------------------------------------------


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_ctrl_c_stops_within_a_large_picture(here: Path, threads: str) -> None:
    for number in range(2):
        photograph(f"photos/{number}.tif", 3000, 4000, seed=number)
    process = subprocess.Popen(
        command("photos", "-o", "out", "--tile", "64", "--threads", threads), stderr=subprocess.PIPE
    )
    wait_for(lambda: bool(list(Path().glob("out/.unnoise-*"))), process)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - start < 5
    assert b"Traceback" not in told
    assert b"0 done, 0 existed already, 0 failed, 2 not done" in told
    assert list(Path("out").iterdir()) == []


def test_a_watch_ends_with_ctrl_c_and_its_summary(here: Path) -> None:
    photograph("photos/a.png")
    process = subprocess.Popen(
        command("photos", "-o", "out", "--watch", "--interval", "0.05"), stderr=subprocess.PIPE
    )
    wait_for(lambda: Path("out/a.png").exists(), process)
    Path("photos/bad.png").write_bytes(b"")
    photograph("photos/b.png.part.png").rename("photos/b.png")
    wait_for(lambda: Path("out/b.png").exists() and b"bad" in manifest("out"), process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"2 done, 0 existed already, 1 failed" in told
    assert told.count(b"photos/bad.png: the file is empty") == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.png", "manifest.jsonl"]


def manifest(folder: str) -> bytes:
    path = Path(folder, "manifest.jsonl")
    return path.read_bytes() if path.exists() else b""


@pytest.mark.parametrize("arguments", [("photos/a.png", "-o", "-"), ("photos", "-o", "out", "--json")])
def test_a_closed_pipe_is_quiet_and_leaves_nothing_half(here: Path, arguments: tuple[str, ...]) -> None:
    for number in range(4):
        photograph(f"photos/{'a' * (number + 1)}.png", 300, 300, seed=number)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command(*arguments, "-q"), stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(writer)
    assert done.returncode == 130
    assert done.stderr == b""
    assert not list(Path().rglob(".unnoise-*"))
    for path in Path().glob("out/*.png"):
        PIL.Image.open(io.BytesIO(path.read_bytes())).load()


# --- memory ----------------------------------------------------------------------------------------

SHORT = """
import resource, sys
import unnoise.jobs
from unnoise import cli, denoiser
load = denoiser.load
def limited(*arguments, **how):
    network = load(*arguments, **how)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), resource.RLIM_INFINITY))
    return network
denoiser.load = limited
cli.main(sys.argv[2:])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is one of Linux")
def test_where_memory_is_short_tiles_get_smaller_and_that_is_said(here: Path) -> None:
    photograph("big.png", 1500, 1500)
    arguments = ["denoise", "big.png", "-o", "out.png", "--tile", "1600", "--sigma", "9", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", SHORT, str(350_000_000), *arguments, *NETWORK],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "out of memory" in done.stderr
    assert "smaller" in done.stderr or "tiles of" in done.stderr
    assert PIL.Image.open(io.BytesIO(Path("out.png").read_bytes())).size == (1500, 1500)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is one of Linux")
def test_where_there_is_no_memory_at_all_the_file_fails(here: Path) -> None:
    photograph("photos/big.png", 4000, 4000)
    photograph("photos/small.png")
    arguments = ["denoise", "photos", "-o", "out", "--sigma", "9", "--threads", "1", "-q"]
    done = subprocess.run(
        [sys.executable, "-c", SHORT, str(30_000_000), *arguments, *NETWORK],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("unnoise: photos/big.png: ")
    assert "memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["manifest.jsonl", "small.png"]
