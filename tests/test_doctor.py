from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result

import tiny_network
from unnoise import checkup, cli, denoiser, seams, selftest
from unnoise.checkup import FAULT, OK, WARNING, Finding, anonymous
from unnoise.codecs.base import Image
from unnoise.denoiser import load
from unnoise.errors import ConfigError, ImageError

ROOT = Path(__file__).parents[1]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["doctor", *map(str, arguments)])


def states(findings: Any) -> dict[str, str]:
    return {finding.name: finding.state for finding in findings}


# --- findings --------------------------------------------------------------------------------------


def test_every_dependency_and_extra_is_looked_at() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(lines: list[str]) -> set[str]:
        return {re.split(r"[<>=!~ ]", line)[0] for line in lines}

    assert set(checkup.RUNTIME) == names(project["dependencies"])
    extras = project["optional-dependencies"]
    assert {extra: set(found) for extra, found in checkup.EXTRAS.items()} == {
        extra: names(lines) for extra, lines in extras.items() if extra != "dev"
    }


def test_what_loads_and_what_does_not() -> None:
    names = {"numpy": "numpy", "no-such-thing": "no_such_thing", "Pillow": "PIL", "slow": "slow"}
    loaded = {
        "numpy": "",
        "PIL": "ImportError: libjpeg.so.8",
        "no_such_thing": "ModuleNotFoundError: No module named 'no_such_thing'",
        "slow": None,
    }
    needed = {found.name: found for found in checkup.packages("packages", names, loaded)}
    assert needed["numpy"].state == OK
    assert needed["numpy"].value == np.__version__
    assert needed["Pillow"].state == FAULT
    assert "libjpeg.so.8" in needed["Pillow"].value
    assert needed["Pillow"].advice.startswith("Install it again: ")
    assert needed["no-such-thing"].state == FAULT
    assert "not waited for" in needed["slow"].value
    extra = {found.name: found for found in checkup.packages("extra train", names, loaded, extra="train")}
    assert extra["no-such-thing"].state == OK
    assert "[train]" in extra["no-such-thing"].advice
    assert extra["Pillow"].state == FAULT


@pytest.mark.skipif(os.name == "nt", reason="signals differ there")
def test_an_import_that_kills_its_process_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old_processor.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    (tmp_path / "talkative.py").write_text("print('hello'); print('[1]')")
    monkeypatch.syspath_prepend(tmp_path)
    with checkup._Imports(["talkative", "json", "no_such_thing", "old_processor", "csv"]) as imports:
        found = imports.results(until=time.monotonic() + 60)
    assert (found["json"], found["talkative"]) == ("", "")
    assert found["no_such_thing"] == "ModuleNotFoundError: No module named 'no_such_thing'"
    assert found["old_processor"] == "the import was ended by SIGILL"
    assert "csv" not in found


def test_slow_imports_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleepy.py").write_text("import time; time.sleep(60)")
    monkeypatch.syspath_prepend(tmp_path)
    with checkup._Imports(["sleepy"]) as imports:
        assert imports.results(until=0).get("sleepy") is None


@pytest.mark.skipif(os.name == "nt", reason="signals differ there")
def test_a_test_run_that_dies_is_a_fault() -> None:
    code = (
        "import json, os, signal\n"
        "print(json.dumps({'section': 's', 'name': 'first', 'value': 'fine'}), flush=True)\n"
        "print('chatter', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSEGV)"
    )
    first, second = checkup.in_a_process("self-test", code)
    assert first == Finding("s", "first", "fine")
    assert (second.state, second.value) == (FAULT, "its process was ended by SIGSEGV")


def test_the_processor_and_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Old One\nflags\t\t: sse2 avx\n\nprocessor\t: 1\n")
    assert checkup._processor(cpuinfo) == ("Old One", {"sse2", "avx"})
    assert checkup._processor(tmp_path / "none")[0]
    monkeypatch.setattr(checkup.platform, "machine", lambda: "x86_64")
    for flags, state in (({"avx"}, WARNING), ({"avx2", "avx512f"}, OK), (set(), OK)):
        monkeypatch.setattr(checkup, "_processor", lambda _, flags=flags: ("It", flags))
        processor = next(checkup.machine())
        assert processor.state == state
        assert ("AVX-512" in processor.value) is ("avx512f" in flags)


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "available", lambda: 10**8)
    assert states(checkup.machine())["memory"] == WARNING
    monkeypatch.setattr(checkup, "available", lambda: 10**10)
    assert states(checkup.machine())["memory"] == OK


def test_a_temporary_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup.tempfile, "gettempdir", lambda: str(tmp_path / "gone"))
    found = {finding.name: finding for finding in checkup.surroundings()}
    assert found["temporary folder"].state == FAULT
    monkeypatch.setattr(checkup.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(checkup.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))
    assert states(checkup.surroundings())["temporary folder"] == WARNING


def test_variables_that_matter_are_told_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    found = {finding.name: finding.value for finding in checkup.surroundings()}
    assert (found["OMP_NUM_THREADS"], found["NO_COLOR"]) == ("7", "(empty)")
    assert "hunter2" not in str(found)


