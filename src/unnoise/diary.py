"""What a long piece of work was asked for, what was decided on the way, and how long each stage took."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from unnoise.errors import ConfigError
from unnoise.files import is_in_use, write_text

NAME = "experiment.json"


@dataclass
class Diary:
    """The file ``experiment.json`` of an output folder.

    Attributes:
        path: of the file.
        asked: the options, as plain JSON values.
        took: stage -> seconds, over all sessions, interrupted ones too.
        minutes: training -> minutes that it was given; empty until that is decided.
    """

    path: Path
    asked: Mapping[str, Any]
    took: dict[str, float]
    minutes: dict[str, float]

    @classmethod
    def open(cls, folder: Path, asked: Mapping[str, Any], *, worthless: Collection[str] = ()) -> Self:
        """Begin where nothing has been made yet, or go on where the same was asked for.

        Args:
            folder: of all that is made.
            asked: the options, as plain JSON values.
            worthless: names of files in it that are no result.

        Raises:
            ConfigError: the folder holds something else.
        """
        path = folder / NAME
        nothing = not is_in_use(folder, but=(NAME, *worthless))
        if path.exists():
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["asked"] != asked and not nothing:
                other = [name for name in asked if stored["asked"].get(name) != asked[name]]
                raise ConfigError(
                    f"{folder} holds an experiment with other {', '.join(other)}",
                    hint="Give the same options to go on with it, or another -o.",
                )
            if stored["asked"] == asked:
                return cls(path, asked, stored["took"], stored["minutes"])
        if not nothing:
            raise ConfigError(f"{folder} is not empty", hint="Take another -o.")
        folder.mkdir(parents=True, exist_ok=True)
        diary = cls(path, asked, {}, {})
        diary.save()
        return diary

    @property
    def seconds(self) -> float:
        """Time taken by all stages so far."""
        return sum(self.took.values())

    def decide(self, minutes: dict[str, float]) -> None:
        """Keep what each training was given: a resumed experiment must not decide anew."""
        self.minutes = minutes
        self.save()

    def stage(self, name: str) -> Stage:
        """A context that adds the time inside it."""
        return Stage(self, name)

    def save(self) -> None:
        """Write the file."""
        record = {"asked": self.asked, "minutes": self.minutes, "took": self.took}
        write_text(self.path, json.dumps(record, indent=1) + "\n")


class Stage:
    """Adds the time inside it to the diary, also when it is interrupted; only a hard kill loses it."""

    def __init__(self, diary: Diary, name: str) -> None:
        self._diary, self._name = diary, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self._start
        self._diary.took[self._name] = round(self._diary.took.get(self._name, 0.0) + spent, 2)
        self._diary.save()
