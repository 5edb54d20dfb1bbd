"""List networks, show a card: `unnoise models`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from unnoise.console import Command, answer, as_json, emit, json_option, note


def _flat(values: Mapping[str, Any], before: str = "") -> list[str]:
    """``name value`` for each number in nested tables."""
    found = []
    for key, value in values.items():
        name = f"{before} {key}".strip()
        if isinstance(value, Mapping):
            found += _flat(value, name)
        else:
            found.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    return found


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
        answer(json.dumps(cards[name].record, indent=2, ensure_ascii=False))
        return
    rows = [
        (
            known,
            f"{files[known].stat().st_size / 1e6:.1f} MB",
            "?" if card.parameters is None else f"{card.parameters:,}",
            str(card.training.get("noise", "?")),
            ", ".join(_flat(card.scores)) or "?",
            card.licence or "?",
        )
        for known, card in cards.items()
    ]
    if not rows:
        note("no networks are bundled; train one with 'unnoise train', or give an .onnx file")
        return
    rows.insert(0, ("name", "size", "parameters", "trained on noise", "scores", "licence"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        answer("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
