"""From folders of photographs to a checked, leak-free, split data set of clean and noisy tiles.

Three passes over the sources. The first decodes each file, so that a bad one is known before anything is
written; the second looks for files that show the same under other names. Photographs are then grouped and
split, which fixes the row of every tile in the packed arrays. The third cuts, corrupts, encodes and writes,
every source on its own. All that a tile depends on is keyed by its source's path and place, so the bytes are
the same for any number of workers and any listing order.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from unnoise.colours import TileSums, colour_centres, describe, nearest
from unnoise.cores import available_cores
from unnoise.cutting import Checked, Cut, Job, Plan, check, cut
from unnoise.errors import DataError
from unnoise.grouping import (
    SPLITS,
    Grouping,
    Matched,
    explained,
    group_files,
    join_identical,
    split_files,
)
from unnoise.leaks import Match, across_splits, find_leaks, refusal
from unnoise.noise import Noise
from unnoise.prepareconfig import PrepareConfig, refuse_output, validated
from unnoise.sources import digest, find_apart
from unnoise.tiles import (
    INFO_NAME,
    MANIFEST_NAME,
    PACKED_NAME,
    SCHEMA,
    Dataset,
    DatasetInfo,
    Skipped,
    Split,
    StoredNoise,
    Tile,
    load_dataset,
    packed_path,
    read_manifest,
)
from unnoise.words import count
from unnoise.workers import Workers

__all__ = ["Dataset", "DatasetInfo", "PrepareConfig", "Split", "load_dataset", "prepare", "read_manifest"]

LOG = logging.getLogger(__name__)

Log = Callable[[str], None]

TOLERATED_LOSS = 0.02
"""Part of the noise that may be lost in storing before a person is warned."""

_Result = TypeVar("_Result")

BUILT_IN_NAMES = "crop names"
_LONGEST_STEM = 150


def prepare(config: PrepareConfig, *, log: Log = lambda _: None, progress: bool = True) -> Dataset:
    """Make the data set that ``config`` describes.

    Sources are checked, grouped by photograph and split; tiles are cut on a grid from the upper left corner
    and corrupted, the noisy ones clipped to [0, 1] and rounded to 8 bits. The folder is built beside
    ``config.output`` under a hidden name and renamed at the end, so it is whole or not there. Every file that
    is skipped, and noise that the format removed, is also a warning of the logger ``unnoise.prepare``.

    Args:
        config: what to do.
        log: takes a line of text for people: what was resolved, how the files were grouped and split.
        progress: draw a progress bar on a terminal.

    Returns:
        The data set, as :func:`load_dataset` opens it.

    Raises:
        ConfigError: an option makes no sense.
        DataError: nothing usable in the sources, too few photographs for three splits, files of different
            splits that show the same, an existing output, no room on the disk, a source that changed while it
            was read, or a worker that died.
    """
    noise = validated(config)
    output = config.output.resolve()
    refuse_output(output, config)
    files, more = find_apart(config.sources, config.train_only, output)
    train_only = {file.source for file in more}
    files = sorted(files + more, key=lambda file: file.source)
    if not files:
        raise DataError(
            "no image files in " + ", ".join(map(str, (*config.sources, *config.train_only))),
            hint="Give a folder that holds PNG, JPEG, TIFF, WebP or BMP files.",
        )
    grouping = group_files((file.source for file in files), config.group_by)
    named = [file for file in files if file.source in grouping.group]
    if not named:
        raise DataError(
            f"--group-by {config.group_by!r} names the photograph of none of the {len(files)} image files",
            hint=f"It is searched in the relative path, which is {files[0].source!r} for the first of them.",
        )
    workers = min(config.workers or available_cores(), len(files))
    building = _start(output)
    log(f"checking {len(named)} image files, {workers} at a time")
    try:
        with Workers(workers) as pool:
            checks = pool.map(
                partial(check, tile=config.tile, most=config.tiles_per_image, seed=config.seed),
                named,
                name=lambda file: str(file.path),
            )
            checked = list(_watched(checks, len(named), "checking", progress))
            skipped = _skipped(checked, grouping)
            usable = [each for each in checked if not each.reason]
            if not usable:
                raise DataError(
                    f"none of the {len(files)} image files can be used",
                    hint=f"The first: {skipped[0].source}: {skipped[0].reason}.",
                )
            matches = find_leaks(
                [each.file for each in usable],
                pool=pool,
                scratch=building,
                watch=partial(_watched, progress=progress),
            )
            jobs = _plan_jobs(usable, grouping, train_only, config, matches)
            leaks = across_splits(matches, {job.checked.file.source: job.split for job in jobs})
            _report_matches(usable, grouping, matches, config, log)
            if left := len(usable) - len(jobs):
                log(f"left out of --train-only: {count(left, 'file')} of photographs that validate or test")
            if leaks and not config.allow_leaks:
                raise refusal(leaks, {each.file.source: each.file.path for each in usable}, output)
            if leaks:
                log(f"allowed: {count(len(leaks), 'pair')} of files in different splits that show the same")
            matched = explained(grouping.pattern, {job.checked.file.source: job.group for job in jobs})
            _report(jobs, matched, log)
            counts = {name: sum(job.checked.tiles for job in jobs if job.split == name) for name in SPLITS}
            headers = _lay_out(building, counts, noise, config)
            plan = Plan(building, config.tile, noise, config.format, config.seed, config.packed_only, headers)
            cuts = pool.map(partial(cut, plan=plan), jobs, name=lambda job: str(job.checked.file.path))
            sums, stored_noise = _gather(jobs, _watched(cuts, len(jobs), "cutting", progress), counts, config)
        centres = colour_centres(sums["train"].colours(), config.colour_groups)
        labels = {name: nearest(each.colours(), centres) for name, each in sums.items()}
        mean, std = sums["train"].moments()
        info = DatasetInfo(
            tile=config.tile,
            noise=noise.spec,
            format=config.format,
            seed=config.seed,
            split=config.split,
            group_by=BUILT_IN_NAMES if config.group_by is None else config.group_by,
            grouping=matched,
            files=len(jobs),
            train_only=sum(job.checked.file.source in train_only for job in jobs),
            packed_only=config.packed_only,
            tiles_per_image=config.tiles_per_image,
            counts=counts,
            photographs={name: len({job.group for job in jobs if job.split == name}) for name in SPLITS},
            mean=mean,
            std=std,
            colour_groups=describe(centres, labels["train"], sums["train"]),
            stored_noise=stored_noise,
            skipped=skipped,
            leaks=leaks,
            leaks_checked=True,
        )
        for name in SPLITS:
            np.save(packed_path(building, name, "group"), labels[name])
        _write_manifest(jobs, labels, plan)
        text = json.dumps({"schema": SCHEMA, **asdict(info)}, indent=1)
        (building / INFO_NAME).write_text(text + "\n", encoding="utf-8")
        _put_in_place(building, output)
    except BaseException:  # Ctrl-C too: nothing half-written stays
        shutil.rmtree(building, ignore_errors=True)
        raise
    if stored_noise.warning:
        LOG.warning("%s", stored_noise.warning)
    return load_dataset(config.output)


def _watched(results: Iterator[_Result], total: int, what: str, progress: bool) -> Iterator[_Result]:
    with tqdm(total=total, desc=what, unit="file", disable=None if progress else True, leave=False) as bar:
        for result in results:
            yield result
            bar.update()


def _skipped(checked: Iterable[Checked], grouping: Grouping) -> tuple[Skipped, ...]:
    skipped = [Skipped(source, "--group-by names no photograph for it") for source in grouping.unnamed]
    skipped += [Skipped(each.file.source, each.reason) for each in checked if each.reason]
    skipped.sort(key=lambda each: each.source)
    for each in skipped:
        LOG.warning("skipped %s: %s", each.source, each.reason)
    return tuple(skipped)


def _plan_jobs(
    usable: Sequence[Checked],
    grouping: Grouping,
    train_only: Set[str],
    config: PrepareConfig,
    matches: Sequence[Match],
) -> list[Job]:
    """Jobs in the order of the manifest: by split, then by source."""
    digests = {each.file.source: each.sha256 for each in usable}
    tiles = {each.file.source: each.tiles for each in usable}
    if not tiles.keys() - train_only:
        raise DataError(
            "all files that can be used only train",
            hint="Give photographs to validate and to test on, too, without --train-only.",
        )
    alike = [(each.first, each.second) for each in matches]
    same = [(each.first, each.second) for each in matches if config.join_leaks or each.kind == "identical"]
    group, splits = split_files(
        grouping, digests, tiles, train_only, config.split, config.seed, alike=alike, same=same
    )
    if set(splits.values()) != set(SPLITS):
        judged = sorted(tiles.keys() - train_only)
        names = sorted({group[source] for source in judged})
        raise DataError(
            f"the {len(judged)} usable files show too few photographs for three splits that share none: "
            f"{len(names)} ({', '.join(names[:3])})",
            hint="If the files' names mislead, say what names the photograph: --group-by '(.+)' takes every "
            "file for a photograph of its own.",
        )
    usable = [each for each in usable if each.file.source in group]
    stems = _stems([each.file.source for each in usable])
    order = {name: index for index, name in enumerate(SPLITS)}
    following = dict.fromkeys(SPLITS, 0)
    jobs = []
    for each in sorted(usable, key=lambda each: (order[splits[group[each.file.source]]], each.file.source)):
        name = group[each.file.source]
        jobs.append(Job(each, stems[each.file.source], name, splits[name], following[splits[name]]))
        following[splits[name]] += each.tiles
    return jobs


def _report_matches(
    usable: Sequence[Checked], grouping: Grouping, matches: Sequence[Match], config: PrepareConfig, log: Log
) -> None:
    """Say what shows the same beyond what names and bytes tell."""
    group = join_identical(grouping.group, {each.file.source: each.sha256 for each in usable})
    others = [each for each in matches if group[each.first] != group[each.second]]
    if not others:
        return
    kinds = Counter(each.kind for each in others)
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    log(f"found in different photographs, by their names: {count(len(others), 'pair')} alike ({told})")
    alike = [(each.first, each.second) for each in others if config.join_leaks or each.kind == "identical"]
    if alike:
        joined = join_identical(group, {source: source for source in group}, alike)
        log(f"joined: {len(set(group.values()))} photographs to {len(set(joined.values()))}")


def _stems(sources: Iterable[str]) -> dict[str, str]:
    """A short, plain file-name stem for each source, no two alike even where case is ignored."""
    plain: dict[str, str] = {}
    users: dict[str, int] = {}
    for source in sources:
        stem = str(PurePosixPath(source).with_suffix("")).replace("/", "__")
        stem = re.sub(r"[^\w.+-]+", "_", stem, flags=re.ASCII)
        plain[source] = f"_{stem}" if stem.startswith(("-", ".")) else stem
        users[plain[source].lower()] = users.get(plain[source].lower(), 0) + 1
    return {
        source: stem
        if users[stem.lower()] == 1 and len(stem) <= _LONGEST_STEM
        else f"{stem[:_LONGEST_STEM]}-{digest(source.encode('utf-8', 'surrogateescape'))[:12]}"
        for source, stem in plain.items()
    }


def _report(jobs: Sequence[Job], matched: Iterable[Matched], log: Log) -> None:
    for each in matched:
        files, photographs = count(each.files, "file"), count(each.photographs, "photograph")
        log(f"grouped by {each.pattern!r}: {files} of {photographs}")
    for name in SPLITS:
        mine = [job for job in jobs if job.split == name]
        tiles, groups = sum(job.checked.tiles for job in mine), {job.group for job in mine}
        log(f"{name}: {tiles} tiles from {count(len(mine), 'file')} of {count(len(groups), 'photograph')}")


def _start(output: Path) -> Path:
    """The hidden folder in which ``output`` is built; made first, so that a lack of rights shows early."""
    building = output.parent / f".{output.name}.partial-{os.getpid()}"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for left in output.parent.iterdir():
            if left.name.startswith(f".{output.name}.partial-") and left != building:
                LOG.warning("%s was left behind by a run that was killed, or is one's that still works", left)
        shutil.rmtree(building, ignore_errors=True)
        (building / PACKED_NAME).mkdir(parents=True)
    except OSError as error:
        raise DataError(
            f"cannot write beside {output}: {error.strerror}",
            hint="Give -o in a folder that you may write to.",
        ) from None
    return building


def _lay_out(folder: Path, counts: dict[str, int], noise: Noise, config: PrepareConfig) -> dict[str, int]:
    """Make the folders and the packed arrays' headers; return how long each header is."""
    needed = 2 * sum(counts.values()) * config.tile * config.tile * 3 * (1 if config.packed_only else 2)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"the data set needs about {needed / 1e9:.1f} GB; {folder.parent} has {free / 1e9:.1f} GB free",
            hint="Make room, or give -o on another disk.",
        )
    headers = {}
    for name, tiles in counts.items():
        if not config.packed_only:
            (folder / name).mkdir()
            (folder / f"{name}-{noise.name}").mkdir()
        shape = (tiles, config.tile, config.tile, 3)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        for kind in ("clean", "noisy"):
            with packed_path(folder, name, kind).open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                headers[name] = file.tell()
    return headers


