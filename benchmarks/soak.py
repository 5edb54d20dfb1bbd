"""Thousands of small files in one job: is memory flat, is the manifest complete, does a killed job go on?

Usage: python benchmarks/soak.py [--count 5000] [--kills 2]

Files of 32 to 160 pixels, PNG, JPEG, TIFF and WebP, grey, colour and with transparency, are made and cleaned
by ``unnoise denoise FOLDER -o OUT --resume``. The process is killed (SIGKILL) at random moments and started
again. Printed are its resident memory by the number of files done, what the manifest says, and whether a file
was done twice or missed. Then the whole is run once more without being killed, for the memory of all files in
one process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL.Image

from unnoise.cores import available_cores


def make_files(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        height, width = rng.integers(32, 161, 2)
        mode = ("L", "RGB", "RGBA")[number % 3]
        kinds = (".png", ".tif", ".webp") if mode != "RGB" else (".png", ".jpg", ".tif", ".webp")
        shape = (height, width) if mode == "L" else (height, width, len(mode))
        samples = np.clip(rng.normal(128, 25, shape), 0, 255).astype(np.uint8)
        path = folder / f"{number % 20:02}" / f"{number:05}{kinds[number // 3 % len(kinds)]}"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(samples).save(path)


def records(out: Path) -> list[dict[str, object]]:
    manifest = out / "manifest.jsonl"
    if not manifest.exists():
        return []
    lines = manifest.read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def resident(pid: int) -> int:
    """Megabytes that a process holds."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    except (OSError, IndexError):
        return 0


def run(folder: Path, out: Path, kill_at: int | None) -> list[tuple[int, int]]:
    """Clean the folder; (files done in all, megabytes held) now and then."""
    command = [sys.executable, "-m", "unnoise", "denoise", str(folder), "-o", str(out), "--resume", "-q"]
    process = subprocess.Popen(command)
    seen = []
    while process.poll() is None:
        time.sleep(0.25)
        done = sum(1 for _ in (out / "manifest.jsonl").open("rb")) if (out / "manifest.jsonl").exists() else 0
        seen.append((done, resident(process.pid)))
        if kill_at is not None and done >= kill_at:
            time.sleep(random.random() / 2)
            process.send_signal(signal.SIGKILL)
            process.wait()
            return seen
    if process.returncode:
        sys.exit(f"failed with {process.returncode}")
    return seen


def checked(folder: Path, out: Path, count: int) -> str:
    """What the manifest and the folder say together."""
    done = Counter(str(record["target"]) for record in records(out) if record["status"] == "done")
    sources = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    there = {path.relative_to(out).as_posix() for path in out.rglob("*.*")} - {"manifest.jsonl"}
    leftovers = {name for name in there if ".unnoise-" in name}
    return (
        f"{len(sources)} inputs, {len(there - leftovers)} outputs, {len(done)} of them in the manifest, "
        f"{sum(done.values()) - len(done)} recorded twice, {len(sources - there)} missed, "
        f"{len(leftovers)} temporary files left; wanted: {count}, {count}, {count}, 0, 0, 0"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not Path("/proc/self/statm").exists():
        print("skipped: memory is read from /proc, which this system has not")
        return
    random.seed(args.seed)
    print(" ".join(["python", *sys.argv]))
    print(
        f"{platform.processor() or platform.machine()}, {available_cores(physical=True)} cores; "
        f"Python {platform.python_version()}, unnoise {version('unnoise')}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary, "in"), Path(temporary, "out")
        folder.mkdir()
        make_files(folder, args.count)
        kills = sorted(random.sample(range(args.count // 10, args.count * 9 // 10), args.kills))
        for number, at in enumerate(kills, start=1):
            run(folder, out, at)
            print(f"kill {number}: after {len(records(out))} files", flush=True)
        run(folder, out, None)
        print(f"killed {args.kills} times and resumed: {checked(folder, out, args.count)}", flush=True)
        shutil.rmtree(out)
        start = time.perf_counter()
        seen = run(folder, out, None)
        seconds = time.perf_counter() - start
        print(f"in one go: {checked(folder, out, args.count)}; {args.count / seconds:.0f} files a second")
        steps = range(0, args.count + 1, max(1, args.count // 10))
        held = [
            max((mb for done, mb in seen if low <= done < high), default=0) for low, high in pairwise(steps)
        ]
        print("megabytes held, by tenths of the files: " + " ".join(str(mb) for mb in held))
        print(f"from the second tenth to the last: {held[-1] - held[1]:+d} MB")


if __name__ == "__main__":
    main()
