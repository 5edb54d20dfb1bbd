"""Is everything well here? Findings about the program, the machine and its surroundings.

What may crash (an import on a processor that is too old, a network) is tried in a process of its own.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import locale
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unnoise.cores import available_cores
from unnoise.errors import install_line
from unnoise.memory import available, default_budget, readable

OK, WARNING, FAULT = "ok", "warning", "fault"

RUNTIME = {
    "click": "click",
    "imagecodecs": "imagecodecs",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "opencv-python-headless": "cv2",
    "Pillow": "PIL",
    "simplejpeg": "simplejpeg",
    "tqdm": "tqdm",
}
"""Distribution -> the module that shows whether it loads."""

EXTRAS: Mapping[str, Mapping[str, str]] = {
    "filters": {"scikit-image": "skimage", "PyWavelets": "pywt"},
    "heif": {"pillow-heif": "pillow_heif"},
    "openvino": {"openvino": "openvino"},
    "tensorboard": {"tensorboard": "tensorboard"},
    "train": {
        "matplotlib": "matplotlib",
        "onnx": "onnx",
        "onnxscript": "onnxscript",
        "safetensors": "safetensors",
        "torch": "torch",
        "pytorch-optimizer": "pytorch_optimizer",
    },
}
"""The same for each extra."""

_SLOW = ("torch", "pytorch_optimizer")
_PATIENCE, _LONG_PATIENCE = 4.0, 60.0
"""Seconds that importing the extras may take, and what everybody needs; then nobody waits any more."""

_VECTORS = {
    "avx2": "AVX2",
    "fma": "FMA",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_tile": "AMX",
    "amx_bf16": "AMX BF16",
    "amx_int8": "AMX INT8",
    "asimd": "NEON",
    "asimddp": "NEON dot product",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
}
"""Flags of /proc/cpuinfo that decide how fast networks run -> what people call them."""

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "KMP_AFFINITY",
    "GOMP_CPU_AFFINITY",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "MALLOC_ARENA_MAX",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "PYTHONPATH",
    "PYTHONIOENCODING",
    "PYTHONUTF8",
    "PYTHONWARNINGS",
    "PYTHONMALLOC",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "NO_COLOR",
    "TERM",
    "TMPDIR",
    "TEMP",
    "OPENCV_IO_MAX_IMAGE_PIXELS",
    "OPENCV_FOR_THREADS_NUM",
    "OPENVINO_LOG_LEVEL",
    "CUDA_VISIBLE_DEVICES",
)
"""What of the environment changes how the program runs."""

_LITTLE_SPACE = 1 << 30
_LITTLE_MEMORY = 1 << 29


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        section: what it is about.
        name: of what was looked at.
        value: what was found.
        state: ``ok``, ``warning`` or ``fault``.
        advice: what to do about it, unless it is well.
    """

    section: str
    name: str
    value: str
    state: str = OK
    advice: str = ""


def checkup() -> Iterator[Finding]:
    """All findings, each as soon as it is made."""
    begun = time.monotonic()
    # Small ones first: torch may not be done before nobody waits any more.
    extras = sorted((module for names in EXTRAS.values() for module in names.values()), key=_SLOW.count)
    with _Imports([*RUNTIME.values()]) as needed, _Imports(extras) as optional:
        yield from program()
        yield from machine()
        yield from surroundings()
        loaded = needed.results(begun + _LONG_PATIENCE)
        yield from packages("packages", RUNTIME, loaded)
        if all(loaded.get(module) == "" for module in RUNTIME.values()):
            yield from in_a_process("self-test", "from unnoise.selftest import main; main()")
        else:
            yield Finding("self-test", "self-test", "not run", FAULT, "Mend the packages above first.")
        loaded = optional.results(begun + _PATIENCE)
    for extra, names in EXTRAS.items():
        yield from packages(f"extra {extra}", names, loaded, extra=extra)


def anonymous(text: str) -> str:
    """The text without the user's name and home folder."""
    for home in {str(Path.home()), os.path.realpath(Path.home())} - {"/"}:
        text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have none
        return text
    return re.sub(rf"(?<=[/\\]){re.escape(user)}(?=[/\\:'\s]|$)", "USER", text)


# --- the program and the machine -------------------------------------------------------------------


def program() -> Iterator[Finding]:
    """Which unnoise, Python and system these are."""
    from unnoise import __version__

    yield Finding("program", "unnoise", f"{__version__} in {Path(__file__).parent}")
    python = f"{platform.python_version()} ({platform.python_implementation()}) at {sys.executable}"
    yield Finding("program", "Python", python)
    yield Finding("program", "system", platform.platform())


def machine() -> Iterator[Finding]:
    """Processor, cores and memory."""
    model, flags = _processor(Path("/proc/cpuinfo"))
    known = [name for flag, name in _VECTORS.items() if flag in flags]
    slow = platform.machine().lower() in ("x86_64", "amd64") and bool(flags) and "avx2" not in flags
    yield Finding(
        "machine",
        "processor",
        f"{model}; {', '.join(known) or 'no vector extensions known'}",
        WARNING if slow else OK,
        "Networks run without AVX2 too, several times slower." if slow else "",
    )
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    usable, physical = available_cores(), available_cores(physical=True)
    yield Finding(
        "machine",
        "cores",
        f"{usable} usable ({physical} physical) of {os.cpu_count()}; affinity {affinity}"
        + (f", limited to {usable} by the container" if usable < (affinity or 1) else ""),
    )
    free = available()
    short = free < _LITTLE_MEMORY
    yield Finding(
        "machine",
        "memory",
        f"{_total()} in all, {readable(free)} to be had here, "
        f"of which pictures take {readable(default_budget())} unless --memory says otherwise",
        WARNING if short else OK,
        "Close other programs, or take --memory 300MB." if short else "",
    )


