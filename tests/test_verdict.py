"""Which method to use, and why: the sentences for methods on any pictures, whatever is known of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import made_results
import test_report
from html_page import Page
from made_results import evaluation, lone
from unnoise import findings
from unnoise.report import render_html
from unnoise.results import Results
from unnoise.tiles import Leak
from unnoise.verdict import level_with, quicker, recommended, verdict
from unnoise.words import duration


def said(results: Results) -> str:
    return " ".join(verdict(results)).replace("\N{NO-BREAK SPACE}", " ")


def scored(**shifts: float | tuple[float, float, float]) -> Results:
    """The made evaluation with some methods' PSNR moved by so many dB, for all noises or for each."""
    found = made_results.scores()
    for name, shift in shifts.items():
        found[name] = found[name] + np.asarray(shift)
    methods = tuple(made_results.method(name, psnr) for name, psnr in found.items())
    return evaluation(methods=methods, differences=made_results.differences(found))


def test_the_method_that_is_better_than_every_other_is_named_with_the_reason() -> None:
    text = said(lone(evaluation(), "noisy", "gaussian", "default", "nlm", "median"))
    assert text.startswith(
        "On these 68 photographs, use the network gaussian: it is better than every other method, by 0.34 dB "
        "over the next, default (95 % interval 0.30 to 0.39)."
    )
    assert (
        "It takes 20 seconds for a photograph of 12 megapixels on 2 cores, by what a small one takes" in text
    )
    assert "the best filter, NLM, is 2.91 dB behind and 1.8 times as quick" in text
    assert len(verdict(evaluation())) <= 3


def test_of_two_that_cannot_be_told_apart_the_quicker_is_to_be_used() -> None:
    found = evaluation()
    text = said(found)
    assert text.startswith(
        "On these 68 photographs, use the network gaussian: it and DnCNN-colour can't be told apart (0.04 dB "
        "between them, 95 % interval 0.00 to 0.08), and it is 3 times as quick."
    )
    slow = tuple(
        replace(m, cost=replace(m.cost, seconds=20.0)) if m.cost and m.name == "gaussian" else m
        for m in found.methods
    )
    text = said(replace(found, methods=slow))
    assert "use the network DnCNN-colour: it and gaussian can't be told apart" in text
    assert "and it is 4.1 times as quick" in text
    assert "It takes 59 seconds" in text


def test_a_hair_in_time_does_not_choose() -> None:
    """Of methods that take about as long, the one that is ahead is to be used."""
    found = scored(default=(0, 0, 1.0))
    assert {method.name for method in level_with(found, found.method("gaussian"))} == {"default", "dncnn"}
    assert "use the network gaussian: it, default and DnCNN-colour can't be told apart, and none is" in said(
        found
    )
    assert recommended(found) == found.method("gaussian")


def test_a_noise_for_which_another_is_better_is_named() -> None:
    text = said(scored(default=(0, 0, 1.0)))
    assert "But for noise gaussian:50 (+0.70 dB, 95 % interval 0.66 to 0.75), default is better." in text
    assert "But for" not in said(evaluation())


def test_the_leader_for_every_noise_is_said_to_be_that() -> None:
    assert "gaussian leads for each noise." in said(scored(gaussian=0.5))
    assert "leads for each" not in said(evaluation())  # another can't be told from it


@pytest.mark.parametrize("costs", [True, False])
def test_methods_without_intervals_have_an_order_and_a_doubt(costs: bool) -> None:
    found = evaluation(differences=())
    if not costs:
        found = replace(found, methods=tuple(replace(m, cost=None) for m in found.methods))
    text = said(found)
    assert "gaussian has the highest PSNR: 30.65 dB, 0.04 dB more than DnCNN-colour" in text
    assert "; how sure that is was not computed." in text
    assert ("12 megapixels" in text) == costs


def test_a_lone_method_is_compared_with_the_noise() -> None:
    text = said(lone(evaluation(), "noisy", "default"))
    assert "default gains 10.26 dB over the noisy input (95 % interval 9.81 to 10.72)" in text
    assert "only method" in text
    assert said(lone(evaluation(), "noisy")) == "Nothing was compared with the noisy input."


def test_filters_alone_have_a_best() -> None:
    text = said(lone(evaluation(), "noisy", "nlm", "median", "tv"))
    assert "use the filter NLM: it is better than every other method, by 0.41 dB" in text
    assert "best filter" not in text


def test_methods_that_are_worse_than_the_noise_are_no_answer() -> None:
    text = said(scored(**{name: -18.0 for name in made_results.METHODS if name != "noisy"}))
    assert (
        "no method is better than leaving the noise as it is: the nearest, gaussian, is 7.39 dB behind"
        in text
    )
    assert "use " not in text


def test_what_is_quick_must_not_lose_much() -> None:
    found = evaluation()
    gaussian = found.method("gaussian")
    assert quicker(found, gaussian) == found.method("small")
    assert "where time matters, the network small U-Net is 5.4 times as quick and 0.66 dB behind" in said(
        found
    )
    without = lone(found, "noisy", "gaussian", "median", "gaussian-blur")
    assert quicker(without, without.method("gaussian")) is None  # they lose half of what is gained


