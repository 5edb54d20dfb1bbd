"""Denoisers × pictures → scores: the comparison of searched filters, and the evaluation of anything."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unnoise import pairs as pairs_of
from unnoise.errors import DataError, UnknownName
from unnoise.filters import FILTERS, Denoiser, Filter, parse
from unnoise.metrics import METRICS, psnr_of_mse
from unnoise.noise import Noise
from unnoise.pairs import Pairs
from unnoise.results import BlurTable, GroupScore, Kind, MethodResult
from unnoise.scores import MSE, PSNR, SSIM, Evaluation
from unnoise.scoring import Doubles, NoisyInput, Plan, run, score_here
from unnoise.search import BLUR, LeftOut, Search, available, blur_table, plan_search, read_searches, search
from unnoise.tiles import SEARCHES_FOLDER, Dataset

Log = Callable[[str], None]

_TIMED = 30
_WARM = 3
_TIMING_SECONDS = 3.0


@dataclass(frozen=True, eq=False)
class Comparison:
    """Filters searched on the validation split and judged once on the test split.

    Attributes:
        searches: of each filter, on the validation split.
        evaluation: the noisy input and each filter with its best setting, on the test split.
        blur: the article's table on both splits, if ``gaussian-blur`` took part.
        left_out: filters that could not take part.
    """

    searches: tuple[Search, ...]
    evaluation: Evaluation
    blur: BlurTable | None
    left_out: tuple[LeftOut, ...]


def compare(
    dataset: Dataset,
    filters: Sequence[str] | None = None,
    *,
    workers: int | None = None,
    log: Log = lambda _: None,
    progress: bool = False,
) -> Comparison:
    """Search every filter on the validation split, freeze it, and score it once on the test split.

    The searches are kept in the data set's folder, and not done again. The 16 settings of ``gaussian-blur``
    are measured on all images of both splits, on the test split only to be shown.

    Args:
        dataset: prepared data set; its stored noise is used.
        filters: keys of :data:`unnoise.filters.FILTERS`; None takes all whose packages are installed, but for
            those that are to be asked for by name.
        workers: processes; None takes one a core.
        log: takes a line of text for people.
        progress: draw a progress bar on a terminal.

    Raises:
        UnknownName: there is no such filter.
        DataError: the data set is damaged, or no filter can run.
    """
    names, left_out = available(filters)
    for each in left_out:
        log(f"left out: {each.name} {each.reason}")
    if not names:
        raise DataError("none of these filters can run here", hint="Install: pip install 'unnoise[filters]'")
    valid, test = (pairs_of.of_split(dataset, split) for split in ("valid", "test"))
    log(f"searching {', '.join(names)} on {len(valid)} images ({valid.where})")
    cache = dataset.path / SEARCHES_FOLDER
    searches = search(valid, names, workers=workers, log=log, progress=progress, cache=cache)
    log(f"scoring the best settings on {len(test)} images ({test.where})")
    shown = tuple(name for name in names if name == BLUR)
    best = [each.best.filter for each in searches]
    evaluation, table = _evaluate(test, best, shown, workers=workers, progress=progress)
    blur = blur_table(searches[names.index(BLUR)], table[0]) if shown else None
    return Comparison(searches, evaluation, blur, left_out)


def evaluate(
    dataset: Dataset,
    denoisers: Sequence[Denoiser],
    split: str = "test",
    *,
    limit: int | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """Score denoisers on a split's tiles with their stored noise; the noisy input itself comes first.

    Args:
        dataset: prepared data set.
        denoisers: filters and networks. They are told the noise's sigma.
        split: train, valid or test.
        limit: score a seeded choice of so many tiles, the same for each data set and count; None scores all.
        workers: processes for filters; None takes one a core. Networks run in this process.
        progress: draw a progress bar on a terminal.

    Raises:
        DataError: there is no such split, or it is damaged.
    """
    pairs = pairs_of.of_split(dataset, split, limit=limit)
    return _evaluate(pairs, denoisers, (), workers=workers, progress=progress)[0]


def evaluate_folder(
    clean: Path,
    noise: Noise,
    denoisers: Sequence[Denoiser],
    *,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """Score denoisers on whole pictures, as publications do: float noise that is not clipped.

    The noise is keyed by seed, file name and noise, so every method and every run sees the same pixels.

    Args:
        clean: folder of clean pictures; its files are taken, not its sub-folders.
        noise: what is added.
        denoisers: filters and networks. They are told the noise's sigma.
        seed: of the noise.
        workers: processes for filters; None takes one a core.
        progress: draw a progress bar on a terminal.

    Raises:
        DataError: there is no picture.
        ImageError: a file is no picture, or damaged.
    """
    pairs = pairs_of.of_pictures(pictures_in(clean), noise, where=f"{clean}, {noise.spec}", seed=seed)
    return _evaluate(pairs, denoisers, (), workers=workers, progress=progress)[0]


def pictures_in(folder: Path) -> dict[str, Path]:
    """Name -> file of a folder's image files (by their extension), sorted.

    Raises:
        DataError: there is no such folder.
    """
    from unnoise.formats import EXTENSIONS

    if not folder.is_dir():
        raise DataError(f"no folder {folder}", hint="Give a folder of images.")
    return {path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() in EXTENSIONS}


def choose(
    texts: Sequence[str], dataset: Dataset, *, log: Log = lambda _: None, progress: bool = False
) -> list[Denoiser]:
    """The denoisers that a person names.

    A text is a run's folder, a network file, the name of a bundled network, a filter with its settings
    (``nlm:h=40``), or a filter's bare name, which is searched on the data set's validation split first.

    Args:
        texts: what the person wrote.
        dataset: the data set that they will be evaluated on.
        log: takes a line of text for people.
        progress: draw a progress bar on a terminal.

    Raises:
        UnknownName: a text is none of these.
        ConfigError: a filter needs packages that are not installed.
        NetworkError: a network cannot be loaded.
    """
    from unnoise.denoiser import bundled, load
    from unnoise.filters import require

    chosen: dict[str, Denoiser | None] = {}
    for text in texts:
        name, colon, _ = text.partition(":")
        if name in FILTERS:
            require(name)
            chosen[text] = parse(text) if colon else None
            if colon and (word := FILTERS[name].licence_note):
                log(f"note: {name}: {word}")
        elif Path(text).exists() or text.endswith(".onnx") or text in bundled():
            chosen[text] = load(text)
        else:
            raise UnknownName("denoiser", text, [*FILTERS, *bundled()])
    bare = [text for text, denoiser in chosen.items() if denoiser is None]
    if bare:
        valid = pairs_of.of_split(dataset, "valid")
        log(f"searching {', '.join(bare)} on {len(valid)} images ({valid.where})")
        found = search(valid, bare, log=log, progress=progress)
        chosen |= {each.name: each.best.filter for each in found}
    return [denoiser for denoiser in chosen.values() if denoiser is not None]


def _evaluate(
    pairs: Pairs,
    denoisers: Sequence[Denoiser],
    shown: Sequence[str],
    *,
    workers: int | None,
    progress: bool,
) -> tuple[Evaluation, tuple[Search, ...]]:
    """Scores of the noisy input and the denoisers, and, from the same pass, the grids of ``shown``."""
    methods: list[Denoiser] = [NoisyInput(), *denoisers]
    light = [index for index, each in enumerate(methods) if isinstance(each, Filter | NoisyInput)]
    heavy = [index for index in range(len(methods)) if index not in light]
    grids = plan_search(shown, pairs)
    plan = Plan(grids.searched, grids.limits, tuple(methods[index] for index in light))
    measured = run(pairs, plan, workers=workers, progress=progress, text="filters")
    scores = np.empty((len(methods), len(pairs), len(METRICS)))
    scores[light] = measured.scores
    if heavy:
        scores[heavy] = score_here(
            pairs, [methods[index] for index in heavy], progress=progress, text="networks"
        )
    sample = [noisy for _, noisy in pairs.sample(_TIMED)]
    summaries = tuple(
        _summary(name, method, rows, pairs.groups, _milliseconds(method, sample, pairs.sigma))
        for name, method, rows in zip(unique_names(methods), methods, scores, strict=True)
    )
    sizes = {f"{picture.shape[1]} × {picture.shape[0]} pixels" for picture in sample}
    timed = (
        f"median of up to {_TIMED} calls with one image each ({', '.join(sorted(sizes)[:3])}), one after "
        "another in one process, each library with its own number of threads; no reading, no scoring"
    )
    evaluation = Evaluation(pairs.where, pairs.names, pairs.groups, summaries, scores, timed)
    return evaluation, read_searches(shown, measured, len(pairs))


def unique_names(methods: Sequence[Denoiser]) -> list[str]:
    """A name for each method: its own, with a filter's settings or a number where it is not the only one."""
    own = [method.name for method in methods]
    names = [
        method.spec if isinstance(method, Filter) and own.count(name) > 1 else name
        for name, method in zip(own, methods, strict=True)
    ]
    return [
        f"{name} ({names[: index + 1].count(name)})" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def _summary(
    name: str,
    method: Denoiser,
    scores: Doubles,
    groups: npt.NDArray[np.int16] | None,
    milliseconds: float,
) -> MethodResult:
    kind: Kind = "filter" if isinstance(method, Filter) else "network"
    if isinstance(method, NoisyInput):
        kind = "input"
    mean = scores.mean(axis=0)
    per_group = []
    for group in [] if groups is None else sorted(set(groups.tolist())):
        rows = scores[groups == group]
        part = rows.mean(axis=0)
        per_group.append(GroupScore(group, len(rows), float(part[MSE]), float(part[PSNR]), float(part[SSIM])))
    return MethodResult(
        name=name,
        label=method.entry.label if isinstance(method, Filter) and name == method.name else name,
        kind=kind,
        mse=float(mean[MSE]),
        psnr=float(mean[PSNR]),
        psnr_of_mean_mse=psnr_of_mse(float(mean[MSE])),
        ssim=float(mean[SSIM]),
        tiles=len(scores),
        groups=tuple(per_group),
        settings=method.settings_text if isinstance(method, Filter) else "",
        parameters=getattr(method, "parameters", None),
        ms_per_tile=None if kind == "input" else milliseconds,
        article_row=BLUR if method.name == BLUR else None,
    )


def _milliseconds(method: Denoiser, noisy: Sequence[npt.NDArray[np.float32]], sigma: float | None) -> float:
    for picture in noisy[:_WARM]:
        method(picture, sigma)
    taken: list[float] = []
    for picture in noisy:
        start = time.perf_counter()
        method(picture, sigma)
        taken.append(time.perf_counter() - start)
        if sum(taken) > _TIMING_SECONDS:
            break
    return statistics.median(taken) * 1000
