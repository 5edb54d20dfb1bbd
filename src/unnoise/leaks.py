"""Which of many files show the same: identical pictures, copies that were changed, crops that overlap.

Fingerprints of all pictures suggest pairs (:mod:`unnoise.candidates`), and each is believed only when the two
pictures agree pixel by pixel where they overlap (:mod:`unnoise.registration`). The result depends on the
pictures and their order alone, not on the number of workers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unnoise.candidates import Candidate, candidates
from unnoise.contactsheet import save_sheet
from unnoise.errors import DataError
from unnoise.fingerprints import Fingerprint, fingerprint
from unnoise.images import read
from unnoise.registration import Registration, register
from unnoise.shelf import fill, opened
from unnoise.sources import SourceFile, decode_small
from unnoise.tiles import Leak
from unnoise.words import count
from unnoise.workers import Workers

Kind = Literal["identical", "near copy", "overlap"]
Picture = Path | npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Watch = Callable[[Iterator[Any], int, str], Iterable[Any]]

_WHOLE = 0.9
_MOST_CUT = 0.4
_AT_ONCE = 32
_MOST_NAMED = 3


@dataclass(frozen=True)
class Match:
    """Two pictures that show the same.

    Attributes:
        first: name of one.
        second: of the other.
        kind: ``identical``: the same pixels. ``near copy``: one shows nearly all of what the other shows, and
            that is most of the larger, too. ``overlap``: anything else.
        overlap: part of the smaller of the two that both show, 0 to 1.
        transform: takes x, y of the first to those of the second: ((a, b, c), (d, e, f)) for
            x' = a·x + b·y + c, y' = d·x + e·y + f; pixels.
        correlation: of the fine structure that they share.
    """

    first: str
    second: str
    kind: Kind
    overlap: float
    transform: tuple[tuple[float, ...], ...]
    correlation: float


def _unwatched(results: Iterator[Any], _total: int, _what: str) -> Iterable[Any]:
    return results


def find_leaks(
    files: Sequence[SourceFile], *, pool: Workers, scratch: Path | None = None, watch: Watch = _unwatched
) -> list[Match]:
    """Find all files of a training set that show the same.

    Of files that are identical only the first is compared with others.

    Args:
        files: that :func:`unnoise.sources.measure` accepts.
        pool: does the work.
        scratch: where a folder for fingerprints may be made, about 150 kB a file; None takes the system's.
        watch: told the results as they come, how many there will be and what they are.
    """
    prints = pool.map(_of_source, files, name=lambda file: str(file.path))
    watched = watch(prints, len(files), "looking for copies")
    return find_matches([file.source for file in files], watched, pool=pool, scratch=scratch, watch=watch)


def across_splits(matches: Iterable[Match], split: Mapping[str, str]) -> tuple[Leak, ...]:
    """The pairs that lie in different splits; files without a split are passed over."""
    return tuple(
        Leak(each.first, each.second, each.kind, (split[each.first], split[each.second]), _told(each.overlap))
        for each in matches
        if each.first in split and each.second in split and split[each.first] != split[each.second]
    )


def refusal(leaks: Sequence[Leak], paths: Mapping[str, Path], output: Path) -> DataError:
    """The error that names pairs in different splits, all of which are drawn beside the output.

    Args:
        leaks: the pairs, at least one.
        paths: relative path -> file.
        output: the data set that would hold them.
    """
    sheet = sheet_of(output)
    save_sheet(leaks, paths, sheet)
    return DataError(
        f"{count(len(leaks), 'pair')} of files that would be in different splits show the same, see "
        f"{sheet}: {named(leaks, _MOST_NAMED)}",
        hint="Take such files for one photograph with --join-leaks (recommended), or keep and record them "
        "with --allow-leaks.",
    )


def sheet_of(output: Path) -> Path:
    """Where the pairs of a refused data set are drawn."""
    return output.with_name(f"{output.name}.leaks.png")


def named(leaks: Sequence[Leak], most: int) -> str:
    """The first pairs in words, with their splits where these have names, and how many more there are."""

    def told(source: str, split: str) -> str:
        return f"{source} ({split})" if split else source

    shown = [
        f"{told(each.first, each.splits[0])} and {told(each.second, each.splits[1])}, {each.kind}"
        for each in leaks[:most]
    ]
    left = [f"{len(leaks) - most:,} more"] if len(leaks) > most else []
    return "; ".join([*shown, *left])


def leaks_between(
    scored: Mapping[str, Picture],
    others: Mapping[str, Picture],
    *,
    splits: tuple[str, str] = ("test", "train"),
    workers: int = 1,
    scratch: Path | None = None,
    watch: Watch = _unwatched,
) -> tuple[Leak, ...]:
    """Find what two sets of pictures have in common; pairs within one are not looked for.

    Args:
        scored: name -> file, or pixels (H, W, C), C 1 or 3, uint8 or float32 in [0, 1].
        others: likewise; the same name may be in both.
        splits: what the two sets are called.
        workers: processes.
        scratch: as for :func:`find_leaks`.
        watch: likewise.

    Returns:
        The first of each is one of ``scored``, the second one of ``others``; sorted by both names.

    Raises:
        UnnoiseError: a file cannot be read.
    """
    names = [*scored, *others]
    pictures = [*scored.values(), *others.values()]
    sides = [0] * len(scored) + [1] * len(others)
    with Workers(workers) as pool:
        prints = watch(pool.map(_of_picture, pictures, name=str), len(pictures), "looking for copies")
        keys = [str(number) for number in range(len(names))]
        found = find_matches(keys, prints, pool=pool, sides=sides, scratch=scratch, watch=watch)
    leaks = [
        Leak(names[int(each.first)], names[int(each.second)], each.kind, splits, _told(each.overlap))
        for each in found
    ]
    return tuple(sorted(leaks, key=lambda leak: (leak.first, leak.second)))


def find_matches(
    names: Sequence[str],
    prints: Iterable[Fingerprint],
    *,
    pool: Workers,
    sides: Sequence[int] | None = None,
    scratch: Path | None = None,
    watch: Watch = _unwatched,
) -> list[Match]:
    """Find all pictures that show the same, by their fingerprints.

    Args:
        names: of the pictures.
        prints: of the same, in the same order.
        pool: does the work.
        sides: a number for each picture; those of the same one are not compared. None compares all.
        scratch: as for :func:`find_leaks`.
        watch: likewise.

    Returns:
        Pairs in the order of the pictures.
    """
    with tempfile.TemporaryDirectory(
        prefix=".fingerprints-", dir=scratch, ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        try:
            digests = fill(folder, prints, sides)
            pairs = _identical(digests, sides or range(len(digests)))
            copies = {second for _, second in pairs}
            matches = {
                pair: Match(
                    names[pair[0]], names[pair[1]], "identical", 1.0, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), 1.0
                )
                for pair in pairs
            }
            likely = [
                each
                for each in candidates(folder, pool)
                if sides is not None or not copies & {each.first, each.second}
            ]
            chunks = [likely[first : first + _AT_ONCE] for first in range(0, len(likely), _AT_ONCE)]
            looked = pool.map(partial(_confirm, folder=folder), chunks, name=lambda chunk: f"pair {chunk[0]}")
            for chunk, results in zip(chunks, watch(looked, len(chunks), "comparing"), strict=True):
                for candidate, found in zip(chunk, results, strict=True):
                    if found is not None:
                        same = digests[candidate.first] == digests[candidate.second]
                        _take(matches, candidate, found, names, same=same)
        finally:
            opened.cache_clear()
    return [matches[pair] for pair in sorted(matches)]


def _told(overlap: float) -> float:
    return round(overlap, 3)


def _of_source(file: SourceFile) -> Fingerprint:
    return fingerprint(*decode_small(file.path.read_bytes()))


def _of_picture(picture: Picture) -> Fingerprint:
    return fingerprint(read(picture).pixels if isinstance(picture, Path) else picture)


def _identical(digests: Sequence[str], sides: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of the first picture and each other one with the same pixels, of another side."""
    first: dict[str, list[int]] = {}
    pairs = []
    for number, digest in enumerate(digests):
        known = first.setdefault(digest, [])
        pairs += [(other, number) for other in known if sides[other] != sides[number]][:1]
        if not any(sides[other] == sides[number] for other in known) and len(known) < 2:
            known.append(number)
    return pairs


def _confirm(chunk: Sequence[Candidate], *, folder: Path) -> list[Registration | None]:
    shelf = opened(folder)
    return [register(shelf[each.first], shelf[each.second], mirror=each.mirror) for each in chunk]


def _take(
    matches: dict[tuple[int, int], Match],
    candidate: Candidate,
    found: Registration,
    names: Sequence[str],
    *,
    same: bool,
) -> None:
    pair = candidate.first, candidate.second
    known = matches.get(pair)
    if known is not None and known.correlation >= found.correlation:
        return
    copy = found.overlap >= _WHOLE and found.of_larger >= _MOST_CUT
    matches[pair] = Match(
        names[candidate.first],
        names[candidate.second],
        "identical" if same else "near copy" if copy else "overlap",
        found.overlap,
        tuple(tuple(float(value) for value in row) for row in found.matrix),
        found.correlation,
    )
