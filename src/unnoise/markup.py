"""Pieces of a page: escaped text, numbers as the article writes them, tables, notes."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

NONE = "–"
NO_BREAK = "\N{NO-BREAK SPACE}"


def printable(value: object) -> str:
    """Text in one line that can be shown and encoded; what else there is, as in file names, is escaped."""
    return "".join(
        c if c.isprintable() or c == NO_BREAK else c.encode("unicode_escape").decode() for c in str(value)
    )


def text(value: object) -> str:
    """Any text, safe between tags and in quoted attributes."""
    return html.escape(printable(value))


def settings(value: str) -> str:
    """``ksize=7,sigma=0`` as HTML that may break after commas."""
    return text(value).replace(",", ",<wbr>")


def as_mse(value: float) -> str:
    """``0.001375``."""
    return f"{value:.6f}" if math.isfinite(value) else NONE


def as_db(value: float) -> str:
    """``28.62``; a PSNR is infinite where nothing differs."""
    return "∞" if value == math.inf else f"{value:.2f}" if math.isfinite(value) else NONE


def as_ssim(value: float) -> str:
    """``0.8123``."""
    return f"{value:.4f}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else NONE


def as_few(value: float) -> str:
    """A time or an amount of memory with two digits that count: ``0.0031``, ``0.42``, ``12``, ``1,240``."""
    if not math.isfinite(value):
        return NONE
    if value >= 100:
        return f"{value:,.0f}"
    digits = 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(digits, 0)}f}"


def as_whole(value: float | None) -> str:
    """``220,523,994``, or a dash for nothing."""
    return NONE if value is None else f"{value:,.0f}"


def css(name: str) -> str:
    """A class attribute, or nothing."""
    return f' class="{name}"' if name else ""


def cell(shown: str, kind: str = "") -> str:
    """A cell of a table; ``shown`` is HTML."""
    return f"<td{css(kind)}>{shown}</td>"


def number_cell(shown: str, value: float | None, kind: str = "") -> str:
    """A cell of a sortable column, sorted by ``value``; None comes last."""
    return f'<td{css(kind)} data-value="{"NaN" if value is None else _spelt(value)}">{shown}</td>'


def _spelt(value: float) -> str:
    """A number as JavaScript reads it."""
    return repr(value).replace("inf", "Infinity").replace("nan", "NaN")


def head(titles: Sequence[str], text_columns: Iterable[int] = (0,)) -> str:
    """A table's head in one row; ``titles`` are HTML, ``text_columns`` are set to the left."""
    left = set(text_columns)
    cells = (f'<th scope="col"{css("text" * (i in left))}>{title}</th>' for i, title in enumerate(titles))
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def row(title: str, cells: Iterable[str], kind: str = "") -> str:
    """A row of a table; ``title`` is HTML."""
    return f'<tr{css(kind)}><th scope="row">{title}</th>{"".join(cells)}</tr>'


def table(caption: str, thead: str, rows: Iterable[str], kind: str = "names") -> str:
    """A table that scrolls sideways where it does not fit; all arguments are HTML."""
    body = "\n".join(rows)
    return (
        '<div class="scroll" tabindex="0" role="group" aria-label="table">'
        f"<table{css(kind)}><caption>{caption}</caption>{thead}\n<tbody>{body}</tbody></table></div>\n"
    )


def note(sentences: Iterable[str | None]) -> str:
    """What must not be missed; plain text, escaped here. Empty where there is nothing to say."""
    paragraphs = "".join(f"<p>{text(sentence)}</p>" for sentence in sentences if sentence)
    return f'<div class="note" role="note">{paragraphs}</div>\n' if paragraphs else ""
