"""What results say, in sentences: who won and lost by how much, and what limits the comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from unnoise.results import MethodResult, Results, Training

LEVEL = 0.01
"""Errors that differ by a smaller fraction than this are called level."""
_EQUAL_TRAINING = 0.02
_FEW_PHOTOGRAPHS = 10
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def verdict(results: Results) -> list[str]:
    """The answer in a few plain sentences, winners and losers alike.

    It is about the networks that were trained here; one that came ready-made gets a sentence of its own.
    """
    networks, filters = leading_networks(results), results.contenders("filter")
    if not networks:
        return (
            [_filters_only(results, filters[0])]
            if filters
            else ["Nothing was compared with the noisy input."]
        )
    best = networks[0]
    sentences = [_against_filters(results, best, filters[0] if filters else None)]
    baseline = results.method(results.baseline)
    if baseline.kind == "filter":
        sentences.append(_against_baseline(results, networks, baseline))
    useless = [m for m in networks if any(m.mse >= n.mse * (1 - LEVEL) for n in results.contenders("input"))]
    if useless:
        sentences.append(f"{_listed([m.label for m in useless])} left the noise as it was, or made it worse.")
    if filters:
        sentences += [
            _ready_made(each, filters[0])
            for each in results.contenders("network")
            if each not in networks and each.training is None
        ]
    return sentences


def caveats(results: Results) -> list[str]:
    """What a careful reader must know before quoting the verdict; empty when there is nothing."""
    found = []
    info = results.dataset
    if info.stored_noise.warning:
        found.append(info.stored_noise.warning)
    if unequal_training(results.ranked("network")):
        found.append("The networks did not get equal training: a note at the table says who got how much.")
    photographs = info.photographs["test"]
    if photographs < _FEW_PHOTOGRAPHS:
        found.append(
            f"The test split holds only {count(photographs, 'photograph')}: "
            "other photographs could order the methods differently."
        )
    others = [f"{m.label} ({m.tiles:,})" for m in results.ranked() if m not in results.contenders()]
    if others:
        found.append(
            f"Scored on another number of tiles, and so not comparable with the rest: {_listed(others)}."
        )
    return found


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
        text = f"{text} {_listed(stopped)} {ended}.".lstrip()
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
    return f"{_listed(parts)}. One run each, with one seed: small differences may be chance."


def colour_groups(results: Results) -> str:
    """Where the best network gains most and least over the baseline."""
    networks = leading_networks(results)
    baseline = {score.group: score for score in results.method(results.baseline).groups}
    if not networks:
        return ""
    best = networks[0]
    ratios = {s.group: s.mse / baseline[s.group].mse for s in best.groups if s.group in baseline}
    if len(ratios) < 2:
        return ""
    low, high = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    if ratios[high] < ratios[low] * 1.05:
        return f"{best.label} gains about as much in every group."
    blur = results.method(results.baseline).label
    return (
        f"Against the tuned {blur}, {best.label} does best in group {low + 1} "
        f"({times(ratios[low])} its error) and worst in group {high + 1} ({times(ratios[high])})."
    )


def count(number: int, noun: str) -> str:
    """``1 photograph``, ``1,200 photographs``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def number(value: float) -> str:
    """A quantity with as many digits as a reader can use: 0.42, 4.2, 42, 4,200."""
    if not math.isfinite(value):
        return "–"
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def times(ratio: float) -> str:
    """``0.49 ×``, never broken over two lines."""
    return f"{ratio:.2f}\N{NO-BREAK SPACE}×" if math.isfinite(ratio) else "–"


def _ready_made(network: MethodResult, rival: MethodResult) -> str:
    label = f"{network.label[0].upper()}{network.label[1:]}"
    return (
        f"{label}, which was not trained here, leaves "
        f"{times(network.mse / rival.mse)} the error of the best tuned filter."
    )


def _against_filters(results: Results, best: MethodResult, rival: MethodResult | None) -> str:
    if rival is None:
        noisy = results.contenders("input")
        scale = f", {times(best.mse / noisy[0].mse)} that of the noisy input" if noisy else ""
        return f"On these photographs, {best.label} leaves the least error{scale}; no filter was compared."
    ratio = best.mse / rival.mse
    name = f"the best tuned filter ({rival.label})"
    error = times(ratio)
    if ratio < 1 - LEVEL:
        gain = 10 * math.log10(1 / ratio)
        return f"On these photographs, {best.label} leaves {error} the error of {name}: {gain:.1f} dB better."
    if ratio <= 1 + LEVEL:
        return (
            f"On these photographs, the best network, {best.label}, is level with {name}: {error} its error."
        )
    return (
        f"On these photographs, no network beats {name}: the nearest, {best.label}, leaves {error} its error."
    )


def _against_baseline(results: Results, networks: Sequence[MethodResult], baseline: MethodResult) -> str:
    ratios = [(method.label, results.ratio(method)) for method in networks]
    wins = [pair for pair in ratios if pair[1] < 1 - LEVEL]
    losses = [pair for pair in ratios if pair[1] > 1 + LEVEL]
    level = [pair for pair in ratios if pair not in wins and pair not in losses]
    total = len(networks)
    parts: list[str] = []
    for group, one, many in (
        (wins, "beats", "beat"),
        (level, "is level with", "are level with"),
        (losses, "loses to", "lose to"),
    ):
        if not group:
            continue
        verb = one if len(group) == 1 else many
        whom = "it" if parts else f"the tuned {baseline.label}"
        shown = [f"{label} {times(ratio)}" for label, ratio in group]
        shown[0] += " its error"
        parts.append(f"{_part(len(group), total, first=not parts)} {verb} {whom} ({'; '.join(shown)})")
    text = _listed(parts)
    return f"{text[0].upper()}{text[1:]}."


def _part(part: int, total: int, *, first: bool) -> str:
    if part == total:
        return {1: "it", 2: "both networks"}.get(total, f"all {_spelt(total)} networks")
    return f"{_spelt(part)} of the {_spelt(total)} networks" if first else _spelt(part)


def _spelt(value: int) -> str:
    return _NUMBERS[value] if value < len(_NUMBERS) else str(value)


def _filters_only(results: Results, best: MethodResult) -> str:
    noisy = results.contenders("input")
    scale = f": {times(best.mse / noisy[0].mse)} the error of the noisy input" if noisy else ""
    return f"On these photographs, the best tuned filter is {best.label}{scale}. No network was compared."


def _optimizer(method: MethodResult) -> str:
    return method.training.optimizer if method.training else method.label


def _listed(words: Sequence[str]) -> str:
    if len(words) < 3:
        return " and ".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
