from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from unnoise import cli, console, errors, terminal
from unnoise.errors import MissingExtra, UnnoiseError, install_line

pytestmark = pytest.mark.skipif(os.name == "nt", reason="streams and signals differ there")

UNNOISE = f"{shlex.quote(sys.executable)} -m unnoise"
NOISE = ("Traceback", "Exception ignored", "internal error", "lost sys.stderr")


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line of the shell; ``unnoise`` in it is this program."""
    line = re.sub(r"\bunnoise\b", lambda _: UNNOISE, command)
    return subprocess.run(
        line,
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=60,
    )


def invoke(group: click.Group, *arguments: str) -> Result:
    return CliRunner().invoke(group, arguments)


def grouped(*commands: click.Command) -> click.Group:
    @click.group(cls=console.Group)
    def group() -> None:
        pass

    for command in commands:
        group.add_command(command)
    return group


# --- what cannot be printed raw --------------------------------------------------------------------

HOSTILE = ["\x1b[31m", "\n", "\r", "\t", "\x00", "\x7f", "\x9b", "\x85", "\u2028", "\u202e", "\ud800"]


@pytest.mark.parametrize("letters", HOSTILE, ids=ascii)
def test_what_could_steer_a_terminal_is_escaped(letters: str) -> None:
    shown = terminal.printable(f"a{letters}b")
    assert re.fullmatch(r"a\\(x[0-9a-f]{2}|u[0-9a-f]{4}|n|r|t)(\[31m)?b", shown)


def test_other_letters_stay() -> None:
    text = "Über σ×… 写真 צילום \u200f👩‍👧 C:\\new"
    assert terminal.printable(text) == text


def test_bytes_that_are_no_utf8_are_shown_as_bytes() -> None:
    assert terminal.printable(os.fsdecode(b"a\xff.png")) == "a\\xff.png"


@pytest.mark.parametrize("say", [console.note, console.answer, console.complain], ids=lambda f: f.__name__)
def test_a_message_is_one_line(say: object, capsys: pytest.CaptureFixture[str]) -> None:
    say("bad\n\x1b[2Jname\ud800.png")  # type: ignore[operator]
    out, err = capsys.readouterr()
    assert (out + err).endswith("bad\\n\\x1b[2Jname\\ud800.png\n")
    assert (out + err).count("\n") == 1


def test_texts_that_we_laid_out_keep_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console.answer_lines("a\n  b\x1bc\n")
    console.note_lines("d\ne")
    assert capsys.readouterr() == ("a\n  b\\x1bc\n\n", "d\ne\n")


def test_a_failure_is_one_line_and_its_hint() -> None:
    name = b"/none/a\x1b[31m\nb\xff.onnx"
    command = [sys.executable, "-m", "unnoise", "models", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "unnoise: /none/a\\x1b[31m\\nb\\xff.onnx: there is no such file",
        "  Give a name, an .onnx file or a run folder.",
    ]


def test_warnings_and_tracebacks_are_escaped_too() -> None:
    @click.command(cls=console.Command)
    def warn() -> None:
        logging.getLogger("unnoise.test").warning("odd \x1b[1m\nname")
        raise UnnoiseError("bad \x1b[1m")

    told = invoke(grouped(warn), "warn", "--debug").stderr
    assert "unnoise: warning: odd \\x1b[1m\\nname\n" in told
    assert "Traceback" in told
    assert "\x1b" not in told


# --- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("unnoise models 2>&-", 0, ""),
        ("unnoise nonsense 2>&-", 2, ""),
        ("unnoise models </dev/null", 0, ""),
        ("unnoise models <&-", 0, ""),
        ("unnoise models >&-", 1, "unnoise: cannot write to stdout: Bad file descriptor\n"),
        ("unnoise models --json >&-", 1, "unnoise: cannot write to stdout: Bad file descriptor\n"),
        ("unnoise --help >&-", 1, "unnoise: cannot write to stdout: Bad file descriptor\n"),
        ("unnoise models <&- >&- 2>&-", 1, ""),
        ("unnoise nonsense >&- 2>&-", 2, ""),
    ],
)
def test_closed_streams(command: str, status: int, said: str) -> None:
    done = shell(command)
    assert (done.returncode, done.stderr) == (status, said)
    assert not any(each in done.stdout for each in NOISE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    "command", ["models", "models default", "models --json", "--help", "models -h", "--version"]
)
def test_a_full_disk_behind_stdout_is_told(command: str) -> None:
    done = shell(f"unnoise {command} > /dev/full")
    assert done.stderr == "unnoise: cannot write to stdout: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_stderr_changes_no_status() -> None:
    assert shell("unnoise models 2> /dev/full").returncode == 0
    assert shell("unnoise nonsense 2> /dev/full").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "stream", "status"),
    [
        (["models"], "stdout", 130),
        (["models", "--json"], "stdout", 130),
        (["--help"], "stdout", 130),
        (["models"], "stderr", 0),
        (["models", "-v"], "stderr", 0),
        (["nonsense"], "stderr", 2),
    ],
)
def test_pipes_that_nobody_reads(arguments: list[str], stream: str, status: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer}
    done = subprocess.run([sys.executable, "-m", "unnoise", *arguments], check=False, **pipes)
    os.close(writer)
    assert done.returncode == status
    assert not done.stderr


def python(code: str, *arguments: str, redirect: str = "") -> subprocess.CompletedProcess[str]:
    line = " ".join(shlex.quote(each) for each in (sys.executable, "-c", textwrap.dedent(code), *arguments))
    return subprocess.run(f"{line} {redirect}", shell=True, capture_output=True, text=True, check=False)


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    done = python(
        """
        import os, sys
        from unnoise import process
        process.begin([])
        with open(sys.argv[1], "wb") as picture:
            os.write(2, b"a library's message")
        """,
        str(path),
        redirect="2>&-",
    )
    assert done.returncode == 0
    assert path.read_bytes() == b""


CHATTER = """
    import logging, os, sys, warnings
    from unnoise import process
    process.begin([])
    os.write(2, b"from C\\n")
    warnings.warn("from Python")
    logging.getLogger("tifffile").warning("from a logger")
    print("from us", file=sys.stderr)
