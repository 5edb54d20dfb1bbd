"""How well `unnoise prepare` finds files that show the same, and what that takes.

Four parts; `--parts` takes some of them:

- overlaps: crops of photographs of cracks, whose names say from where in which photograph they were cut.
  Two crops are a pair that ought to be found if they share at least a tenth of the smaller one's area; what
  they share is counted in the photograph's pixels. What is found below that counts, too, but isn't asked for.
  A pair is a false alarm if the names say that the crops are of one photograph and share nothing. Pairs of
  different photographs are listed and drawn (`--sheet`): whether they show the same wall no name tells.
- copies: of 200 of these files, looked for among all of them.
- others: folders of photographs that should hold nothing twice; what is found is listed, and drawn.
- time: thousands of pictures of 448×448 pixels: cells of photographs, side by side, and over each of them
  crops (one, or as many as are needed for so many files), stretched and of another brightness. Pairs that
  share a tenth are counted here as well; what is found besides is listed.

The names' four numbers are row, column, height and width; that was found by laying crops over each other.
Names with two numbers are tiles of a grid, which share nothing.

    python benchmarks/leaks.py [--data FOLDER] [--parts overlaps,copies] [--workers 2] [--sheet FOLDER]
        [--counts 1000,3000,10000]

FOLDER holds cracks/, cracks-cc0/, photos/ and CBSD68/; it is $UNNOISE_DATA, or ../shared/data, if not given.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from _machine import introduce
from unnoise.contactsheet import save_sheet
from unnoise.grouping import group_files
from unnoise.leaks import Match, find_leaks, leaks_between
from unnoise.sources import SourceFile, decode, find_sources
from unnoise.tiles import Leak
from unnoise.workers import Workers

Pixels = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]  # x, y, width, height

ASKED = 0.1
BINS = (1e-9, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.01)
SIDE = 448
_BOXED = re.compile(r"(.*(?:9S6A|DSC|Eugen_Muller_)\w*?)_(\d+)_(\d+)_(\d+)_(\d+)$")
_GRID = re.compile(r"((?:CRACK500|GAPS384)_.*)_(\d+)_(\d+)$")


@dataclass(frozen=True)
class Options:
    """What the parts are told."""

    data: Path
    workers: int
    sheet: Path
    counts: Sequence[int]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("UNNOISE_DATA", "../shared/data")))
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sheet", type=Path, default=Path(tempfile.gettempdir()), help="folder for drawings")
    parser.add_argument("--counts", default="1000,3000,10000", help="numbers of files, for time")
    arguments = parser.parse_args()
    asked = arguments.parts.split(",")
    if unknown := [name for name in asked if name not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    counts = [int(count) for count in arguments.counts.split(",")]
    options = Options(arguments.data, arguments.workers, arguments.sheet, counts)
    introduce(("numpy", "opencv-python-headless"))
    for name in asked:
        print(f"\n=== {name}", flush=True)
        PARTS[name](options)
    return 0


# --- looking, and the time it takes ----------------------------------------------------------------


def cpu_seconds() -> npt.NDArray[np.float64]:
    """Of this process, and of its workers that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([each.ru_utime + each.ru_stime for each in used])


def look(files: Sequence[SourceFile], options: Options) -> list[Match]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    with Workers(options.workers) as pool:
        found = find_leaks(files, pool=pool)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    alone = float(cpu[0] + cpu[1] / options.workers)
    print(
        f"{len(files)} files: {wall:.0f} s by the clock with {options.workers} workers, load "
        f"{os.getloadavg()[0]:.0f}; processor time {cpu[0]:.0f} s in the main process and {cpu[1]:.0f} s in "
        f"the workers ({1000 * cpu.sum() / len(files):.0f} ms a file): {alone:.0f} s if nothing else ran; "
        f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB in the main process, "
        f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB in a worker",
        flush=True,
    )
    return found


def files_of(folder: Path) -> list[SourceFile]:
    """Image files of a folder; a word where there are none."""
    files = find_sources([folder], folder / "nowhere") if folder.is_dir() else []
    if not files:
        print(f"no pictures in {folder}: nothing is measured")
    return files


def draw(matches: Sequence[Match], files: Sequence[SourceFile], path: Path) -> None:
    if matches:
        leaks = [Leak(each.first, each.second, each.kind, ("", ""), each.overlap) for each in matches]
        save_sheet(leaks, {file.source: file.path for file in files}, path, most=60)
        print(f"drawn in {path}")


def pair(first: str, second: str) -> tuple[str, str]:
    return (first, second) if first < second else (second, first)


