"""Run `unnoise denoise` over folders of odd picture files, and hold what comes back against other readers.

Each file goes through twice. Once with --strength 0 into a format without loss: the pixels must be those that
independent readers see. Once into its own format, small pictures through the bundled network, larger ones
through one that changes nothing: size, dtype, alpha, profile, EXIF, frames and resolution must be the same.

Files go in batches. What ends a batch, takes long, and a sample of what is refused runs alone again: time,
memory, exit status and what is said are looked at. Nothing may crash, hang or leave a file behind.

    python benchmarks/corpora/run.py CORPORA/* [--out FILE.jsonl] [--jobs 2]

A folder is one corpus; collect.py makes such folders. One that isn't there is skipped.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from batches import HANG, Checker, Run, denoise, limit, works
from expectations import expected
from findings import Item, pattern, report
from kinds import ENDINGS, kind_of

TO_PNG = frozenset({"jpeg", "gif", "webp", "avif", "heic", ""})
"""Kinds whose own format would not give the pixels back exactly, or that aren't written."""

EXPLAINED = tuple(
    (re.compile(difference), re.compile(note, re.IGNORECASE))
    for difference, note in (
        ("^icc", "ICC|profile"),
        ("^exif", "EXIF|orientation|private tags|has no place for"),
        ("^xmp", "XMP|has no place for"),
        ("^dpi", "resolution|dpi|EXIF"),
        ("^dtype", "convert|expanded"),
        ("^(pixels|mean|channels)", "convert|blank|n't have are|skips|cut off"),
        ("^alpha", "transparen|channel|convert"),
        ("^(frames|size)", "frame|page|preview|thumbnail|first picture|further pictures|pyramid|microscope"),
        # Pillow and OpenCV fill a GIF's bare canvas; browsers, image-rs and unnoise leave it transparent.
        ("^alpha appeared|^(alpha|mean) .* in frame", "^kind gif$"),
    )
)
"""A difference is explained if a note of the run says so."""


def found(folder: Path, seen: dict[str, str]) -> tuple[list[Item], int]:
    """A corpus's files, and how many were left out because another has the same content."""
    items, doubles = [], 0
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and each.name != "origin.json"):
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest in seen:
            doubles += 1
            continue
        seen[digest] = os.fspath(path)
        kind = kind_of(data)
        ending = path.suffix.lower()
        if kind and ending not in ENDINGS[kind]:
            ending = ENDINGS[kind][0]
        elif not kind and not re.fullmatch(r"\.[a-z0-9]{1,8}", ending):
            ending = ".png"
        name = f"{folder.name}/{os.fspath(path.relative_to(folder))}"
        items.append(Item(folder.name, name, kind, f"{len(seen):05d}{ending}", expected(name)))
    return items, doubles


def stage(items: Iterable[Item], corpora: dict[str, Path], folder: Path) -> None:
    target = folder / "in"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for item in items:
        source = corpora[item.corpus] / item.path.partition("/")[2]
        try:
            os.link(source, target / item.staged)
        except OSError:
            shutil.copyfile(source, target / item.staged)


def pixels_in(path: Path) -> int:
    """About how many pixels a result has, without decoding it."""
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"\x89PNG"):
        width, height = struct.unpack_from(">II", head, 16)
        frames = struct.unpack_from(">I", head, 41)[0] if head[37:41] == b"acTL" else 1
        return int(width * height * frames)
    return path.stat().st_size // 3


def explain(item: Item, differences: Iterable[str], how: str) -> None:
    said = [*item.notes, f"kind {item.kind}"]
    for difference in differences:
        why = any(
            left.search(difference) and any(right.search(note) for note in said) for left, right in EXPLAINED
        )
        (item.explained if why else item.differences).append(f"{how}: {difference}")


