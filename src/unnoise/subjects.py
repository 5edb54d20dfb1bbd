"""What is scored: tiles of a data set, clean pictures that get noise, or pictures with real noise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unnoise import images
from unnoise import pairs as pairs_of
from unnoise.errors import ConfigError, DataError, ImageError, UnnoiseError
from unnoise.evaluate import pictures_in
from unnoise.inference import check_range
from unnoise.methods import Tuning
from unnoise.noise import Noise, clips
from unnoise.pairs import Pairs, content
from unnoise.records import PicturesInfo
from unnoise.tiles import SEARCHES_FOLDER, Dataset, Leak

_CROPS, _CROP = 64, 96
"""Pictures to search on are cut down to so many squares of so many pixels: a search tries much."""


@dataclass(frozen=True, eq=False)
class Subject:
    """Pictures to score methods on, and others to tune filters on.

    Attributes:
        pairs: a part for each noise.
        tuning: the pictures to search filters on, for each part; None where there are none.
        dataset: the data set that the pictures are tiles of, or None.
        pictures: what they are where there is no data set.
        files: name -> clean file of what is scored, where there is no data set.
        tuned_on: name -> file of what filters are searched on, likewise.
        skipped: files that could not be read, each with the reason.
    """

    pairs: tuple[Pairs, ...]
    tuning: Tuning | None
    dataset: Dataset | None = None
    pictures: PicturesInfo | None = None
    files: Mapping[str, Path] | None = None
    tuned_on: Mapping[str, Path] | None = None
    skipped: tuple[str, ...] = ()

    def with_leaks(self, leaks: tuple[Leak, ...]) -> Subject:
        """The same, knowing what of it was tuned or trained on."""
        if not leaks:
            return self
        if self.pictures is not None:
            return replace(self, pictures=replace(self.pictures, leaks=leaks))
        assert self.dataset is not None
        info = replace(self.dataset.info, leaks=(*self.dataset.info.leaks, *leaks))
        return replace(self, dataset=replace(self.dataset, info=info))

    def searches(self, output: Path | None) -> Path | None:
        """The folder in which searches are kept: a data set's own, else one in the output folder."""
        if self.dataset is not None:
            return self.dataset.path / SEARCHES_FOLDER
        return None if output is None else output / SEARCHES_FOLDER


def tiles(dataset: Dataset, split: str = "test", limit: int | None = None) -> Subject:
    """A split's tiles with their stored noise; filters are searched on the validation split.

    Raises:
        DataError: there is no such split, or it is damaged.
    """
    pairs = pairs_of.of_split(dataset, split, limit=limit)
    return Subject((pairs,), lambda: [pairs_of.of_split(dataset, "valid")], dataset)


def clean_pictures(
    folder: Path, noises: Sequence[Noise], *, tune: Path | None = None, seed: int = 0
) -> Subject:
    """Whole pictures that get noise, float and not clipped, as publications do.

    Args:
        folder: of clean pictures; its files are taken, not its sub-folders.
        noises: what is added; each makes a part.
        tune: folder of other clean pictures to search filters on.
        seed: of the noise.

    Raises:
        DataError: a folder is none, or holds no picture.
        ConfigError: there is no noise, or one twice; or ``tune`` is what is scored.
    """
    if len({noise.spec for noise in noises}) < len(noises) or not noises:
        raise ConfigError("give each noise once, and one at least", hint="For example --noise gaussian:25.")
    files, sizes, skipped = _readable(_pictures(folder))
    parts = tuple(
        pairs_of.of_pictures(files, noise, where=f"{folder}, {noise.spec}", seed=seed) for noise in noises
    )
    info = _info(str(folder), files, sizes, noises, clipped=all(map(clips, noises)), seed=seed)
    subject = Subject(parts, None, pictures=info, files=files, skipped=skipped)
    return _with_tuning(subject, folder, tune, noises, seed)


def real_pairs(
    noisy: str, clean: str, *, tune: Path | None = None, noises: Sequence[Noise] = (), seed: int = 0
) -> Subject:
    """Pictures with real noise beside clean ones of the same.

    Args:
        noisy: a folder, or a pattern with one ``*``.
        clean: likewise; files belong together whose names are the same but for the suffix, or where the
            patterns have their star.
        tune: folder of other clean pictures to search filters on.
        noises: one noise, which is added to those.
        seed: of that noise.

    Raises:
        DataError: there is none; files without a partner, or of other sizes, are all named.
        ConfigError: there is something to tune on, and not one noise.
    """
    pairs = partners(noisy, clean)
    same = [str(one) for one, other in pairs.values() if one.resolve() == other.resolve()]
    if same:
        raise DataError(
            f"pictures stand beside themselves: {', '.join(same)}", hint="Give noisy pictures and clean ones."
        )
    if noises and tune is None:
        raise ConfigError(
            "--pairs has its own noise; --noise is what --tune gets",
            hint="Leave it out, or give --tune, too.",
        )
    where = f"{noisy} beside {clean}"
    part = pairs_of.of_files(pairs, where=where)
    files = {name: file for name, (_, file) in pairs.items()}
    files, sizes, skipped = _readable(files)
    if skipped:
        raise ImageError("; ".join(skipped), hint="Leave the pairs of these out.")
    info = _info(where, files, sizes, (), clipped=True, seed=seed)
    if tune is not None and len(noises) != 1:
        raise ConfigError(
            "filters can be tuned for real noise on pictures that get one noise like it",
            hint="For example --noise realistic, once.",
        )
    return _with_tuning(Subject((part,), None, pictures=info, files=files), None, tune, noises, seed)


