"""A prepared data set, read back: what `dataset.json` says, and the packed tiles as memory maps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unnoise.errors import DataError
from unnoise.grouping import SPLITS, Matched

SCHEMA = 1
INFO_NAME = "dataset.json"
MANIFEST_NAME = "manifest.jsonl"
PACKED_NAME = "packed"
SEARCHES_FOLDER = "searches"
"""Where the searches of filters on a data set are kept."""

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class ColourGroup:
    """Training tiles of similar colour; values are R, G, B in [0, 1].

    Attributes:
        size: number of training tiles.
        centre: found by k-means; a tile belongs to the group whose centre is nearest to its mean colour.
        mean: mean of the group's pixels.
        std: standard deviation of the group's pixels.
    """

    size: int
    centre: Channels
    mean: Channels
    std: Channels


@dataclass(frozen=True)
class StoredNoise:
    """What the file format left of the noise; mean squared errors against the clean tiles, [0, 1] units.

    Attributes:
        mse_asked: of the noisy tiles, clipped and rounded to 8 bits, before they were encoded.
        mse_stored: of the noisy tiles that a reader of the files gets.
        removed_fraction: 1 - mse_stored / mse_asked.
        warning: what to know before scores on the stored noise are compared, or None.
    """

    mse_asked: float
    mse_stored: float
    removed_fraction: float
    warning: str | None


@dataclass(frozen=True)
class Skipped:
    """A source file that is not in the data set, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Leak:
    """Two files that show the same, in different splits.

    Attributes:
        first: relative path of a file.
        second: of the other.
        kind: how alike they are: the same pixels, a copy that was changed, or crops that overlap.
        splits: the splits that they are in.
        overlap: part of the smaller of the two that both show, 0 to 1.
    """

    first: str
    second: str
    kind: Literal["identical", "near copy", "overlap"]
    splits: tuple[str, str]
    overlap: float


@dataclass(frozen=True)
class DatasetInfo:
    """What `dataset.json` says.

    Attributes:
        tile: side of the tiles in pixels.
        noise: the stored noise, as :func:`unnoise.noise.parse` reads it (sigma in 8-bit units).
        format: ``png`` (lossless) or ``jpg``.
        seed: of the split and the noise.
        split: the parts of train, valid and test that were asked for.
        group_by: the user's expression, or ``crop names`` for the built-in patterns.
        grouping: what each naming pattern explained.
        files: number of source photographs' files that were used.
        tiles_per_image: how many tiles each image gave at most, or None for all.
        packed_only: there are no files of single tiles, only the packed arrays.
        counts: split -> tiles.
        photographs: split -> photographs.
        mean: per channel (R, G, B) over the clean training tiles, [0, 1] units.
        std: likewise, the standard deviation.
        colour_groups: by falling size.
        stored_noise: what the format left of the noise.
        skipped: files that were not used.
        train_only: how many of the files took no part in the split.
        leaks: pairs of files in different splits that show the same, and were allowed to.
        leaks_checked: whether such pairs were looked for.
    """

    tile: int
    noise: str
    format: str
    seed: int
    split: tuple[float, float, float]
    group_by: str
    grouping: tuple[Matched, ...]
    files: int
    packed_only: bool
    counts: dict[str, int]
    photographs: dict[str, int]
    mean: Channels
    std: Channels
    colour_groups: tuple[ColourGroup, ...]
    stored_noise: StoredNoise
    skipped: tuple[Skipped, ...]
    tiles_per_image: int | None = None
    train_only: int = 0
    leaks: tuple[Leak, ...] = ()
    leaks_checked: bool = False


@dataclass(frozen=True)
class Tile:
    """A line of the manifest.

    Attributes:
        name: the tile's files are NAME_raw and NAME_noised.
        source: relative path of the photograph's file, with forward slashes.
        sha256: of the photograph's file.
        group: the photograph.
        split: train, valid or test.
        x: column of the tile's left edge in the upright source, pixels.
        y: row of its top edge.
        noise_seed: for :func:`unnoise.noise.apply`.
        colour_group: index in :attr:`DatasetInfo.colour_groups`.
    """

    name: str
    source: str
    sha256: str
    group: str
    split: str
    x: int
    y: int
    noise_seed: int
    colour_group: int


