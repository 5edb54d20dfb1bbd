"""Run `unnoise denoise` over files, many in one process or one alone, under limits and under watch."""

from __future__ import annotations

import json
import os
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HANG = 20.0
"""Seconds that one file may take."""

SILENCE = 40.0
"""Seconds of work without a record after which a process is ended: a slow start, and a file that hangs."""

BUSY_MACHINE = 6.0
"""So many times longer a process may wait for its turn, where others keep the processor."""

MOST_MEMORY = 2_000_000_000
"""Bytes of resident memory that a process may reach."""

ADDRESS_SPACE = 10 << 30
"""A limit on what a process may map, so that a fault cannot take the machine down."""

KNOWN_LINES = re.compile(
    r"unnoise: |  \S|network |manifest |passed over: |\d+ done|warning: |in/|out/|done: |\d+ files? "
)


@dataclass
class Run:
    """What one process did."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    status: int = 0
    ended: bool = False
    seconds: float = 0.0
    work: float = 0.0
    peak: int = 0
    lines: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[str]:
        """Lines on stderr that say what failed."""
        return [line for line in self.lines if line.startswith("unnoise: ")]

    def faults(self) -> list[str]:
        """What is wrong with the process itself, whatever it says about files."""
        found = []
        text = "\n".join(self.lines)
        if "Traceback" in text:
            last = [
                line for line in self.lines if re.match(r"[\w.]+(Error|Exception|Warning|Interrupt)\b", line)
            ]
            found.append("traceback: " + (last[-1] if last else text[-200:]))
        if "internal error" in text:
            found.append(next(line for line in self.lines if "internal error" in line))
        if self.ended:
            found.append("hang")
        elif self.status < 0:
            found.append(f"crash: signal {signal.Signals(-self.status).name}")
        elif self.status not in (0, 1):
            found.append(f"exit status {self.status}: {text[-300:]}")
        if self.peak > MOST_MEMORY:
            found.append(f"memory {self.peak / 1e6:.0f} MB")
        foreign = [line for line in self.lines if line.strip() and not KNOWN_LINES.match(line)]
        if foreign and "Traceback" not in text:
            found.append(f"foreign line: {foreign[0][:200]}")
        if self.left:
            found.append(f"left behind: {self.left[:3]}")
        return found


def limit() -> None:
    """Bound the address space of this process and of all that it starts."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def works(command: Sequence[str], folder: Path) -> str:
    """Whether the command runs at all: "" or what it said."""
    made = subprocess.run(
        [*command, "--help"], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return made.stderr.decode("utf-8", "replace")[-600:] if made.returncode else ""


def denoise(
    command: Sequence[str],
    names: Sequence[str],
    folder: Path,
    output: str,
    options: Sequence[str],
    *,
    silence: float = SILENCE,
) -> Run:
    """Clean the files ``in/NAME`` of a folder into its folder ``out``, in one process.

    Args:
        command: of unnoise.
        names: of files in ``folder / "in"``.
        folder: the working directory of the process.
        output: what -o gets.
        options: further ones.
        silence: seconds without a record after which the process is ended.
    """
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    arguments = [
        "denoise",
        *(f"in/{name}" for name in names),
        "-o",
        output,
        "--json",
        "--threads",
        "1",
        *options,
    ]
    run, began = Run(), time.monotonic()
    with (folder / "stderr").open("w+b") as said:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
        assert process.stdout is not None
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_pass_on, args=(process.stdout, lines), daemon=True)
        reader.start()
        worked, heard = 0.0, began
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                if (
                    work_of(process.pid) - worked < silence
                    and time.monotonic() - heard < silence * BUSY_MACHINE
                ):
                    continue
                os.killpg(process.pid, signal.SIGKILL)
                run.ended = True
                break
            if line is None:
                break
            worked, heard = work_of(process.pid), time.monotonic()
            try:
                record = json.loads(line)
            except ValueError:
                run.lines.append(f"stdout: {line[:200]!r}")
                continue
            source = str(record.get("source") or "")
            if source:
                run.records[source.removeprefix("in/")] = record
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        reader.join()
        process.stdout.close()
        run.work = usage.ru_utime + usage.ru_stime
        run.status, run.peak, run.seconds = (
            process.returncode,
            usage.ru_maxrss * 1024,
            time.monotonic() - began,
        )
        said.seek(0)
        run.lines += said.read().decode("utf-8", "replace").splitlines()
    targets = {
        Path(str(each.get("target"))).name for each in run.records.values() if each.get("status") == "done"
    }
    there = {os.fspath(each.relative_to(out)) for each in out.rglob("*")} - {"manifest.jsonl"}
    if not (run.ended or run.status < 0):  # one that was killed may leave its temporary file
        run.left = sorted(there - targets)
    return run


def work_of(process: int) -> float:
    """Seconds of processor time that a process has taken."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pass_on(stream: Any, lines: queue.SimpleQueue[bytes | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


class Checker:
    """A process of checker.py that is started again when a file kills it."""

    def __init__(self) -> None:
        """Nothing is started before it is needed."""
        self.process: subprocess.Popen[str] | None = None

    def ask(self, task: dict[str, Any], patience: float = 300.0) -> dict[str, Any]:
        """The checker's answer; {"fault": …} if it died over the task or took too long."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", os.fspath(Path(__file__).with_name("checker.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(patience, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            process.wait()
            self.process = None
            return {"fault": f"the independent reader ended with status {process.returncode}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