"""


def test_libraries_do_not_talk() -> None:
    assert python(CHATTER).stderr == "from us\n"


def test_libraries_talk_with_debug() -> None:
    told = python(CHATTER, "--debug").stderr
    assert all(f"from {each}" in told for each in ("C", "Python", "a logger", "us"))


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "C"},
    ],
    ids=str,
)
def test_any_encoding_will_do(environment: dict[str, str]) -> None:
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    for arguments in (["models", "default"], ["models", "σ×→😀"], ["denoise", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "unnoise", *arguments],
            capture_output=True,
            check=False,
            env={**os.environ, **environment},
        )
        assert done.returncode == (2 if "σ×→😀" in arguments else 0)
        told = (done.stdout + done.stderr).decode(encoding)
        assert not any(each in told for each in NOISE)


def test_letters_that_an_encoding_lacks_are_replaced_readably() -> None:
    assert "σ × 2 → é😀".encode("latin-1", terminal.FALLBACK) == "sigma × 2 -> é\\U0001f600".encode("latin-1")


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit({"psnr": float("inf"), "all": [float("nan"), 1.5], "path": Path("a")})
    record = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert record == {"schema": 1, "psnr": None, "all": [None, 1.5], "path": "a"}


def test_no_colours_on_a_terminal() -> None:
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "unnoise", "models", "nonsense"],
        stdout=other,
        stderr=other,
        env={**os.environ, "NO_COLOR": "1", "TERM": "xterm"},
    )
    process.wait(timeout=60)
    told = os.read(main, 10_000) if select.select([main], [], [], 1)[0] else b""
    os.close(main)
    os.close(other)
    assert b"unknown network" in told
    assert b"\x1b" not in told


def test_a_progress_bar_outlives_its_terminal() -> None:
    class Gone:
        encoding = "utf-8"

        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

        def flush(self) -> None:
            raise OSError(5, "Input/output error")

        def isatty(self) -> bool:
            return True

    stream = terminal.Forgiving(Gone())  # type: ignore[arg-type]
    assert stream.write("x") == 0
    stream.flush()
    assert stream.isatty()


# --- interruptions ---------------------------------------------------------------------------------


def interrupted(
    folder: Path, module: str, body: str, *arguments: str, number: int = signal.SIGINT, ignored: bool = False
) -> tuple[int, bytes]:
    """Exit status and stderr of the program, sent a signal while it imports a module of ours."""
    (folder / f"{module}.py").write_text(
        "import sys, time\nsys.stdout.write('importing')\nsys.stdout.flush()\n" + textwrap.dedent(body)
    )
    ignore = ["sh", "-c", f"trap '' {signal.Signals(number).name[3:]}; exec \"$@\"", "sh"] if ignored else []
    process = subprocess.Popen(
        [*ignore, sys.executable, "-m", "unnoise", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert process.stdout is not None
    assert process.stdout.read(9) == b"importing"
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    return process.returncode, told


SLEEP = "time.sleep(60)\n"
SWALLOW = """
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())  # as extension modules do
        raise ImportError("numpy failed to import") from None
"""
IN_A_DESTRUCTOR = """
    class Thing:
        def __del__(self):
            time.sleep(1)
    thing = Thing()
    del thing
    time.sleep(60)