class Batch:
    """Takes a list of files through everything, in a folder of its own."""

    def __init__(self, corpora: dict[str, Path], folder: Path, options: argparse.Namespace) -> None:
        """``folder`` is made, and removed at the end."""
        self.corpora, self.folder, self.options = corpora, folder, options
        self.command = shlex.split(options.command)
        self.checker = Checker()

    def take(self, items: list[Item]) -> list[Item]:
        """Fill the items in."""
        stage(items, self.corpora, self.folder)
        exact = self.folder / "exact"
        shutil.rmtree(exact, ignore_errors=True)
        exact.mkdir()
        for to_png in (False, True):
            group = [item for item in items if (item.kind in TO_PNG) is to_png]
            output = "out/{stem}.png" if to_png else "out/{stem}{ext}"
            self.through(group, output, ["--strength", "0"], exact)
        results: dict[str, list[dict[str, Any]]] = {
            item.staged: [{"path": os.fspath(path), "exact": True, "how": "strength 0"}]
            for item in items
            for path in [self.result(item, exact)]
            if path is not None
        }
        own = self.folder / "own"
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        small: list[Item] = []
        large: list[Item] = []
        for item in items:
            path = self.result(item, exact)
            if path is not None and item.kind != "heic":
                few = pixels_in(path) <= self.options.full_megapixels * 1e6
                item.denoised = few
                (small if few else large).append(item)
        for group, network in ((small, "default"), (large, os.fspath(self.options.identity))):
            self.through(group, "out/{stem}{ext}", ["--network", network, "-q"], own, again=True)
        for item in items:
            path = self.result(item, own)
            if path is not None:
                how = "own format, denoised" if item.denoised else "own format"
                results[item.staged].append({"path": os.fspath(path), "exact": False, "how": how})
        for item in items:
            self.check(item, results.get(item.staged, []))
        self.alone([item for item in items if item.seconds > HANG / 4 or item.faults])
        for folder in (exact, own):
            shutil.rmtree(folder, ignore_errors=True)
        return items

    @staticmethod
    def result(item: Item, folder: Path) -> Path | None:
        """What a file became in one of the two passes."""
        matches = list(folder.glob(Path(item.staged).stem + ".*"))
        return matches[0] if item.status == "done" and matches else None

    def through(
        self, items: list[Item], output: str, options: list[str], keep: Path, *, again: bool = False
    ) -> None:
        """Run files in one process; after a crash or a hang the first alone and the rest anew."""
        todo = {item.staged: item for item in items}
        while todo:
            run = denoise(self.command, list(todo), self.folder, output, options)
            self._note(run, todo, keep, again=again)
            answered = [name for name in todo if name in run.records]
            faults = run.faults()
            failed = sum(record.get("status") == "failed" for record in run.records.values())
            if not faults and len(run.errors) != failed and "-q" in options:
                faults = [f"{len(run.errors)} lines for {failed} files that failed"]
            missing = [name for name in todo if name not in run.records]
            if len(todo) == 1:
                (item,) = todo.values()
                item.faults += faults
                item.peak = max(item.peak, run.peak)
                if missing and not item.faults:
                    item.faults.append("no record")
                if missing:
                    item.status = item.status or "fault"
                return
            if faults and not missing:  # one of them said or left something, or took much memory
                for name in answered:
                    self.through([todo[name]], output, options, keep, again=again)
                return
            for name in answered:
                del todo[name]
            for name in missing[:2]:
                self.through([todo.pop(name)], output, options, keep, again=again)

    def _note(self, run: Run, items: dict[str, Item], keep: Path, *, again: bool) -> None:
        for name, record in run.records.items():
            item = items.get(name)
            if item is None:
                continue
            status = str(record.get("status"))
            if again and status != "done":
                item.declined = self._reason(record, name)
            if record.get("code") == "internal":
                item.faults.append(self._reason(record, name))
            if not again:
                item.status, item.error = status, self._reason(record, name)
                item.hint = str(record.get("hint") or "")
            item.notes = sorted({*item.notes, *map(str, record.get("notes") or ())})
            item.seconds = max(item.seconds, float(record.get("seconds") or 0))
            if status == "done":
                made = self.folder / str(record.get("target"))
                if made.is_file():
                    made.rename(keep / made.name)
                else:
                    item.faults.append("done, but there is no output")

    @staticmethod
    def _reason(record: dict[str, Any], name: str) -> str:
        return str(record.get("error") or "").replace(f"in/{name}", "").lstrip(": ")

    def check(self, item: Item, results: list[dict[str, Any]]) -> None:
        """Ask the independent readers."""
        source = os.fspath(self.folder / "in" / item.staged)
        reply = self.checker.ask({"source": source, "kind": item.kind, "results": results})
        for result in reply.pop("results", []):
            explain(item, result.get("differences", ()), result["how"])
            if result.get("not_compared"):
                reply["not_compared"] = True
        item.seen = reply

    def alone(self, items: list[Item]) -> None:
        """Each in its own process: what a person with this one file would meet."""
        for item in items:
            output = "out/{stem}.png" if item.kind in TO_PNG else "out/{stem}{ext}"
            run = denoise(
                self.command, [item.staged], self.folder, output, ["-q", "--strength", "0"], silence=HANG + 10
            )
            item.alone, item.peak = True, max(item.peak, run.peak)
            record = run.records.get(item.staged, {})
            item.seconds = run.work
            item.faults += [f"alone: {fault}" for fault in run.faults()]
            if run.work > HANG:
                item.faults.append(f"alone: took {run.work:.0f} s of work")
            failed = record.get("status") == "failed"
            if (run.status == 1) != failed or len(run.errors) != failed or len(run.lines) > 2 * failed:
                item.faults.append(
                    f"alone: status {run.status}, {record.get('status')}, said {run.lines[:4]}"
                )


