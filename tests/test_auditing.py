"""Audits of folders: what is flagged, what cannot be judged, and the page about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result
from skimage import data

from unnoise import cli
from unnoise.auditing import audit_all
from unnoise.auditpage import audit_text, record, render_audit, verdict
from unnoise.filters import parse


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy pictures; well denoised ones, which are the clean ones; and blurred ones."""
    folder = tmp_path_factory.mktemp("audit")
    for name, clean in (("cat", data.chelsea()[:260, :300]), ("cup", data.coffee()[:260, 200:500])):
        noisy = clean + np.random.default_rng(len(name)).normal(0, 15, clean.shape)
        pictures = {
            "noisy": np.clip(np.rint(noisy), 0, 255).astype(np.uint8),
            "good": clean,
            "blurred": cv2.GaussianBlur(clean, (15, 15), 4),
        }
        for kind, pixels in pictures.items():
            (folder / kind).mkdir(exist_ok=True)
            PIL.Image.fromarray(pixels).save(folder / kind / f"{name}.png")
    PIL.Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(folder / "noisy" / "small.png")
    PIL.Image.fromarray(np.ones((50, 50, 3), np.uint8)).save(folder / "good" / "small.png")
    return folder


def files(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.iterdir())}


def test_damage_is_flagged_and_noise_removal_is_not(place: Path) -> None:
    methods = {kind: files(place / kind) for kind in ("good", "blurred")}
    found = audit_all(files(place / "noisy"), {**methods, "median": parse("median:ksize=9")}, workers=1)
    flags = {(each.picture, each.method): each.flags for each in found}
    assert not flags["cat.png", "good"]
    assert not flags["cup.png", "good"]
    for method in ("blurred", "median"):
        assert flags["cat.png", method]
        assert flags["cup.png", method]
    reasons = {(each.picture, each.method): each.reason for each in found if each.audit is None}
    assert "128 × 128 pixels at least" in reasons["small.png", "good"]
    assert reasons["small.png", "blurred"] == "no result of it in blurred"
    assert verdict(found).startswith(
        "Look at 4 of 6 results: 0 of 2 by good, 2 of 2 by blurred and 2 of 2 by median."
    )
    text = audit_text(found)
    assert "cat.png, blurred\n  removed" in text
    assert "small.png, good: an audit needs" in text
    assert json.loads(json.dumps(record(found[0])))["picture"] == "cat.png"


def test_what_was_not_changed_is_not_judged(place: Path) -> None:
    found = audit_all(files(place / "noisy"), {"same": files(place / "noisy")}, workers=1)
    assert {each.reason for each in found} == {"nothing was changed"}
    assert verdict(found) == "No picture could be judged."


def test_the_page_shows_what_was_flagged(place: Path) -> None:
    found = audit_all(files(place / "noisy"), {"<b>": files(place / "blurred")}, workers=1)
    page = render_audit(found, command="unnoise evaluate --audit <x>", versions={"unnoise": "1"})
    assert page.count('<article class="sample"') == 2
    assert "&lt;b&gt;" in page
    assert "<b></small>" not in page
    assert "Look at 2 of 2 results" in page
    assert "1 picture could not be judged" in page
    assert re.search(r"unnoise evaluate --audit &lt;x&gt;", page)


def test_nothing_suspicious_is_said(place: Path) -> None:
    found = audit_all(files(place / "noisy"), {"good": files(place / "good")}, workers=1)
    assert verdict(found) == "Nothing suspicious: all 2 were changed as noise removal changes a picture."
    assert "Nothing suspicious" in render_audit(found, command="", versions={})
    assert verdict([each for each in found if each.audit is None]) == "No picture could be judged."


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def test_the_command_writes_a_page_and_records(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["evaluate", "--audit", place / "noisy", "--denoised", place / "blurred", "-o", out]
    result = invoke(*command)
    assert result.exit_code == 1  # one picture could not be judged
    assert "Look at 2 of 2 results" in result.stdout
    assert result.stdout.splitlines()[-1] == str(out / "audit.html")
    lines = [json.loads(line) for line in (out / "audit.jsonl").read_text().splitlines()]
    assert {line["picture"] for line in lines} == {"cat.png", "cup.png", "small.png"}
    assert "holds audit.html, audit.jsonl already" in invoke(*command).stderr
    assert invoke(*command, "--overwrite", "--json").exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--audit", "NOISY"),
        ("--audit", "NOISY", "--denoised", "GOOD", "--with", "median:ksize=3"),
        ("--denoised", "GOOD", "--with", "median:ksize=3"),
        ("--audit", "NOISY", "--with", "median:ksize=3", "--noise", "gaussian:25"),
    ],
)
def test_what_makes_no_audit_is_refused(arguments: tuple[str, ...], place: Path) -> None:
    places = {"NOISY": place / "noisy", "GOOD": place / "good"}
    result = invoke("evaluate", *(places.get(each, each) for each in arguments))
    assert result.exit_code == 2
    assert "--audit FOLDER takes --with, or --denoised FOLDER" in result.stderr
