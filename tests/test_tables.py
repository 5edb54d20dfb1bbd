from __future__ import annotations

import dataclasses
import math

import made_results
from unnoise.findings import order
from unnoise.records import BlurTable, Cost, GroupScore, MethodResult
from unnoise.tables import aligned, blur_tables, groups_table, leaders_table, methods_table, results_text

COST = Cost(1.2345, 2.0, None, 512 * 512, 5)


def method(name: str, mse: float, **more: object) -> MethodResult:
    plain = {"label": name, "kind": "filter", "psnr": 27.0, "psnr_of_mean_mse": 26.0, "ssim": 0.5, "tiles": 9}
    return MethodResult(name=name, mse=mse, **{**plain, **more})  # type: ignore[arg-type]


def test_numbers_stand_under_each_other() -> None:
    text = aligned(["name", "count", "text"], [["a", "1,000", "x"], ["longer", "–", "yy"], ["c", "-7.5", ""]])
    assert text.splitlines() == [
        "name    count  text",
        "a       1,000  x",
        "longer      –  yy",
        "c        -7.5",
    ]


def test_both_psnrs_are_named() -> None:
    lines = methods_table(
        [method("a", 0.01, cost=COST, psnr=float("inf")), method("b", 0.02, parameters=220_523_994)]
    ).splitlines()
    assert "PSNR of mean MSE" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["a", "b"]
    assert "1.23" in lines[1].split()
    assert "s/MP" in lines[0]
    assert "MB/MP" not in lines[0]  # nobody knows
    assert "0.010000" in lines[1]
    assert "–" in lines[1]
    assert "220,523,994" in lines[2]


def test_groups_have_a_column_each() -> None:
    groups = (GroupScore(0, 6, 0.01, 20.0, 0.5), GroupScore(2, 3, 0.04, 14.0, 0.25))
    lines = groups_table([method("a", 0.02, groups=groups)]).splitlines()
    assert lines[0].split("  ")[-1].strip() == "group 2 (3)"
    assert lines[1].endswith("0.010000 20.00 0.500  0.040000 14.00 0.250")
    assert groups_table([method("a", 0.02)]) == ""


def test_the_blur_tables_say_which_one_was_chosen_by() -> None:
    errors = ((0.005, 0.004), (0.003, 0.006))
    blur = BlurTable((3, 5), (0.0, 1.0), errors, ((0.05, 0.04), (0.06, 0.03)), (5, 0.0))
    valid, test = blur_tables(blur, 4288, 4096).split("\n\n")
    assert "4,288 validation images" in valid
    assert "choice (*) was made on these" in valid
    assert valid.splitlines()[3].split() == ["5", "0.003000*", "0.006000"]
    assert "4,096 test images" in test
    assert "not chosen by" in test
    assert test.splitlines()[3].split() == ["5", "0.060000*", "0.030000"]


def test_results_are_told_with_their_uncertainty() -> None:
    results = made_results.evaluation()
    text = results_text(results, "CBSD68")
    first, *others = order(results)
    assert text.startswith("On these 68 photographs, use")
    assert "CBSD68: " in text
    assert "PSNR and SSIM by noise" in text
    assert "gaussian:15 (68)" in text
    table = leaders_table(results).splitlines()
    assert len(table) == 2 + len(others)
    for line, other in zip(table[2:], others, strict=True):
        found = results.difference(first.name, other.name)
        assert found is not None
        assert line.startswith(other.name)
        assert f"{found.low:+.2f} to {found.high:+.2f}" in line
        assert ("can't tell" in line) == (found.outcome == "can't tell")
    unsure = dataclasses.replace(results.differences[0], low=math.nan, high=math.nan)
    few = dataclasses.replace(results, differences=(unsure,))
    assert "nan" not in leaders_table(few)
    assert leaders_table(dataclasses.replace(results, differences=())) == ""
