"""List networks, show a card: `unnoise models`."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unnoise.console import Command, answer, answer_lines, as_json, emit, json_option, note

if TYPE_CHECKING:
    from unnoise.card import Card

WIDTH = 100
"""Columns of a terminal that everything fits into."""

_WRAP = textwrap.TextWrapper(WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
_HEADS = ("name", "size", "parameters", "GMAC/256²", "noise", "licence", "scores")
_WIDEST = (20, 9, 13, 9, 20, 14, WIDTH)


@click.command(cls=Command)
@click.argument("name", required=False)
@json_option
def models(*, name: str | None) -> None:
    """List the networks that come with the program, or show one's card.

    NAME may also be an .onnx file or the folder of a training run.
    """
    from unnoise.card import read_card
    from unnoise.denoiser import bundled, find

    files = bundled() if name is None else {name: find(name)}
    cards = {known: read_card(path) for known, path in files.items()}
    if as_json():
        for known, card in cards.items():
            # Nested, since a card has a schema of its own.
            emit({"name": known, "bytes": files[known].stat().st_size, "card": card.record})
        return
    if name is not None:
        answer_lines(describe(cards[name], files[name]))
        return
    if not cards:
        note("no networks are bundled; train one with 'unnoise train', or give an .onnx file")
        return
    for line in table({known: (card, files[known].stat().st_size) for known, card in cards.items()}):
        answer(line)


# --- the list --------------------------------------------------------------------------------------


def table(networks: Mapping[str, tuple[Card, int]]) -> list[str]:
    """Heads and a line a network, each of at most :data:`WIDTH` columns.

    Args:
        networks: name -> its card and the bytes of its file.
    """
    rows = [
        _HEADS,
        *(
            (
                known,
                _megabytes(size),
                "?" if card.parameters is None else f"{card.parameters:,}",
                _value(card.record.get("gmac_256") or "?"),
                _value(card.training.get("noise", "?")),
                card.licence or "?",
                _one_score(card.scores) or "?",
            )
            for known, (card, size) in networks.items()
        ),
    ]
    cut = [[_cut(cell, most) for cell, most in zip(row, _WIDEST, strict=True)] for row in rows]
    widths = [max(len(row[column]) for row in cut) for column in range(len(_HEADS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cut]
    return [_cut(line.rstrip(), WIDTH) for line in lines]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _cut(text: str, width: int) -> str:
    line = " ".join(text.split(" ")) if len(text) <= width else f"{text[: width - 1].rstrip()}…"
    return line.replace("\n", " ")


def _one_score(scores: Mapping[str, Any]) -> str:
    """The middle one of a group such as a noise level each, which says more than a validation error."""
    for name, value in scores.items():
        if isinstance(value, Mapping) and value:
            inner = list(value.items())[len(value) // 2]
            return f"{name} {inner[0]} {_value(inner[1])}"
    return next((f"{name} {_value(value)}" for name, value in scores.items()), "")


# --- a card ----------------------------------------------------------------------------------------


def describe(card: Card, path: Path) -> str:
    """The card of a network as sections for a person, in lines of at most :data:`WIDTH` columns."""
    lines = [f"{card.name} ({card.architecture})"]
    for title, entries in _sections(card, path):
        if entries:
            lines += ["", title]
            for entry in entries:
                lines += _WRAP.wrap(entry)
    return "\n".join(lines)


def _sections(card: Card, path: Path) -> Iterator[tuple[str, list[str]]]:
    record = card.record
    yield "What it is", [*_texts(record.get("description")), *_build(card)]
    yield "Noise", _noise(card)
    yield "Data", _texts(card.training.get("data"))
    told = {name: value for name, value in card.training.items() if name not in ("noise", "data")}
    yield "Training", [", ".join(_flat(told))] if told else []
    yield "Scores", _flat(card.scores)
    yield "Limits", _texts(record.get("limits"))
    yield "Not for", _texts(record.get("not_for"))
    yield "Licence", [card.licence or "not stated"]
    yield "File", _file(card, path)


def _build(card: Card) -> list[str]:
    facts = []
    if card.parameters is not None:
        facts.append(f"{card.parameters:,} parameters")
    if cost := card.record.get("gmac_256"):
        facts.append(f"{_value(cost)} billion multiply-adds for 256 × 256 pixels")
    if card.bytes_per_pixel is not None:
        facts.append(f"{card.bytes_per_pixel:,.0f} bytes of memory for each pixel of a tile")
    if card.fixed_size is not None:
        facts.append(f"takes tiles of {card.fixed_size} × {card.fixed_size} pixels and no others")
    elif card.whole_image:
        facts.append("must see all of a picture at once")
    else:
        facts.append(f"takes any size; a pixel depends on {card.halo} pixels to each side of it")
    return facts


def _noise(card: Card) -> list[str]:
    trained = f"trained on {_value(card.training['noise'])}" if "noise" in card.training else ""
    if card.sigma_range is None:
        told = "not told how strong the noise is"
    else:
        low, high = card.sigma_range
        told = f"told how strong the noise is, sigma {low:g} to {high:g} of 255, or it is estimated"
    return [", ".join(part for part in (told, trained) if part)]


def _file(card: Card, path: Path) -> list[str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    lines = [str(path), f"{_megabytes(path.stat().st_size)}, SHA-256 {digest}"]
    if promised := card.record.get("weights_sha256"):
        lines.append(f"weights {_value(promised)}, as they are in the file")
    parity = card.record.get("parity")
    if isinstance(parity, Mapping) and "max_abs" in parity:
        lines.append(f"differs from the trained network by {_value(parity['max_abs'])} at most (white is 1)")
    return lines


def _texts(value: Any) -> list[str]:
    """What a card says in sentences: a text, or a list of them."""
    if value is None or value == "":
        return []
    return [_value(each) for each in value] if isinstance(value, list) else [_value(value)]


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(_flat(value))
    if isinstance(value, list):
        return ", ".join(_value(each) for each in value)
    words = {"True": "yes", "False": "no", "None": "none"}
    return words.get(str(value), str(value)) if value is None or isinstance(value, bool) else str(value)


def _flat(values: Mapping[str, Any], before: str = "") -> list[str]:
    """``name value`` for each value in nested tables."""
    found = []
    for key, value in values.items():
        name = f"{before} {key}".strip()
        found += _flat(value, name) if isinstance(value, Mapping) else [f"{name} {_value(value)}"]
    return found
