"""Finished searches, kept in a folder so that nobody waits for the same one twice."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from unnoise.files import write_text
from unnoise.filters import FILTERS, Filter, parse
from unnoise.pairs import Pairs
from unnoise.rounds import Round, Search, Setting

SCHEMA = 1
"""To be raised when a search tries other things than before for the same table of filters."""


def recall(folder: Path, name: str, pairs: Pairs) -> Search | None:
    """The search of a filter on these pictures, if it was kept; None too where its file is damaged."""
    key = _key(name, pairs)
    try:
        stored = json.loads(_file(folder, name, key).read_text(encoding="utf-8"))
        if stored["key"] != key:
            return None
        rounds = tuple(
            Round(
                tuple(Setting(_filter(name, spec), float(mse)) for spec, mse in each["settings"]),
                int(each["pictures"]),
            )
            for each in stored["rounds"]
        )
        found = Search(name, rounds, int(stored["of"]), float(stored["seconds"]))
        return found if found.best.mse >= 0 else None
    except Exception:
        return None


def keep(folder: Path, search: Search, pairs: Pairs) -> Path | None:
    """Write a search for :func:`recall`; the file, or None where the folder cannot be written to."""
    key = _key(search.name, pairs)
    record = {
        "key": key,
        "filter": search.name,
        "of": search.of,
        "seconds": search.seconds,
        "rounds": [
            {
                "pictures": each.pictures,
                "settings": [[setting.filter.spec, setting.mse] for setting in each.settings],
            }
            for each in search.rounds
        ],
    }
    path = _file(folder, search.name, key)
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        write_text(path, json.dumps(record, indent=1) + "\n")
        return path
    return None


def _file(folder: Path, name: str, key: str) -> Path:
    return folder / f"{name}-{key[:16]}.json"


def _filter(name: str, spec: str) -> Filter:
    found = parse(spec)
    if found.name != name:
        raise ValueError(spec)
    return found


def _key(name: str, pairs: Pairs) -> str:
    """What a search's outcome depends on: the pictures, the filter with its grid, and the code at work."""
    entry = FILTERS[name]
    parts = (
        SCHEMA,
        name,
        {key: repr(each) for key, each in entry.parameters.items()},
        entry.search_pixels,
        entry.exhaustive,
        entry.work,
        pairs.fingerprint,
        len(pairs),
        pairs.sigma,
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
