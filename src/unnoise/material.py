"""The report's sections on what was scored, and on how to get the same numbers again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unnoise import findings
from unnoise.markup import NONE, cell, head, note, row, table, text
from unnoise.records import PicturesInfo
from unnoise.results import Results
from unnoise.tiles import DatasetInfo, Leak
from unnoise.words import count, listed, number

_LISTED = 12
"""Files that are named one by one; the rest is counted."""


def data_section(results: Results) -> str:
    """What was scored, and what was done to it."""
    parts = []
    if results.dataset:
        parts = [*_dataset(results, results.dataset)]
    elif results.pictures:
        parts = [*_pictures(results.pictures)]
    if said := findings.frozen(results):
        on = results.pictures.tuned_on if results.pictures else ""
        lie = f" Those for tuning lie in <code>{text(on)}</code>." if on else ""
        parts.append(f"<p>{text(said)}{lie}</p>")
    return "\n".join(part for part in parts if part)


def _pictures(info: PicturesInfo) -> Iterator[str]:
    noises = [noise for noise in info.noises if noise]
    (w, h), (wide, high) = info.smallest, info.largest
    size = f"{w} × {h}" if (w, h) == (wide, high) else f"{w} × {h} to {wide} × {high}"
    if noises:
        spelt = listed([f"<code>{text(noise)}</code>" for noise in noises])
        each = (
            f"To each, noise was added, {len(noises)} times: {spelt}"
            if len(noises) > 1
            else f"To each, noise was added: {spelt}"
        )
        noise = (
            f"{each}, drawn with seed {info.seed} and the picture's name: "
            f"every "
            "method saw the same noisy pixels. They were "
            + (
                "clipped to [0, 1], as stored pictures are."
                if info.clipped
                else f"not clipped{_but(noises)}: values beyond black and white stayed, as in most "
                "publications. What a method makes of them, and the noisy picture itself, are clipped before "
                "they are scored."
            )
        )
    else:
        noise = (
            "The noise is real: beside every noisy picture lies a clean one of the same scene, and "
            "methods are "
            "scored by how near they come to it."
        )
    one = "" if info.photographs == info.pictures else f" of {count(info.photographs, 'photograph')}"
    yield (
        f"<p>{count(info.pictures, 'picture')}{one} from <code>{text(info.where)}</code>, {size} "
        f"pixels, scored "
        f"whole. {noise}</p>"
    )
    yield _leaks(info.leaks)


def _but(noises: Sequence[str]) -> str:
    stored = any(word in noise for noise in noises for word in ("realistic", "jpeg"))
    return ", but for noise that stores as a camera or JPEG does" if stored else ""


def _dataset(results: Results, info: DatasetInfo) -> Iterator[str]:
    photographs, tiles = sum(info.photographs.values()), sum(info.counts.values())
    scored, available = max((method.tiles for method in results.methods), default=0), info.counts["test"]
    which = f"all {scored:,}" if scored == available else f"{scored:,} of the {available:,}"
    stored = "without loss" if info.format == "png" else f"as {text(info.format.upper())}"
    yield (
        f"<p>{count(info.files, 'file')} of {count(photographs, 'photograph')} were cut into {tiles:,} "
        f"tiles of {info.tile} × {info.tile} pixels. The noise is <code>{text(info.noise)}</code> "
        f"(strength on the 0–255 scale), and the noisy tiles were stored {stored}. A photograph belongs to "
        "one split alone, as far as file names tell what is of one photograph: then no network trained here "
        "is tested on a photograph that it learned from. Settings were chosen "
        f"on the validation split. Then {which} test tiles were scored, with the same noisy pixels for "
        "every method.</p>"
    )
    yield note([info.stored_noise.warning])
    uses = {
        "train": "networks learn from it",
        "valid": "settings are chosen on it",
        "test": "scores come from it",
    }
    rows = [
        row(name, [cell(f"{info.photographs[name]:,}"), cell(f"{info.counts[name]:,}"), cell(use, "text")])
        for name, use in uses.items()
    ]
    asked = ", ".join(f"{part:g}" for part in info.split)
    split = table(
        f"Split by photograph ({asked} asked for, seed {info.seed})",
        head(["split", "photographs", "tiles", "use"], (0, 3)),
        rows,
    )
    rows = [
        row(f"<code>{text(m.pattern)}</code>", [cell(f"{m.files:,}"), cell(f"{m.photographs:,}")])
        for m in info.grouping
    ]
    grouping = table(
        f"What named the photograph in a file's name (<code>{text(info.group_by)}</code>)",
        head(["naming pattern", "files", "photographs"]),
        rows,
    )
    yield f'<div class="pair">{split}{grouping}</div>'
    if info.leaks:
        yield _leaks(info.leaks)
    elif info.leaks_checked:
        yield "<p>Files of different splits were compared pixel by pixel: no two show the same.</p>"
    else:
        yield (
            "<p>Whether files of different splits show the same under other names was not looked for: names "
            "alone decided what is one photograph.</p>"
        )
    if info.skipped:
        items = [f"<code>{text(each.source)}</code>: {text(each.reason)}" for each in info.skipped]
        yield f"<p>{count(len(info.skipped), 'file')} could not be used:</p>{_some(items)}"
    else:
        yield "<p>No file had to be skipped.</p>"


def _leaks(leaks: Sequence[Leak]) -> str:
    if not leaks:
        return ""
    items = [
        f"<code>{text(leak.first)}</code> ({text(leak.splits[0])}) and <code>{text(leak.second)}</code> "
        f"({text(leak.splits[1])}): {text(leak.kind)}, {leak.overlap:.0%} of the smaller one"
        for leak in leaks
    ]
    return (
        f"<p>{count(len(leaks), 'pair')} of files show the same on both sides, which was allowed here: "
        f"the scores "
        f"of what learned from them are inflated.</p>{_some(items)}"
    )


def _some(items: Sequence[str]) -> str:
    more = len(items) - _LISTED
    shown = [*items[:_LISTED], *([f"and {more:,} more, named in results.json"] if more > 0 else [])]
    return f"<ul>{''.join(f'<li>{item}</li>' for item in shown)}</ul>"


def reproduce_section(results: Results) -> str:
    """The command, and all that the numbers depend on."""
    items = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts(results))
    limits = (
        "Splits, noise and filters come out the same on any machine. A training that is limited by minutes "
        "gets as far as the machine is fast, so other machines give other networks."
        if results.program == "experiment"
        else "Noise and scores come out the same on any machine, to a few digits; times and memory are "
        "this machine's."
    )
    return (
        f'<pre>{text(results.command)}</pre><dl class="facts">{items}</dl>\n<p class="soft">Every number of '
        f"this page is in results.json beside it. {limits}</p>"
    )


def facts(results: Results) -> Iterator[tuple[str, str]]:
    """What the numbers depend on: name and value, plain text."""
    yield "written", results.created
    if results.program == "experiment":
        budget = results.budget_minutes
        yield "preset", results.preset
        yield "time granted", "none" if budget is None else f"{number(budget)} minutes"
    yield "time taken", f"{number(results.elapsed_minutes)} minutes"
    yield "seeds", ", ".join(f"{name} {seed}" for name, seed in results.seeds.items()) or NONE
    if results.dataset_hash:
        yield "data set", f"SHA-256 of its manifest: {results.dataset_hash}"
    if results.pictures:
        yield "pictures", f"SHA-256 of names and contents: {results.pictures.sha256}"
        if results.pictures.tuned_sha256:
            yield "tuned on", f"SHA-256 of names and contents: {results.pictures.tuned_sha256}"
    for method in results.methods:
        if method.source:
            yield method.label, method.source
    yield from results.machine.items()
    if results.timed:
        yield "cost", results.timed
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    yield "versions", versions or NONE