def _gather(
    jobs: Sequence[Job], cuts: Iterable[Cut], counts: dict[str, int], config: PrepareConfig
) -> tuple[dict[str, TileSums], StoredNoise]:
    pixels = config.tile * config.tile
    sums = {
        name: TileSums(np.zeros((tiles, 3), np.int64), np.zeros((tiles, 3), np.int64), pixels)
        for name, tiles in counts.items()
    }
    asked = stored = 0
    for job, each in zip(jobs, cuts, strict=True):
        rows = slice(job.first, job.first + job.checked.tiles)
        sums[job.split].values[rows] = each.sums.values
        sums[job.split].squares[rows] = each.sums.squares
        asked += each.asked
        stored += each.stored
    return sums, _stored_noise(asked, stored, sum(counts.values()) * pixels * 3, config.format)


def _stored_noise(asked: int, stored: int, values: int, image_format: str) -> StoredNoise:
    mse_asked, mse_stored = asked / (values * 255**2), stored / (values * 255**2)
    removed = 1 - stored / asked if asked else 0.0
    warning = None
    if removed > TOLERATED_LOSS:
        warning = (
            f"{image_format} removed {removed:.0%} of the noise: the stored noisy tiles have an MSE of "
            f"{mse_stored:.4f} where {mse_asked:.4f} was asked for. Scores on them flatter every method "
            "and compare with no others; --format png keeps the noise."
        )
    return StoredNoise(mse_asked, mse_stored, removed, warning)


def _write_manifest(jobs: Iterable[Job], labels: dict[str, npt.NDArray[np.int16]], plan: Plan) -> None:
    with (plan.folder / MANIFEST_NAME).open("w", encoding="ascii", newline="\n") as file:
        for job in jobs:
            checked = job.checked
            source = checked.file.source
            for index in range(checked.tiles):
                name, x, y = job.place(index, plan.tile)
                seed, colour = plan.noise_seed(source, x, y), int(labels[job.split][job.first + index])
                tile = Tile(name, source, checked.sha256, job.group, job.split, x, y, seed, colour)
                file.write(json.dumps(vars(tile)) + "\n")


def _put_in_place(building: Path, output: Path) -> None:
    if not output.exists():
        building.rename(output)
        return
    old = building.with_name(f"{building.name}-old")
    output.rename(old)
    try:
        building.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old)
