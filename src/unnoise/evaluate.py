"""Methods × pictures → scores: the comparison of searched filters, and the evaluation of anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unnoise import pairs as pairs_of
from unnoise.errors import DataError
from unnoise.filters import Denoiser, Filter
from unnoise.journal import Journal
from unnoise.metrics import METRICS, psnr_of_mse
from unnoise.noise import Noise
from unnoise.pairs import Pairs
from unnoise.records import BlurTable, GroupScore, Kind, MethodResult
from unnoise.scores import Evaluation
from unnoise.scoring import Doubles, NoisyInput, score_all
from unnoise.search import BLUR, LeftOut, Search, available, blur_table, plan_search, read_searches, search
from unnoise.tiles import SEARCHES_FOLDER, Dataset
from unnoise.trials import run

Log = Callable[[str], None]


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
    journal: Journal | None = None,
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
        journal: keeps the scores; what it holds is not scored again.
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
    best = [each.best.filter for each in searches]
    evaluation = score_parts([Part(test, best)], journal=journal, workers=workers, progress=progress)
    blur = None
    if BLUR in names:
        measured = run(test, plan_search([BLUR], test), workers=workers, progress=progress, text=BLUR)
        blur = blur_table(searches[names.index(BLUR)], read_searches([BLUR], measured, len(test))[0])
    return Comparison(searches, evaluation, blur, left_out)


def evaluate(
    dataset: Dataset,
    denoisers: Sequence[Denoiser],
    split: str = "test",
    *,
    limit: int | None = None,
    journal: Journal | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """Score denoisers on a split's tiles with their stored noise; the noisy input itself comes first.

    Args:
        dataset: prepared data set.
        denoisers: filters and networks. They are told the noise's sigma.
        split: train, valid or test.
        limit: score a seeded choice of so many tiles, the same for each data set and count; None scores all.
        journal: keeps the scores; what it holds is not scored again.
        workers: processes; None takes one a core.
        progress: draw a progress bar on a terminal.

    Raises:
        DataError: there is no such split, or it is damaged.
    """
    pairs = pairs_of.of_split(dataset, split, limit=limit)
    return score_parts([Part(pairs, denoisers)], journal=journal, workers=workers, progress=progress)


def evaluate_folder(
    clean: Path,
    noise: Noise,
    denoisers: Sequence[Denoiser],
    *,
    seed: int = 0,
    journal: Journal | None = None,
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
        journal: keeps the scores; what it holds is not scored again.
        workers: processes; None takes one a core.
        progress: draw a progress bar on a terminal.

    Raises:
        DataError: there is no picture.
        ImageError: a file is no picture, or damaged.
    """
    pairs = pairs_of.of_pictures(pictures_in(clean), noise, where=f"{clean}, {noise.spec}", seed=seed)
    return score_parts([Part(pairs, denoisers)], journal=journal, workers=workers, progress=progress)


def pictures_in(folder: Path) -> dict[str, Path]:
    """Name -> file of a folder's image files (by their extension), sorted; hidden ones are passed over.

    Raises:
        DataError: there is no such folder.
    """
    from unnoise.formats import EXTENSIONS

    if not folder.is_dir():
        raise DataError(f"no folder {folder}", hint="Give a folder of images.")
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and not path.is_dir()
    }


@dataclass(frozen=True, eq=False)
class Part:
    """Pictures that have one noise, and the methods to score on them.

    Attributes:
        pairs: the pictures.
        denoisers: in every part as many, in the same order; a filter may be set differently in each.
    """

    pairs: Pairs
    denoisers: Sequence[Denoiser]


def score_parts(
    parts: Sequence[Part],
    *,
    names: Sequence[str] | None = None,
    more: Sequence[str] = (),
    journal: Journal | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """Score methods on several parts; the noisy input itself comes first.

    Args:
        parts: one, or one for each noise: then each is a group of its own.
        names: of the methods, without the noisy input; None takes the denoisers' own, told apart.
        more: keys of :data:`unnoise.metrics.ON_DEMAND` to compute, too; the first is the methods' perceptual
            score.
        journal: keeps the scores; what it holds is not scored again.
        workers: processes; None takes one a core.
        progress: draw a progress bar on a terminal.
    """
    scores = np.concatenate(
        [
            score_all(
                part.pairs,
                [NoisyInput(), *part.denoisers],
                more=more,
                journal=journal,
                workers=workers,
                progress=progress,
                text="scoring",
            )
            for part in parts
        ],
        axis=1,
    )
    groups = parts[0].pairs.groups
    if len(parts) > 1:
        groups = np.repeat(np.arange(len(parts), dtype=np.int16), [len(part.pairs) for part in parts])
    methods = [[NoisyInput(), *part.denoisers] for part in parts]
    first = unique_names(methods[0])
    titles = first if names is None else [first[0], *names]
    return Evaluation(
        where=parts[0].pairs.where if len(parts) == 1 else "; ".join(part.pairs.where for part in parts),
        names=[name for part in parts for name in part.pairs.names],
        photographs=[photograph for part in parts for photograph in part.pairs.photographs],
        groups=groups,
        methods=tuple(
            _summary(name, each, rows, groups)
            for name, each, rows in zip(titles, zip(*methods, strict=True), scores, strict=True)
        ),
        scores=scores,
        more=tuple(more),
    )


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
    name: str, denoisers: Sequence[Denoiser], scores: Doubles, groups: npt.NDArray[np.int16] | None
) -> MethodResult:
    """A method's means; ``denoisers`` are those of the parts."""
    method = denoisers[0]
    kind: Kind = "filter" if isinstance(method, Filter) else "network"
    if isinstance(method, NoisyInput):
        kind = "input"
    settings = [each.settings_text if isinstance(each, Filter) else "" for each in denoisers]
    same = len(set(settings)) == 1
    per_group = tuple(
        GroupScore(
            group=int(group),
            tiles=int((groups == group).sum()),
            settings="" if same or len(denoisers) == 1 else settings[int(group)],
            **_means(scores[groups == group]),
        )
        for group in ([] if groups is None else np.unique(groups))
    )
    path, digest = getattr(method, "path", None), getattr(method, "digest", None)
    return MethodResult(
        name=name,
        label=method.entry.label if isinstance(method, Filter) and name == method.name else name,
        kind=kind,
        tiles=len(scores),
        groups=per_group,
        settings=settings[0] if same else "",
        parameters=getattr(method, "parameters", None),
        article_row=BLUR if method.name == BLUR else None,
        perceptual=float(scores[:, len(METRICS)].mean()) if scores.shape[1] > len(METRICS) else None,
        source=f"{path.name}, SHA-256 {digest}" if path is not None and digest else "",
        **_means(scores),  # type: ignore[arg-type]  # names of scores
    )


def _means(scores: Doubles) -> dict[str, float]:
    mean = dict(zip(METRICS, scores[:, : len(METRICS)].mean(axis=0).tolist(), strict=True))
    return {**mean, "psnr_of_mean_mse": psnr_of_mse(mean["mse"])}
