"""What methods have seen: pictures that filters were tuned and networks trained on, beside what is scored."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unnoise.cores import available_cores
from unnoise.errors import DataError
from unnoise.journal import Journal, key_of
from unnoise.leaks import leaks_between
from unnoise.pairs import content
from unnoise.results import decode
from unnoise.subjects import Subject
from unnoise.tiles import MANIFEST_NAME, Dataset, Leak, load_dataset, read_manifest

Log = Callable[[str], None]

SCORED = "scored"
_LISTED = 20


def leaks(
    subject: Subject,
    texts: Sequence[str],
    *,
    tuned: bool,
    journal: Journal | None = None,
    workers: int | None = None,
    log: Log = lambda _: None,
) -> tuple[Leak, ...]:
    """Pictures that are scored, and that filters were tuned or networks trained on.

    What a run was trained on is known where its data set still is. A data set's own test tiles are not looked
    at again: `unnoise prepare` did that.

    Args:
        subject: what is scored.
        texts: the methods, as a person named them; folders of runs are looked at.
        tuned: whether filters are searched on the pictures to tune on.
        journal: keeps the answer.
        workers: processes; None takes one a core.
        log: takes a line of text for people.

    Returns:
        The first of each is what is scored; sorted by name.
    """
    journal = journal or Journal()
    found: list[Leak] = []
    with tempfile.TemporaryDirectory(prefix="unnoise-known-") as scratch:
        scored: dict[str, Path] = {}
        others = _others(subject, texts, tuned=tuned, log=log)
        for role, key, pictures in others:
            if not scored:
                scored = _scored(subject, Path(scratch) / SCORED)
            kept_as = key_of(["leaks", role, key, *(content(path) for path in scored.values())])
            kept = journal.get(kept_as)
            if kept is None:
                log(f"looking for what is scored in what {role}")
                theirs = pictures(Path(scratch) / f"other{len(found)}")
                count = workers or available_cores()
                made = leaks_between(scored, theirs, splits=(SCORED, role), workers=count)
                kept = [asdict(each) for each in made]
                journal.keep(kept_as, kept)
                kept = journal.get(kept_as)
            found += decode(tuple[Leak, ...], kept)
    return tuple(found)


def refuse(found: Sequence[Leak], sheet: Path | None = None) -> None:
    """Refuse leaks, if there are any.

    Args:
        found: what :func:`leaks` gave.
        sheet: a picture of the pairs, if there is one.

    Raises:
        DataError: there are some; the message lists them.
    """
    if not found:
        return
    listed = "; ".join(
        f"{each.first} and {each.second} ({each.splits[1]}): {each.kind}, {each.overlap:.0%}"
        for each in found[:_LISTED]
    )
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    shown = f" {sheet} shows them." if sheet else ""
    raise DataError(
        f"{len(found)} pairs of pictures show the same, one of them scored, the other tuned or trained on: "
        f"{listed}{more}.{shown}",
        hint="Leave them out of one of the two, or say --allow-leaks: the report then says so.",
    )


_Pictures = Callable[[Path], Mapping[str, Path]]


def _others(
    subject: Subject, texts: Sequence[str], *, tuned: bool, log: Log
) -> Iterator[tuple[str, str, _Pictures]]:
    """What was done with pictures, a text that tells them from others, and the pictures."""
    if tuned and subject.tuned_on is not None and subject.pictures is not None:
        files = subject.tuned_on
        yield "filters are tuned on", subject.pictures.tuned_sha256, lambda _: files
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
        yield (
            f"{Path(text).name} was trained on",
            content(data / MANIFEST_NAME),
            lambda folder, dataset=dataset: _mosaics(dataset, ("train", "valid"), folder),  # type: ignore[misc]
        )


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

