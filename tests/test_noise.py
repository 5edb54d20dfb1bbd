"""Spellings, levels and seeds of every noise, and what the first models promise; see test_noises.py."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise import noise
from unnoise.errors import ConfigError, UnknownName

GREY = np.full((400, 400, 3), 0.5, np.float32)


def test_gaussian_has_its_moments() -> None:
    residual = noise.parse("gaussian:25")(GREY, np.random.default_rng(0)) - GREY
    assert residual.dtype == np.float32
    assert abs(residual.mean()) < 3 * (25 / 255) / residual.size**0.5
    assert residual.std() == pytest.approx(25 / 255, rel=0.005)
    kurtosis = ((residual / residual.std()) ** 4).mean()
    assert kurtosis == pytest.approx(3, rel=0.02)


def test_gaussian_is_white_and_independent_between_channels() -> None:
    residual = noise.parse("gaussian:25")(GREY, np.random.default_rng(0)) - GREY
    for other in (np.roll(residual, 1, 0), np.roll(residual, 1, 1), np.roll(residual, 1, 2)):
        assert abs(np.corrcoef(residual.ravel(), other.ravel())[0, 1]) < 0.01


def test_gaussian_does_not_clip() -> None:
    noisy = noise.parse("gaussian:50")(np.zeros((64, 64, 3), np.float32), np.random.default_rng(0))
    assert noisy.min() < -0.2


def test_a_range_draws_one_level_a_picture() -> None:
    rng = np.random.default_rng(0)
    ranged = noise.parse("gaussian:0-75")
    assert ranged.sigma is None
    levels = [ranged.draw(rng).sigma for _ in range(2000)]
    assert all(level is not None and 0 <= level <= 75 for level in levels)
    assert np.mean(np.array(levels, float)) == pytest.approx(37.5, abs=1.5)
    drawn = ranged.draw(np.random.default_rng(1))
    assert drawn.sigma is not None
    assert (drawn(GREY, rng) - GREY).std() == pytest.approx(drawn.sigma / 255, rel=0.01)


@pytest.mark.parametrize("level", [0.02, 0.2, 0.8])
def test_poisson_gaussian_has_its_moments_at_every_brightness(level: float) -> None:
    clean = np.full((400, 400, 3), level, np.float32)
    residual = (noise.parse("poisson-gaussian:0.5,2")(clean, np.random.default_rng(0)) - clean) * 255
    assert residual.dtype == np.float32
    variance = 0.5 * level * 255 + 2**2
    assert abs(residual.mean()) < 4 * variance**0.5 / residual.size**0.5
    assert residual.var() == pytest.approx(variance, rel=0.01)
    # The third cumulant of a Poisson variable times g is g times that of its variance: it is no Gaussian one.
    skew = ((residual - residual.mean()) ** 3).mean()
    assert skew == pytest.approx(0.5**2 * level * 255, rel=0.2, abs=0.6)
    for other in (np.roll(residual, 1, 0), np.roll(residual, 1, 1), np.roll(residual, 1, 2)):
        assert abs(np.corrcoef(residual.ravel(), other.ravel())[0, 1]) < 0.01


def test_poisson_gaussian_counts_photons() -> None:
    clean = np.full((64, 64, 3), 0.5, np.float32)
    counted = noise.parse("poisson-gaussian:3,0")(clean, np.random.default_rng(0)) * 255 / 3
    assert np.abs(counted - np.rint(counted)).max() < 1e-3
    assert counted.max() > 255 / 3 * 0.7


def test_poisson_gaussian_does_not_clip_and_takes_values_below_black() -> None:
    clean = np.full((64, 64, 3), -0.1, np.float32)
    noisy = noise.parse("poisson-gaussian:1,5")(clean, np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(-0.1, abs=1e-3)
    assert (noisy - clean).std() == pytest.approx(5 / 255, rel=0.03)
    bright = noise.parse("poisson-gaussian:9,5")(np.ones((64, 64, 3), np.float32), np.random.default_rng(0))
    assert bright.max() > 1.2


def test_poisson_gaussian_without_shot_noise_has_one_sigma() -> None:
    assert noise.parse("poisson-gaussian:0,12").sigma == 12
    assert noise.parse("poisson-gaussian:0.1,12").sigma is None
    assert noise.parse("poisson-gaussian:0,0-12").sigma is None
    residual = noise.parse("poisson-gaussian:0,12")(GREY, np.random.default_rng(0)) - GREY
    assert residual.std() == pytest.approx(12 / 255, rel=0.01)


def test_poisson_gaussian_draws_both_from_their_ranges() -> None:
    ranged = noise.parse("poisson-gaussian:0.5-1.5,2-6")
    rng = np.random.default_rng(0)
    drawn = [ranged.draw(rng) for _ in range(500)]
    assert all(isinstance(each, noise.PoissonGaussian) for each in drawn)
    pairs = np.array([(each.gain, each.read) for each in drawn if isinstance(each, noise.PoissonGaussian)])
    assert (pairs[:, :, 0] == pairs[:, :, 1]).all()
    assert pairs[:, :, 0].min(0) == pytest.approx([0.5, 2], abs=0.05)
    assert pairs[:, :, 0].max(0) == pytest.approx([1.5, 6], abs=0.05)


COLOUR = np.empty((96, 96, 3), np.float32)
COLOUR[:] = (0.4, 0.5, 0.45)


def test_realistic_is_no_white_noise() -> None:
    level = noise.parse("realistic:0.6")
    tied, stripes = [], []
    for seed in range(40):
        residual = noise.apply(level, COLOUR, seed) - COLOUR
        residual -= residual.mean((0, 1))
        tied.append((residual[1:] * residual[:-1]).mean() / residual.var())
        stripes.append((residual[:, :, 0] * residual[:, :, 1]).mean() / residual.var())
    assert np.median(tied) > 0.3
    assert np.median(stripes) > 0.2
    # Cameras differ.
    assert np.std(tied) > 0.1


def test_realistic_grows_with_its_strength() -> None:
    def median(strength: float) -> float:
        level = noise.parse(f"realistic:{strength}")
        return float(
            np.median([(noise.apply(level, COLOUR, seed) - COLOUR).std() * 255 for seed in range(30)])
        )

    found = [median(strength) for strength in (0.05, 0.3, 0.6, 1.0)]
    assert 0.3 < found[0] < 3
    assert 12 < found[-1] < 50
    assert all(more > 1.5 * less for less, more in pairwise(found))


def test_realistic_clips_and_repeats() -> None:
    clean = np.zeros((48, 48, 3), np.float32)
    clean[24:] = (1.0, 0.99, 1.0)
    level = noise.parse("realistic")
    seen = set()
    for seed in range(40):
        noisy = noise.apply(level, clean, seed)
        assert noisy.dtype == np.float32
        assert 0 <= noisy.min() <= noisy.max() <= 1
        assert np.array_equal(noisy, noise.apply(level, clean, seed))
        seen.add(noisy.tobytes())
    assert len(seen) > 30


def drawn_strengths(level: noise.Noise, rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    drawn = [level.draw(rng) for _ in range(count)]
    return np.array([each.low for each in drawn if isinstance(each, noise.Realistic)])


def test_realistic_leaves_some_pictures_as_they_are() -> None:
    level, rng = noise.parse("realistic"), np.random.default_rng(0)
    strengths = drawn_strengths(level, rng, 2000)
    assert (strengths == 0).mean() == pytest.approx(0.05, abs=0.02)
    assert strengths.max() > 0.98
    assert np.mean(strengths[strengths > 0]) == pytest.approx(0.5, abs=0.03)
    kept = noise.parse("realistic:0")(COLOUR, rng)
    assert np.array_equal(kept, COLOUR)
    assert kept is not COLOUR
    some = noise.parse("realistic:0.2-0.4")
    strengths = drawn_strengths(some, rng, 500)
    assert 0.2 <= strengths.min() <= strengths.max() <= 0.4


def test_realistic_keeps_grey_pictures_grey() -> None:
    level = noise.parse("realistic:0.7")
    for seed in range(20):
        noisy = noise.apply(level, GREY[:50, :50], seed)
        assert (noisy == noisy[:, :, :1]).all()
        assert noisy.std() > 1 / 255


SPELLINGS = [
    *(example for spelling in noise.NOISES.values() for example in spelling.examples),
    "gaussian:12.5",
    "gaussian:0",
    "realistic:0",
    "stripes:10,rows",
]


@pytest.mark.parametrize("spec", SPELLINGS)
def test_spellings_come_back(spec: str) -> None:
    parsed = noise.parse(spec)
    assert parsed.spec == spec
    assert noise.parse(parsed.spec) == parsed
    assert noise.parse(f" {spec} ") == parsed


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        ("gaussian:1e1", "gaussian:10"),
        ("gaussian:1e+1", "gaussian:10"),
        ("gaussian:1e-05-1E-1", "gaussian:1e-05-0.1"),
        ("gaussian:0 - 75", "gaussian:0-75"),
        ("gaussian:.5", "gaussian:0.5"),
        ("gaussian:25-25", "gaussian:25"),
        ("stripes:10, columns", "stripes:10"),
        ("jpeg:80.0", "jpeg:80"),
        ("realistic:", "realistic"),
        ("realistic:0-1", "realistic"),
        ("gaussian:5 + jpeg:80 / realistic", "gaussian:5+jpeg:80/realistic"),
        ("gaussian:1e+1+gaussian:2e+0-3", "gaussian:10+gaussian:2-3"),
    ],
)
def test_other_ways_to_write_the_same(spec: str, same: str) -> None:
    assert noise.parse(spec) == noise.parse(same)
    assert noise.parse(spec).spec == same


def test_ordinary_levels_are_spelled_as_they_always_were() -> None:
    """The seed of a picture's noise comes from the spelling, so another one would be other noise."""
    for level in np.arange(25_501) / 100:
        assert noise.Gaussian(level, level).spec == f"gaussian:{level:.12g}"
        assert noise.PoissonGaussian((0, level), (level, 256)).spec.endswith(f",{level:.12g}-256")
    assert noise.keyed_seed(0, "a.png", noise.parse("gaussian:25")) == 5165724526923080256
    assert noise.keyed_seed(7, "b.jpg:56,112", noise.parse("gaussian:0-75")) == 8113104358946423360
    assert noise.keyed_seed(0, "a.png", noise.parse("poisson-gaussian:0.5,2")) == 8955673947736043365