@dataclass(frozen=True)
class Split:
    """The tiles of one split; row i of each array is the i-th of :attr:`names`.

    Attributes:
        name: train, valid or test.
        clean: uint8 (N, T, T, 3), a read-only memory map.
        noisy: likewise, the pixels that the stored noisy files hold.
        group: int16 (N,), index of the colour group.
        path: the data set's folder.
    """

    name: str
    clean: npt.NDArray[np.uint8]
    noisy: npt.NDArray[np.uint8]
    group: npt.NDArray[np.int16]
    path: Path

    def __len__(self) -> int:
        return len(self.clean)

    @cached_property
    def names(self) -> list[str]:
        """The tiles' names, in the order of the rows; read from the manifest at first use."""
        return [tile.name for tile in read_manifest(self.path) if tile.split == self.name]

    @cached_property
    def photographs(self) -> list[str]:
        """The photograph of each tile, likewise."""
        return [tile.group for tile in read_manifest(self.path) if tile.split == self.name]


@dataclass(frozen=True)
class Dataset:
    """A prepared data set."""

    path: Path
    info: DatasetInfo

    def split(self, name: str) -> Split:
        """Map the packed arrays of ``train``, ``valid`` or ``test``.

        Raises:
            DataError: there is no such split, or its arrays are missing or not what `dataset.json` says.
        """
        if name not in SPLITS:
            raise DataError(f"no split {name!r} in a data set", hint=f"There are: {', '.join(SPLITS)}.")
        count, side = self.info.counts[name], self.info.tile
        shapes = {"clean": (count, side, side, 3), "noisy": (count, side, side, 3), "group": (count,)}
        arrays = {}
        for kind, shape in shapes.items():
            path = packed_path(self.path, name, kind)
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise _damaged(path, str(error)) from None
            wanted = np.int16 if kind == "group" else np.uint8
            if array.shape != shape or array.dtype != wanted:
                raise _damaged(path, f"holds {array.dtype} {array.shape}, expected {wanted.__name__} {shape}")
            arrays[kind] = array
        return Split(name, arrays["clean"], arrays["noisy"], arrays["group"], self.path)


def packed_path(folder: Path, split: str, kind: str) -> Path:
    """Where the packed array of a split lies; ``kind`` is clean, noisy or group."""
    return folder / PACKED_NAME / f"{split}-{kind}.npy"


def read_manifest(folder: Path) -> Iterator[Tile]:
    """The manifest's lines, one at a time.

    Raises:
        DataError: the manifest is missing, or a line of it is damaged.
    """
    path = folder / MANIFEST_NAME
    try:
        with path.open(encoding="ascii") as lines:
            for line in lines:
                yield Tile(**json.loads(line))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from None


def load_dataset(path: str | Path) -> Dataset:
    """Open a data set that `unnoise prepare` wrote.

    Raises:
        DataError: there is none at ``path``, it is damaged, or another version of this program wrote it.
    """
    folder = Path(path)
    file = folder / INFO_NAME
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"no prepared data set at {folder}",
            hint=f"Make one from a folder of images with: unnoise prepare IMAGES -o {folder}",
        ) from None
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from None
    schema = fields.get("schema") if isinstance(fields, dict) else None
    if schema != SCHEMA:
        raise _damaged(file, f"schema {schema!r}, this version reads schema {SCHEMA}")
    try:
        return Dataset(folder, _info(fields))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"{type(error).__name__}: {error}") from None


def _info(fields: dict[str, Any]) -> DatasetInfo:
    return DatasetInfo(
        tile=int(fields["tile"]),
        noise=str(fields["noise"]),
        format=str(fields["format"]),
        seed=int(fields["seed"]),
        split=_three(fields["split"]),
        group_by=str(fields["group_by"]),
        grouping=tuple(Matched(**entry) for entry in fields["grouping"]),
        files=int(fields["files"]),
        packed_only=bool(fields["packed_only"]),
        tiles_per_image=fields.get("tiles_per_image"),
        train_only=int(fields.get("train_only", 0)),
        leaks=tuple(Leak(**{**entry, "splits": tuple(entry["splits"])}) for entry in fields.get("leaks", ())),
        leaks_checked=bool(fields.get("leaks_checked", False)),
        counts={name: int(fields["counts"][name]) for name in SPLITS},
        photographs={name: int(fields["photographs"][name]) for name in SPLITS},
        mean=_three(fields["mean"]),
        std=_three(fields["std"]),
        colour_groups=tuple(
            ColourGroup(int(each["size"]), _three(each["centre"]), _three(each["mean"]), _three(each["std"]))
            for each in fields["colour_groups"]
        ),
        stored_noise=StoredNoise(**fields["stored_noise"]),
        skipped=tuple(Skipped(**entry) for entry in fields["skipped"]),
    )


def _three(values: Any) -> Channels:
    first, second, third = (float(value) for value in values)
    return first, second, third


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is missing or damaged: {reason}",
        hint="Prepare the data set again with: unnoise prepare IMAGES -o FOLDER --overwrite",
    )