def _processor(cpuinfo: Path) -> tuple[str, set[str]]:
    """The processor's name and its flags, as far as the system tells."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    fields = dict(re.findall(r"^([\w ]+?)\s*:\s*(.*)$", text, flags=re.MULTILINE))
    name = fields.get("model name") or fields.get("Model") or platform.processor() or platform.machine()
    return name, set((fields.get("flags") or fields.get("Features") or "").split())


def _total() -> str:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return readable(int(lines[0].split()[1]) * 1024)
    except (OSError, ValueError, IndexError):
        return "unknown"


def surroundings() -> Iterator[Finding]:
    """Encodings, the temporary folder, and variables that change how the program runs."""
    names = sys.getfilesystemencoding()
    odd = names.lower() not in ("utf-8", "utf8")
    yield Finding(
        "surroundings",
        "encoding",
        f"file names {names}, locale {locale.getpreferredencoding(False)}, stdout {sys.stdout.encoding}",
        WARNING if odd else OK,
        "Names of files may not come out right; set LC_ALL to a UTF-8 locale, or PYTHONUTF8=1."
        if odd
        else "",
    )
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        free = shutil.disk_usage(folder).free
        little = free < _LITTLE_SPACE
        yield Finding(
            "surroundings",
            "temporary folder",
            f"{folder}, {readable(free)} free",
            WARNING if little else OK,
            "Make room there, or set TMPDIR to another folder." if little else "",
        )
    except OSError as error:
        advice = "Set TMPDIR to a folder that can be written to."
        yield Finding("surroundings", "temporary folder", f"{error.strerror}", FAULT, advice)
    for name in _VARIABLES:
        if name in os.environ:
            yield Finding("surroundings", name, os.environ[name] or "(empty)")


# --- packages --------------------------------------------------------------------------------------


def packages(
    section: str, names: Mapping[str, str], loaded: Mapping[str, str | None], *, extra: str = ""
) -> Iterator[Finding]:
    """Versions, and whether each loads.

    Args:
        section: of the findings.
        names: distribution -> module.
        loaded: module -> what went wrong, nothing if it loads; None or absent if it took too long.
        extra: the extra that they make up; without one the program needs them.
    """
    for distribution, module in names.items():
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        wrong = loaded.get(module)
        missing = wrong is not None and wrong.startswith("ModuleNotFoundError") and not version
        if missing and extra:
            yield Finding(section, distribution, "not installed", OK, f"To have it: {install_line(extra)}")
        elif wrong:
            yield Finding(
                section,
                distribution,
                f"{version or 'not installed'}: {wrong}",
                FAULT,
                f"Install it again: {install_line(extra)}",
            )
        elif wrong is None:
            yield Finding(section, distribution, f"{version or '?'}, slow to load: not waited for")
        else:
            yield Finding(section, distribution, version or "loads; its version is not known")


_PROBE = """
import importlib, json, sys
for name in sys.argv[1:]:
    print(json.dumps([name, None]), flush=True)
    try:
        importlib.import_module(name)
        wrong = ""
    except BaseException as error:
        wrong = f"{type(error).__name__}: {error}"
    print(json.dumps([name, wrong]), flush=True)
"""


class _Imports:
    """A process that imports modules one after the other, and tells how that went."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._process = _python(["-c", _PROBE, *modules])

    def __enter__(self) -> _Imports:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def results(self, until: float) -> dict[str, str | None]:
        """Module -> what went wrong, or nothing; None where that was not known at ``until``."""
        try:
            told, _ = self._process.communicate(timeout=max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self._process.kill()
            told, _ = self._process.communicate()
            died = None
        else:
            died = _death(self._process.returncode)
        found: dict[str, str | None] = {}
        for line in told.splitlines():
            try:
                name, wrong = json.loads(line)
            except ValueError:  # something that a package printed
                continue
            found[name] = wrong
        if died:
            found |= {name: f"the import {died}" for name, wrong in found.items() if wrong is None}
        return found


def in_a_process(section: str, code: str) -> Iterator[Finding]:
    """Findings that another process makes and prints, each as a line of JSON."""
    process = _python(["-c", code])
    assert process.stdout is not None
    try:
        for line in process.stdout:
            try:
                yield Finding(**json.loads(line))
            except (ValueError, TypeError):
                continue
        process.wait()
    finally:
        process.kill()
        process.communicate()
    if died := _death(process.returncode):
        yield Finding(section, section, f"its process {died}", FAULT, "Report this, with all of the above.")


def _python(arguments: Sequence[str]) -> subprocess.Popen[str]:
    # As the program's own workers: this very package, and nothing from the working directory.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": path},
    )


def _death(status: int) -> str:
    if status >= 0:
        return "" if status == 0 else f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
