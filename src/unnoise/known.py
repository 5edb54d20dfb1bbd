"""What methods have seen: pictures that filters were tuned and networks trained on, beside what is scored."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.contactsheet import save_sheet
from unnoise.cores import available_cores
from unnoise.errors import DataError
from unnoise.journal import Journal, key_of
from unnoise.leaks import leaks_between, named
from unnoise.pairs import content
from unnoise.results import decode
from unnoise.subjects import Subject
from unnoise.tiles import MANIFEST_NAME, Dataset, Leak, load_dataset, read_manifest
from unnoise.words import count

Log = Callable[[str], None]

SCORED = "scored"
_LISTED = 20


def check(
    subject: Subject,
    texts: Sequence[str],
    *,
    tuned: bool,
    sheet: Path | None = None,
    allow: bool = False,
    journal: Journal | None = None,
    workers: int | None = None,
    log: Log = lambda _: None,
) -> tuple[Leak, ...]:
    """Refuse pictures that are scored, and that filters were tuned or networks trained on.

    What a run was trained on is known where its data set still is. A data set's own test tiles are not looked
    at again: `unnoise prepare` did that.

    Args:
        subject: what is scored.
        texts: the methods, as a person named them; folders of runs are looked at.
        tuned: whether filters are searched on the pictures to tune on.
        sheet: where a picture of the pairs is drawn before they are refused.
        allow: give them back instead of refusing them.
        journal: keeps the answer.
        workers: processes; None takes one a core.
        log: takes a line of text for people.

    Returns:
        The first of each is what is scored.

    Raises:
        DataError: there are some, and they are not allowed; the message lists them.
    """
    journal = journal or Journal()
    found: list[Leak] = []
    drawn: list[Leak] = []
    paths: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(prefix="unnoise-known-") as scratch:
        scored: dict[str, Path] = {}
        told: list[str] = []
        for number, other in enumerate(_others(subject, texts, tuned=tuned, log=log)):
            if not scored:
                scored = _scored(subject, Path(scratch) / SCORED)
                told = [f"{name} {content(path)}" for name, path in scored.items()]
            key = key_of(["leaks", other.role, other.key, *told])
            if journal.get(key) is None:
                log(f"looking for what is scored in what is {other.role}")
                theirs = other.pictures(Path(scratch) / str(number))
                splits, cores = (SCORED, other.role), workers or available_cores()
                made = leaks_between(scored, theirs, splits=splits, workers=cores)
                journal.keep(key, [asdict(each) for each in made])
                # The sets may share names.
                drawn += [replace(each, second=f"{other.name}/{each.second}") for each in made]
                paths |= {f"{other.name}/{each.second}": theirs[each.second] for each in made}
            found += decode(tuple[Leak, ...], journal.get(key))
        if drawn and sheet is not None:
            save_sheet(drawn, {**paths, **scored}, sheet)
    if found and not allow:
        raise _refusal(found, sheet)
    return tuple(found)


def _refusal(found: Sequence[Leak], sheet: Path | None) -> DataError:
    pairs = [replace(each, splits=("", each.splits[1])) for each in found]
    shown = f" {sheet} shows them." if sheet and sheet.exists() else ""
    return DataError(
        f"{count(len(found), 'pair')} of pictures show the same, one of them scored, the other tuned or "
        f"trained on: {named(pairs, _LISTED)}.{shown}",
        hint="Leave them out of one of the two, or say --allow-leaks: the report then says so.",
    )


@dataclass(frozen=True)
class _Other:
    """Pictures that something was done with.

    Attributes:
        name: of their folder or run.
        role: what was done with them.
        key: tells them from others.
        pictures: name -> file; takes a folder for those that must be made.
    """

    name: str
    role: str
    key: str
    pictures: Callable[[Path], Mapping[str, Path]]


def _others(subject: Subject, texts: Sequence[str], *, tuned: bool, log: Log) -> Iterator[_Other]:
    if tuned and subject.tuned_on is not None and subject.pictures is not None:
        files, name = subject.tuned_on, Path(subject.pictures.tuned_on).name
        yield _Other(name, "tuned on", subject.pictures.tuned_sha256, lambda _: files)
    own = subject.dataset.path.resolve() if subject.dataset else None
    for text in texts:
        data = trained_on(Path(text))
        if data is None or data.resolve() == own:
            continue
        try:
            dataset = load_dataset(data)
        except DataError:
            log(f"{text} was trained on {data}, which is not there: not looked for what is scored in it")
            continue
        name = Path(text).name
        pictures = partial(_mosaics, dataset, ("train", "valid"))
        yield _Other(name, f"trained on by {name}", content(data / MANIFEST_NAME), pictures)


def trained_on(run: Path) -> Path | None:
    """The data set that a run was trained on; None where it is no run."""
    try:
        return Path(json.loads((run / "config.json").read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _scored(subject: Subject, folder: Path) -> dict[str, Path]:
    if subject.files is not None:
        return dict(subject.files)
    assert subject.dataset is not None
    return _mosaics(subject.dataset, ("test",), folder)


def _mosaics(dataset: Dataset, splits: Sequence[str], folder: Path) -> dict[str, Path]:
    """The pictures that a data set's tiles were cut from, put together again; name -> file."""
    folder.mkdir(parents=True)
    made = {}
    for number, (source, pixels) in enumerate(mosaics(dataset, splits)):
        path = folder / f"{number}.bmp"
        cv2.imwrite(str(path), np.ascontiguousarray(pixels[:, :, ::-1]))
        made[source] = path
    return made


def mosaics(dataset: Dataset, splits: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Each source file of some splits, as far as its tiles show it; what they don't show is black.

    Returns:
        name of the source, and uint8 (H, W, 3).
    """
    side = dataset.info.tile
    rows = dict.fromkeys(splits, 0)
    places: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for tile in read_manifest(dataset.path):
        if tile.split in rows:
            places.setdefault((tile.split, tile.source), []).append((rows[tile.split], tile.x, tile.y))
            rows[tile.split] += 1
    arrays = {split: dataset.split(split).clean for split in splits}
    for (split, source), tiles in places.items():
        left, top = min(x for _, x, _ in tiles), min(y for _, _, y in tiles)
        width, height = max(x for _, x, _ in tiles) - left + side, max(y for _, _, y in tiles) - top + side
        picture = np.zeros((height, width, 3), np.uint8)
        for row, x, y in tiles:
            picture[y - top : y - top + side, x - left : x - left + side] = arrays[split][row]
        yield source, picture
