"""An evaluation from what was asked to what is reported: scores, uncertainty, cost, pictures to look at."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise import costs, provenance, samples
from unnoise.cores import available_cores
from unnoise.errors import ConfigError
from unnoise.evaluate import Part, score_parts
from unnoise.journal import NAME as JOURNAL_NAME
from unnoise.journal import Journal, key_of
from unnoise.methods import Contenders
from unnoise.pairs import content
from unnoise.records import Cost, Difference, FilterSearch, MethodResult, Sample
from unnoise.results import Results, decode
from unnoise.scores import PSNR, Evaluation
from unnoise.scoring import fingerprint
from unnoise.search import BLUR
from unnoise.subjects import Subject
from unnoise.tiles import MANIFEST_NAME
from unnoise.uncertainty import differences
from unnoise.words import count as in_words

Log = Callable[[str], None]

ASKED = "asked"
TOOK = "seconds taken"


@dataclass(frozen=True, eq=False)
class Assessment:
    """All that an evaluation found.

    Attributes:
        evaluation: the scores of every picture; its methods know their cost.
        results: what a report says.
    """

    evaluation: Evaluation
    results: Results


def open_journal(folder: Path, asked: Mapping[str, Any], *, overwrite: bool) -> Journal:
    """The journal of an output folder: a new one, or that of the same evaluation, which then goes on.

    Scores are kept by what they depend on, so with ``overwrite`` those that still hold are taken, too.

    Args:
        folder: made where it is not there.
        asked: the options, as plain JSON values.
        overwrite: whether another evaluation that is there may be replaced.

    Raises:
        ConfigError: the folder holds another evaluation, or something else, or cannot be written to.
    """
    path = folder / JOURNAL_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = any(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}", hint="Take another -o.") from None
    journal = Journal(path)
    known = journal.get(ASKED)
    if known != asked:
        # A folder in which nothing has been measured yet holds no evaluation.
        begun = known is None or any(journal.get(key) is not None for key in journal.keys - {ASKED, TOOK})
        if there and begun and not overwrite:
            what = "holds another evaluation" if known is not None else "is not empty"
            raise ConfigError(f"{folder} {what}", hint="Take another -o, or --overwrite.")
        journal.keep(ASKED, dict(asked))
        journal.keep(TOOK, 0.0)
    return journal


def assess(
    subject: Subject,
    contenders: Contenders,
    folder: Path | None = None,
    *,
    journal: Journal | None = None,
    command: str = "",
    notes: Sequence[str] = (),
    more: Sequence[str] = (),
    workers: int | None = None,
    log: Log = lambda _: None,
    progress: bool = False,
) -> Assessment:
    """Score methods on pictures, and all that is said of it.

    Args:
        subject: the pictures.
        contenders: the methods.
        folder: where pictures to look at go; None makes none.
        journal: keeps what was measured; what it holds is not measured again.
        command: the command line that gives these results again.
        notes: sentences that readers of the scores should know.
        more: keys of :data:`unnoise.metrics.ON_DEMAND` to score by, too.
        workers: processes; None takes one a core.
        log: takes a line of text for people.
        progress: draw a progress bar on a terminal.
    """
    start = time.perf_counter()
    journal = journal or Journal()
    parts = [Part(pairs, methods) for pairs, methods in zip(subject.pairs, contenders.denoisers, strict=True)]
    count = sum(len(pairs) for pairs in subject.pairs)
    log(f"scoring {in_words(len(contenders.names), 'method')} on {in_words(count, 'image')}")
    found = score_parts(
        parts, names=contenders.names, more=more, journal=journal, workers=workers, progress=progress
    )
    log("timing the methods, in turn")
    found, timed = with_costs(found, parts[len(parts) // 2], journal)
    methods = found.methods
    shown: tuple[Sample, ...] = ()
    if folder is not None:
        log("drawing pictures to look at")
        shown = show(found, parts, folder, journal=journal, workers=workers, progress=progress)
    spent = (journal.get(TOOK) or 0.0) + time.perf_counter() - start
    journal.keep(TOOK, spent)
    names = [each.name for each in methods]
    results = Results(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        preset="",
        elapsed_minutes=round(spent / 60, 1),
        dataset=subject.dataset.info if subject.dataset else None,
        dataset_hash=content(subject.dataset.path / MANIFEST_NAME) if subject.dataset else "",
        baseline=BLUR if BLUR in names else _best_filter(methods),
        methods=methods,
        versions=provenance.versions(),
        machine=provenance.machine(None),
        seeds=_seeds(subject),
        searches=_searched(subject, contenders),
        notes=(*notes, *_untouched(found)),
        timed=timed,
        program="evaluate",
        pictures=subject.pictures,
        differences=compared(found),
        samples=shown,
    )
    return Assessment(found, results)


def compared(evaluation: Evaluation) -> tuple[Difference, ...]:
    """How every method differs from every other on the same photographs.

    Pictures that the noise left as they were do not count: beside an infinite PSNR nothing is near.
    """
    noisy = touched(evaluation)
    if not noisy.any():
        return ()
    return differences(
        [each.name for each in evaluation.methods],
        evaluation.scores[:, noisy, PSNR],
        [name for name, counts in zip(evaluation.photographs, noisy, strict=True) if counts],
        groups=None if evaluation.groups is None else evaluation.groups[noisy],
    )


def touched(evaluation: Evaluation) -> npt.NDArray[np.bool_]:
    """Which pictures the noise changed."""
    found: npt.NDArray[np.bool_] = np.isfinite(evaluation.scores[0, :, PSNR])
    return found


def show(
    evaluation: Evaluation,
    parts: Sequence[Part],
    folder: Path,
    *,
    journal: Journal,
    workers: int | None = None,
    progress: bool = False,
) -> tuple[Sample, ...]:
    """Write pictures to look at: those on which a method gained most, and least."""
    psnr = evaluation.scores[:, :, PSNR]
    names = [each.name for each in evaluation.methods]
    order = sorted(range(1, len(names)), key=lambda method: evaluation.methods[method].mse)
    chosen = samples.extremes(psnr, order)
    usual = samples.typical(psnr, order[0], evaluation.groups) if order else []
    # Noise between the strongest and the weakest opens the page best.
    usual = [usual[index] for index in sorted(range(len(usual)), key=lambda i: abs(i - len(usual) // 2))]
    firsts = np.cumsum([0, *(len(part.pairs) for part in parts)])
    shown, denoisers = [], []
    for picture in dict.fromkeys([*usual, *chosen.pictures]):
        at = int(np.searchsorted(firsts, picture, side="right")) - 1
        part = parts[at]
        clean, noisy = part.pairs.pick(picture - int(firsts[at]))
        best, worst = chosen.best_of.get(picture, ()), chosen.worst_of.get(picture, ())
        shown.append(
            samples.Shown(
                name=evaluation.names[picture],
                group=None if evaluation.groups is None else int(evaluation.groups[picture]),
                clean=clean,
                noisy=noisy,
                sigma=part.pairs.sigma,
                focus=names[(worst or best or (order[0],))[0]],
                psnr={name: float(psnr[method, picture]) for method, name in enumerate(names)},
                best_of=tuple(names[method] for method in best),
                worst_of=tuple(names[method] for method in worst),
            )
        )
        denoisers.append(dict(zip(names[1:], part.denoisers, strict=True)))
    return samples.write(shown, denoisers, folder, journal=journal, workers=workers, progress=progress)


def show_files(folder: Path, shown: Sequence[Sample]) -> dict[str, bytes]:
    """File name -> content of the pictures to look at, as a report takes them."""
    return {name: (folder / name).read_bytes() for each in shown for name in each.files.values()}


def with_costs(evaluation: Evaluation, part: Part, journal: Journal) -> tuple[Evaluation, str]:
    """An evaluation whose methods know what they cost on a picture of a part; and what that is, in words."""
    taken = _costs(part, [each.name for each in evaluation.methods[1:]], journal)
    methods = tuple(dataclasses.replace(each, cost=taken.get(each.name)) for each in evaluation.methods)
    return dataclasses.replace(evaluation, methods=methods), costs.how(taken)


def _costs(part: Part, names: Sequence[str], journal: Journal) -> dict[str, Cost | None]:
    noisy = part.pairs.sample(1)[0][1]
    denoisers = dict(zip(names, part.denoisers, strict=True))
    told = [fingerprint(each) or each.name for each in denoisers.values()]
    key = key_of(["cost", str(available_cores(physical=True)), *names, *told, str(noisy.shape)])
    kept = journal.get(key)
    if kept is None:
        taken = costs.measure(denoisers, noisy, part.pairs.sigma)
        kept = {name: None if cost is None else dataclasses.asdict(cost) for name, cost in taken.items()}
        journal.keep(key, kept)
    return {name: decode(Cost | None, cost) for name, cost in kept.items()}


def _untouched(evaluation: Evaluation) -> Iterator[str]:
    left = int((~touched(evaluation)).sum())
    if left:
        yield (
            f"{in_words(left, 'picture')} of {len(evaluation.names):,} came out of the noise as they were. "
            "They are in the means, where their PSNR is infinite, and not in the comparisons of methods."
        )


def _searched(subject: Subject, contenders: Contenders) -> tuple[FilterSearch, ...]:
    """How the filters were tuned; where there are several noises, for each."""
    noises = subject.pictures.noises if subject.pictures and len(subject.pairs) > 1 else ()
    found = []
    for number, searches in enumerate(contenders.searches):
        for each in searches:
            record = each.record()
            label = f"{record.label}, {noises[number]}" if noises else record.label
            found.append(dataclasses.replace(record, label=label))
    return tuple(found)


def _best_filter(methods: Sequence[MethodResult]) -> str:
    filters = sorted((each for each in methods if each.kind == "filter"), key=lambda each: each.mse)
    return filters[0].name if filters else methods[0].name


def _seeds(subject: Subject) -> dict[str, int]:
    if subject.dataset is not None:
        return {"split and noise": subject.dataset.info.seed}
    return {"noise": subject.pictures.seed} if subject.pictures else {}