def sample(items: Sequence[Item], most: int) -> list[Item]:
    """Refused files for a run alone: of each reason some, first one of each."""
    groups: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        if item.status == "failed":
            groups[item.kind, pattern(item.error)].append(item)
    chosen: list[Item] = []
    depth = 0
    while len(chosen) < most and any(len(group) > depth for group in groups.values()):
        chosen += [group[depth] for group in groups.values() if len(group) > depth]
        depth += 1
    return chosen[:most]


def identity_network(path: Path) -> Path:
    """A network that changes nothing, as the tests have it; made elsewhere, to keep this process small."""
    code = "import sys, pathlib, tiny_network; tiny_network.identity(pathlib.Path(sys.argv[1]))"
    tests = Path(__file__).resolve().parents[2] / "tests"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([os.fspath(tests), os.environ.get("PYTHONPATH", "")])
    }
    subprocess.run([sys.executable, "-c", code, os.fspath(path)], check=True, env=environment)
    return path


def versions() -> str:
    names = (
        "unnoise",
        "numpy",
        "pillow",
        "tifffile",
        "imagecodecs",
        "simplejpeg",
        "onnxruntime",
        "pillow-heif",
    )
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} missing")
    return ", ".join(found)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once  [default: 2]")
    parser.add_argument("--batch", type=int, default=100, help="files in a process  [default: 100]")
    parser.add_argument("--alone", type=int, default=60, help="refused files of a corpus that run alone, too")
    parser.add_argument(
        "--full-megapixels",
        type=float,
        default=0.15,
        help="larger pictures pass unchanged through the network step",
    )
    parser.add_argument("--only", default="", help="a regular expression: files whose path has it")
    parser.add_argument("--examples", type=int, default=2, help="files that are named for a finding")
    parser.add_argument(
        "--work", type=Path, help="a folder for what is made meanwhile  [default: a temporary one]"
    )
    parser.add_argument(
        "--command", default=f"{shlex.quote(sys.executable)} -m unnoise", help="another unnoise"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON Lines, a file of a corpus a line")
    options = parser.parse_args()
    limit()
    began = time.monotonic()
    seen: dict[str, str] = {}
    items: list[Item] = []
    doubles: dict[str, int] = {}
    corpora = {}
    for folder in options.folders:
        if not folder.is_dir():
            print(f"no folder {folder}: skipped")
            continue
        corpora[folder.name] = folder
        own, doubles[folder.name] = found(folder, seen)
        items += [item for item in own if re.search(options.only, item.path)]
    if not items:
        print("no files: nothing to run; collect.py makes folders of them")
        return 0
    print("command: ", shlex.join([Path(sys.executable).name, *sys.argv]))
    print(f"machine:  {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"versions: Python {platform.python_version()}, {versions()}\n", flush=True)
    broken = works(shlex.split(options.command), Path(tempfile.gettempdir()))
    if broken:
        print(f"unnoise doesn't run here:\n{broken}")
        return 2
    if options.out:
        options.out.write_text("")
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        options.identity = identity_network(Path(place) / "identity.onnx")
        chunks = [items[at : at + options.batch] for at in range(0, len(items), options.batch)]
        # Neighbours are alike; what is heavy goes to both processes in turn.
        batches = [Batch(corpora, Path(place) / str(index), options) for index in range(options.jobs)]

        def keep(some: Iterable[Item]) -> None:
            if options.out:
                lines = "".join(json.dumps(asdict(item), default=str) + "\n" for item in some)
                with options.out.open("a") as file:
                    file.write(lines)

        def work(index: int) -> None:
            for number, chunk in enumerate(chunks[index :: options.jobs]):
                keep(batches[index].take(chunk))
                said = (
                    f"{time.monotonic() - began:5.0f} s: {number + 1} of {len(chunks[index :: options.jobs])}"
                )
                print(said, file=sys.stderr)
            for corpus in corpora:
                few = sample([item for item in items if item.corpus == corpus], options.alone)
                own = few[index :: options.jobs]
                stage(own, corpora, batches[index].folder)
                batches[index].alone(own)
                keep(own)  # a second line of the same file counts more than the first
            batches[index].checker.close()

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(work, range(options.jobs)))
    report(items, doubles, options.examples)
    print(f"\n{len(items)} files in {time.monotonic() - began:.0f} s")
    return 1 if any(item.faults or item.differences for item in items) else 0


if __name__ == "__main__":
    raise SystemExit(main())
