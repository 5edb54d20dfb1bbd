from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from unnoise.errors import ConfigError
from unnoise.records import Difference
from unnoise.uncertainty import CAP, differences, fewest, sentence

Array = npt.NDArray[Any]


def photographs(count: int) -> list[str]:
    return [f"photo {index:03}" for index in range(count)]


def of_two(values: Array, **options: Any) -> Difference:
    """The difference of a method that is ahead by ``values``, one a photograph, of another."""
    pair = np.stack([30 + values, np.full(len(values), 30.0)])
    (found,) = differences(["one", "other"], pair, photographs(len(values)), **options)
    return found


@pytest.mark.parametrize("count", [8, 30])
def test_the_interval_covers_the_truth_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(5)
    trials, truth = 3000, 0.3
    hits = 0
    for trial in range(trials):
        found = of_two(rng.normal(truth, 0.5, count), resamples=1000, seed=trial)
        hits += found.low <= truth <= found.high
    # Of 8 photographs, 1 % less than promised is known and documented; the plain interval lacks 8 %.
    promised = 0.95 if count > 8 else 0.94
    assert stats.binomtest(hits, trials, promised).pvalue > 0.01


def test_equal_methods_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(1)
    found = differences(photographs(20), rng.normal(30, 1, (20, 60)), photographs(60), resamples=2000)
    assert len(found) == 190
    told = sum(each.outcome != "can't tell" for each in found)
    assert told < 0.15 * len(found)


def test_many_photographs_give_the_interval_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 400)
    found = of_two(values, resamples=40_000)
    error = values.std() / math.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.05 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.05 * error)
    assert found.wins == (values > 0).sum()
    wider = of_two(values, confidence=0.99)
    assert wider.high - wider.low == pytest.approx(2 * 2.576 * error, rel=0.05)


def test_few_photographs_give_a_wider_interval_than_many_of_the_same_spread() -> None:
    values = np.array([-1.0, 1.0] * 4)
    found = of_two(values, resamples=200_000)
    # Sums of 8 signs: the share beyond ±6/8 is 9/256 a side, beyond ±1 it is 1/256. Left out are 2.7 times
    # less than 2.5 %: what Student's t says of 7 degrees of freedom.
    tail = stats.norm.cdf(-math.sqrt(8 / 7) * stats.t.ppf(0.975, 7))
    assert 1 / 256 < tail < 9 / 256
    assert (found.low, found.high) == (pytest.approx(-0.75), pytest.approx(0.75))
    assert found.outcome == "can't tell"


def test_a_constant_difference_is_certain() -> None:
    found = of_two(np.full(6, 0.25))
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert (found.outcome, found.wins, found.photographs) == ("better", 6, 6)
    same = of_two(np.zeros(6))
    assert (same.low, same.high, same.outcome, same.wins) == (0, 0, "can't tell", 0)


def test_a_photograph_counts_once_however_many_tiles_it_has() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.05, 0.5, 12)
    once = of_two(values)
    tiles = np.repeat(values, 50) + rng.normal(0, 1e-6, 600)
    pair = np.stack([30 + tiles, np.full(600, 30.0)])
    (found,) = differences(["one", "other"], pair, np.repeat(photographs(12), 50).tolist())
    assert found.photographs == 12
    assert (found.mean, found.low, found.high) == pytest.approx((once.mean, once.low, once.high), abs=1e-5)
    assert found.outcome == "can't tell"
    # As if each tile were a photograph, it would look certain.
    (wrong,) = differences(["one", "other"], pair, photographs(600))
    assert wrong.high - wrong.low < 0.3 * (found.high - found.low)


def test_a_photograph_with_many_tiles_weighs_no_more() -> None:
    of = ["a"] * 30 + photographs(9)
    values = np.r_[np.full(30, 5.0), np.zeros(9)]
    (found,) = differences(["one", "other"], np.stack([30 + values, np.full(39, 30.0)]), of)
    assert (found.photographs, found.wins) == (10, 1)
    assert found.mean == pytest.approx(0.5)


def test_the_other_way_round_all_signs_turn() -> None:
    rng = np.random.default_rng(0)
    psnr = rng.normal(30, 1, (3, 25)) + np.array([[0], [0.8], [-0.5]])
    names = ["a", "b", "c"]
    there = {(each.method, each.other): each for each in differences(names, psnr, photographs(25))}
    back = differences(names[::-1], psnr[::-1], photographs(25))
    assert list(there) == [("a", "b"), ("a", "c"), ("b", "c")]
    turned = {"better": "worse", "worse": "better", "can't tell": "can't tell"}
    for each in back:
        other = there[each.other, each.method]
        assert (each.mean, each.low, each.high) == pytest.approx((-other.mean, -other.high, -other.low))
        assert each.outcome == turned[other.outcome]
        assert each.wins == 25 - other.wins
    assert {each.outcome for each in there.values()} >= {"better", "worse"}