"""
DENOISE = ("denoise", "a.png", "-o", "b.png")


@pytest.mark.parametrize(
    ("module", "body", "number", "status"),
    [
        ("click", SLEEP, signal.SIGINT, 130),
        ("click", SLEEP, signal.SIGTERM, 143),
        ("numpy", SLEEP, signal.SIGINT, 130),
        ("numpy", SLEEP, signal.SIGTERM, 143),
        ("numpy", SLEEP, signal.SIGHUP, 129),
        ("click", SWALLOW, signal.SIGINT, 130),
        ("numpy", SWALLOW, signal.SIGINT, 130),
        ("numpy", IN_A_DESTRUCTOR, signal.SIGINT, 130),
    ],
)
def test_an_interruption_is_quiet_at_any_time(
    tmp_path: Path, module: str, body: str, number: int, status: int
) -> None:
    assert interrupted(tmp_path, module, body, *DENOISE, number=number) == (status, b"")


def test_a_signal_that_the_parent_ignores_stays_ignored(tmp_path: Path) -> None:
    body = "time.sleep(1)\nraise ImportError('went on')\n"
    status, told = interrupted(tmp_path, "numpy", body, *DENOISE, number=signal.SIGHUP, ignored=True)
    assert status == 1
    assert b"went on" in told


def test_a_signal_that_comes_twice_at_once_lets_clean_up() -> None:
    """Wrappers pass on a Ctrl-C that the terminal has sent to the whole group already."""
    done = python(
        """
        import signal, sys, time
        from unnoise import process
        process.begin([signal.SIGINT])
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
            print("cleaned up", process.interruption())
        """
    )
    assert done.stdout == "cleaned up 130\n"


# --- usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["denoise", "a", "--strenght", "1"], "there is no option --strenght", "Did you mean '--strength'?"),
        (["denosie", "a"], "unknown command 'denosie'", "Did you mean 'denoise'? There are: "),
        (["--json", "models"], "there is no option --json", "It stands behind the command."),
        (["denoise", "a", "-o", "b", "--strength", "x"], "--strength", "See: unnoise denoise --help"),
        (["denoise"], "Missing argument 'INPUT...'", "See: unnoise denoise --help"),
        (["models", "a", "b"], "unexpected extra argument", "See: unnoise models --help"),
    ],
)
def test_wrong_usage_is_a_line_and_a_hint(arguments: list[str], said: str, hint: str) -> None:
    result = invoke(cli.main, *arguments)
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert first.startswith("unnoise: ")
    assert said in first
    assert hint in second


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["models", "--json", "--strenght"], "usage"),
        (["models", "--strenght", "--json"], "usage"),
        (["denoise", "--json"], "usage"),
        (["models", "nonsense", "--json"], "unknown-name"),
        (["nonsense", "--json"], "unknown-name"),
    ],
)
def test_with_json_wrong_usage_is_one_record(arguments: list[str], code: str) -> None:
    result = invoke(cli.main, *arguments)
    assert result.exit_code == 2
    (record,) = map(json.loads, result.stdout.splitlines())
    assert record.keys() == {"schema", "status", "error", "code", "hint"}
    assert (record["schema"], record["status"], record["code"]) == (1, "failed", code)
    assert record["hint"]


def test_no_record_where_a_file_is_called_json() -> None:
    assert invoke(cli.main, "models", "a", "--", "--json").stdout == ""


def test_without_a_command_there_is_help() -> None:
    result = invoke(cli.main)
    assert result.exit_code == 2
    assert "Commands:" in result.stderr


# --- extras ----------------------------------------------------------------------------------------


def test_in_a_checkout_the_install_line_is_the_readmes() -> None:
    words = shlex.split(install_line("train"))
    root = Path(__file__).parents[1]
    assert words[1:] == ["-m", "pip", "install", "-c", str(root / "constraints.txt"), "-e", f"{root}[train]"]
    assert "'.[train" in (root / "README.md").read_text(encoding="utf-8")
    assert install_line("train") in MissingExtra("training", "train").hint


def test_elsewhere_the_install_line_names_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages" / "unnoise" / "errors.py"))
    needs = ["numpy>=1", 'pillow-heif>=0.2; extra == "heif"', "torch>=2; extra == 'train'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: needs)
    words = shlex.split(install_line("heif"))
    assert words[1:4] == ["-m", "pip", "install"]
    assert words[4:] == ["pillow-heif>=0.2"]
    assert shlex.split(install_line(""))[4:] == ["numpy>=1"]


def test_startup_is_left_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of the group from Python changes no signal and no stream."""
    before = signal.getsignal(signal.SIGINT), sys.stderr
    time.sleep(0)
    assert invoke(cli.main, "--version").exit_code == 0
    assert (signal.getsignal(signal.SIGINT), sys.stderr) == before
