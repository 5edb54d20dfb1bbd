from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result

import tiny_network
import unnoise
from unnoise import cli, console, denoiser, jobs
from unnoise.errors import ConfigError, UnnoiseError


def invoke(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundled network called default, and some files."""
    monkeypatch.chdir(tmp_path)
    networks = tmp_path / "networks"
    networks.mkdir()
    tiny_network.save(networks / "default.onnx")
    monkeypatch.setattr(denoiser, "NETWORKS", networks)
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.jpg")):
        samples = np.random.default_rng(seed).integers(0, 256, (30, 41, 3), dtype=np.uint8)
        PIL.Image.fromarray(samples).save(folder / name)
    return tmp_path


def spoil(here: Path) -> None:
    (here / "photos" / "bad.jpg").write_bytes(b"")


# --- denoise ---------------------------------------------------------------------------------------


def test_it_says_what_it_resolved_and_what_it_wrote(here: Path) -> None:
    result = invoke("denoise", "photos", "-o", "out", "--threads", 1)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "network tiny (tiny), sigma auto, strength 1, tile by memory, threads 1" in result.stderr
    assert "photos/a.png -> out/a.png (sigma " in result.stderr
    assert "2 done" in result.stderr
    assert (here / "out/b.jpg").exists()


def test_a_noise_level_takes_the_network_that_is_told_it(here: Path) -> None:
    for name, changes in (("default", {"sigma_input": False, "sigma_range": None}), ("gaussian", {})):
        tiny_network.save(here / "networks" / f"{name}.onnx", tiny_network.card(name=name, **changes))

    def resolved(*arguments: str) -> str:
        result = invoke("denoise", "photos/a.png", "-o", "out.png", "--overwrite", *arguments)
        assert result.exit_code == 0
        return result.stderr

    assert "network default (tiny), blind, strength 1" in resolved()
    assert "network gaussian (tiny), sigma 25," in resolved("--sigma", "25")
    assert "network gaussian (tiny), sigma auto," in resolved("--sigma", "auto")
    told = resolved("--sigma", "25", "--network", "default")
    assert "network default (tiny), blind (--sigma 25 has no say)" in told
    assert "default is blind: sigma 25 has no say" in told
    (here / "networks/gaussian.onnx").unlink()
    assert "network default" in resolved("--sigma", "25")


def test_quiet_says_nothing(here: Path) -> None:
    result = invoke("denoise", "photos", "-o", "out", "-q")
    assert (result.exit_code, result.output) == (0, "")


def test_a_bad_file_is_named_at_the_end_and_the_status_is_1(here: Path) -> None:
    spoil(here)
    result = invoke("denoise", "photos", "-o", "out", "-q")
    assert result.exit_code == 1
    assert result.stderr == "unnoise: photos/bad.jpg: the file is empty\n  Copy or download it again.\n"
    assert sorted(path.name for path in (here / "out").iterdir()) == ["a.png", "b.jpg", "manifest.jsonl"]


@pytest.mark.parametrize(
    "option", ["--strength=nan", "--max-megapixels=nan", "--max-megapixels=-1", "--threads=3000000000"]
)
def test_numbers_that_make_no_sense_are_refused_at_once(here: Path, option: str) -> None:
    result = invoke("denoise", "photos", "-o", "out", option)
    assert result.exit_code == 2
    assert option.partition("=")[0] in result.stderr


def test_failures_until_an_interruption_are_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[jobs.Result]:
        yield jobs.Result("photos/a.png", "out/a.png", "failed", error="photos/a.png: odd", hint="Even it.")
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "run", interrupted)
    result = invoke("denoise", "photos", "-o", "out")
    assert result.exit_code == 130
    assert "1 failed, 1 not done\nunnoise: photos/a.png: odd\n  Even it.\n" in result.stderr


def test_a_folder_that_cannot_be_read_is_a_failure(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    (here / "photos" / "locked").mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)
    result = invoke("denoise", "photos", "-o", "out", "-q")
    assert result.exit_code == 1
    assert "1 folders that cannot be read" in result.stderr
    assert (here / "out" / "a.png").exists()


def test_every_failure_names_its_file_once(here: Path) -> None:
    spoil(here)
    PIL.Image.new("RGBA", (4, 4)).save("clear.png")
    PIL.Image.new("L", (70_000, 1)).save("wide.png")
    result = invoke("denoise", "clear.png", "wide.png", "photos/bad.jpg", "-o", "{stem}_clean.jpg", "-q")
    assert result.exit_code == 1
    complaints = [line for line in result.stderr.splitlines() if line.startswith("unnoise: ")]
    assert complaints == [
        "unnoise: clear.png: JPEG cannot keep the transparency",
        "unnoise: wide.png: 70000 × 1 is too large for JPEG (65500 a side)",
        "unnoise: photos/bad.jpg: the file is empty",
    ]


def test_the_tile_that_is_told_is_the_one_that_is_used(here: Path) -> None:
    tiny_network.save(here / "fixed.onnx", tiny_network.card(fixed_size=56))
    tiny_network.save(here / "whole.onnx", tiny_network.card(whole_image=True))
    denoise = ("denoise", "photos/a.png", "-o", "out.png", "--tile", 512, "--network")
    assert "tile 56," in invoke(*denoise, "fixed.onnx").stderr
    refused = invoke(*denoise, "whole.onnx", "--overwrite")
    assert refused.exit_code == 2
    assert "must see all of a picture at once" in refused.stderr


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_in_place_a_link_is_no_second_picture(here: Path) -> None:
    (here / "photos/link.png").symlink_to("a.png")
    result = invoke("denoise", "photos", "--in-place")
    assert "passed over: 1 named twice" in result.stderr
    assert "2 done" in result.stderr


def test_fail_fast_tells_what_was_not_done(here: Path) -> None:
    (here / "photos" / "a.png").write_bytes(b"")
    result = invoke("denoise", "photos", "-o", "out", "--fail-fast", "--threads", "1")
    assert result.exit_code == 1
    assert "0 done, 0 existed already, 1 failed, 1 not done" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("denoise",),
        ("denoise", "photos"),
        ("denoise", "none.png", "-o", "out"),
        ("denoise", "empty", "-o", "out"),
        ("denoise", "photos", "-o", "photos"),
        ("denoise", "photos", "-o", "out.png"),
        ("denoise", "photos", "-o", "out", "--sigma", "loud"),
        ("denoise", "photos", "-o", "out", "--sigma", "101"),
        ("denoise", "photos", "-o", "out", "--strength", "2"),
        ("denoise", "photos", "-o", "out", "--tile", "1"),
        ("denoise", "photos", "-o", "out", "--threads", "0"),
        ("denoise", "photos", "-o", "out", "--network", "defualt"),
        ("denoise", "photos", "-o", "out", "--network", "photos/a.png"),
        ("denoise", "photos", "-o", "out", "--overwrite", "--skip-existing"),
        ("denoise", "photos", "-o", "out", "--in-place"),
        ("denoise", "photos", "-o", ""),
        ("denoise", "photos", "-o", "out", "--resume", "--skip-existing"),
        ("denoise", "photos", "-o", "out", "--resume", "--no-manifest"),
        ("denoise", "photos", "-o", "out", "--manifest", "m.jsonl", "--no-manifest"),
        ("denoise", "photos", "-o", "out", "--manifest", "photos/a.png"),
        ("denoise", "photos", "-o", "out", "--manifest", "photos"),
        ("denoise", "photos", "-o", "out", "--memory", "lots"),
        ("denoise", "photos", "-o", "out", "--white", "0"),
        ("denoise", "photos", "-o", "out", "--nan", "ignore"),
        ("denoise", "photos", "-o", "out", "--backend", "abacus"),
        ("denoise", "photos", "-o", "out", "--precision", "float8"),
        ("denoise", "photos", "--watch"),
        ("denoise", "photos", "--watch", "--in-place"),
        ("denoise", "photos", "-o", "-", "--watch"),
        ("denoise", "photos", "-o", "out.png", "--watch"),
        ("denoise", "photos/a.png", "-o", "out", "--watch"),
        ("denoise", "photos", "-o", "out", "--watch", "--interval", "nan"),
        ("denoise", "photos/a.png", "-o", "-", "--json"),
        ("denoise", "photos", "-o", "out", "--nonsense"),
        ("nonsense",),
        ("models", "nonsense"),
    ],
)
def test_usage_errors_end_with_2_and_write_nothing(here: Path, arguments: tuple[str, ...]) -> None:
    (here / "empty").mkdir()
    before = sorted(here.rglob("*"))
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(here.rglob("*")) == before


def test_dry_run_lists_and_writes_nothing(here: Path) -> None:
    result = invoke("denoise", "photos", "-o", "out", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout == "photos/a.png -> out/a.png\nphotos/b.jpg -> out/b.jpg\n"
    assert not (here / "out").exists()


def test_skip_existing_resumes(here: Path) -> None:
    assert invoke("denoise", "photos/a.png", "-o", "out/").exit_code == 0
    assert invoke("denoise", "photos", "-o", "out").exit_code == 2
    result = invoke("denoise", "photos", "-o", "out", "--skip-existing")
    assert result.exit_code == 0
    assert "1 done, 1 existed already, 0 failed" in result.stderr


def test_json_is_a_record_a_file(here: Path) -> None:
    spoil(here)
    result = invoke("denoise", "photos", "-o", "out", "--json", "--sigma", "20", "-q")
    assert result.exit_code == 1
    records = {record["source"]: record for record in map(json.loads, result.stdout.splitlines())}
    assert len(records) == 3
    assert all(record["schema"] == 1 for record in records.values())
    assert records["photos/a.png"]["status"] == "done"
    assert records["photos/a.png"]["sigma"] == 20
    assert records["photos/a.png"]["size"] == [41, 30]
    assert records["photos/bad.jpg"]["code"] == "image"
    assert records["photos/bad.jpg"]["hint"]


def test_json_holds_errors_of_the_whole_command(here: Path) -> None:
    result = invoke("denoise", "none.png", "-o", "out", "--json")
    record = json.loads(result.stdout)
    assert (record["status"], record["code"]) == ("failed", "config")
    assert record["hint"]


def test_streams_hold_the_picture_alone(here: Path) -> None:
    data = (here / "photos/a.png").read_bytes()
    result = invoke("denoise", "-", "-o", "-", "--strength", "0", stdin=data)
    assert result.exit_code == 0
    decoded = PIL.Image.open(io.BytesIO(result.stdout_bytes))
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(PIL.Image.open("photos/a.png")))


def test_sigma_beyond_the_training_is_told(here: Path) -> None:
    result = invoke("denoise", "photos/a.png", "-o", "out.png", "--sigma", "90")
    assert result.exit_code == 0
    assert "photos/a.png: sigma 90 is outside" in result.stderr
    assert "(sigma 75)" in result.stderr


def test_notes_are_told(here: Path) -> None:
    (here / "photos/a.png").rename(here / "photos/c.jpg")
    result = invoke("denoise", "photos/c.jpg", "-o", "out.png")
    assert "photos/c.jpg: is a PNG file in spite of its name" in result.stderr


def test_paths_of_networks_and_runs(here: Path) -> None:
    run = here / "run"
    run.mkdir()
    tiny_network.save(run / "network.onnx", tiny_network.card(name="mine"))
    for network in ("run", "run/network.onnx"):
        result = invoke("denoise", "photos/a.png", "-o", "out.png", "--network", network, "--overwrite")
        assert "network mine" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_can_be_told(here: Path) -> None:
    name = os.fsdecode(b"photos/\xff.jpg")
    Path(name).write_bytes(b"")
    result = invoke("denoise", "photos", "-o", "out", "--json")
    assert result.exit_code == 1
    assert "photos/\\xff.jpg: the file is empty" in result.stderr
    # Escaped, since a test's report can't hold such a name either; files come as they are finished.
    assert ascii(name) in {ascii(json.loads(line)["source"]) for line in result.stdout.splitlines()}


# --- models ----------------------------------------------------------------------------------------


def test_models_lists_what_there_is(here: Path) -> None:
    result = invoke("models")
    assert result.exit_code == 0
    heads, row = result.stdout.splitlines()
    assert heads.split() == ["name", "size", "parameters", "GMAC/256²", "noise", "licence", "scores"]
    for part in ("default", "0.0 MB", "1,000", "0.01", "gaussian:0-75", "CC0-1.0", "CBSD68 25 30.6"):
        assert part in row


def test_the_list_of_models_fits_a_terminal(here: Path) -> None:
    long = {"PSNR of a data set with a long name (dB)": {"sigma 15": 33, "sigma 25": 30.66, "sigma 50": 27}}
    monstrous = tiny_network.card(
        parameters=10**30,
        gmac_256=1e30,
        training={"noise": ["poisson:" + "1" * 90, {"a": None}]},
        licence="L\n" * 90,
        scores=long,
    )
    tiny_network.save(here / "networks" / f"{'n' * 90}.onnx", monstrous)
    unknown = {"scores": {}, "training": {}, "licence": "", "parameters": None, "gmac_256": None}
    tiny_network.save(here / "networks/unknown.onnx", tiny_network.card(**unknown))
    lines = invoke("models").stdout.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 100
    (row,) = (line for line in lines if line.startswith("unknown"))
    assert row.split() == ["unknown", "0.0", "MB", "?", "?", "?", "?", "?"]


def test_models_shows_a_card(here: Path) -> None:
    described = tiny_network.card(
        description="Sees less noise. " * 20,
        limits=["Not for fog.", "Nor for rain."],
        not_for="Evidence.",
        training={"noise": "gaussian:0-75", "data": ["Pictures of mine, CC0"], "steps": 7, "skip": None},
    )
    path = tiny_network.save(here / "mine.onnx", described)
    shown = invoke("models", "mine.onnx").stdout
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 100
    titles = [line for line in lines if line and not line.startswith(" ")]
    sections = "What it is, Noise, Data, Training, Scores, Limits, Not for, Licence, File"
    assert titles == ["tiny (tiny)", *sections.split(", ")]
    for part in (
        "  1,000 parameters\n  0.01 billion multiply-adds",
        "depends on 4 pixels to each side",
        "sigma 0 to 75 of 255",
        "trained on gaussian:0-75",
        "  Pictures of mine, CC0\n",
        "steps 7, skip none",
        "CBSD68 25 30.6",
        "  Not for fog.\n  Nor for rain.\n",
        "  Evidence.\n",
        "  CC0-1.0\n",
        "mine.onnx",
        hashlib.sha256(path.read_bytes()).hexdigest(),
        tiny_network.CARD["weights_sha256"],
    ):
        assert part in shown


def test_other_kinds_of_networks_are_described(here: Path) -> None:
    for changes, said in (
        ({"fixed_size": 56}, "takes tiles of 56 × 56 pixels and no others"),
        ({"whole_image": True}, "must see all of a picture at once"),
        ({"sigma_input": False, "sigma_range": None}, "not told how strong the noise is"),
        ({"licence": ""}, "not stated"),
        ({"bytes_per_pixel": 300.2}, "300 bytes of memory for each pixel"),
        ({"limits": {"a": [1, {"b": "\x1b[31m"}]}}, "a 1, b \\x1b[31m"),
    ):
        tiny_network.save(here / "n.onnx", tiny_network.card(**changes))
        result = invoke("models", "n.onnx")
        assert result.exit_code == 0
        assert said in result.stdout


def test_a_network_that_is_damaged_is_told(here: Path) -> None:
    path = here / "networks/default.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    for arguments in (("models",), ("models", "default"), ("denoise", "photos", "-o", "out")):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert "default.onnx" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("default",)])
def test_the_schema_of_a_record_is_not_the_cards(
    here: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(console, "SCHEMA", 7)
    (record,) = map(json.loads, invoke("models", *arguments, "--json").stdout.splitlines())
    size = (here / "networks/default.onnx").stat().st_size
    assert record == {"schema": 7, "name": "default", "bytes": size, "card": tiny_network.CARD}


def test_models_without_any(here: Path) -> None:
    (here / "networks/default.onnx").unlink()
    result = invoke("models")
    assert result.exit_code == 0
    assert "no networks are bundled" in result.stderr


# --- errors ----------------------------------------------------------------------------------------


class Odd(UnnoiseError):
    code = "odd"
    exit_code = 7


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (Odd("it is odd", hint="Even it out."), 7, "unnoise: it is odd\n  Even it out.\n"),
        (ConfigError("no"), 2, "unnoise: no\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 130, ""),
        (MemoryError(), 1, "unnoise: out of memory"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (ValueError("oops"), 1, "unnoise: internal error: ValueError: oops"),
        (click.UsageError("so not"), 2, "so not"),
    ],
)
def test_errors_become_lines_and_statuses(error: BaseException, status: int, said: str) -> None:
    @click.group(cls=console.Group)
    def group() -> None:
        pass

    @group.command(cls=console.Command)
    def fail() -> None:
        raise error

    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == status
    assert said in result.stderr
    assert result.stderr == "" or said
    assert "Traceback" not in result.stderr
    if isinstance(error, UnnoiseError | ValueError):
        for arguments in (["fail", "--debug"], ["--debug", "fail"]):
            assert "Traceback" in CliRunner().invoke(group, arguments).stderr


def test_version_and_help() -> None:
    assert invoke("--version").stdout == f"unnoise {unnoise.__version__}\n"
    assert invoke("-h").exit_code == 0
    for name in cli.main.commands:
        shown = invoke(name, "--help")
        assert shown.exit_code == 0
        assert "--debug" in shown.stdout


def test_verbose_says_what_runs(here: Path) -> None:
    arguments = ("denoise", here / "photos", "-o", "out", "--dry-run")
    assert "onnxruntime" in invoke(*arguments, "-v").stderr
    assert invoke(*arguments).stderr == ""
    assert invoke(*arguments, "-v", "-q").stderr == ""


def test_the_training_extra_is_asked_for_before_hours_are_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    for missing in ("torch", "onnxscript", "matplotlib"):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, gone=missing: None if name == gone else find(name)
        )
        result = invoke("train", "data", "-o", "run", "--minutes", "1")
        assert result.exit_code != 0
        assert "[train]" in result.stderr


# --- as a process ----------------------------------------------------------------------------------

HEAVY = ("torch", "onnxruntime", "cv2", "numpy", "PIL", "skimage", "scipy", "matplotlib", "tqdm", "onnx")


@pytest.mark.parametrize(
    "code",
    [
        "import unnoise, unnoise.cli",
        "from unnoise.cli import main; main(['--help'], standalone_mode=False)",
        "from unnoise.cli import main; main(['denoise', '--help'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    check = f"{code}\nimport sys\nfound = set({HEAVY!r}) & set(sys.modules)\nassert not found, found"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_denoising_never_imports_torch(here: Path) -> None:
    code = (
        "import sys; from unnoise.cli import main\n"
        "main(['denoise', 'photos/a.png', '-o', 'out.png', '--network', 'networks/default.onnx'],"
        " standalone_mode=False)\n"
        "assert not {'torch', 'skimage', 'scipy', 'matplotlib', 'onnx'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (here / "out.png").exists()


def test_no_progress_bar_and_no_colour_without_a_terminal(here: Path) -> None:
    command = [sys.executable, "-m", "unnoise", "denoise", "photos", "-o", "out", "--network"]
    done = subprocess.run([*command, "networks/default.onnx"], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"\r" not in done.stderr
    assert b"\x1b" not in done.stderr
    assert done.stdout == b""


@pytest.mark.skipif(os.name == "nt", reason="signals differ there")
def test_ctrl_c_ends_with_130_and_leaves_nothing_half(here: Path) -> None:
    for number in range(300):
        (here / "photos" / f"{number}.png").write_bytes((here / "photos/a.png").read_bytes())
    command = [sys.executable, "-m", "unnoise", "denoise", "photos", "-o", "out"]
    process = subprocess.Popen(
        [*command, "--network", "networks/default.onnx"], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out = here / "out"
    while process.poll() is None and not (out.exists() and any(out.iterdir())):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in told
    assert [path for path in out.iterdir() if path.suffix == ".tmp"] == []
    for path in out.glob("*.png"):
        PIL.Image.open(path).load()


@pytest.mark.skipif(os.name == "nt", reason="pipes differ there")
def test_a_closed_pipe_is_quiet(here: Path) -> None:
    command = [sys.executable, "-m", "unnoise", "denoise", "photos", "-o", "out", "--dry-run"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.returncode == 130
    assert done.stderr == b""