def test_the_same_seed_gives_the_same_whatever_the_order() -> None:
    rng = np.random.default_rng(0)
    psnr, of, order = rng.normal(30, 1, (3, 40)), photographs(20) * 2, rng.permutation(40)
    first = differences(["a", "b", "c"], psnr, of)
    assert differences(["a", "b", "c"], psnr, of) == first
    again = differences(["a", "b", "c"], psnr[:, order], [of[index] for index in order])
    for one, other in zip(first, again, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)
    assert differences(["a", "b", "c"], psnr, of, seed=1) != first


def test_another_method_changes_no_interval() -> None:
    psnr = np.random.default_rng(0).normal(30, 1, (4, 20))
    two = differences(["a", "b"], psnr[:2], photographs(20))[0]
    four = differences(["a", "b", "c", "d"], psnr, photographs(20))[0]
    assert (two.low, two.high) == pytest.approx((four.low, four.high), abs=1e-12)


def test_groups_are_told_apart() -> None:
    groups = np.repeat([0, 2, -1], 10).astype(np.int16)
    ahead = np.repeat([0.5, -0.5, 9.0], 10)
    rng = np.random.default_rng(0)
    psnr = np.stack([30 + ahead + rng.normal(0, 0.1, 30), np.full(30, 30.0)])
    found = differences(["a", "b"], psnr, photographs(10) * 3, groups=groups)
    assert [each.group for each in found] == [None, 0, 2]
    assert [each.outcome for each in found] == ["better", "better", "worse"]
    assert [each.photographs for each in found] == [10, 10, 10]
    alone = differences(["a", "b"], psnr[:, 10:20], photographs(10))[0]
    assert (found[2].mean, found[2].low) == (alone.mean, alone.low)


@pytest.mark.parametrize(("confidence", "count"), [(0.95, 6), (0.99, 8), (0.9, 5)])
def test_too_few_photographs_tell_nothing(confidence: float, count: int) -> None:
    assert fewest(confidence) == count
    # All signs alike is the most that a sign test can see.
    assert (
        stats.binomtest(count, count).pvalue <= 1 - confidence < stats.binomtest(count - 1, count - 1).pvalue
    )
    assert of_two(np.full(count, 1.0), confidence=confidence).outcome == "better"
    found = of_two(np.full(count - 1, 1.0), confidence=confidence)
    assert found.outcome == "can't tell"
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert (found.mean, found.wins) == (1, count - 1)


def test_equal_pictures_count_as_a_very_good_psnr() -> None:
    psnr = np.stack([np.full(10, math.inf), np.full(10, 40.0), np.full(10, math.inf)])
    ahead, none, _ = differences(["copy", "b", "another"], psnr, photographs(10))
    assert (ahead.mean, ahead.outcome) == (CAP - 40, "better")
    assert (none.mean, none.outcome) == (0, "can't tell")


def test_what_does_not_fit_is_refused() -> None:
    psnr = np.full((2, 10), 30.0)
    with pytest.raises(ConfigError, match=r"\(2, 10\) does not fit 3 methods on 10 pictures"):
        differences(["a", "b", "c"], psnr, photographs(10))
    with pytest.raises(ConfigError, match="on 9 pictures"):
        differences(["a", "b"], psnr, photographs(9))
    with pytest.raises(ConfigError, match="does not fit"):
        differences(["a", "b"], psnr, photographs(10), groups=np.zeros(9, np.int16))
    with pytest.raises(ConfigError) as caught:
        differences(["a", "b"], np.where(np.eye(2, 10) > 0, np.nan, psnr), photographs(10))
    assert "a number for every picture" in caught.value.hint
    with pytest.raises(ConfigError, match="confidence"):
        differences(["a", "b"], psnr, photographs(10), confidence=95)
    assert differences(["a"], psnr[:1], photographs(10)) == ()
    assert differences([], np.empty((0, 10)), photographs(10)) == ()


def test_sentences() -> None:
    found = Difference("x", "y", None, 68, 0.314, 0.2161, 0.402, 0.95, 61, "better")
    assert sentence(found, "X", "the tuned blur") == (
        "X is better than the tuned blur: +0.31 dB (95 % interval +0.22 to +0.40, 68 photographs)"
    )
    found = Difference("x", "y", None, 1234, -0.3, -0.5, -0.1, 0.99, 61, "worse")
    assert sentence(found, "X", "Y") == (
        "X is worse than Y: -0.30 dB (99 % interval -0.50 to -0.10, 1,234 photographs)"
    )
    found = Difference("x", "y", None, 8, 0.02, -0.11, 0.15, 0.95, 4, "can't tell")
    assert (
        sentence(found, "X", "Y")
        == "can't tell X from Y: +0.02 dB (95 % interval -0.11 to +0.15, 8 photographs)"
    )
    assert sentence(of_two(np.array([0.31])), "X", "Y") == (
        "can't tell X from Y: +0.31 dB on 1 photograph, where 6 are needed for an interval"
    )
