"""What `unnoise prepare` is asked for, and what is wrong with that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unnoise.cutting import FORMATS
from unnoise.errors import ConfigError, DataError, UnknownName
from unnoise.grouping import SPLITS, compile_group_by
from unnoise.noise import CHAIN, MIXTURE, NOISES, Noise, parse
from unnoise.tiles import INFO_NAME, MANIFEST_NAME, PACKED_NAME, SEARCHES_FOLDER

_DROPPINGS = (".DS_Store", "Thumbs.db", "desktop.ini")  # of file managers


@dataclass(frozen=True)
class PrepareConfig:
    """What to prepare.

    Attributes:
        sources: folders (read recursively) and image files.
        output: the data set's folder.
        tile: side of the square tiles in pixels; what is left over at the right and the bottom is dropped.
        noise: what the noisy copies get, for example ``gaussian:50`` (sigma in 8-bit units).
        split: parts of train, valid and test; all above 0, adding up to 1.
        group_by: regular expression whose first group names the photograph, searched in the relative path;
            None recognises the usual crop names.
        format: ``png`` or ``jpg`` for the files of single tiles.
        seed: of the split and the noise.
        workers: how many sources are worked on at once; None takes one a core.
        colour_groups: how many groups k-means makes at most.
        tiles_per_image: take at most so many tiles of each image, a seeded choice; None takes all.
        packed_only: write the packed arrays alone, no files of single tiles.
        overwrite: replace a data set at ``output``.
        train_only: further folders and image files, whose photographs take no part in the split: they train.
            What is a part of one that validates or tests, or shows the same, is left out.
        join_leaks: files that show the same become one photograph.
        allow_leaks: files that show the same may be in different splits; they are recorded.
    """

    sources: tuple[Path, ...]
    output: Path
    tile: int = 56
    noise: str = "gaussian:50"
    split: tuple[float, float, float] = (0.7, 0.15, 0.15)
    group_by: str | None = None
    format: str = "png"
    seed: int = 0
    workers: int | None = None
    colour_groups: int = 4
    tiles_per_image: int | None = None
    packed_only: bool = False
    overwrite: bool = False
    train_only: tuple[Path, ...] = ()
    join_leaks: bool = False
    allow_leaks: bool = False


def validated(config: PrepareConfig) -> Noise:
    """The noise that is asked for, after a look at all options.

    Raises:
        ConfigError: an option makes no sense.
    """
    if config.format not in FORMATS:
        raise UnknownName("format", config.format, FORMATS)
    if not 8 <= config.tile <= 2048:
        raise ConfigError(f"tiles of {config.tile} pixels cannot be made", hint="Take --tile 8 to 2048.")
    if len(config.split) != 3 or not min(config.split) > 0 or not abs(sum(config.split) - 1) < 1e-6:
        raise ConfigError(
            f"split {','.join(f'{share:g}' for share in config.split)} is not three parts of one whole",
            hint="Give train, valid and test, each above 0, adding up to 1: --split 0.7,0.15,0.15",
        )
    if config.workers is not None and config.workers < 1:
        raise ConfigError(f"{config.workers} workers cannot work", hint="Take --workers 1 or more.")
    if config.tiles_per_image is not None and config.tiles_per_image < 1:
        raise ConfigError(
            f"{config.tiles_per_image} tiles an image are none", hint="Take --tiles-per-image 1 or more."
        )
    if config.join_leaks and config.allow_leaks:
        raise ConfigError(
            "--join-leaks and --allow-leaks exclude each other",
            hint="--join-leaks keeps files that show the same in one split, and nothing is left to allow.",
        )
    if not 1 <= config.colour_groups <= 256:
        raise ConfigError(f"{config.colour_groups} colour groups", hint="Take --colour-groups 1 to 256.")
    if config.group_by is not None:
        compile_group_by(config.group_by)
    return parse(config.noise)


def refuse_output(output: Path, config: PrepareConfig) -> None:
    """See that a data set may be made at ``output``: nothing that is not one's is touched.

    Raises:
        DataError: it would replace its own source, or something else.
    """
    for source in (*config.sources, *config.train_only):
        real = source.resolve()
        if real == output or output in real.parents:
            raise DataError(
                f"the output {output} would replace its own source {source}",
                hint="Take another folder for -o.",
            )
    if not output.exists():
        return
    if not output.is_dir():
        raise DataError(f"{output} is a file", hint="Give a folder for -o.")
    if not any(output.iterdir()):
        return
    # Other programs write a dataset.json, too.
    if not ((output / INFO_NAME).is_file() and (output / PACKED_NAME).is_dir()):
        raise DataError(
            f"{output} exists, is not empty and is no data set",
            hint="Give a new folder for -o; it is not touched.",
        )
    foreign = sorted(entry.name for entry in output.iterdir() if not _is_ours(entry.name))
    if foreign:
        raise DataError(
            f"{output} holds a data set, and also {', '.join(foreign[:3])}",
            hint="Give another -o, or move what is not the data set's out of it; it is not touched.",
        )
    if not config.overwrite:
        raise DataError(f"{output} holds a data set", hint="Replace it with --overwrite, or take another -o.")


def _is_ours(name: str) -> bool:
    """Whether a data set's folder has an entry of that name."""
    split, _, noise = name.partition("-")
    files = name in (INFO_NAME, MANIFEST_NAME, PACKED_NAME, SEARCHES_FOLDER, *_DROPPINGS)
    return files or (split in SPLITS and (name == split or noise in (*NOISES, CHAIN, MIXTURE)))
