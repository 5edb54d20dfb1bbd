"""An audit for people: a page with what was flagged first, and a table for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unnoise.audit import LIMITS
from unnoise.auditing import MOST, Audited, worst_first
from unnoise.gallery import Layer, article, gallery
from unnoise.markup import NONE, cell, note, number_cell, row, table, text
from unnoise.page import document
from unnoise.scores import plain
from unnoise.words import count, listed

_TITLES = ("sigma", *LIMITS)


def verdict(found: Sequence[Audited]) -> str:
    """How many pictures are flagged, in a sentence."""
    judged = [each for each in found if each.audit]
    flagged = [each for each in judged if each.flags]
    if not judged:
        return "No picture could be judged."
    if not flagged:
        whole = "it was" if len(judged) == 1 else f"all {len(judged):,} were"
        return f"Nothing suspicious: {whole} changed as noise removal changes a picture."
    by_method = []
    for method in dict.fromkeys(each.method for each in judged):
        mine = [each for each in judged if each.method == method]
        by_method.append(f"{sum(bool(each.flags) for each in mine):,} of {len(mine):,} by {method}")
    where = f": {listed(by_method)}" if len(by_method) > 1 else ""
    return (
        f"Look at {len(flagged):,} of {count(len(judged), 'result')}{where}. More may have been taken away "
        "there than noise, or something was added."
    )


def record(audited: Audited) -> dict[str, Any]:
    """An audited picture as JSON's plain values."""
    measures = plain(audited.audit) if audited.audit else {"flags": []}
    return {"picture": audited.picture, "method": audited.method, "reason": audited.reason, **measures}


def audit_text(found: Sequence[Audited]) -> str:
    """For a terminal: how many are flagged, which and why, and what could not be judged."""
    lines = [verdict(found)]
    for each in worst_first(found):
        if each.flags:
            lines += ["", f"{each.picture}, {each.method}", *(f"  {flag}" for flag in each.flags)]
    unread = [each for each in found if each.audit is None]
    if unread:
        lines += ["", "not judged:", *(f"  {each.picture}, {each.method}: {each.reason}" for each in unread)]
    return "\n".join(lines)


def render_audit(found: Sequence[Audited], *, command: str, versions: Mapping[str, str]) -> str:
    """The audit as one HTML page that needs nothing else.

    Args:
        found: all that was audited.
        command: the command line that gives it again.
        versions: package -> version.
    """
    first = worst_first(found)
    flagged = [each for each in first if each.flags]
    unread = [each for each in found if each.audit is None]
    top = (
        '<header><h1>Did denoising take away more than noise?</h1><p class="by">unnoise evaluate --audit</p>'
        f'<p class="lead">{text(verdict(found))}</p>'
        + note([f"{count(len(unread), 'picture')} could not be judged: see the table." if unread else None])
        + "</header>"
    )
    shown = [each for each in (flagged or first) if each.audit][:MOST]
    sections = (
        ("pictures", "Look for yourself" if not flagged else "What was flagged", _pictures(shown, flagged)),
        ("table", "Every picture", _table(first)),
        ("words", "What the measures mean", _words()),
        ("reproduce", "Getting this again", _reproduce(command, versions)),
    )
    return document("Did denoising take away more than noise?", top, sections)


def _pictures(shown: Sequence[Audited], flagged: Sequence[Audited]) -> str:
    if not shown:
        return ""
    left = len(flagged) - len(shown)
    more = f" {left:,} more are in the table." if left > 0 else ""
    articles = [
        article(
            index,
            each.picture,
            [Layer("noisy", "noisy", each.noisy), Layer("denoised", "denoised", each.denoised)],
            about=each.method,
            role=" · ".join(each.flags) or "nothing suspicious",
            brief=f"{each.method}: {_brief(each) or 'nothing suspicious'}",
        )
        for index, each in enumerate(shown)
    ]
    return (
        "<p>Shown is the part of each picture that changed most. What was taken away should look like noise: "
        f"no outlines, no writing, no cracks.{more}</p>{gallery(articles, 'denoised')}"
    )


def _table(found: Sequence[Audited]) -> str:
    titles = ["picture", *(LIMITS[name].title if name in LIMITS else name for name in _TITLES), "flags"]
    heads = "".join(
        f'<th scope="col" data-column="{index}"{" class=text" * (index in (0, len(titles) - 1))}>{title}</th>'
        for index, title in enumerate(titles)
    )
    rows = []
    for each in found:
        cells = []
        for name in _TITLES:
            value = _measure(each, name)
            shown = f"<b>{_shown(value)}</b>" if _is_beyond(name, value) else _shown(value)
            cells.append(number_cell(shown, value))
        cells.append(cell(text(_brief(each) or each.reason or NONE), "text wrap"))
        rows.append(row(f"{text(each.picture)}<small>{text(each.method)}</small>", cells))
    caption = "The flagged ones first; a click on a heading sorts. Bold: beyond its limit."
    return table(caption, f"<thead><tr>{heads}</tr></thead>", rows, "main sortable")


def _words() -> str:
    items = []
    for limit in LIMITS.values():
        ends = [f"below {limit.low:g}: {limit.below}"] if math.isfinite(limit.low) else []
        ends += [f"above {limit.high:g}: {limit.above}"] if math.isfinite(limit.high) else []
        items.append(f"<dt>{text(limit.title)}</dt><dd>{text('; '.join(ends))}.</dd>")
    return (
        "<p>The residual is the noisy picture less the denoised one: what was taken away. Flat regions are "
        "compared with structured ones of the same brightness, so noise that grows with the light is no "
        "reason for a flag. The limits were set on photographs that were denoised well.</p>"
        f'<dl class="words">{"".join(items)}</dl>'
    )


def _reproduce(command: str, versions: Mapping[str, str]) -> str:
    known = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f'<pre>{text(command)}</pre><dl class="facts"><dt>versions</dt><dd>{text(known)}</dd></dl>'


def _measure(audited: Audited, name: str) -> float | None:
    return None if audited.audit is None else float(getattr(audited.audit, name))


def _brief(audited: Audited) -> str:
    """The flags in few words."""
    words = (flag.partition(":")[0].partition(" (")[0] for flag in audited.flags)
    return "; ".join(dict.fromkeys(words))


def _is_beyond(name: str, value: float | None) -> bool:
    limit = LIMITS.get(name)
    return limit is not None and value is not None and (value < limit.low or value > limit.high)


def _shown(value: float | None) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:.2f}"