def shared(a: Box, b: Box) -> float:
    """Part of the smaller box that both cover."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(wide, 0) * max(high, 0) / min(a[2] * a[3], b[2] * b[3])


def count_found(truth: Mapping[tuple[str, str], float], found: set[tuple[str, str]]) -> None:
    asked = [key for key, part in truth.items() if part >= ASKED]
    hits = sum(key in found for key in asked)
    share = f" ({hits / len(asked):.1%})" if asked else ""
    print(f"pairs that share at least {ASKED:.0%} of the smaller: {hits} of {len(asked)} found{share}")
    for low, high in itertools.pairwise(BINS):
        some = [key for key, part in truth.items() if low <= part < high]
        print(f"  {low:4.0%} to {min(high, 1):4.0%}: {sum(key in found for key in some)} of {len(some)}")


# --- overlaps --------------------------------------------------------------------------------------


def box_of(stem: str) -> tuple[str, Box | None]:
    """The photograph that a name tells, and where in it the crop lies; None for a tile of its own."""
    if boxed := _BOXED.match(stem):
        y, x, height, width = (int(number) for number in boxed.groups()[1:])
        return boxed[1], (x, y, width, height)
    if grid := _GRID.match(stem):
        return grid[1], None
    return "", None


def overlaps(options: Options) -> None:
    files = files_of(options.data / "cracks")
    if not files:
        return
    boxes = {file.source: box_of(file.path.stem) for file in files}
    truth: dict[tuple[str, str], float] = {}
    apart: set[tuple[str, str]] = set()
    for one, other in itertools.combinations(sorted(boxes), 2):
        (mine, ours), (yours, theirs) = boxes[one], boxes[other]
        if mine and mine == yours:
            part = shared(ours, theirs) if ours and theirs else 0.0
            if part:
                truth[one, other] = part
            else:
                apart.add((one, other))
    matches = look(files, options)
    found = {pair(each.first, each.second): each for each in matches}
    print(f"{len(truth)} pairs of crops of one photograph share something, {len(apart)} nothing")
    count_found(truth, set(found))
    for key, part in sorted(truth.items(), key=lambda item: item[1]):
        if part >= ASKED and key not in found:
            print(f"  missed: {part:.2f} {key[0]} {key[1]}")
    off = [abs(found[key].overlap - part) for key, part in truth.items() if key in found]
    print(f"the overlap that is told differs by {np.mean(off):.3f} on average, {max(off):.3f} at most")
    false = [key for key in found if key in apart]
    print(
        f"false by their names (one photograph, nothing shared): {len(false)} of {len(found)} found {false}"
    )
    group = group_files(boxes, None).group
    untold = [each for key, each in found.items() if key not in truth and key not in apart]
    same = [each for each in untold if group[each.first] == group[each.second]]
    print(f"of one photograph by their names, which don't tell where: {len(same)}")
    across = [each for each in untold if group[each.first] != group[each.second]]
    print(f"of different photographs by their names, to be looked at: {len(across)}")
    for each in across:
        print(f"  {each.kind}, {each.overlap:.2f}, {each.correlation:.2f}: {each.first} {each.second}")
    draw(across, files, options.sheet / "leaks-across.png")
    draw(same, files, options.sheet / "leaks-same.png")


# --- copies ----------------------------------------------------------------------------------------


def jpeg(pixels: Pixels, quality: int = 60) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return decode(data.tobytes())


def scaled(pixels: Pixels, factor: float = 0.8) -> Pixels:
    return np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def cropped(pixels: Pixels, part: float = 0.7) -> Pixels:
    """The middle, so large that ``part`` of the area is left."""
    height, width = (round(np.sqrt(part) * side) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 3, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def brighter(pixels: Pixels, by: float) -> Pixels:
    return np.asarray(np.clip(np.rint(pixels * (1 + by)), 0, 255), np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "mirrored": lambda p: p[:, ::-1],
    "turned by 90°": np.rot90,
    "JPEG, quality 60": jpeg,
    "scaled by 0.8": scaled,
    "cropped to 70 % of the area": cropped,
    "15 % brighter": lambda p: brighter(p, 0.15),
    "15 % darker": lambda p: brighter(p, -0.15),
}

HARDER: dict[str, Callable[[Pixels], Pixels]] = {
    "mirrored, turned by 90°, JPEG 60": lambda p: jpeg(np.ascontiguousarray(np.rot90(p[:, ::-1]))),
    "cropped to 70 %, scaled by 0.8, JPEG 60": lambda p: jpeg(scaled(cropped(p))),
    "cropped to 49 %, 15 % darker, turned by 180°": lambda p: np.rot90(brighter(cropped(p, 0.49), -0.15), 2),
    "cropped to 70 % of each side": lambda p: cropped(p, 0.49),
    "scaled by 0.5, JPEG 60": lambda p: jpeg(scaled(p, 0.5)),
    "scaled by 1.5, mirrored, 15 % brighter": lambda p: brighter(
        np.asarray(cv2.resize(p[:, ::-1], None, fx=1.5, fy=1.5), np.uint8), 0.15
    ),
    "stretched by 1.4 in one direction, JPEG 60": lambda p: jpeg(
        np.asarray(cv2.resize(p, (round(1.4 * p.shape[1]), p.shape[0])), np.uint8)
    ),
}


def copies(options: Options) -> None:
    files = files_of(options.data / "cracks")
    chosen = [files[round(index)] for index in np.linspace(0, len(files) - 1, min(200, len(files)))]
    if not files:
        return
    originals = {file.source: file.path for file in files}
    changes = list(CHANGES)
    made = {
        f"{changes[index % len(changes)]}: {file.source}": np.ascontiguousarray(
            CHANGES[changes[index % len(changes)]](decode(file.path.read_bytes()))
        )
        for index, file in enumerate(chosen)
    }
    rows = {"each changed in one of these ways": made}
    for name, change in HARDER.items():
        rows[name] = {
            f"{name}: {file.source}": np.ascontiguousarray(change(decode(file.path.read_bytes())))
            for file in chosen
        }
    for name, row in rows.items():
        leaks = leaks_between(row, originals, workers=options.workers)
        found = {leak.first for leak in leaks if leak.first.split(": ", 1)[1] == leak.second}
        print(f"{name}: {len(found)} of {len(row)}", flush=True)
        if row is made:
            for way in changes:
                some = [key for key in row if key.startswith(way)]
                print(f"  {way}: {sum(key in found for key in some)} of {len(some)}")
        missed = [key for key in row if key not in found]
        print("".join(f"  missed: {key}\n" for key in missed[:8]), end="", flush=True)


# --- others ----------------------------------------------------------------------------------------


def others(options: Options) -> None:
    for name in ("photos", "CBSD68", "cracks-cc0"):
        files = files_of(options.data / name)
        if not files:
            continue
        print(name)
        matches = look(files, options)
        print(f"  {len(matches)} pairs found among {len(files) * (len(files) - 1) // 2}")
        for each in matches:
            print(f"  {each.kind}, {each.overlap:.2f}, {each.correlation:.2f}: {each.first} {each.second}")
        draw(matches, files, options.sheet / f"leaks-{name}.png")


# --- time ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A picture to be made: where from, and how it is changed."""

    source: Path
    box: tuple[int, int, int, int]
    gain: float
    target: Path


