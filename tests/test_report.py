"""The report says what the results say: winners, losers, unequal chances, and nothing from outside."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import made_results
from html_page import Page
from unnoise import findings
from unnoise.charts import learning_curves
from unnoise.errors import DataError, UnknownName
from unnoise.grouping import Matched
from unnoise.metrics import psnr_of_mse
from unnoise.records import BlurTable, Cost, Curve, FilterSearch, GroupScore, MethodResult, Training
from unnoise.report import RENDERERS, render_csv, render_html, render_markdown
from unnoise.results import Results
from unnoise.tiles import ColourGroup, DatasetInfo, Skipped, StoredNoise
from unnoise.verdict import verdict

NOISY = 0.037


def dataset(**changes: object) -> DatasetInfo:
    grey, brown, blue, dark = (0.55, 0.54, 0.52), (0.47, 0.41, 0.35), (0.38, 0.45, 0.58), (0.1, 0.09, 0.09)
    std = (0.08, 0.08, 0.08)
    info = DatasetInfo(
        tile=56,
        noise="gaussian:50",
        format="png",
        seed=0,
        split=(0.7, 0.15, 0.15),
        group_by="crop names",
        grouping=(
            Matched("name_x_y_w_h", 120, 61),
            Matched("name_x_y", 301, 188),
            Matched("one file, one photograph", 10, 10),
        ),
        files=431,
        packed_only=False,
        counts={"train": 19_328, "valid": 4_096, "test": 4_160},
        photographs={"train": 181, "valid": 39, "test": 39},
        mean=(0.5, 0.49, 0.47),
        std=(0.14, 0.14, 0.14),
        colour_groups=tuple(
            ColourGroup(size, centre, centre, std)
            for size, centre in ((9_120, grey), (5_208, brown), (3_300, blue), (1_700, dark))
        ),
        stored_noise=StoredNoise(NOISY, NOISY, 0.0, None),
        skipped=(Skipped("walls/IMG_0034.jpg", "truncated JPEG"), Skipped("notes<b>.txt", "not an image")),
    )
    return replace(info, **changes)  # type: ignore[arg-type]


def method(name: str, kind: str, mse: float, **more: object) -> MethodResult:
    dark = 0.75 if kind == "network" else 0.5
    shares = {0: (1_960, 1.05), 1: (1_100, 1.2), 2: (720, 0.85), 3: (380, dark)}
    groups = tuple(
        GroupScore(i, tiles, mse * part, psnr_of_mse(mse * part) + 0.4, 0.8 - 4 * mse * part)
        for i, (tiles, part) in shares.items()
    )
    fields: dict[str, object] = {
        "label": name,
        "psnr": psnr_of_mse(mse) + 0.53,
        "psnr_of_mean_mse": psnr_of_mse(mse),
        "ssim": 0.85 - 10 * mse,
        "tiles": 4_160,
        "groups": groups,
        "cost": Cost(0.5, 0.9, 30.0, 1_048_576, 5),
    }
    return MethodResult(name=name, kind=kind, mse=mse, **{**fields, **more})  # type: ignore[arg-type]


def network(
    name: str, mse: float, seen: int, minutes: float, parameters: int, **more: object
) -> MethodResult:
    optimizer = str(more.pop("optimizer", "adamw"))
    training = Training(19_328, seen, seen / 19_328, minutes, seen // 64, optimizer)
    return method(name, "network", mse, parameters=parameters, training=training, **more)


def curve(end: float, seen: int, batch: int = 64) -> Curve:
    steps = np.unique(np.geomspace(max(seen / 60, batch), seen, 25) // batch).astype(int)
    noise = np.random.default_rng(seen).normal(0, 0.015, len(steps))
    records = tuple(
        {
            "step": int(step),
            "epoch": float(step * batch / 19_328),
            "seconds": float(step),
            "lr": 1e-3,
            "train_loss": end * 1.2,
            "valid_mse": float(end * (1 + 4 * (1 - step * batch / seen) ** 3 + abs(wobble))),
            "tiles_per_second": 64.0,
        }
        for step, wobble in zip(steps, noise, strict=True)
    )
    return Curve(batch, records)


BLUR = method(
    "gaussian-blur",
    "filter",
    0.0028,
    label="Gaussian blur",
    settings="ksize=9,sigma=2",
    article_row="gaussian-blur",
)
NLM = method(
    "nlm",
    "filter",
    0.002631,
    label="NLM",
    settings="h=36,template=5,search=21",
    cost=Cost(14.2, 14.2, 30.0, 1_048_576, 5),
)
OTHERS = (
    method("noisy", "input", NOISY, label="noisy input", cost=None),
    BLUR,
    NLM,
    method("median", "filter", 0.00391, settings="ksize=7", cost=Cost(0.03, 0.03, 30.0, 1_048_576, 5)),
    method("bilateral", "filter", 0.00298, settings="ksize=15,colour=150,space=3"),
    method(
        "total-variation",
        "filter",
        0.00266,
        label="total variation",
        settings="weight=0.3",
        cost=Cost(6.1, 6.1, 30.0, 1_048_576, 5),
    ),
    method(
        "wavelet",
        "filter",
        0.00334,
        settings="method=bayes,wavelet=db2,levels=3",
        cost=Cost(2.9, 2.9, 30.0, 1_048_576, 5),
    ),
)
NETWORKS = (
    network(
        "residual-unet", 0.001375, 1_180_000, 24.0, 1_261_440, settings="32/64/128 channels", article_row=None
    ),
    network("unet", 0.00171, 172_000, 18.1, 7_697_475, article_row="unet"),
    network("convolutional", 0.00213, 910_000, 9.2, 741_379, article_row="convolutional"),
    network(
        "convolutional-skip",
        0.0334,
        455_000,
        4.6,
        741_379,
        label="convolutional with input skip",
        article_row="convolutional-skip",
    ),
    network("dense", 0.0088, 420_000, 6.0, 9_700_000, article_row="dense"),
    network(
        "split-dense-adam",
        0.0061,
        12_480,
        9.1,
        220_523_994,
        label="split-dense, Adam",
        optimizer="adam",
        article_row="split-dense",
    ),
    network(
        "split-dense-adamw",
        0.00574,
        12_416,
        9.1,
        220_523_994,
        label="split-dense, AdamW",
        optimizer="adamw",
        article_row="split-dense",
    ),
    network(
        "split-dense-lookahead",
        0.0052,
        12_032,
        9.1,
        220_523_994,
        label="split-dense, AdamW+Lookahead",
        optimizer="adamw+lookahead",
        article_row="split-dense",
    ),
)


def results(**changes: object) -> Results:
    sigmas, kernels = (0.0, 1.0, 2.0, 3.0), (3, 5, 7, 9)
    table = (
        (0.006124, 0.005911, 0.005702, 0.005699),
        (0.004021, 0.004104, 0.003511, 0.003498),
        (0.003244, 0.004010, 0.002912, 0.002961),
        (0.002933, 0.004009, 0.002800, 0.002877),
    )
    fields: dict[str, object] = {
        "created": "2026-03-14T16:20:05+01:00",
        "command": "unnoise experiment photographs -o out --preset article --budget 90",
        "preset": "article",
        "elapsed_minutes": 93.4,
        "budget_minutes": 90.0,
        "dataset": dataset(),
        "dataset_hash": "9f2c61d0a7e1f4f3b0c7d9b6c2a58e1147f0f3e0cbb5a4f6d2e3910c7a5be6d1",
        "baseline": "gaussian-blur",
        "methods": (*OTHERS, *NETWORKS),
        "versions": {
            "unnoise": "0.1.0",
            "python": "3.12.3",
            "torch": "2.13.0",
            "opencv": "5.0.0",
            "numpy": "2.4.1",
        },
        "machine": {"processor": "x86-64, 2 cores", "memory": "8 GiB", "system": "Linux 6.8"},
        "seeds": {"split and noise": 0, "training": 0},
        "blur": BlurTable(kernels, sigmas, table, table, (9, 2.0)),
        "searches": (
            FilterSearch(
                "gaussian-blur",
                "Gaussian blur",
                "ksize=9,sigma=2",
                0.00281,
                {"kernel": ("3", "5", "7", "9"), "sigma": ("0", "1", "2", "3")},
                16,
                4096,
                ("kernel",),
            ),
            FilterSearch(
                "nlm",
                "NLM",
                "h=36,template=5,search=21",
                0.00265,
                {"h": ("24", "30", "36", "42"), "template": ("5", "7"), "search": ("13", "21")},
                16,
                512,
            ),
            FilterSearch("median", "median", "ksize=7", 0.00395, {"size": ("3", "5", "7", "9")}, 4, 4096),
        ),
        "curves": {m.name: curve(m.mse * 0.98, m.training.tiles_seen) for m in NETWORKS if m.training},
        "optimizers": ("split-dense-adam", "split-dense-adamw", "split-dense-lookahead"),
        "notes": ("CBM3D was not part of this run.",),
        "timed": "median of up to 30 calls with one tile each",
    }
    return Results(**{**fields, **changes})  # type: ignore[arg-type]


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "grey").save(stream, "png")
    return stream.getvalue()


FIGURE = {"figure.png": picture()}


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_html(results(), FIGURE))


def said(found: Results) -> str:
    return " ".join(verdict(found)).replace("\N{NO-BREAK SPACE}", " ")


def only(*methods: MethodResult, **changes: object) -> Results:
    """Results of the noisy input, the tuned blur and these."""
    return results(methods=(OTHERS[0], BLUR, *methods), curves={}, optimizers=(), **changes)


def test_the_verdict_names_winner_rival_and_losers() -> None:
    text = said(results())
    assert "residual-unet leaves 0.52 × the error of the best tuned filter (NLM): 2.8 dB better" in text
    assert (
        "Three of the six networks beat the tuned Gaussian blur (residual-unet 0.49 × its error; unet "
        "0.61 ×; convolutional 0.76 ×) and three lose to it (split-dense, AdamW+Lookahead 1.86 × its error; "
        "dense 3.14 ×; convolutional with input skip 11.93 ×)."
    ) in text


def test_a_network_that_was_not_trained_here_gets_a_sentence_of_its_own() -> None:
    """Its training elsewhere is no merit of training here: it must not hide that those trained here lost."""
    shipped = method("shipped", "network", 0.001, label="the shipped network", parameters=5)
    found = only(method("wavelet", "filter", 0.0013), network("unet", 0.0015, 64_000, 2.0, 7), shipped)
    assert "no network beats the best tuned filter (wavelet): the nearest, unet" in said(found)
    assert "The shipped network, which was not trained here, leaves 0.77" in said(found)
    assert "both networks" not in said(found)


def test_of_networks_that_differ_in_the_optimiser_the_validation_chooses() -> None:
    """The lower test error must not choose which of them speaks for the network."""
    found = results(
        methods=(OTHERS[0], BLUR, network("a", 0.0015, 64, 2.0, 7), network("b", 0.0014, 64, 2.0, 7)),
        curves={"a": curve(0.0011, 64_000), "b": curve(0.0019, 64_000)},
        optimizers=("a", "b"),
    )
    assert "On these photographs, a leaves" in said(found)


def test_the_verdict_says_when_no_network_beats_the_filters() -> None:
    text = said(only(NLM, network("dense", 0.0088, 100, 1, 10), network("unet", 0.00271, 100, 1, 10)))
    assert "no network beats the best tuned filter (NLM): the nearest, unet, leaves 1.03 × its error" in text
    assert (
        "One of the two networks beats the tuned Gaussian blur (unet 0.97 × its error) and one loses to it"
        in text
    )


def test_the_verdict_says_when_all_lose() -> None:
    text = said(only(network("dense", 0.0056, 100, 1, 10), network("split-dense", 0.0042, 100, 1, 10)))
    assert (
        "Both networks lose to the tuned Gaussian blur (split-dense 1.50 × its error; dense 2.00 ×)." in text
    )
    assert "beat the tuned" not in text


def test_the_verdict_calls_a_draw_a_draw() -> None:
    text = said(only(network("unet", BLUR.mse * 1.004, 100, 1, 10)))
    assert "the best network, unet, is level with the best tuned filter (Gaussian blur)" in text
    assert "It is level with the tuned Gaussian blur" in text


def test_the_verdict_names_networks_that_do_nothing() -> None:
    sentence = "left the noise as it was, or made it worse"
    assert f"lazy {sentence}" in said(only(network("lazy", NOISY * 1.01, 100, 1, 10)))
    assert sentence not in said(results())


def test_the_verdict_without_networks_or_filters() -> None:
    assert "the best tuned filter is NLM: 0.07 × the error of the noisy input" in said(only(NLM))
    noisy = method("noisy", "input", NOISY)
    alone = results(
        methods=(noisy, network("unet", NOISY / 10, 1, 1, 1)), baseline="noisy", curves={}, optimizers=()
    )
    assert "unet leaves the least error, 0.10 × that of the noisy input; no filter was compared" in said(
        alone
    )


def test_a_method_scored_on_other_tiles_wins_nothing() -> None:
    few = replace(method("cbm3d", "filter", 0.0001, label="CBM3D"), tiles=128)
    found = results(methods=(*OTHERS, *NETWORKS, few))
    assert "best tuned filter (NLM)" in said(found)
    assert math.isnan(found.ratio(few))
    text = Page(render_html(found, {})).text
    assert "on 128 tiles: not comparable" in text
    assert "Scored on another number of tiles, and so not comparable with the rest: CBM3D (128)" in text
    assert "not comparable with the rest" not in Page(render_html(results(), {})).text


UNEQUAL = "did not have equal training"


def test_unequal_training_is_said_beside_the_table(page: Page) -> None:
    beside = page.text.split("Every method, scored on the test tiles")[-1].split("Sorted by test error")[0]
    assert UNEQUAL in beside
    assert "tiles seen from 12,032 (split-dense, AdamW+Lookahead) to 1,180,000 (residual-unet)" in beside
    assert "minutes from 4.6 (convolutional with input skip) to 24 (residual-unet)" in beside
    assert UNEQUAL in render_markdown(results())


def test_equal_training_is_not_called_unequal() -> None:
    equal = only(network("unet", 0.0017, 6400, 5.0, 10), network("dense", 0.008, 6400, 5.05, 10))
    assert UNEQUAL not in render_html(equal, {})
    assert UNEQUAL not in render_markdown(equal)
    assert "equal training" not in Page(render_html(equal, {})).text


@pytest.mark.parametrize("part", ["tiles_available", "tiles_seen", "epochs", "minutes"])
def test_each_kind_of_inequality_counts(part: str) -> None:
    first, second = network("unet", 0.0017, 6400, 5.0, 10), network("dense", 0.008, 6400, 5.0, 10)
    assert second.training
    more = replace(second.training, **{part: getattr(second.training, part) * 2})
    text = findings.unequal_training([first, replace(second, training=more)])
    assert text
    assert "(unet) to" in text


def test_a_training_that_was_stopped_is_named() -> None:
    stopped = network("unet", 0.0017, 6400, 5.0, 10)
    assert stopped.training
    stopped = replace(stopped, training=replace(stopped.training, finished=False, note="its budget ended"))
    text = Page(render_html(only(stopped), {})).text
    assert "unet was stopped before its planned end" in text
    assert "unet: its budget ended" in text


def test_jpeg_and_few_photographs_are_warned_of() -> None:
    warning = "JPEG removed 50 % of the noise before anything was denoised."
    info = dataset(
        format="jpg",
        stored_noise=StoredNoise(NOISY, NOISY / 2, 0.5, warning),
        photographs={"train": 9, "valid": 2, "test": 2},
    )
    for text in (Page(render_html(results(dataset=info), {})).text, render_markdown(results(dataset=info))):
        assert warning in text
        assert "The test split holds only 2 photographs" in text
    assert "only" not in " ".join(findings.caveats(results()))


def test_the_order_of_the_page(page: Page) -> None:
    ids = [a["id"] for a in page.find("section")]
    first = ["scores", "quality", "published", "groups", "data", "blur", "searches"]
    assert ids == [*first, "curves", "optimisers", "figure", "reproduce", "words"]
    assert page.text.index("residual-unet leaves 0.52 ×") < page.text.index("27,584 tiles of 56 × 56 pixels")


def test_sections_without_content_are_left_out() -> None:
    page = Page(render_html(only(blur=None, searches=()), {}))
    assert [a["id"] for a in page.find("section")] == [
        "scores",
        "published",
        "groups",
        "data",
        "reproduce",
        "words",
    ]
    assert not page.find("svg")
    assert not page.find("img")


def test_the_table_holds_every_number(page: Page) -> None:
    assert (
        "residual-unetnetwork: 32/64/128 channelsadamw0.0013750.49 ×29.1528.620.83620.50301,261,440"
        "1,180,00061.124"
    ) in page.text.replace("\N{NO-BREAK SPACE}", " ")
    rows = [a.get("class") or "" for a in page.find("tr")]
    assert sum("input" in row for row in rows) == 2  # in the scores and in the colour groups
    assert sum("baseline" in row for row in rows) == 1


def test_rows_stand_sorted_without_script() -> None:
    html = render_html(results(), {})
    table = html.split('class="main sortable"')[1].split("</table>")[0]
    # The first number of a row is its error.
    errors = [float(row.split('data-value="')[1].split('"')[0]) for row in table.split("<tr")[3:]]
    assert len(errors) == len(results().methods)
    assert errors == sorted(errors)
    assert 'aria-sort="ascending">MSE' in table


def test_published_numbers_are_kept_apart(page: Page) -> None:
    section = page.text.split("Beside the published numbers")[-1].split("By colour")[0]
    assert "Published, other photographs: not comparable directly" in section
    assert "U-Net0.0015–0.00160.37–0.40 ×unet0.0017100.61 ×" in section
    assert "> 0.0300> 7.41 ×convolutional with input skip" in section
    assert "split-dense, AdamW+Lookahead0.005200" in section  # the best of three


def test_what_was_not_measured_here_is_said() -> None:
    assert "dense autoencoder0.00882.17 ×not measured here––" in Page(render_html(only(), {})).text


def test_what_stands_out_is_what_the_verdict_is_about() -> None:
    """A network that came ready-made is shown, but is not the best of those that were trained here."""
    shipped = method("shipped", "network", 0.001, label="the shipped network", parameters=5)
    html = render_html(only(NLM, network("unet", 0.0015, 64_000, 2.0, 7), shipped), {})
    assert "best network trained here: unet" in Page(html).text
    assert re.search(r'<tr class="network best"[^>]*>\s*<th[^>]*>(<span[^>]*></span>)?unet', html)
    assert html.count('class="network best"') == 1


def test_an_error_of_zero_does_not_break_the_page() -> None:
    """A filter that leaves alone what has no noise has no error, and no place on a log scale."""
    found = results()
    nothing = tuple(replace(search, valid_mse=0.0) for search in found.searches)
    assert "How the networks learned" in Page(render_html(replace(found, searches=nothing), {})).text


def test_colour_groups_show_their_colour(page: Page) -> None:
    swatches = page.find("span", class_="swatch")
    assert [a["style"] for a in swatches][2] == "background:rgb(97 115 148)"
    assert "residual-unet does best in group 1 (0.49 × its error) and worst in group 4 (0.74 ×)" in page.text


def test_the_blur_table_marks_the_choice_and_says_where_it_was_made(page: Page) -> None:
    chosen = page.find("td", class_="chosen")
    assert len(chosen) == 2  # ours and the article's
    assert "The choice was made on the validation split: kernel 9, sigma 2" in page.text
    assert "It is the lowest of the test table, too." in page.text
    found = results()
    assert found.blur
    other = Page(render_html(replace(found, blur=replace(found.blur, chosen=(7, 2.0))), {})).text
    assert "On the test split, kernel 9 with sigma 2 would have been lower (0.002800)" in other


def test_heat_is_deeper_for_larger_errors() -> None:
    html = render_html(results(), {}).split("Here, test MSE")[1].split("</table>")[0]
    cells = re.findall(r'--h:([\d.]+)">([\d.]+)', html)
    assert len(cells) == 16
    depths = [float(depth) for depth, _ in sorted(cells, key=lambda cell: float(cell[1]))]
    assert depths == sorted(depths)
    assert depths[-1] - depths[0] > 0.4


def test_searches_say_whether_the_grid_was_wide_enough(page: Page) -> None:
    section = page.text.split("How the filters were tuned")[-1].split("How the networks learned")[0]
    assert "Gaussian blurksize=9,sigma=20.002810yes: kernel164,096" in section
    assert "medianksize=70.003950no44,096" in section
    assert "values beyond might do better" in section
    inside = results(searches=tuple(replace(search, at_edge=()) for search in results().searches))
    assert "values beyond" not in Page(render_html(inside, {})).text


def test_curves_are_drawn_with_their_references(page: Page) -> None:
    desk, phone, optimizers, _ = page.find("svg")[2:]
    assert [desk["width"], phone["width"]] == ["1110", "343"]
    assert optimizers["aria-labelledby"] == "optimisers-chart-title"
    curves = [a for a in page.find("polyline") if a["class"] != "front"]
    assert len(curves) == 2 * len(NETWORKS) + 2 * 3
    assert len(page.find("path", class_="level")) == 4 * 2
    # On the validation split, as the curves are.
    assert "Gaussian blur is at 0.002810; NLM is at 0.002650" in page.text


def test_tiles_seen_are_steps_times_batch() -> None:
    assert [record["tiles"] for record in Curve(32, ({"step": 3}, {"step": 5})).by_tiles()] == [96, 160]


def test_curves_survive_what_cannot_be_drawn() -> None:
    broken = ({"step": 1, "valid_mse": math.nan}, {"step": 2, "valid_mse": 0.0})
    found = results(curves={"unet": Curve(64, broken), "dense": Curve(64, ({"step": 1, "valid_mse": 0.01},))})
    drawn = Page(render_html(found, {})).find("polyline")
    assert [a["class"] for a in drawn if a["class"] != "front"] == ["curve c1"] * 2


def test_optimizers_are_compared(page: Page) -> None:
    section = page.text.split("Which optimiser")[-1].split("The tiles themselves")[0]
    assert (
        "adamw ends at 0.94 × the error of adam and adamw+lookahead ends at 0.85 × the error of adam"
        in section
    )
    assert "One run each" in section
    assert UNEQUAL in section


def test_the_page_needs_nothing_from_outside() -> None:
    html = render_html(results(), FIGURE)
    assert not re.search(r"https?:|//[a-z]|url\((?!#)|@import|srcset", html)
    page = Page(html)
    sources = [a[name] or "" for _, a in page.elements for name in ("src", "href") if name in a]
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    targets = {a.get("id") for _, a in page.elements}
    assert {source[1:] for source in sources if source.startswith("#")} <= targets
    policy = page.find("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"] or ""
    assert policy.startswith("default-src 'none'")


def test_the_policy_allows_the_script_that_is_there() -> None:
    import base64
    import hashlib

    html = render_html(results(), {})
    script = html.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in html


def test_the_page_is_accessible(page: Page) -> None:
    assert page.find("html", lang="en")
    assert len(page.find("caption")) == len(page.find("table"))
    assert all(a.get("scope") in ("col", "row", "colgroup") for a in page.find("th"))
    assert all(a.get("alt") for a in page.find("img"))
    assert page.find("img")[0]["width"] == "64"
    assert all(a.get("role") == "img" and a.get("aria-labelledby") for a in page.find("svg"))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(set(ids)) == len(ids)


HOSTILE = "<script>alert('1')</script>&\"|*\n\udcff"


def hostile() -> Results:
    info = dataset(
        skipped=(Skipped(HOSTILE, HOSTILE),),
        grouping=(Matched(HOSTILE, 1, 1),),
        group_by=HOSTILE,
        noise=HOSTILE,
    )
    bad = network("bad", 0.001, 64, 1.0, 1, label=HOSTILE, settings=HOSTILE, optimizer=HOSTILE)
    return results(
        dataset=info, methods=(*OTHERS, *NETWORKS, bad), command=HOSTILE, notes=(HOSTILE,), preset=HOSTILE,
        curves={"bad": curve(0.001, 6400)}, machine={HOSTILE: HOSTILE}, versions={HOSTILE: HOSTILE},
        optimizers=("bad", "unet"), searches=(
            FilterSearch("nlm", HOSTILE, HOSTILE, 0.1, {HOSTILE: (HOSTILE,)}, 1, 1, (HOSTILE,)),
        ),
    )  # fmt: skip


def test_text_from_names_is_escaped() -> None:
    html = render_html(hostile(), FIGURE)
    html.encode("utf-8")
    page = Page(html)
    assert len(page.find("script")) == 1
    assert "alert('1')" not in html
    assert "<script>alert('1')</script>&\"|*\\n\\udcff" in page.text


def test_markdown_keeps_names_from_breaking_out() -> None:
    text = render_markdown(hostile())
    text.encode("utf-8")
    assert "<script" not in text.replace("\\<", "")
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")]
    assert set(cells) == {5 - 1, 5 + 1, 6 + 1, 12 + 1}


def test_markdown_says_the_same_as_the_page() -> None:
    text = render_markdown(results())
    assert "residual-unet leaves 0.52" in text
    assert "| residual-unet (network) | 0.001375 |" in text
    assert "**0.002800**" in text
    assert "other photographs: not comparable directly" in text
    assert results().dataset_hash in text


def test_results_survive_the_file() -> None:
    for found in (results(), hostile(), made_results.evaluation()):
        text = found.to_json()  # compared as JSON: what is not a number equals nothing
        assert json.loads(Results.from_json(text).to_json()) == json.loads(text)


def test_results_that_are_not_finite_survive_in_standard_json() -> None:
    perfect = method("perfect", "filter", 1e-9, psnr_of_mean_mse=math.inf, psnr=math.inf)
    text = only(perfect).to_json()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert Results.from_json(text).method("perfect").psnr == math.inf
    assert "∞" in Page(render_html(only(perfect), {})).text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"schema": 1', '"schema": 2'),
        ('"mse": 0.0028,', '"mse": "low",'),
        ('"kind": "network"', '"kind": "oracle"'),
        ('"baseline": "gaussian-blur"', '"baseline": "nobody"'),
        ('"preset": "article"', '"preset": 3'),
        ('"seeds"', '"seedlings"'),
        ("}", ""),
    ],
)
def test_damaged_results_are_refused(old: str, new: str) -> None:
    text = results().to_json()
    assert old in text
    with pytest.raises(DataError, match="these results"):
        Results.from_json(text.replace(old, new))


def test_methods_are_named_once() -> None:
    with pytest.raises(ValueError, match="doubles"):
        only(NLM, NLM)


def test_csv_has_a_row_a_method() -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(results()))))
    assert [row["name"] for row in rows] == [m.name for m in results().ranked()]
    first = rows[0]
    assert (first["kind"], float(first["mse"]), first["parameters"]) == ("network", 0.001375, "1261440")
    assert float(first["ratio"]) == pytest.approx(0.001375 / 0.0028)
    assert float(first["mse_group_4"]) == pytest.approx(0.001375 * 0.75)
    assert first["tiles_seen"] == "1180000"
    assert rows[-1]["name"] == "noisy"
    assert rows[-1]["parameters"] == rows[-1]["tiles_seen"] == ""


@pytest.mark.parametrize("name", sorted(RENDERERS))
@pytest.mark.parametrize("files", [{}, FIGURE], ids=["no figure", "figure"])
def test_every_renderer_takes_any_results(name: str, files: dict[str, bytes]) -> None:
    for found in (results(), only(), hostile()):
        assert RENDERERS[name](found, files).encode("utf-8")


RECORDS = [{"step": 10 * i, "valid_mse": 0.02 / i, "train_loss": 1e6 / i, "seconds": i} for i in range(1, 9)]


def test_the_learning_curve_is_a_picture() -> None:
    drawn = learning_curves({"a run": RECORDS}, "png", {"tuned blur": 0.0028})
    with Image.open(io.BytesIO(drawn)) as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
    assert drawn != learning_curves({"a run": RECORDS[:-1]}, "png", {"tuned blur": 0.0028})
    assert drawn != learning_curves({"a run": RECORDS}, "png")


def test_the_learning_curve_as_svg_names_what_it_shows() -> None:
    svg = learning_curves({"one": RECORDS, "two": RECORDS[2:]}, "svg", {"tuned blur": 0.0028}).decode()
    assert all(word in svg for word in ("one", "two", "tuned blur", "steps"))
    by_tiles = [{**record, "tiles": record["step"] * 64} for record in RECORDS]
    assert "tiles seen" in learning_curves({"one": by_tiles}, "svg").decode()
    assert "tiles seen" not in svg


@pytest.mark.parametrize("series", [{}, {"empty": []}, {"nan": [{"step": 1, "valid_mse": math.nan}]}])
def test_the_learning_curve_of_nothing_is_an_empty_picture(series: dict[str, list[dict[str, float]]]) -> None:
    assert learning_curves(series, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("label", ["_hidden", "$x^{", "line\nbreak", "\udcff", "{0}%s"])
def test_the_learning_curve_shows_any_label(label: str) -> None:
    svg = learning_curves({label: RECORDS, "b": RECORDS[:3]}, "svg", {label: 0.004}).decode()
    words = {"$x^{": "$x^{", "line\nbreak": "line\\nbreak", "\udcff": "\\udcff"}.get(label, label)
    assert svg.count(f"{words}</text>") == 2  # in the legend and at the line


def test_an_unknown_picture_format_is_refused() -> None:
    with pytest.raises(UnknownName, match="'bmp'"):
        learning_curves({"a run": RECORDS}, "bmp")