def ranges(most: float) -> st.SearchStrategy[tuple[float, float]]:
    both = st.tuples(st.floats(0, most), st.floats(0, most)).map(lambda pair: (min(pair), max(pair)))
    return both | st.floats(0, most).map(lambda level: (level, level))


MODELS: dict[str, st.SearchStrategy[noise.Noise]] = {
    "gaussian": st.builds(lambda each: noise.Gaussian(*each), ranges(255)),
    "poisson": st.builds(noise.Poisson, ranges(1)),
    "poisson-gaussian": st.builds(noise.PoissonGaussian, ranges(255), ranges(255)),
    "speckle": st.builds(noise.Speckle, ranges(255)),
    "salt-and-pepper": st.builds(noise.SaltAndPepper, ranges(1)),
    "correlated": st.builds(noise.Correlated, ranges(255), ranges(32)),
    "stripes": st.builds(noise.Stripes, ranges(255), st.sampled_from(["columns", "rows"])),
    "jpeg": st.builds(
        lambda one, other: noise.Jpeg((min(one, other), max(one, other))),
        st.integers(1, 100),
        st.integers(1, 100),
    ),
    "realistic": st.builds(lambda each: noise.Realistic(*each), ranges(1)),
}
CHAINS = st.lists(st.one_of(*MODELS.values()), min_size=2, max_size=4).map(
    lambda parts: noise.Chain(tuple(parts))
)
MIXTURES = st.lists(CHAINS | st.one_of(*MODELS.values()), min_size=2, max_size=4).map(
    lambda parts: noise.Mixture(tuple(parts))
)


