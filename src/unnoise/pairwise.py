"""Every method against every other on the same photographs: who is better, and where nobody can tell."""

from __future__ import annotations

from unnoise import findings
from unnoise.findings import decibels, plain
from unnoise.markup import as_db, text
from unnoise.records import MethodResult
from unnoise.results import Results
from unnoise.words import count

_LOOKS = {"better": "better", "worse": "worse", "can't tell": "even"}


def pairwise_section(results: Results) -> str:
    """A matrix of paired differences, and one for each group behind a click; empty where there are none."""
    alike = results.contenders()
    methods = [method for method in findings.order(results, "filter", "network") if method in alike]
    if not results.differences or len(methods) < 2:
        return ""
    known = results.differences[0]
    photographs = max(each.photographs for each in results.differences)
    parts = [
        f"<p>Each cell is the mean over {count(photographs, 'photograph')} of the PSNR of the method on the "
        f"left less that of the one above, in dB; below it, the "
        f"{known.confidence * 100:g}\N{NO-BREAK SPACE}% "
        'interval. <span class="mark better">Green</span>: better. '
        '<span class="mark worse">Red</span>: worse. '
        '<span class="mark even">Grey</span>: the interval holds 0, so other photographs could turn it '
        "round.</p>",
        _matrix(results, methods, None, f"All {findings.unit(results)}s"),
    ]
    for index, group in enumerate(results.groups):
        if any(each.group == index for each in results.differences):
            matrix = _matrix(results, methods, index, text(group.label))
            parts.append(f"<details><summary>Only {text(group.label)}</summary>{matrix}</details>")
    return "\n".join(parts)


def _matrix(results: Results, methods: list[MethodResult], group: int | None, caption: str) -> str:
    heads = "".join(
        f'<th scope="col" aria-label="{text(method.label)}" title="{text(method.label)}">{i + 1}</th>'
        for i, method in enumerate(methods)
    )
    rows = []
    for i, method in enumerate(methods):
        score = method.psnr
        if group is not None:
            score = next((each.psnr for each in method.groups if each.group == group), float("nan"))
        cells = "".join(_cell(results, method, other, group) for other in methods)
        rows.append(
            f'<tr><th scope="row"><span class="rank">{i + 1}</span>{text(method.label)}</th>'
            f"<td>{as_db(score)}</td>{cells}</tr>"
        )
    body = "\n".join(rows)
    return (
        '<div class="scroll" tabindex="0" role="group" aria-label="table"><table class="names matrix">'
        f'<caption>{caption}</caption><thead><tr><th scope="col" class="text">method</th>'
        f'<th scope="col">PSNR</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(results: Results, method: MethodResult, other: MethodResult, group: int | None) -> str:
    if method == other:
        return '<td class="self"></td>'
    found = results.difference(method.name, other.name, group)
    if found is None:
        return "<td>–</td>"
    return (
        f'<td class="{_LOOKS[found.outcome]}">{decibels(found.mean)}'
        f"<small>{plain(found.low)}…{plain(found.high)}</small></td>"
    )
