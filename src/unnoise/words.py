"""Quantities and lists as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def count(number: int, noun: str) -> str:
    """``1 photograph``, ``1,200 photographs``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def number(value: float) -> str:
    """A quantity with as many digits as a reader can use: 0.42, 4.2, 42, 4,200."""
    if not math.isfinite(value):
        return "–"
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def times(ratio: float) -> str:
    """``0.49 ×``, never broken over two lines."""
    return f"{ratio:.2f}\N{NO-BREAK SPACE}×" if math.isfinite(ratio) else "–"


def duration(seconds: float) -> str:
    """``0.3 seconds``, ``12 seconds``, ``4 minutes``: as exact as a reader can use it."""
    if seconds >= 120:
        return f"{number(float(f'{seconds / 60:.2g}'))} minutes"
    shown = number(float(f"{seconds:.2g}"))
    return f"{shown} second" + ("" if shown == "1" else "s")


def spelt(value: int) -> str:
    """``three``; figures beyond ten."""
    return _NUMBERS[value] if value < len(_NUMBERS) else f"{value:,}"


def listed(words: Sequence[str]) -> str:
    """``one``, ``one and two``, ``one, two and three``."""
    if len(words) < 3:
        return " and ".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
