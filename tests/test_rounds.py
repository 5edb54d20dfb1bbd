"""What a search tries in which order: pure decisions, on errors that a function gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest

from unnoise.filters import FILTERS, Filter, FloatArray, grid
from unnoise.parameters import FilterEntry, Parameter, Value
from unnoise.rounds import Round, Search, Setting, following


def untouched(noisy: FloatArray, _level: float | None, **_: Value) -> FloatArray:
    return noisy


def made(monkeypatch: pytest.MonkeyPatch, parameters: Mapping[str, Parameter], **more: bool) -> None:
    monkeypatch.setitem(FILTERS, "made", FilterEntry(untouched, "made", parameters, **more))


def searched(error: Callable[[dict[str, float]], float], pictures: int = 160) -> Search:
    """A search to its end, where the error of a setting is known."""
    rounds: tuple[Round, ...] = ()
    while (step := following("made", rounds, pictures)) is not None:
        settings, count = step
        values = ({key: float(value) for key, value in each.settings} for each in settings)
        rounds += (Round(tuple(map(Setting, settings, map(error, values))), count),)
    return Search("made", rounds, pictures, 0.0)


def bowl(at: float) -> Callable[[dict[str, float]], float]:
    return lambda values: 1 + math.log(values["x"] / at) ** 2


X = Parameter((1.0, 2.0, 4.0, 8.0), 2.0, open_low=True, open_high=True)


@pytest.mark.parametrize("best", [2.0, 2.9, 5.3, 7.9])
def test_finer_values_come_near_the_best_between_those_of_the_grid(
    best: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(monkeypatch, {"x": X})
    found = searched(bowl(best))
    assert found.best.mse < 1.008
    assert dict(found.best.filter.settings)["x"] == pytest.approx(best, rel=0.09)
    assert found.at_edge == ()
    assert [(len(each.settings), each.pictures) for each in found.rounds[:1]] == [(4, 20)]
    assert {each.pictures for each in found.rounds[1:]} == {160}
    assert len(found.settings) < 13


@pytest.mark.parametrize("best", [0.11, 70.0])
def test_a_best_value_beyond_an_open_grid_is_gone_after(best: float, monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, {"x": X})
    found = searched(bowl(best))
    assert dict(found.best.filter.settings)["x"] == pytest.approx(best, rel=0.15)
    assert found.at_edge == ()
    assert found.warning == ""


def test_it_ends_where_larger_is_always_better_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, {"x": X})
    found = searched(lambda values: 1 + 1 / values["x"])
    assert found.at_edge == ("x",)
    assert f"the best x={dict(found.best.filter.settings)['x']} is the last value tried" in found.warning
    assert len(found.rounds) < 15


def test_a_closed_grid_ends_where_it_ends_and_so_does_the_least_that_makes_sense(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for parameter in (Parameter(X.values, 2.0), Parameter(X.values, 2.0, minimum=1, open_low=True)):
        made(monkeypatch, {"x": parameter})
        found = searched(bowl(0.01))
        assert dict(found.best.filter.settings)["x"] == 1
        assert found.at_edge == ()


def test_values_that_depend_on_one_another_move_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, {"x": X, "y": X})

    def valley(values: dict[str, float]) -> float:
        along, across = math.log(values["x"] * values["y"] / 9), math.log(values["x"] / values["y"])
        return 1 + 0.05 * along**2 + 5 * across**2

    assert searched(valley).best.mse < 1.003


def test_whole_numbers_and_text_move_one_at_a_time_and_go_on_beyond_an_open_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    width = Parameter((3, 5, 7), 3, odd=True, minimum=1, open_low=True, open_high=True)
    made(monkeypatch, {"width": width, "kind": Parameter(("a", "b", "c"), "a")})
    first = following("made", (), 8)
    assert first is not None
    assert first == (tuple(grid("made")), 8)

    def error(each: Filter) -> float:
        settings = dict(each.settings)
        return abs(float(settings["width"]) - 13) + "bca".index(str(settings["kind"])) + 1

    rounds: tuple[Round, ...] = (Round(tuple(Setting(each, error(each)) for each in first[0]), 8),)
    while (step := following("made", rounds, 8)) is not None:
        rounds += (Round(tuple(Setting(each, error(each)) for each in step[0]), 8),)
    found = Search("made", rounds, 8, 0.0)
    assert found.best.filter == Filter("made", (("width", 13), ("kind", "b")))
    assert found.record().grid == {"width": ("3", "5", "7", "9", "11", "13", "15"), "kind": ("a", "b", "c")}


def test_a_whole_number_takes_a_lone_continuous_one_along(monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, {"x": X, "width": Parameter((3, 5, 7), 5)})

    def ridge(values: dict[str, float]) -> float:
        """From the best of the grid, (2, 7), each step alone goes up; the least is at (2.8, 5)."""
        along = math.log(values["x"] / 2.83) + (values["width"] - 5) * math.log(2.83 / 2) / 2
        return 1 + 9 * along**2 + 0.01 * abs(values["width"] - 5)

    found = searched(ridge)
    assert dict(found.best.filter.settings)["width"] == 5
    assert found.best.mse < 1.001


def test_what_counts_is_the_error_on_most_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, {"x": X})
    one, two, three = (Filter("made", (("x", value),)) for value in (1.0, 2.0, 4.0))
    few = Round((Setting(one, 0.5), Setting(two, 0.4), Setting(three, 0.1)), 20)
    many = Round((Setting(two, 0.7), Setting(one, 0.6)), 160)
    found = Search("made", (few, many), 200, 1.0)
    assert found.best == Setting(one, 0.6)
    assert (found.pictures, found.record().settings, found.record().tiles) == (160, 3, 160)
    assert [each.mse for each in found.settings] == [0.6, 0.7, 0.1]
    assert [(each.settings, each.tiles) for each in found.record().rounds] == [(3, 20), (2, 160)]


def test_an_exhaustive_search_and_one_of_a_single_setting_are_one_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made(monkeypatch, {"x": X}, exhaustive=True)
    exhausted = searched(bowl(100.0))
    assert [(len(each.settings), each.pictures) for each in exhausted.rounds] == [(4, 160)]
    assert exhausted.at_edge == ("x",)
    made(monkeypatch, {})
    single = searched(lambda _: 1.0)
    assert [(len(each.settings), each.pictures) for each in single.rounds] == [(1, 160)]
    assert (single.best.filter.spec, single.record().grid, single.record().winner) == ("made", {}, "")


def test_nothing_is_tried_twice_on_the_pictures_that_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, {"x": X, "y": X})
    found = searched(lambda values: bowl(3.3)(values) + abs(values["y"] - 5))
    decided = [each.filter for part in found.rounds if part.pictures == 160 for each in part.settings]
    assert len(decided) == len(set(decided))
