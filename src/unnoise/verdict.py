"""The answer to which method to use, and why, in at most a few sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unnoise import findings
from unnoise.findings import decibels, interval
from unnoise.records import Difference, MethodResult
from unnoise.results import Results
from unnoise.words import count, duration, listed, number, spelt, times

LEVEL = 0.01
"""Errors that differ by a smaller fraction than this are called level."""
PHOTOGRAPH = 12
"""Megapixels of the photograph that a method's time is told for."""
_MUCH = 1.25
"""Of methods that can't be told apart, one is preferred for being quicker by this factor, not by less."""
_QUICKER = 3
"""A method that is quicker by less is no alternative where time matters."""
_LOSES = 0.25
"""Nor is one that loses more than this part of what is gained over the noisy input."""


def verdict(results: Results) -> list[str]:
    """What a person should know who reads nothing else: :func:`answer`, after what inflates the scores."""
    inflated = findings.leaks(results)
    return [*([inflated] if inflated else []), *answer(results)]


def answer(results: Results) -> list[str]:
    """Which method to use and why, winners and losers alike; the first sentence is the answer.

    An experiment's is about the networks that were trained in it, against tuned filters; a network that came
    ready-made gets a sentence of its own. Others name the method to use, what it costs, and the noises for
    which another is better.
    """
    return _of_experiment(results) if results.program == "experiment" else _of_evaluation(results)


# --- any methods on any pictures ----------------------------------------------------------------------


def recommended(results: Results) -> MethodResult | None:
    """The leader, or one that can't be told from it and is much quicker; None where nothing was compared."""
    best = findings.leader(results)
    if best is None or best.cost is None or results.program == "experiment":
        return best
    rivals = [method for method in level_with(results, best) if method.cost]
    quickest = min(rivals, key=_seconds, default=best)
    return quickest if _seconds(quickest) * _MUCH <= _seconds(best) else best


def _seconds(method: MethodResult) -> float:
    return method.cost.seconds if method.cost else math.inf


def level_with(results: Results, best: MethodResult) -> list[MethodResult]:
    """The other filters and networks of which nobody can tell whether ``best`` is better, the best first."""
    found = []
    for method in findings.order(results, "filter", "network"):
        between = results.difference(best.name, method.name) if method != best else None
        if between and between.is_known and between.outcome == "can't tell":
            found.append(method)
    return found


def _of_evaluation(results: Results) -> list[str]:
    best, chosen = findings.leader(results), recommended(results)
    if best is None or chosen is None:
        return ["Nothing was compared with the noisy input."]
    where = f"On {_these(results)}"
    noisy = next(iter(results.contenders("input")), None)
    gain = _ahead(results, best, noisy) if noisy else math.inf
    beside = results.difference(best.name, noisy.name) if noisy else None
    unsure = beside is not None and beside.is_known and beside.outcome == "can't tell"
    if noisy and unsure:
        return [
            f"{where}, nobody can tell whether any method is better than leaving the noise as it is: the "
            f"nearest is {best.label} ({decibels(gain)} dB, {interval(beside)})."  # type: ignore[arg-type]
        ]
    if noisy and not gain > 0:
        return [
            f"{where}, no method is better than leaving the noise as it is: the nearest, {best.label}, is "
            f"{findings.plain(abs(gain))} dB behind the noisy input."
        ]
    sentences = [f"{where}, {_choice(results, best, chosen, noisy)}"]
    if price := _price(results, chosen):
        sentences.append(price)
    if elsewhere := _by_group(results, chosen):
        sentences.append(elsewhere)
    return sentences


def _these(results: Results) -> str:
    known = findings.photographs(results)
    if known == 1:
        return "this one photograph"
    return f"these {known:,} photographs" if known else "these photographs"


def _choice(results: Results, best: MethodResult, chosen: MethodResult, noisy: MethodResult | None) -> str:
    alike = results.contenders("filter", "network")
    others = [method for method in findings.order(results) if method in alike and method != best]
    if not others:
        gain = ""
        if noisy:
            between = results.difference(best.name, noisy.name)
            sure = f" ({interval(between)})" if between and between.is_known else ""
            gain = f" gains {findings.plain(_ahead(results, best, noisy))} dB over the noisy input{sure}, and"
        return f"{best.label}{gain} is the only method that was scored."
    level = level_with(results, best)
    if level:
        return _level(results, best, chosen, level)
    second, every = others[0], len(others) > 1
    between, ahead = results.difference(best.name, second.name), _ahead(results, best, second)
    if between is None or not between.is_known:
        sure = "how sure that is was not computed" if between is None else "too few to tell how sure that is"
        return (
            f"{best.label} has the highest PSNR: {findings.plain(best.psnr)} dB, "
            f"{findings.plain(ahead)} dB more than {second.label}; {sure}."
        )
    whom = f"every other method, by {findings.plain(ahead)} dB over the next, {second.label}"
    alone = f"{second.label}, by {findings.plain(ahead)} dB"
    return f"use {called(best)}: it is better than {whom if every else alone} ({interval(between)})."