def partners(noisy: str, clean: str) -> dict[str, tuple[Path, Path]]:
    """Name -> noisy file, clean file.

    Raises:
        DataError: files that have no partner; all are named.
    """
    theirs, ours = _keyed(noisy, clean), _keyed(clean, noisy)
    both = theirs.keys() & ours.keys()
    alone = [str(path) for key, path in (*theirs.items(), *ours.items()) if key not in both]
    if alone or not theirs:
        listed = ", ".join(alone) if alone else "nothing is there"
        raise DataError(
            f"no pairs of {noisy} and {clean}: without a partner: {listed}",
            hint="Pairs have one name in two folders, or differ only where the patterns do: "
            "--pairs 'shots/*_real.png' 'shots/*_mean.png'",
        )
    return {key: (theirs[key], ours[key]) for key in sorted(theirs)}


def _keyed(place: str, other: str) -> dict[str, Path]:
    """What tells a file from the others of its folder or pattern -> file."""
    if Path(place).is_dir():
        return by_name(Path(place), Path(other))
    pattern = Path(place).name
    before, star, after = pattern.partition("*")
    if not star or "*" in after:
        raise DataError(f"{place} is no folder, and no pattern with one *", hint="Quote the pattern.")
    found = sorted(Path(place).parent.glob(pattern))
    return {path.name.removeprefix(before).removesuffix(after): path for path in found}


def by_name(folder: Path, other: Path) -> dict[str, Path]:
    """Files of a folder by what their partners in another have in common with them.

    That is the whole name where both folders hold the same names, else the name without its suffix.

    Raises:
        DataError: two files differ in their suffix alone; all such are listed.
    """
    files = pictures_in(folder)
    if other.is_dir() and files.keys() == pictures_in(other).keys():
        return files
    stems: dict[str, list[str]] = {}
    for name in files:
        stems.setdefault(Path(name).stem, []).append(name)
    alike = [name for names in stems.values() if len(names) > 1 for name in names]
    if alike:
        raise DataError(
            f"files of {folder} differ in their suffix alone, so nobody can tell which is meant: "
            f"{', '.join(alike)}",
            hint="Leave one of each, or give both folders the same names.",
        )
    return {stem: files[name] for stem, (name,) in stems.items()}


def _with_tuning(
    subject: Subject, folder: Path | None, tune: Path | None, noises: Sequence[Noise], seed: int
) -> Subject:
    if tune is None:
        return subject
    if folder is not None and folder.resolve() == tune.resolve():
        raise ConfigError(
            f"filters tuned on {tune} would be tuned on what is scored", hint="Give --tune other pictures."
        )
    others = _pictures(tune)
    assert subject.pictures is not None

    def tuning() -> Sequence[Pairs]:
        crops = pairs_of.crops(others, _CROPS, _CROP, seed=seed)
        where = f"{len(crops)} crops of {tune}"
        return [
            pairs_of.of_pictures(crops, noise, where=f"{where}, {noise.spec}", seed=seed) for noise in noises
        ]

    info = replace(
        subject.pictures,
        tuned_on=str(tune),
        tuned_pictures=min(_CROPS, len(others)),
        tuned_sha256=_digest(others),
    )
    return replace(subject, tuning=tuning, pictures=info, tuned_on=others)


def _pictures(folder: Path) -> dict[str, Path]:
    files = pictures_in(folder)
    if not files:
        raise DataError(f"no pictures in {folder}", hint="Give a folder of images.")
    return files


def _digest(files: Mapping[str, Path]) -> str:
    lines = "\n".join(f"{name} {content(path)}" for name, path in sorted(files.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _readable(
    files: Mapping[str, Path],
) -> tuple[dict[str, Path], list[tuple[int, int]], tuple[str, ...]]:
    """Files that hold pictures in [0, 1], their widths and heights, and the others with the reasons.

    Raises:
        DataError: none does.
    """
    good, sizes, skipped = {}, [], []
    for name, path in files.items():
        try:
            pixels = images.read(path).pixels
            check_range(float(pixels.min()), float(pixels.max()))
        except UnnoiseError as error:
            skipped.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        good[name] = path
        sizes.append((pixels.shape[1], pixels.shape[0]))
    if not good:
        raise DataError("; ".join(skipped), hint="Give a folder of images.")
    return good, sizes, tuple(skipped)


def _info(
    where: str,
    files: Mapping[str, Path],
    sizes: Sequence[tuple[int, int]],
    noises: Sequence[Noise],
    *,
    clipped: bool,
    seed: int,
) -> PicturesInfo:
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    return PicturesInfo(
        where=where,
        pictures=len(files),
        photographs=len(set(pairs_of.photographs(files))),
        noises=tuple(noise.spec for noise in noises) or ("",),
        clipped=clipped,
        smallest=ordered[0],
        largest=ordered[-1],
        seed=seed,
        sha256=_digest(files),
        told=bool(noises) and all(noise.sigma is not None for noise in noises),
    )
