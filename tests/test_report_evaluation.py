"""The report of an evaluation: whole pictures, several noises, intervals, costs, pictures to look at."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import made_results
from html_page import Page
from made_results import evaluation, lone
from unnoise.records import Cost, Sample
from unnoise.report import RENDERERS, render_csv, render_html, render_markdown
from unnoise.results import Results
from unnoise.scatter import front
from unnoise.tiles import Leak


@pytest.fixture(scope="module")
def shown() -> tuple[Results, dict[str, bytes]]:
    samples, files = made_results.samples(side=48)
    return evaluation(samples=samples), files


@pytest.fixture(scope="module")
def page(shown: tuple[Results, dict[str, bytes]]) -> Page:
    return Page(render_html(*shown))


def section(html: str, key: str) -> str:
    return html.split(f'<section id="{key}"')[1].split("</section>", 1)[0]


def test_the_order_of_the_page(page: Page) -> None:
    ids = [a["id"] for a in page.find("section")]
    assert ids == [
        "quality",
        "scores",
        "pictures",
        "groups",
        "pairs",
        "data",
        "searches",
        "reproduce",
        "words",
    ]
    assert page.text.index("use the network gaussian") < page.text.index("Every method on the same pictures")


def test_the_top_shows_what_to_use_and_what_else(page: Page) -> None:
    top = page.text.split("Contents")[0].split("Every method")[0]
    assert "use this: gaussian30.65 dBSSIM 0.8833 · 1.7 s a megapixel" in top
    assert "where time matters: small U-Net29.99 dB" in top
    assert "best filter: NLM27.74 dB" in top
    assert "noisy input20.05 dB" in top
    assert "Filters were tuned on squares of 24 other pictures and frozen" in top


def test_the_table_has_what_was_measured(shown: tuple[Results, dict[str, bytes]]) -> None:
    html = section(render_html(*shown), "scores")
    heads = [
        re.sub("<[^>]+>|&shy;", "", each)
        for each in re.findall(r"<th [^>]*data-column[^>]*>(.*?)</th>", html)
    ]
    assert heads == [
        "method", "PSNR, dB", "against the leader, dB", "seconds a MP", "MB a MP", "gaussian:15",
        "gaussian:25", "gaussian:50", "SSIM", "MS-SSIM", "edges", "PSNR of mean MSE", "MSE", "parameters",
    ]  # fmt: skip
    assert 'aria-sort="descending">PSNR, dB' in html
    values = [float(row.split('data-value="')[1].split('"')[0]) for row in html.split("<tr")[3:]]
    assert len(values) == 11
    assert values == sorted(values, reverse=True)
    first, second = html.split("<tr")[3:5]
    assert "leads" in first
    assert "−0.04<small>can’t tell:<br>−0.08 to 0.00</small>" in second
    assert 'class="network best"' in first
    assert html.count('class="network best"') == 1


def test_columns_that_nobody_has_are_left_out() -> None:
    found = evaluation(differences=())
    bare = replace(
        found,
        methods=tuple(
            replace(m, cost=None, ms_ssim=math.nan, edges=math.nan, parameters=None, groups=())
            for m in found.methods
        ),
    )
    text = Page(section_page(bare, "scores")).text
    assert not any(
        word in text for word in ("MS-SSIM", "edges", "seconds a MP", "against", "parameters", "gaussian:15")
    )
    scores = tuple(replace(m, perceptual=0.1234) for m in found.methods)
    assert "0.1234" in section_page(replace(found, methods=scores), "scores")


def section_page(found: Results, key: str) -> str:
    return "<section" + section(render_html(found, {}), key) + "</section>"


def test_the_front_is_what_nothing_quicker_beats() -> None:
    found = evaluation()
    assert [m.name for m in front(found)] == [
        "gaussian-blur",
        "bilateral",
        "wavelet",
        "small",
        "default",
        "gaussian",
    ]
    html = section_page(found, "quality")
    assert html.count('class="front"') == 2  # for desks and for phones
    assert html.count("<circle") == 2 * 4
    assert html.count("<rect") == 2 * 6
    assert "DnCNN-colour: 4.9 s, 30.61 dB" in Page(html).text


def test_labels_of_the_chart_hide_nothing() -> None:
    """However many points lie close together, no two names overlap."""
    drawn = np.random.default_rng(3)
    base = evaluation().method("small")
    many = tuple(
        replace(
            base,
            name=f"m{i}",
            label=f"method number {i}",
            psnr=28 + drawn.normal(0, 0.5),
            cost=Cost(float(np.exp(drawn.normal(0, 1.2))), 1.0, 1.0, 1, 1),
        )
        for i in range(16)
    )
    found = evaluation(methods=(evaluation().method("noisy"), *many), baseline="noisy", differences=())
    svg = section_page(found, "quality").split("</svg>")[0]
    boxes = []
    for style, x, y, label in re.findall(
        r'<text class="network([^"]*)" x="([\d.]+)" y="([\d.]+)">([^<]+)', svg
    ):
        width, left = 7.0 * len(label), float(x)
        left -= width if style.endswith("end") else width / 2 if style.endswith("mid") else 0
        boxes.append((left, float(y) - 12, left + width, float(y) + 4))
    assert len(boxes) == 16
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        assert 0 <= x0 < x1 <= 1110
        assert not any(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1 for b in boxes[:i])


def test_every_pair_is_compared_on_all_and_on_each_noise() -> None:
    html = section_page(evaluation(), "pairs")
    assert html.count("<table") == 4
    assert html.count("<details>") == 3
    first = html.split("</table>")[0]
    assert first.count('class="self"') == 10
    assert first.count('class="even"') == 2
    assert first.count('class="better"') == first.count('class="worse"') == 44
    assert "+0.04<small>0.00…0.08</small>" in first
    assert "<section" in section_page(lone(evaluation(), "noisy", "nlm", "median"), "pairs")
    assert 'id="pairs"' not in render_html(evaluation(differences=()), {})


def test_each_noise_has_its_scores_and_its_settings() -> None:
    text = Page(section_page(evaluation(), "groups")).text
    assert "gaussian:1568 pictures" in text
    assert "NLM30.21 0.8862h=9,template=3,search=13" in text
    assert 'id="groups"' not in render_html(lone_noise(), {})


def lone_noise() -> Results:
    """Pictures whose noise is real."""
    found = evaluation()
    assert found.pictures
    pictures = replace(found.pictures, noises=("",), photographs=40, tuned_pictures=0, tuned_on="")
    return replace(
        found,
        pictures=pictures,
        methods=tuple(replace(m, groups=()) for m in found.methods),
        differences=tuple(d for d in found.differences if d.group is None),
    )


def test_what_was_scored_is_told() -> None:
    text = Page(section_page(evaluation(), "data")).text
    assert "68 pictures from photographs/CBSD68, 321 × 481 to 481 × 321 pixels, scored whole" in text
    assert "noise was added, 3 times: gaussian:15, gaussian:25 and gaussian:50" in text
    assert "not clipped" in text
    real = Page(section_page(lone_noise(), "data")).text
    assert "68 pictures of 40 photographs" in real
    assert "The noise is real" in real
    assert "0–255" not in real
    found = evaluation()
    assert found.pictures
    clipped = replace(found, pictures=replace(found.pictures, clipped=True))
    assert "clipped to [0, 1]" in Page(section_page(clipped, "data")).text


def test_leaks_are_said_above_the_answer_and_listed() -> None:
    found = evaluation()
    assert found.pictures
    leaks = tuple(Leak(f"a{i}.png", f"<b{i}>.png", "overlap", ("tuning", "scored"), 0.42) for i in range(15))
    leaky = replace(found, pictures=replace(found.pictures, leaks=leaks))
    text = Page(render_html(leaky, {})).text
    assert text.index("15 pairs of files show the same") < text.rindex("On these 68 photographs, use")
    assert "a3.png (tuning) and <b3>.png (scored): overlap, 42% of the smaller one" in text
    assert "and 3 more, named in results.json" in text
    assert "15 pairs of files show the same" in render_markdown(leaky)


def test_all_that_the_numbers_depend_on_is_there(page: Page) -> None:
    text = page.text.split("Getting these numbers again")[-1]
    for word in (
        "unnoise evaluate photographs",
        "ab" * 32,
        "cd" * 32,
        "networks/dncnn.onnx, SHA-256",
        "bootstrap 0",
    ):
        assert word in text
    assert "preset" not in text


def test_every_picture_is_embedded_once(shown: tuple[Results, dict[str, bytes]], page: Page) -> None:
    _, files = shown
    images = page.find("img")
    assert len(images) == len(files) == 4 * 12
    assert len({a["src"] for a in images}) == len({*files.values()})
    assert all(a["alt"] and a["width"] == "48" for a in images)
    first = [a for t, a in page.elements if t == "li" and "data-layer" in a][:12]
    assert [a["data-layer"] for a in first][:2] == ["noisy", "gaussian"]
    assert first[-1]["data-layer"] == "clean"
    assert first[0]["data-score"]
    assert page.find("div", id="gallery")[0]["data-first"] == "gaussian"
    assert "worst for median and Gaussian blur" in page.text


def test_layers_whose_file_is_missing_are_left_out(shown: tuple[Results, dict[str, bytes]]) -> None:
    results, files = shown
    some = {name: data for name, data in files.items() if name.startswith("samples/1") and "nlm" not in name}
    assert len(Page(render_html(results, some)).find("img")) == 11
    assert 'id="gallery"' not in render_html(results, {})


def test_a_jpeg_is_called_a_jpeg() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (20, 10), "grey").save(stream, "jpeg")
    sample = Sample("a.jpg", None, (0, 0, 20, 10), (20, 10), {"clean": "a"}, {})
    html = render_html(evaluation(samples=(sample,)), {"a": stream.getvalue()})
    assert 'src="data:image/jpeg;base64,' in html


def test_markdown_says_the_same() -> None:
    text = render_markdown(evaluation())
    assert text.startswith("# Which method denoises these photographs best?")
    assert "use the network gaussian: it and DnCNN-colour can't be told apart" in text
    assert (
        "| method | PSNR | PSNR of mean MSE | SSIM | MS-SSIM | edges | MSE | × tuned blur | s/MP | MB/MP |"
        in text
    )
    assert "| DnCNN-colour | −0.04 | −0.08 to 0.00 | can't tell |" in text
    assert "gaussian:50" in text
    assert "published" not in text.lower()


def test_the_csv_has_the_differences_and_costs() -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(evaluation()))))
    assert [row["name"] for row in rows][:2] == ["gaussian", "dncnn"]
    found = evaluation()
    behind = found.difference("dncnn", "gaussian")
    assert behind
    assert (float(rows[1]["to_leader"]), rows[1]["outcome"]) == (behind.mean, "can't tell")
    assert rows[0]["to_leader"] == ""
    assert float(rows[1]["seconds_per_megapixel"]) == 4.9
    assert float(rows[1]["psnr_group_3"]) == found.method("dncnn").groups[2].psnr
    assert rows[1]["source"].startswith("networks/dncnn.onnx")
    assert rows[-1]["seconds_per_megapixel"] == ""


HOSTILE = "<script>alert('1')</script>&\"|*\n\udcff</section>"


def hostile(files: dict[str, bytes]) -> Results:
    found = evaluation()
    assert found.pictures
    names = {"noisy": HOSTILE} | {name: name for name in made_results.METHODS if name != "noisy"}
    pictures = replace(
        found.pictures,
        where=HOSTILE,
        tuned_on=HOSTILE,
        noises=(HOSTILE, "b", "c"),
        leaks=(Leak(HOSTILE, HOSTILE, "overlap", (HOSTILE, HOSTILE), 0.5),),
    )
    sample = Sample(
        HOSTILE,
        0,
        (0, 0, 4, 4),
        (9, 9),
        {"clean": HOSTILE, "noisy": HOSTILE, "nlm": HOSTILE},
        {},
        (HOSTILE,),
        ("nlm",),
    )
    methods = tuple(replace(m, label=names[m.name], source=HOSTILE) for m in found.methods)
    return replace(found, pictures=pictures, methods=methods, samples=(sample,), timed=HOSTILE)


@pytest.mark.parametrize("name", sorted(RENDERERS))
def test_every_renderer_takes_any_results(name: str) -> None:
    files = {HOSTILE: made_results.encoded(np.zeros((4, 4, 3), np.float32))}
    for found in (evaluation(), lone_noise(), lone(evaluation(), "noisy"), hostile(files)):
        assert RENDERERS[name](found, files).encode("utf-8")


def test_text_from_names_is_escaped() -> None:
    files = {HOSTILE: made_results.encoded(np.zeros((4, 4, 3), np.float32))}
    html = render_html(hostile(files), files)
    page = Page(html)
    assert len(page.find("script")) == 1
    assert "alert('1')" not in html
    assert len(page.find("img")) == 3


def test_numbers_that_are_none_are_dashes() -> None:
    """A method that is perfect has no finite PSNR; one without a score of a noise has a gap."""
    found = evaluation()
    methods = []
    for each in found.methods:
        if each.name == "nlm":
            each = replace(each, psnr=math.inf, mse=0.0, psnr_of_mean_mse=math.inf)  # noqa: PLW2901
        if each.name == "tv":
            each = replace(each, groups=each.groups[:1], ssim=math.nan)  # noqa: PLW2901
        methods.append(each)
    odd = replace(found, methods=tuple(methods), differences=())
    text = Page(render_html(odd, {})).text
    assert "∞" in text
    assert "nan" not in re.findall(r"\w+", text)
    row = section(render_html(odd, {}), "scores").split("total variation")[1].split("</tr>")[0]
    assert row.count(">–<") == 4  # the difference is not there at all