def _level(results: Results, best: MethodResult, chosen: MethodResult, level: Sequence[MethodResult]) -> str:
    leaders = [best, *level]
    nearest = results.difference(best.name, level[0].name)
    gap = f" ({findings.plain(abs(nearest.mean))} dB between them, {interval(nearest)})" if nearest else ""
    gap = gap if len(level) == 1 else ""
    others = [method for method in leaders if method != chosen]
    pace = [_seconds(method) / _seconds(chosen) for method in others if method.cost]
    if not chosen.cost or not pace:
        will = "either" if len(level) == 1 else "any"
        return f"{_named(leaders)} lead and can't be told apart{gap}: {will} of them will do."
    if min(pace) >= _MUCH:
        reason = f"it is {_factor(pace[0])} as quick" if len(pace) == 1 else "it is by far the quickest"
    else:
        reason = "none is much quicker" if chosen == best else "it is among the quickest"
    return f"use {called(chosen)}: {_named(others, 'it')} can't be told apart{gap}, and {reason}."


def _named(methods: Sequence[MethodResult], *first: str) -> str:
    names = [*first, *(method.label for method in methods)]
    return listed(names if len(names) < 6 else [*names[:4], f"{spelt(len(names) - 4)} more"])


def called(method: MethodResult) -> str:
    """``the network gaussian``: names alone need not say what they name."""
    if method.kind in method.label.lower() or method.label.startswith("the "):
        return method.label
    return f"the {method.kind} {method.label}"


def _price(results: Results, chosen: MethodResult) -> str:
    """What the chosen method costs, and what one would lose with a quicker one; empty where nobody knows."""
    if chosen.cost is None:
        return ""
    sentence = (
        f"It takes {duration(PHOTOGRAPH * chosen.cost.seconds)} for a photograph of {PHOTOGRAPH} megapixels "
        f"{_machine(results)}"
    )
    parts = []
    faster = quicker(results, chosen)
    if faster and faster.cost:
        parts.append(
            f"where time matters, {called(faster)} is {_factor(chosen.cost.seconds / faster.cost.seconds)} "
            f"as quick and {findings.plain(abs(_ahead(results, chosen, faster)))} dB behind"
        )
    filters = [m for m in findings.order(results, "filter") if m in results.contenders("filter")]
    best = filters[0] if filters else None
    if best and best.cost and best not in (chosen, faster) and chosen.kind == "network":
        slow = chosen.cost.seconds / best.cost.seconds
        pace = f"{_factor(slow)} as quick" if slow >= 1 else f"{_factor(1 / slow)} as slow"
        behind = f"is {findings.plain(abs(_ahead(results, chosen, best)))} dB behind and"
        if best in level_with(results, chosen):
            behind = "can't be told from it, and is"
        parts.append(f"the best filter, {best.label}, {behind} {pace}")
    return "; ".join([sentence, *parts]) + "."


def _machine(results: Results) -> str:
    """Where that was measured; a photograph is many times what was timed."""
    cores = results.machine.get("cores", "")
    return f"on {cores} cores, by what a small one takes" if cores else "on this machine"


def quicker(results: Results, chosen: MethodResult) -> MethodResult | None:
    """The best method that is quicker by a factor that matters, and better than the noisy input."""
    noisy = next(iter(results.contenders("input")), None)
    most = _LOSES * _ahead(results, chosen, noisy) if noisy else math.inf
    for method in findings.order(results, "filter", "network"):
        if method not in results.contenders() or not method.cost or not chosen.cost or method == chosen:
            continue
        quick = method.cost.seconds * _QUICKER <= chosen.cost.seconds
        if quick and _ahead(results, chosen, method) <= most:
            return method
    return None


