"""The report in a real browser: what a person clicks works, and the page loads nothing and breaks nothing."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import made_results
from unnoise.report import render_html

NAMES = ("chromium", "chromium-browser", "google-chrome")


def browser_path() -> str:
    found = os.environ.get("UNNOISE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: install it, or name it in UNNOISE_CHROMIUM")
        pytest.skip("no Chromium")
    return found


@dataclass(frozen=True)
class Drawn:
    """A canvas: its size, the mean of its samples, how many values they take, and a sum over all of them."""

    width: int
    height: int
    mean: float
    values: int
    checksum: int


@dataclass
class Opened:
    """A page, and what went wrong in it or went over the network."""

    page: Any
    wrong: list[str] = field(default_factory=list)

    def canvas(self, selector: str) -> Drawn:
        """What a canvas shows."""
        script = """element => {
            const { data } = element.getContext("2d").getImageData(0, 0, element.width, element.height);
            const samples = data.filter((_, i) => i % 4 < 3);
            const sum = samples.reduce((total, each) => total + each, 0);
            return [element.width, element.height, sum / samples.length, new Set(samples).size,
                samples.reduce((mixed, each) => (31 * mixed + each) % 1000003, 7)];
        }"""
        return Drawn(*self.page.locator(selector).first.evaluate(script))

    def settle(self) -> None:
        """Wait until what was chosen last is drawn."""
        self.page.locator("#gallery[data-state=drawn]").wait_for(state="attached")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples, files = made_results.samples(side=96)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_html(made_results.evaluation(samples=samples), files), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = browser_path()
    api = importlib.import_module("playwright.sync_api") if os.environ.get("CI") else None
    api = api or pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        # A sandbox needs rights that containers seldom give; the page is our own.
        opened = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_report(browser: Any, report: Path) -> Iterator[Any]:
    contexts = []

    def opened(*, script: bool = True) -> Opened:
        context = browser.new_context(
            viewport={"width": 1280, "height": 900}, java_script_enabled=script, reduced_motion="reduce"
        )
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.wrong.append(message.text))
        found.page.on("pageerror", lambda error: found.wrong.append(str(error)))
        found.page.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:")) or found.wrong.append(request.url),
        )
        found.page.goto(report.as_uri())
        if script:
            found.settle()
        return found

    yield opened
    for context in contexts:
        context.close()


def test_nothing_goes_wrong_and_nothing_is_wider_than_the_page(open_report: Any) -> None:
    opened = open_report()
    for width in (1280, 700, 360):
        opened.page.set_viewport_size({"width": width, "height": 800})
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 23, 26)")):
        opened.page.emulate_media(color_scheme=scheme)
        assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    assert opened.wrong == []


def test_a_click_on_a_heading_sorts(open_report: Any) -> None:
    page = open_report().page

    def first_cells(column: int) -> list[float]:
        script = f"rows => rows.map(row => Number(row.cells[{column}].dataset.value))"
        found: list[float] = page.locator("table.sortable tbody tr").evaluate_all(script)
        return found

    heads = page.locator("table.sortable thead th[data-column]")
    titles = heads.all_inner_texts()
    psnr, seconds = (next(i for i, t in enumerate(titles) if word in t) for word in ("PSNR", "seconds"))
    assert first_cells(psnr) == sorted(first_cells(psnr), reverse=True)
    heads.nth(psnr).locator("button").click()  # the noisy input comes first now
    assert first_cells(psnr) == sorted(first_cells(psnr))
    heads.nth(seconds).locator("button").click()
    values = first_cells(seconds)
    assert values[:-1] == sorted(values[:-1])
    assert values[-1] != values[-1]  # the noisy input takes no time, and stays last
    assert heads.nth(seconds).get_attribute("aria-sort") == "ascending"
    heads.nth(seconds).locator("button").click()
    assert first_cells(seconds)[:-1] == values[-2::-1]
    heads.nth(psnr).locator("button").click()
    assert heads.nth(psnr).get_attribute("aria-sort") == "descending"  # the best first


def test_the_slider_moves_by_range_and_pointer(open_report: Any) -> None:
    page = open_report().page
    stage, slider = page.locator(".stage"), page.locator(".viewer input[type=range]")
    slider.focus()
    page.keyboard.press("Home")
    at = "element => element.querySelector('.divider').offsetLeft / element.offsetWidth"
    assert stage.evaluate(at) == pytest.approx(0, abs=0.01)
    page.keyboard.press("End")
    assert stage.evaluate(at) == pytest.approx(1, abs=0.01)
    clip = "element => getComputedStyle(element.querySelectorAll('img')[1]).clipPath"
    assert stage.evaluate(clip) == "inset(0px 0% 0px 0px)"
    width = stage.evaluate("element => element.offsetWidth")
    stage.click(position={"x": 0.25 * width, "y": 40})
    assert float(slider.input_value()) == pytest.approx(25, abs=1)


def test_the_loupe_follows_pointer_and_keys(open_report: Any) -> None:
    opened = open_report()
    page = opened.page
    before = opened.canvas(".loupes figure:nth-child(3) canvas")
    page.locator(".stage").hover(position={"x": 100, "y": 100})
    left, right, clean = (opened.canvas(f".loupes figure:nth-child({i}) canvas") for i in (1, 2, 3))
    assert len({each.checksum for each in (left, right, clean)}) == 3
    assert clean.values > 20
    assert clean != before
    page.locator(".stage").focus()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    assert opened.canvas(".loupes figure:nth-child(3) canvas") != clean
    page.locator("input[name=zoom][value='1']").check()
    # One to one: a sample of 96 pixels is smaller than the loupe, and shows whole.
    assert page.locator(".spot").evaluate("element => element.style.width") == "100%"


def test_what_was_taken_away_is_the_noise_around_grey(open_report: Any) -> None:
    opened = open_report()
    noise, taken = (opened.canvas(f".residuals figure:nth-child({i}) canvas") for i in (1, 2))
    for each in (noise, taken):
        assert (each.width, each.height) == (96, 96)
        assert each.mean == pytest.approx(128, abs=12)
        assert each.values > 60
    assert noise != taken


def test_pictures_and_layers_are_chosen(open_report: Any) -> None:
    opened = open_report()
    page = opened.page
    assert "noisy" in page.locator(".scores").inner_text()
    page.locator(".choices select").nth(1).select_option("nlm")
    opened.settle()
    assert page.locator(".tag.right").inner_text() == "NLM"
    assert "NLM" in page.locator(".scores").inner_text()
    before = opened.canvas(".residuals figure:nth-child(2) canvas")
    page.locator(".picks button").nth(2).click()
    opened.settle()
    assert "coffee.png" in page.locator(".about-it").inner_text()
    assert opened.canvas(".residuals figure:nth-child(2) canvas") != before
    assert page.locator(".sample:visible").count() == 1
    page.locator(".sample:visible [data-layer=median] button").click()
    opened.settle()
    assert page.locator(".tag.right").inner_text() == "median"


def test_without_script_all_pictures_stand_there(open_report: Any) -> None:
    page = open_report(script=False).page
    assert page.locator(".viewer").count() == 0
    assert page.locator(".sample:visible").count() == 4
    assert page.locator(".sample img:visible").count() == 4 * 12


def test_a_page_without_pictures_has_nothing_to_break(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_html(made_results.evaluation(), {}), encoding="utf-8")
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(path.as_uri())
    assert page.locator("#gallery").count() == 0
    assert wrong == []
    page.close()