def test_many_level_methods_are_counted_and_the_one_to_use_is_named() -> None:
    scores = made_results.scores()
    drawn = np.random.default_rng(0)
    for name in ("default", "dncnn", "small", "nlm", "tv"):
        scores[name] = scores["gaussian"] + drawn.normal(0, 0.3, (len(scores["gaussian"]), 1))
    methods = tuple(made_results.method(name, psnr) for name, psnr in scores.items())
    text = said(evaluation(methods=methods, differences=made_results.differences(scores)))
    assert (
        "use the network small U-Net: it, default, DnCNN-colour, gaussian and NLM can't be told apart, and "
        "it is by far the quickest."
    ) in text
    assert "the best filter, NLM, can't be told from it, and is 3 times as slow" in text


LEAK = Leak("a.png", "b.png", "near copy", ("tuning", "scored"), 0.9)


def test_leaks_come_first() -> None:
    found = evaluation()
    assert found.pictures
    leaky = replace(found, pictures=replace(found.pictures, leaks=(LEAK,)))
    first, second, *_ = verdict(leaky)
    assert first == (
        "1 pair of files shows the same, one of them scored, the other tuned or trained on: the scores of "
        "what saw it are inflated."
    )
    assert second.startswith("On these 68 photographs")
    assert "other pictures" not in findings.frozen(leaky)


def test_tuning_is_told() -> None:
    found = evaluation()
    assert findings.frozen(found) == (
        "Filters were tuned on squares of 24 other pictures and frozen; the 68 pictures here were scored "
        "once."
    )
    assert found.pictures
    given = replace(found, pictures=replace(found.pictures, tuned_pictures=0))
    assert "not tuned here" in findings.frozen(given)
    assert findings.frozen(lone(found, "noisy", "default")) == ""


def test_a_ready_made_network_may_know_the_pictures() -> None:
    assert any(
        text.startswith("default came ready-made")
        for text in findings.caveats(lone(evaluation(), "noisy", "default"))
    )
    assert findings.caveats(lone(evaluation(), "noisy", "nlm")) == []


def test_few_photographs_are_warned_of() -> None:
    found = evaluation()
    few = replace(found, differences=tuple(replace(d, photographs=3) for d in found.differences))
    warning = "There are only 3 photographs: other photographs could order the methods differently."
    assert warning in findings.caveats(few)
    assert said(few).startswith("On these 3 photographs")


def test_a_data_set_can_be_evaluated_too() -> None:
    tiles = replace(test_report.results(), program="evaluate", searches=(), curves={}, optimizers=())
    assert said(tiles).startswith(
        "On these 39 photographs, residual-unet has the highest PSNR: 29.15 dB, 0.95 dB more than unet;"
    )
    assert findings.frozen(tiles).startswith("The filters' settings were given")
    text = Page(render_html(tiles, {})).text
    assert "Which method denoises these photographs best?" in text
    assert "Every method on the same tiles" in text
    assert "By colour" in text
    assert "Beside the published numbers" not in text


def test_a_difference_reads_both_ways() -> None:
    found = evaluation()
    one_way = tuple(d for d in found.differences if d.method < d.other)
    kept, half = found.difference("nlm", "default", 1), replace(found, differences=one_way)
    turned = half.difference("nlm", "default", 1)
    assert kept
    assert turned == kept
    assert half.difference("default", "nlm", 1) == found.difference("default", "nlm", 1)
    assert said(half) == said(found)
    assert found.difference("nlm", "nobody") is None


def test_the_order_is_by_photographs_not_by_error() -> None:
    """A low mean error may come from a few hard pictures; each photograph counts once."""
    found = evaluation()
    worse = tuple(replace(m, mse=1e-5) if m.name == "median" else m for m in found.methods)
    assert findings.leader(replace(found, methods=worse)) == found.method("gaussian")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0312, "0.03 seconds"),
        (1.0, "1 second"),
        (19.9, "20 seconds"),
        (119, "120 seconds"),
        (725, "12 minutes"),
    ],
)
def test_durations_are_as_exact_as_one_can_use(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.314, "+0.31"),
        (-0.314, "−0.31"),
        (-0.001, "0.00"),
        (float("inf"), "+∞"),
        (float("-inf"), "−∞"),
        (float("nan"), "–"),
    ],
)
def test_differences_carry_their_sign(value: float, words: str) -> None:
    assert findings.decibels(value) == words


def test_few_photographs_tell_nothing_and_speed_does_not_decide() -> None:
    found = scored(gaussian=0.5)
    unknown = tuple(
        replace(each, low=math.nan, high=math.nan, photographs=4, outcome="can't tell")
        for each in found.differences
    )
    few = replace(found, differences=unknown)
    text = said(few)
    assert "nan" not in text
    assert "gaussian has the highest PSNR" in text
    assert "too few to tell how sure that is" in text
    chosen = recommended(few)
    assert chosen is not None
    assert chosen.name == "gaussian"


def test_nobody_can_tell_is_not_no_method_is_better() -> None:
    found = scored(gaussian=0.5)
    noisy = found.ranked("input")[0].name
    unsure = tuple(
        replace(each, mean=-0.5, low=-3.0, high=2.0, outcome="can't tell")
        if noisy in (each.method, each.other) and each.group is None
        else each
        for each in found.differences
    )
    text = said(replace(found, differences=unsure))
    assert "nobody can tell whether any method is better than leaving the noise as it is" in text
    assert "no method is better" not in text