def _by_group(results: Results, chosen: MethodResult) -> str:
    """Where another method is better than the chosen one; or that there is no such place."""
    groups = results.groups
    if len(groups) < 2:
        return ""
    better: dict[str, list[str]] = {}
    leads = 0
    for index, group in enumerate(groups):
        scores = {
            method.name: score.psnr
            for method in results.contenders("filter", "network")
            for score in method.groups
            if score.group == index
        }
        if chosen.name not in scores:
            return ""
        first = max(scores, key=scores.__getitem__)
        leads += first == chosen.name
        between = results.difference(first, chosen.name, index) if first != chosen.name else None
        if between and between.outcome == "better":
            told = f"{group.label} ({decibels(between.mean)} dB, {interval(between)})"
            better.setdefault(results.method(first).label, []).append(told)
    kind = "colour group" if results.dataset else "noise"
    if better:
        parts = [f"for {kind} {listed(where)}, {label} is better" for label, where in better.items()]
        return f"But {listed(parts)}."
    alone = len(results.contenders("filter", "network")) < 2
    if leads == len(groups) and not alone and not level_with(results, chosen):
        return f"{chosen.label} leads for each {kind}."
    return ""


def _ahead(results: Results, method: MethodResult, other: MethodResult) -> float:
    """Decibels by which ``method`` is ahead; over photographs where that is known."""
    found = results.difference(method.name, other.name)
    if found:
        return found.mean
    return 0.0 if method.psnr == other.psnr else method.psnr - other.psnr


def _factor(value: float) -> str:
    """``12 times``, ``1.4 times``."""
    return f"{number(float(f'{value:.2g}'))} times"


# --- an experiment ------------------------------------------------------------------------------------


def _of_experiment(results: Results) -> list[str]:
    networks, filters = findings.leading_networks(results), results.contenders("filter")
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
        sentences.append(f"{listed([m.label for m in useless])} left the noise as it was, or made it worse.")
    if filters:
        sentences += [
            _ready_made(each, filters[0])
            for each in results.contenders("network")
            if each not in networks and each.training is None
        ]
    return [*sentences, *filter(None, [_to_use(results)])]


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
    ratio = best.mse / rival.mse if rival.mse else math.nan
    name = f"the best tuned filter ({rival.label})"
    error = times(ratio)
    found = results.difference(best.name, rival.name)
    sure = f" ({_spread(found)})" if found else ""
    if ratio < 1 - LEVEL:
        gain = f"{10 * math.log10(1 / ratio) if ratio else math.inf:.1f} dB better"
        if found and found.outcome == "better":
            gain, sure = f"{findings.plain(found.mean)} dB better", f" ({interval(found)})"
        return f"On these photographs, {best.label} leaves {error} the error of {name}: {gain}{sure}."
    if ratio <= 1 + LEVEL:
        return (
            f"On these photographs, the best network, {best.label}, is level with {name}: {error} its "
            f"error{sure}."
        )
    return (
        f"On these photographs, no network beats {name}: the nearest, {best.label}, leaves {error} its "
        f"error{sure}."
    )


def _spread(found: Difference) -> str:
    """The difference in PSNR over photographs, and what it is worth."""
    doubt = ", which may be chance" if found.outcome == "can't tell" else ""
    over = count(found.photographs, "photograph")
    return f"PSNR over {over}: {decibels(found.mean)} dB, {interval(found)}{doubt}"


def _to_use(results: Results) -> str:
    """The method of the lowest error, wherever it comes from, and what it costs."""
    best = recommended(results)
    if best is None:
        return ""
    noisy = results.contenders("input")
    if noisy and best.mse >= noisy[0].mse:
        return ""
    price = ""
    if best.cost:
        taken = duration(PHOTOGRAPH * best.cost.seconds)
        price = f": {taken} for a photograph of {PHOTOGRAPH} megapixels on this machine"
    return f"To clean photographs like these, use {best.label}{price}."


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
    text = listed(parts)
    return f"{text[0].upper()}{text[1:]}."


def _part(part: int, total: int, *, first: bool) -> str:
    if part == total:
        return {1: "it", 2: "both networks"}.get(total, f"all {spelt(total)} networks")
    return f"{spelt(part)} of the {spelt(total)} networks" if first else spelt(part)


def _filters_only(results: Results, best: MethodResult) -> str:
    noisy = results.contenders("input")
    scale = f": {times(best.mse / noisy[0].mse)} the error of the noisy input" if noisy else ""
    return f"On these photographs, the best tuned filter is {best.label}{scale}. No network was compared."