def pieces(files: Sequence[SourceFile], count: int, folder: Path, rng: np.random.Generator) -> list[Piece]:
    """Cells side by side, and crops that were cut over every other one of them."""
    cells = []
    for file in files:
        height, width, _ = decode(file.path.read_bytes()).shape
        side = 205 if width > 600 else 224
        cells += [
            (file.path, x, y, side, width, height)
            for y in range(0, height - side + 1, side)
            for x in range(0, width - side + 1, side)
        ]
    made: list[Piece] = []
    over = max(1, -(-count // max(1, len(cells))) - 1)  # crops over each cell
    for index in rng.permutation(len(cells)):
        path, x, y, side, width, height = cells[index]
        if len(made) >= count:
            break
        gain = rng.uniform(0.85, 1.15)
        made.append(Piece(path, (x, y, side, side), gain, folder / f"{len(made):05}.jpg"))
        for _ in range(over):
            wide, high = (int(value) for value in rng.integers(int(0.8 * side), int(1.3 * side), 2))
            wide, high = min(wide, width), min(high, height)
            left = int(np.clip(x + rng.integers(-side // 2, side // 2), 0, width - wide))
            top = int(np.clip(y + rng.integers(-side // 2, side // 2), 0, height - high))
            gain = rng.uniform(0.85, 1.15)
            made.append(Piece(path, (left, top, wide, high), gain, folder / f"{len(made):05}.jpg"))
    return made[:count]


def make(made: Sequence[Piece]) -> None:
    """Write pictures that are cut from one source."""
    whole = decode(made[0].source.read_bytes())
    for piece in made:
        x, y, width, height = piece.box
        pixels = whole[y : y + height, x : x + width]
        large = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        changed = cv2.convertScaleAbs(large, alpha=piece.gain)
        cv2.imwrite(str(piece.target), changed[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


def duration(options: Options) -> None:
    files = files_of(options.data / "photos") + files_of(options.data / "cracks")
    if not files:
        return
    for count in options.counts:
        with tempfile.TemporaryDirectory(prefix="leaks-") as name:
            made = pieces(files, count, Path(name), np.random.default_rng(0))
            if len(made) < count:
                print(f"only {len(made)} files could be made, not {count}")
            by_source: dict[Path, list[Piece]] = {}
            for piece in made:
                by_source.setdefault(piece.source, []).append(piece)
            truth = {}
            for group in by_source.values():
                make(group)
                for one, other in itertools.combinations(group, 2):
                    if part := shared(one.box, other.box):
                        truth[pair(one.target.name, other.target.name)] = part
            found = {pair(each.first, each.second): each for each in look(files_of(Path(name)), options)}
            count_found(truth, set(found))
            # Files that the names or the other parts tell to show the same say nothing here.
            photograph = group_files((file.source for file in files), None).group
            origin = {piece.target.name: piece for piece in made}
            for key, each in found.items():
                one, other = origin[key[0]], origin[key[1]]
                names = one.source.name, other.source.name
                if key not in truth and (
                    names[0] == names[1] or photograph[names[0]] != photograph[names[1]]
                ):
                    print(
                        f"  besides: {each.kind}, {each.overlap:.2f}, {each.correlation:.2f}: "
                        f"{names[0]} {one.box}, {names[1]} {other.box}"
                    )


PARTS: dict[str, Callable[[Options], None]] = {
    "overlaps": overlaps,
    "copies": copies,
    "others": others,
    "time": duration,
}


if __name__ == "__main__":
    sys.exit(main())