@pytest.mark.parametrize("name", sorted(noise.NOISES))
def test_every_noise_survives_its_spelling(name: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(MODELS[name])
    def survives(made: noise.Noise) -> None:
        assert made.name == name
        assert noise.parse(made.spec) == made

    survives()


@settings(max_examples=100, deadline=None)
@given(CHAINS | MIXTURES)
def test_chains_and_mixtures_survive_their_spelling(made: noise.Noise) -> None:
    assert noise.parse(made.spec) == made


def test_what_no_spelling_could_say_is_refused() -> None:
    single = noise.parse("gaussian:5")
    chain, mixture = noise.parse("gaussian:5+jpeg:80"), noise.parse("gaussian:5/jpeg:80")
    for inner in (chain, mixture):
        with pytest.raises(ValueError, match="no chains and no mixtures"):
            noise.Chain((single, inner))
    with pytest.raises(ValueError, match="no mixtures"):
        noise.Mixture((single, mixture))


BAD = {
    "gaussian": ["", "x", "-5", "75-5", "300", "25-", "5,5", "5+5", "nan", "inf", "1e999", "--5"],
    "poisson": ["", "x", "-0.1", "1.5", "0.2-0.1", "nan", "0.1,2"],
    "poisson-gaussian": ["", "1", "1,x", "-1,2", "2-1,3", "1,2,3", "1,300", "nan,1"],
    "speckle": ["", "x", "-5", "300", "1,2"],
    "salt-and-pepper": ["", "x", "-0.1", "1.01", "5%"],
    "correlated": ["", "5", "5,x", "5,33", "300,1", "5,1,1", "5,-1"],
    "stripes": ["", "x", "300", "5,up", "5,", "rows", "5,rows,rows"],
    "jpeg": ["", "x", "0", "101", "80.5", "90-50", "0-50"],
    "realistic": ["x", "-0.5", "0.8-0.2", "1.5", "0-2", "nan"],
}


@pytest.mark.parametrize("name", sorted(noise.NOISES))
def test_bad_values_are_refused_with_an_example(name: str) -> None:
    for value in BAD[name]:
        for around in ("{}", "gaussian:5/{}", "{}/gaussian:5", "gaussian:5+{}"):
            with pytest.raises(ConfigError) as caught:
                noise.parse(around.format(f"{name}:{value}"))
            assert str(caught.value).startswith(f"{name} noise needs ")
            assert repr(value) in str(caught.value)
            assert all(example in caught.value.hint for example in noise.NOISES[name].examples)


def test_every_noise_says_who_it_is() -> None:
    for spec in (*SPELLINGS, "gaussian:5+jpeg:80", "gaussian:5/jpeg:80"):
        parsed = noise.parse(spec)
        assert isinstance(parsed, noise.Noise)
        assert re.fullmatch("[a-z]+(-[a-z]+)*", parsed.name), "it becomes part of a folder's name"
        if not set("+/") & set(spec):
            assert parsed.name == spec.partition(":")[0]
        fixed = parsed.draw(np.random.default_rng(0))
        assert fixed.draw(np.random.default_rng(1)) == fixed


def test_unknown_noise_names_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        noise.parse("gausian:25")
    assert "Did you mean 'gaussian'?" in caught.value.hint
    for spec in ("", "+", "gaussian:5+", "+gaussian:5", "gaussian:5+nothing", "/", "gaussian:5//gaussian:5"):
        with pytest.raises(UnknownName) as caught:
            noise.parse(spec)
        assert "gaussian:25" in caught.value.hint


def test_keyed_seeds_depend_on_each_part_and_nothing_else() -> None:
    level = noise.parse("gaussian:25")
    seed = noise.keyed_seed(0, "a.png", level)
    assert seed == noise.keyed_seed(0, "a.png", noise.parse("gaussian:25"))
    others = {
        noise.keyed_seed(1, "a.png", level),
        noise.keyed_seed(0, "b.png", level),
        noise.keyed_seed(0, "a.png", noise.parse("gaussian:26")),
    }
    assert len(others - {seed}) == 3
    assert 0 <= seed < 2**63
    assert np.array_equal(noise.apply(level, GREY, seed), noise.apply(level, GREY, seed))


def test_a_mixture_draws_its_parts_as_often_as_they_are_named() -> None:
    mixed = noise.parse("gaussian:5/gaussian:5/gaussian:40")
    assert mixed.spec == "gaussian:5/gaussian:5/gaussian:40"
    assert noise.parse(mixed.spec) == mixed
    assert mixed.sigma is None
    clean = np.full((16, 16, 3), 0.5, np.float32)
    rng = np.random.default_rng(0)
    weak = [float((mixed(clean, rng) - clean).std() * 255) < 15 for _ in range(300)]
    assert 0.58 < np.mean(weak) < 0.75
    assert mixed.draw(rng).sigma in (5, 40)
    with pytest.raises(UnknownName):
        noise.parse("gaussian:5/nothing")
    with pytest.raises(UnknownName):
        noise.parse("gaussian:5/")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("gaussian:25", True), ("gaussian:0-75", True), ("gaussian:5/gaussian:9-20", True),
        ("realistic", False), ("poisson-gaussian:1,2", False), ("gaussian:5/realistic", False),
        ("poisson-gaussian:0,0-9", True), ("gaussian:5+gaussian:0-9", True), ("gaussian:5+jpeg:80", False),
        ("gaussian:5+gaussian:9/gaussian:5", True), ("poisson:0.1", False), ("speckle:5", False),
        ("salt-and-pepper:0.1", False), ("correlated:5,1", False), ("correlated:0-5,0", True),
        ("stripes:5", False), ("jpeg:80", False), ("gaussian:5/jpeg:80+gaussian:5", False),
    ],
)  # fmt: skip
def test_only_noises_whose_draws_have_one_sigma_can_be_told(spec: str, told: bool) -> None:
    parsed = noise.parse(spec)
    assert noise.has_levels(parsed) is told
    for seed in range(5):
        drawn = parsed.draw(np.random.default_rng(seed)).sigma
        assert (drawn is not None) or not told
        low, high = parsed.levels or (0, 255)
        assert drawn is None or low <= drawn <= high