def test_the_user_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup.Path, "home", lambda: Path("/home/erika"))
    monkeypatch.setattr(checkup.getpass, "getuser", lambda: "erika")
    assert anonymous("/home/erika/x:/home/erika") == "~/x:~"
    assert anonymous("/home/erikas/x") == "/home/erikas/x"
    assert anonymous("/scratch/erika/x and /srv/erika") == "/scratch/USER/x and /srv/USER"
    assert anonymous("erikas American") == "erikas American"
    monkeypatch.setattr(checkup.Path, "home", lambda: Path("/"))
    assert anonymous("/usr/lib") == "/usr/lib"


# --- what is tried out -----------------------------------------------------------------------------


def test_every_format_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    from unnoise.formats import CODECS

    found = {finding.name: finding for finding in selftest.formats()}
    assert set(found) == {codec.title for codec in CODECS.values()}
    assert {finding.state for finding in found.values()} == {OK}


def test_a_format_that_does_not_work_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from unnoise import images

    def refuse(*_: object) -> None:
        raise ImageError("the encoder is not there", hint="Get it.")

    monkeypatch.setattr(images, "store", refuse)
    found = list(selftest.formats())
    assert {finding.state for finding in found if finding.value != "read"} == {WARNING}
    assert found[0].advice == "Get it."


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled networks, with a copy of the real one."""
    folder = tmp_path / "networks"
    folder.mkdir()
    shutil.copy(denoiser.NETWORKS / "default.onnx", folder)
    monkeypatch.setattr(denoiser, "NETWORKS", folder)
    return folder


def test_bundled_networks_are_checked(networks: Path) -> None:
    (fine,) = selftest.networks()
    assert fine.state == OK
    path = networks / "default.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (damaged,) = selftest.networks()
    assert damaged.state == FAULT
    assert "does not hold the weights" in damaged.value
    path.unlink()
    assert states(selftest.networks()) == {"default": FAULT}


def test_the_bundled_network_passes() -> None:
    found = {finding.name: finding for finding in selftest.denoising()}
    assert {finding.state for name, finding in found.items() if name != "speed"} == {OK}
    before, after = map(float, re.findall(r"([\d.]+) dB", found["quality"].value))
    assert 18 < before < 22
    assert after > before + 8


def test_a_network_that_does_nothing_fails(networks: Path) -> None:
    tiny_network.identity(networks / "default.onnx")
    assert states(selftest.denoising())["quality"] == FAULT


def test_a_network_whose_card_lies_fails(networks: Path) -> None:
    tiny_network.save(networks / "default.onnx", tiny_network.card(halo=1))
    assert states(selftest.denoising())["tiles"] == FAULT
    tiny_network.save(networks / "default.onnx")
    assert states(selftest.denoising())["tiles"] == OK


def test_what_goes_wrong_in_one_section_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Any:
        yield Finding("formats", "PNG", "fine")
        raise ValueError("oops")

    monkeypatch.setattr(selftest, "formats", broken)
    monkeypatch.setattr(selftest, "denoising", lambda: iter([Finding("self-test", "quality", "fine")]))
    selftest.main()
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ("formats", FAULT, "ValueError: oops") in [(f["section"], f["state"], f["value"]) for f in found]
    assert found[-1]["section"] == "self-test"


# --- the command -----------------------------------------------------------------------------------


def test_the_report_as_a_process(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "unnoise", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.stderr == ""
    *records, summary = map(json.loads, done.stdout.splitlines())
    assert summary == {"schema": 1, "record": "summary", "status": "done", "faults": 0} | {
        "warnings": sum(record["state"] == WARNING for record in records)
    }
    assert done.returncode == 0
    sections = {record["section"] for record in records}
    assert sections >= {"program", "machine", "packages", "formats", "networks", "backends", "self-test"}
    assert {record["name"] for record in records} >= {
        "quality",
        "speed",
        "tiles",
        "default",
        "torch",
        "numpy",
    }
    assert str(tmp_path) not in done.stdout
    assert "~, " in done.stdout


def test_the_report_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding("program", "unnoise", "0.1"),
        Finding("machine", "memory", "none", WARNING, "Buy some."),
        Finding("machine", "bad\x1bname", "x"),
    ]
    monkeypatch.setattr(checkup, "checkup", lambda: iter(findings))
    result = invoke()
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == ["program", "  ok       unnoise                0.1"]
    assert "  warning  memory                 none\n" in result.stdout
    assert "-> Buy some.\n" in result.stdout
    assert "bad\\x1bname" in result.stdout
    assert result.stdout.endswith("0 faults, 1 warning\n")
    assert invoke("-q").stdout.splitlines()[0] == "machine"
    monkeypatch.setattr(checkup, "checkup", lambda: iter(findings[:1]))
    assert invoke().stdout.endswith("\nall well\n")
    assert invoke("-q").stdout == ""


def test_a_fault_makes_the_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "checkup", lambda: iter([Finding("a", "b", "c", FAULT, "d")]))
    assert invoke().exit_code == 1
    result = invoke("--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout.splitlines()[-1])["status"] == "failed"


@pytest.mark.parametrize("option", ["--tile=64", "--network=default", "--sigma=3"])
def test_options_that_would_do_nothing_are_refused(option: str) -> None:
    assert invoke(option).exit_code == 2


# --- tiles -----------------------------------------------------------------------------------------


def photograph(height: int = 300, width: int = 360) -> Image:
    clean = selftest.picture(max(height, width))[:height, :width]
    noise = np.random.default_rng(1).normal(0, 25 / 255, clean.shape)
    return Image(np.clip(np.rint(255 * (clean + noise)), 0, 255).astype(np.uint8), "PNG")


WHOLE, CROPS = None, 1_000_000
"""Memory in which the picture has room, and in which it has none."""


@pytest.mark.parametrize("memory", [WHOLE, CROPS])
def test_tiles_of_an_honest_network_do_not_show(tmp_path: Path, memory: int | None) -> None:
    network = load(tiny_network.save(tmp_path / "n.onnx", tiny_network.card(border=6)))
    found = seams.compare(network, photograph(), tile=64, sigma=25, memory=memory)
    assert found.tiles > 20
    assert (found.crops > 0) is (memory is CROPS)
    assert found.worst < 0.01
    assert not found.fades


@pytest.mark.parametrize("memory", [WHOLE, CROPS])
def test_tiles_of_a_network_that_looks_further_show_on_seams(tmp_path: Path, memory: int | None) -> None:
    network = load(tiny_network.save(tmp_path / "n.onnx", tiny_network.card(halo=1)))
    found = seams.compare(network, photograph(), tile=64, sigma=25, memory=memory)
    assert found.seams.value > 1
    assert found.elsewhere.value < 0.01
    grid = network.grid(300, 360, tile=64)
    across, down = (
        min(abs(at - place) for at in seams._meetings(axis))
        for axis, place in ((grid.columns, found.seams.x), (grid.rows, found.seams.y))
    )
    assert min(across, down) < 4


def test_other_samples_and_sizes(tmp_path: Path) -> None:
    network = load(tiny_network.save(tmp_path / "n.onnx"))
    ramp = np.linspace(0, 65535, 90 * 70).reshape(90, 70, 1).astype(np.uint16)
    for image in (Image(ramp, "PNG", white=65535.0), Image(ramp[:1, :1], "PNG", white=65535.0)):
        assert seams.compare(network, image, tile=32).worst < 0.01
    odd = Image(np.full((40, 40, 3), np.nan, np.float32), "TIFF", white=1.0)
    with pytest.raises(ImageError, match="no numbers"):
        seams.compare(network, odd)


@pytest.mark.parametrize("kind", [{"fixed_size": 56}, {"whole_image": True}])
def test_networks_that_are_never_both_ways_are_refused(tmp_path: Path, kind: dict[str, object]) -> None:
    network = load(tiny_network.save(tmp_path / "n.onnx", tiny_network.card(**kind)))
    with pytest.raises(ConfigError, match="nothing to compare"):
        seams.compare(network, photograph())


def test_the_real_network_does_not_show_its_tiles() -> None:
    found = seams.compare(load("default"), photograph(), tile=None, sigma=25)
    assert found.tiles > 1
    assert found.worst < seams.BOUND


def test_tiles_are_verified_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    PIL.Image.fromarray(photograph().samples).save("a.png")
    tiny_network.save(tmp_path / "good.onnx")
    tiny_network.save(tmp_path / "bad.onnx", tiny_network.card(halo=1))
    arguments = ("--verify-tiles", "a.png", "--tile", 64, "--sigma", 25, "--network")
    good = invoke(*arguments, "good.onnx")
    assert good.exit_code == 0
    assert good.stdout.startswith("a.png: 360 × 300 pixels, ")
    assert "against the whole picture at once" in good.stdout
    assert "  ok: 0.1 of 1/255 is the bound\n" in good.stdout
    bad = invoke(*arguments, "bad.onnx")
    assert bad.exit_code == 1
    assert "FAULT" in bad.stdout
    assert "halo" in bad.stdout
    record = json.loads(invoke(*arguments, "bad.onnx", "--json").stdout)
    assert (record["status"], record["source"], record["frame"]) == ("failed", "a.png", 0)
    assert record["seams"]["value"] > record["bound"] == 0.1
    small = invoke("--verify-tiles", "a.png", "--tile", 64, "--sigma", 25)
    assert small.exit_code == 1
    card = load("gaussian").card
    assert f"take a --tile of at least {2 * card.halo + card.size_multiple}" in small.stdout
    (tmp_path / "bad.png").write_bytes(b"")
    assert invoke("--verify-tiles", "bad.png").exit_code == 1
    assert invoke("--verify-tiles", "none.png").exit_code == 1


def test_a_seam_is_found_where_it_is() -> None:
    """Weights that are wrong at one place are told with that place."""
    worst = seams.Worst()
    apart = np.zeros((4, 5), np.float32)
    apart[2, 3] = 1 / 255
    worst.see(apart, 10, 20)
    worst.see(-np.ones((2, 2), np.float32), 0, 0)
    assert (worst.x, worst.y) == (13, 22)
    assert worst.value == pytest.approx(1)
