"""What results say, in sentences: who won and lost by how much, and what limits the comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from unnoise.records import Difference, Kind, MethodResult, Training
from unnoise.results import Results
from unnoise.words import count, listed, number, times

_EQUAL_TRAINING = 0.02
_FEW_PHOTOGRAPHS = 10
_MINUS = "\N{MINUS SIGN}"


def leaks(results: Results) -> str | None:
    """That pictures which were scored show what something was tuned or trained on; or None."""
    if results.pictures and results.pictures.leaks:
        return (
            f"{_pairs(len(results.pictures.leaks))} the same, one of them scored, the other tuned or trained "
            "on: the scores of what saw it are inflated."
        )
    if results.dataset and results.dataset.leaks:
        return (
            f"{_pairs(len(results.dataset.leaks), ' in different splits')} the same: scores of what was "
            "trained or tuned on them are inflated."
        )
    return None


def _pairs(number: int, where: str = "") -> str:
    return f"{count(number, 'pair')} of files{where} {'shows' if number == 1 else 'show'}"


def caveats(results: Results) -> list[str]:
    """What a careful reader must know before quoting the verdict, but for :func:`leaks`; may be empty."""
    found = []
    if results.dataset and results.dataset.stored_noise.warning:
        found.append(results.dataset.stored_noise.warning)
    if unequal_training(results.ranked("network")):
        found.append("The networks did not get equal training: a note at the table says who got how much.")
    scored = photographs(results)
    if 0 < scored < _FEW_PHOTOGRAPHS:
        where = "The test split holds" if results.dataset else "There are"
        found.append(
            f"{where} only {count(scored, 'photograph')}: other photographs could order the methods "
            "differently."
        )
    ready = [method.label for method in results.contenders("network") if method.training is None]
    if ready and results.program == "evaluate":
        those, rows = ("it", "its row is") if len(ready) == 1 else ("they", "their rows are")
        found.append(
            f"{listed(ready)} came ready-made. If {those} learned from these very photographs, {rows} no "
            "test; that cannot be seen here, only a network's card tells ('unnoise models NAME')."
        )
    others = [f"{m.label} ({m.tiles:,})" for m in results.ranked() if m not in results.contenders()]
    if others:
        found.append(
            f"Scored on another number of {unit(results)}s, and so not comparable with the rest: "
            f"{listed(others)}."
        )
    return found


def done(results: Results) -> str:
    """What was done to what, in a sentence or two: noise that was made is not a camera's."""
    told = "" if results.pictures is None else _told(results)
    if results.pictures and any(results.pictures.noises):
        info = results.pictures
        noises = listed([noise for noise in info.noises if noise])
        return (
            f"Made noise ({noises}) was added to {count(info.pictures, 'clean picture')}.{told} On noise "
            "that a camera made, the order may be another."
        )
    if results.pictures:
        return (
            f"{count(results.pictures.pictures, 'picture')} with real noise, each beside a clean one of the "
            f"same.{told}"
        )
    if results.dataset is None:
        return ""
    tiles = max((method.tiles for method in results.methods), default=0)
    return f"Scored: {count(tiles, 'tile')} with the noise {results.dataset.noise}, that of the data set."


def _told(results: Results) -> str:
    info = results.pictures
    if info is None or not any(info.noises):
        return " No method was told how strong it is; those that need to know estimated it."
    if info.told:
        return " Methods that can be told its strength were told it."
    return " It has no one strength that a method could be told."


def frozen(results: Results) -> str:
    """On what the filters were tuned, and that what was scored took no part in it; empty without filters."""
    if not results.ranked("filter"):
        return ""
    given = "The filters' settings were given, not tuned here: others might do better."
    if results.pictures:
        info = results.pictures
        if not info.tuned_pictures:
            return given
        other = "" if info.leaks else "other "
        return (
            f"Filters were tuned on squares of {count(info.tuned_pictures, f'{other}picture')} and frozen; "
            f"the {count(info.pictures, 'picture')} here were scored once."
        )
    if results.dataset is None or not results.searches:
        return given if results.program == "evaluate" else ""
    tiles = max(search.tiles for search in results.searches)
    other = "" if results.dataset.leaks else " of other photographs"
    most = "up to " * (len({search.tiles for search in results.searches}) > 1)
    return (
        f"Filters were tuned on {most}{count(tiles, 'validation tile')}{other} and frozen; "
        "the test split was scored once."
    )


def photographs(results: Results) -> int:
    """How many photographs were scored, so far as that is known; 0 where it is not."""
    if known := [each.photographs for each in results.differences if each.group is None]:
        return max(known)
    if results.pictures:
        return results.pictures.photographs
    return results.dataset.photographs["test"] if results.dataset else 0


def unit(results: Results) -> str:
    """What was scored one by one: ``tile`` or ``picture``."""
    return "tile" if results.dataset else "picture"