@pytest.mark.parametrize(
    ("spec", "sigma"),
    [
        ("gaussian:3+gaussian:4", 5), ("gaussian:2+correlated:3,0+poisson-gaussian:0,6", 7),
        ("gaussian:3+gaussian:0-4", None), ("gaussian:3+speckle:4", None), ("gaussian:3+jpeg:80", None),
        ("correlated:5,0", 5), ("correlated:5,0-1", None),
    ],
)  # fmt: skip
def test_sigma_of_a_chain_is_that_of_its_sum(spec: str, sigma: float | None) -> None:
    parsed = noise.parse(spec)
    assert parsed.sigma == sigma
    if sigma is not None:
        residual = parsed(GREY, np.random.default_rng(0)) - GREY
        assert residual.std() == pytest.approx(sigma / 255, rel=4 / (2 * residual.size) ** 0.5)


def test_a_chain_goes_in_the_order_in_which_it_is_written() -> None:
    rng = np.random.default_rng(0)
    stored = noise.parse("gaussian:200+jpeg:80")(GREY, rng)
    assert 0 <= stored.min() <= stored.max() <= 1
    later = noise.parse("jpeg:80+gaussian:200")(GREY, rng)
    assert later.min() < -0.5
    assert later.max() > 1.5
    first, second = noise.parse("speckle:20"), noise.parse("gaussian:5")
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    assert np.array_equal(noise.parse("speckle:20+gaussian:5")(GREY, one), second(first(GREY, other), other))


def test_a_chain_in_a_mixture_is_drawn_as_a_whole() -> None:
    mixed = noise.parse("gaussian:5+jpeg:80/realistic:0.5")
    assert isinstance(mixed, noise.Mixture)
    drawn = {mixed.draw(np.random.default_rng(seed)).spec for seed in range(20)}
    assert drawn == {"gaussian:5+jpeg:80", "realistic:0.5"}
