"""Every method on every picture, scored once: side by side on all cores, and kept as soon as it is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from unnoise.cores import available_cores
from unnoise.errors import ImageError
from unnoise.filters import Denoiser, Stacking
from unnoise.journal import Journal, key_of
from unnoise.metrics import METRICS, ON_DEMAND, every
from unnoise.pairs import Chunk, Pairs
from unnoise.workers import Workers

FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NoisyInput:
    """The denoiser that does nothing: what the others are to improve on."""

    name: str = "noisy input"
    fingerprint: str = "noisy input"

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:  # noqa: ARG002
        """``noisy`` itself."""
        return noisy


def score(clean: FloatArray, denoised: FloatArray, more: Sequence[str] = ()) -> tuple[float, ...]:
    """Every metric of a picture (H, W, C) clipped to [0, 1], in the order of :data:`METRICS`, then ``more``.

    NaN where the picture is smaller than a metric's ``least``.

    Args:
        clean: the picture as it should be.
        denoised: as it is.
        more: keys of :data:`unnoise.metrics.ON_DEMAND`.
    """
    clipped = np.clip(denoised, 0, 1)
    asked = [ON_DEMAND[name] for name in more]
    small = min(clean.shape[:2])
    return (
        *every(clean, clipped, data_range=1),
        *(math.nan if small < each.least else each.function(clean, clipped, data_range=1) for each in asked),
    )


@dataclass(frozen=True, eq=False)
class Unit:
    """What is scored at a time: some pictures under a method.

    Attributes:
        chunk: the pictures.
        denoiser: the method.
        sigma: what it is told of the noise, 8-bit units, or None.
        row: place of the method among those that are scored.
        told: what the method's results depend on; empty where that is not known.
        more: keys of :data:`unnoise.metrics.ON_DEMAND` that are wanted, too.
    """

    chunk: Chunk
    denoiser: Denoiser
    sigma: float | None
    row: int
    told: str
    more: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what is computed."""
        return (*METRICS, *self.more)


def score_all(
    pairs: Pairs,
    denoisers: Sequence[Denoiser],
    *,
    more: Sequence[str] = (),
    journal: Journal | None = None,
    workers: int | None = None,
    progress: bool = False,
    text: str = "",
) -> Doubles:
    """Every metric of every denoiser on every picture.

    Filters and networks are handed to processes of one thread each; other denoisers run in this one.

    Args:
        pairs: the pictures.
        denoisers: the methods. They are told the noise's sigma.
        more: keys of :data:`unnoise.metrics.ON_DEMAND` to compute, too.
        journal: what it holds is not scored again, and what is scored is kept in it.
        workers: processes; None takes one a core, and none beside this where there is but one chunk.
        progress: draw a progress bar on a terminal.
        text: what the bar says.

    Returns:
        (denoisers, pictures, metrics), in the order of :data:`unnoise.metrics.METRICS`, then ``more``.
    """
    journal = journal or Journal()
    # Method by method: a process keeps few networks open.
    units = [
        Unit(chunk, denoiser, pairs.sigma, row, told, tuple(more))
        for row, (denoiser, told) in enumerate(zip(denoisers, map(fingerprint, denoisers), strict=True))
        for chunk in pairs.chunks
    ]
    found = {(id(unit.chunk), unit.row): _known(journal, unit) for unit in units}
    pending = [unit for unit in units if found[id(unit.chunk), unit.row] is None]
    total = sum(len(unit.chunk.ranks) for unit in units)
    done = total - sum(len(unit.chunk.ranks) for unit in pending)
    bar = tqdm(
        total=total, initial=done, desc=text, unit="image", disable=None if progress else True, leave=False
    )

    def keep(unit: Unit, scores: Doubles) -> None:
        found[id(unit.chunk), unit.row] = scores
        if key := unit_key(unit):
            journal.keep(key, scores.tolist())
        bar.update(len(unit.chunk.ranks))

    shared = [unit for unit in pending if unit.told]
    with bar:
        count = min(workers or available_cores(), len(pairs.chunks), len(shared))
        if shared:
            with Workers(count) as pool:
                for _ in pool.map(_scored, shared, name=partial(_called, where=pairs.where), keep=keep):
                    pass
        for unit in pending:
            if not unit.told:
                keep(unit, _scored(unit))
    rows = [
        np.concatenate([_there(found[id(chunk), row]) for chunk in pairs.chunks])
        for row in range(len(denoisers))
    ]
    return np.array(rows).reshape(len(denoisers), len(pairs), len(METRICS) + len(more))


def is_portable(denoiser: Denoiser) -> bool:
    """Whether a denoiser can be handed to another process: those can that say what they depend on."""
    return bool(fingerprint(denoiser))


def fingerprint(denoiser: Denoiser) -> str:
    """What a denoiser's results depend on, in a line; empty where that is not known."""
    told: str = getattr(denoiser, "fingerprint", "")
    return told


def unit_key(unit: Unit) -> str:
    """The key of a unit's scores in a journal; empty where they cannot be told from others."""
    if not unit.told:
        return ""
    return key_of([unit.chunk.identity, unit.told, str(unit.sigma), *unit.metrics])


def _known(journal: Journal, unit: Unit) -> Doubles | None:
    key = unit_key(unit)
    kept = journal.get(key) if key else None
    if kept is None:
        return None
    scores = np.array(kept, np.float64)
    return scores if scores.shape == (len(unit.chunk.ranks), len(unit.metrics)) else None


def _there(scores: Doubles | None) -> Doubles:
    assert scores is not None
    return scores


def _called(unit: Unit, where: str) -> str:
    return f"{where}, {unit.denoiser.name}"


def _scored(unit: Unit) -> Doubles:
    """Scores (pictures, metrics) of a unit."""
    clean, noisy = unit.chunk.read()
    try:
        if isinstance(unit.denoiser, Stacking):
            denoised = unit.denoiser.stack(noisy, unit.sigma)
        else:
            denoised = np.stack([unit.denoiser(picture, unit.sigma) for picture in noisy])
    except ImageError as error:
        where = getattr(unit.chunk, "name", "")
        raise ImageError(
            f"{unit.denoiser.name}{f' on {where}' if where else ''}: {error}",
            hint="Leave out that method, or that noise or picture.",
        ) from None
    rows = [score(*pair, more=unit.more) for pair in zip(clean, denoised, strict=True)]
    return np.array(rows, np.float64).reshape(len(clean), len(unit.metrics))