def order(results: Results, *kinds: Kind) -> list[MethodResult]:
    """The methods, the best first: an experiment's by their error, others by their PSNR.

    Where the differences over photographs are known, those decide, as every photograph counts once in them;
    methods that were scored on other pictures come last.
    """
    if results.program == "experiment":
        return results.ranked(*kinds)
    alike = results.contenders()
    first = alike[0].name

    def key(method: MethodResult) -> tuple[bool, float]:
        ahead = 0.0 if method.name == first else math.nan
        if method.name != first and (found := results.difference(method.name, first)):
            ahead = found.mean
        if not results.differences or not math.isfinite(ahead):
            ahead = method.psnr - results.method(first).psnr if method.psnr != math.inf else math.inf
        return method not in alike, -ahead

    return sorted(results.ranked(*kinds), key=key)


def leader(results: Results) -> MethodResult | None:
    """The best of the filters and networks; None where there is none."""
    alike = results.contenders("filter", "network")
    return next((method for method in order(results) if method in alike), None)


def leading_networks(results: Results) -> list[MethodResult]:
    """The networks trained here, or all where none was, the best first.

    Of those that differ in the optimiser alone, the one of the lowest validation error: a choice by the test
    error would flatter it.
    """
    networks = results.contenders("network")
    networks = [method for method in networks if method.training] or networks
    variants = [method.name for method in networks if method.name in results.optimizers]
    if variants and all(name in results.curves for name in variants):
        chosen = min(variants, key=lambda name: min(r["valid_mse"] for r in results.curves[name].records))
        networks = [method for method in networks if method.name == chosen or method.name not in variants]
    return networks


def unequal_training(methods: Sequence[MethodResult]) -> str | None:
    """How the networks' chances differed, or None where all had the same."""
    trained = [(method, method.training) for method in methods if method.training]
    if not trained:
        return None
    measures: tuple[tuple[str, Callable[[Training], float], Callable[[float], str]], ...] = (
        ("tiles to draw from", lambda t: t.tiles_available, lambda v: f"{v:,.0f}"),
        ("tiles seen", lambda t: t.tiles_seen, lambda v: f"{v:,.0f}"),
        ("epochs", lambda t: t.epochs, number),
        ("minutes", lambda t: t.minutes, number),
    )
    parts = []
    for name, value, show in measures:
        ordered = sorted(trained, key=lambda pair: value(pair[1]))
        (low, least), (high, most) = ordered[0], ordered[-1]
        if value(most) > value(least) * (1 + _EQUAL_TRAINING):
            parts.append(
                f"{name} from {show(value(least))} ({low.label}) to {show(value(most))} ({high.label})"
            )
    stopped = [method.label for method, training in trained if not training.finished]
    text = ""
    if parts:
        text = (
            f"The networks did not have equal training: {'; '.join(parts)}. "
            "Those that got less might do better with more."
        )
    if stopped:
        ended = (
            "was stopped before its planned end"
            if len(stopped) == 1
            else "were stopped before their planned end"
        )
        text = f"{text} {listed(stopped)} {ended}.".lstrip()
    return text or None


def training_notes(results: Results) -> list[str]:
    """What there is to say of single trainings."""
    trained = [(method.label, method.training) for method in results.ranked()]
    return [f"{label}: {training.note}" for label, training in trained if training and training.note]


def optimizers(results: Results) -> str:
    """Which optimiser ended lowest, against the first of them."""
    methods = [results.method(name) for name in results.optimizers]
    if len(methods) < 2:
        return ""
    first, *others = methods
    parts = [
        f"{_optimizer(m)} ends at {times(m.mse / first.mse)} the error of {_optimizer(first)}" for m in others
    ]
    return f"{listed(parts)}. One run each, with one seed: small differences may be chance."


def groups(results: Results) -> str:
    """Where the best network gains most and least over the baseline."""
    networks = leading_networks(results)
    baseline = {score.group: score for score in results.method(results.baseline).groups}
    if not networks:
        return ""
    best = networks[0]
    ratios = {s.group: s.mse / baseline[s.group].mse for s in best.groups if s.group in baseline}
    if len(ratios) < 2 or best.name == results.baseline:
        return ""
    low, high = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    if ratios[high] < ratios[low] * 1.05:
        return f"{best.label} gains about as much in every group."
    baseline_method = results.method(results.baseline)
    rival = (
        f"the tuned {baseline_method.label}" if baseline_method.kind == "filter" else baseline_method.label
    )
    names = [group.label for group in results.groups]
    return (
        f"Against {rival}, {best.label} does best in {names[low]} "
        f"({times(ratios[low])} its error) and worst in {names[high]} ({times(ratios[high])})."
    )


def decibels(value: float) -> str:
    """``+0.31`` or ``−0.31``, in dB."""
    if math.isnan(value):
        return "–"
    shown = plain(abs(value))
    sign = "" if shown == "0.00" else "+" if value > 0 else _MINUS
    return f"{sign}{shown}"


def plain(value: float) -> str:
    """``0.31`` or ``−0.31``: in dB, two decimals."""
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    return f"{round(value, 2) or 0.0:.2f}".replace("-", _MINUS)


def interval(found: Difference) -> str:
    """``95 % interval 0.22 to 0.40``."""
    return f"{found.confidence * 100:g}\N{NO-BREAK SPACE}% interval {plain(found.low)} to {plain(found.high)}"


def _optimizer(method: MethodResult) -> str:
    return method.training.optimizer if method.training else method.label
