"""The methods that a person names, ready to be scored; filters named alone are searched first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unnoise.denoiser import bundled, load
from unnoise.errors import ConfigError, UnknownName
from unnoise.evaluate import unique_names
from unnoise.filters import FILTERS, Denoiser, parse, require
from unnoise.pairs import Pairs
from unnoise.scoring import NoisyInput
from unnoise.search import Search, search

Log = Callable[[str], None]
Tuning = Callable[[], Sequence[Pairs]]
"""Gives the pictures to search on, those of each part; called only where something is to be searched."""


@dataclass(frozen=True, eq=False)
class Contenders:
    """Methods under comparison.

    Attributes:
        names: of the methods, told apart.
        denoisers: for each part, as many denoisers as there are names.
        searches: of the filters that were searched, for each part.
    """

    names: tuple[str, ...]
    denoisers: tuple[tuple[Denoiser, ...], ...]
    searches: tuple[tuple[Search, ...], ...]


def choose(
    texts: Sequence[str],
    parts: int = 1,
    tuning: Tuning | None = None,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    log: Log = lambda _: None,
    progress: bool = False,
) -> Contenders:
    """The denoisers that a person names.

    A text is a run's folder, a network file, the name of a bundled network, a filter with its settings
    (``nlm:h=40``), or a filter's bare name, which is searched for each part.

    Args:
        texts: what the person wrote.
        parts: how many there are, one a noise.
        tuning: the pictures to search on, never those that are scored; None where there are none.
        cache: folder in which finished searches are kept; None keeps none.
        workers: processes of the search; None takes one a core.
        log: takes a line of text for people.
        progress: draw a progress bar on a terminal.

    Raises:
        UnknownName: a text is none of these.
        MissingExtra: a filter needs packages that are not installed.
        NetworkError: a network cannot be loaded.
        ConfigError: a filter is to be searched, and there are no pictures for that.
    """
    fixed = named(texts, tuned=tuning is not None, log=log)
    return tuned(fixed, parts, tuning, cache=cache, workers=workers, log=log, progress=progress)


def tuned(
    fixed: Mapping[str, Denoiser | None],
    parts: int = 1,
    tuning: Tuning | None = None,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    log: Log = lambda _: None,
    progress: bool = False,
) -> Contenders:
    """What :func:`named` gave, its filters searched for each part; arguments as for :func:`choose`."""
    bare = [text for text, denoiser in fixed.items() if denoiser is None]
    searches: list[tuple[Search, ...]] = [()] * parts
    if bare and tuning is not None:
        for number, pairs in enumerate(tuning()):
            log(f"searching {', '.join(bare)} on {len(pairs)} images ({pairs.where})")
            searches[number] = search(pairs, bare, workers=workers, log=log, progress=progress, cache=cache)
    denoisers = []
    for found in searches:
        best = {each.name: each.best.filter for each in found}
        denoisers.append(tuple(best[text] if known is None else known for text, known in fixed.items()))
    names = unique_names([NoisyInput(), *denoisers[0]])[1:]
    return Contenders(tuple(names), tuple(denoisers), tuple(searches))


def named(texts: Sequence[str], *, tuned: bool, log: Log = lambda _: None) -> dict[str, Denoiser | None]:
    """What each text names; None for a filter that is to be searched.

    Args:
        texts: what the person wrote.
        tuned: whether there are pictures to search on.
        log: takes a line of text for people.

    Raises:
        UnknownName: a text is none of what :func:`choose` takes.
        MissingExtra: a filter needs packages that are not installed.
        NetworkError: a network cannot be loaded.
        ConfigError: a filter is to be searched, and there are no pictures for that.
    """
    fixed: dict[str, Denoiser | None] = {}
    for text in texts:
        name, colon, _ = text.partition(":")
        if name in FILTERS:
            require(name)
            settled = bool(colon) or not FILTERS[name].parameters
            fixed[text] = parse(text) if settled else None
            if settled and (word := FILTERS[name].licence_note):
                log(f"note: {name}: {word}")
        elif Path(text).exists() or text.endswith(".onnx") or text in bundled():
            fixed[text] = load(text)
        else:
            raise UnknownName("denoiser", text, [*FILTERS, *bundled()])
    bare = [text for text, denoiser in fixed.items() if denoiser is None]
    if bare and not tuned:
        raise ConfigError(
            f"{', '.join(bare)} must be tuned, and there are no pictures to tune on",
            hint=f"Give other clean pictures with --tune FOLDER, or settings, such as {parse(bare[0]).spec}",
        )
    return fixed
