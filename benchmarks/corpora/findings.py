"""What a run found, and how it is told."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from expectations import BAD, GOOD


@dataclass
class Item:
    """A file of a corpus, and all that is found out about it."""

    corpus: str
    path: str
    kind: str
    staged: str
    expectation: str | None
    status: str = ""
    error: str = ""
    hint: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak: int = 0
    alone: bool = False
    denoised: bool = False
    declined: str = ""
    faults: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)


def pattern(message: str) -> str:
    """A message without what belongs to one file."""
    message = re.sub(r"b?'[^']*'|b?\"[^\"]*\"|\(it begins with .*?\)", "…", message)
    message = re.sub(r"floats from .* to .*, expected", "floats from N to N, expected", message)
    message = re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "…", message)
    message = re.sub(r"\b(?:0x)?\d[\d,.]*\b", "N", message)
    return re.sub(r"\bwrong checksum in \S+", "wrong checksum in a chunk", message)[:110]


def readable(item: Item) -> bool:
    return bool(item.seen.get("readable"))


def disagreements(items: Iterable[Item]) -> dict[str, list[Item]]:
    """What the corpora and the other readers see otherwise."""
    found: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        done = item.status == "done"
        if item.expectation == BAD and done:
            found["the corpus says refused, unnoise reads"].append(item)
        if item.expectation == GOOD and not done and item.kind:
            found["the corpus says read, unnoise refuses"].append(item)
        if item.kind and readable(item) and not done:
            found["another reader reads, unnoise refuses"].append(item)
        if item.kind and done and not readable(item):
            found["unnoise reads, the other readers refuse"].append(item)
    return found


def table(items: Sequence[Item], doubles: dict[str, int]) -> str:
    head = (
        "corpus", "files", "same", "read", "refused", "other", "faults", "as expected", "not", "exact",
        "differ", "explained", "slowest s", "peak MB",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [head]
    for corpus in [*dict.fromkeys(item.corpus for item in items), "all"]:
        own = [item for item in items if corpus in (item.corpus, "all")]
        done = [item for item in own if item.status == "done"]
        known = [item for item in own if item.expectation and (item.kind or item.expectation == BAD)]
        right = sum((item.status == "done") is (item.expectation == GOOD) for item in known)
        rows.append(
            tuple(
                str(value)
                for value in (
                    corpus,
                    len(own),
                    doubles[corpus] if corpus != "all" else sum(doubles.values()),
                    len(done),
                    sum(item.status == "failed" for item in own),
                    sum(item.status not in ("done", "failed") for item in own),
                    sum(bool(item.faults) for item in own),
                    right,
                    len(known) - right,
                    sum(not item.differences and bool(item.seen.get("compared")) for item in done),
                    sum(bool(item.differences) for item in done),
                    sum(bool(item.explained) for item in done),
                    f"{max((item.seconds for item in own), default=0):.1f}",
                    f"{max((item.peak for item in own), default=0) / 1e6:.0f}",
                )
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows
    )


def report(items: Sequence[Item], doubles: dict[str, int], most: int) -> None:
    print(table(items, doubles))
    reasons = Counter((item.kind or "-", pattern(item.error)) for item in items if item.status == "failed")
    print("\nRefused, by reason")
    for (kind, reason), count in reasons.most_common():
        print(f"{count:6d}  {kind:5s} {reason}")
    reasons = Counter((item.kind, pattern(item.declined)) for item in items if item.declined)
    print("\nRead, but not stored in the own format, by reason")
    for (kind, reason), count in reasons.most_common():
        print(f"{count:6d}  {kind:5s} {reason}")
    for title, group in disagreements(items).items():
        print(f"\n{title}: {len(group)}")
        for (kind, reason), count in Counter(
            (each.kind, pattern(each.error)) for each in group
        ).most_common():
            example = next(each.path for each in group if (each.kind, pattern(each.error)) == (kind, reason))
            print(f"{count:6d}  {kind:5s} {reason or 'read'}  e.g. {example}")
    for title, name in (
        ("Faults", "faults"),
        ("Differences", "differences"),
        ("Explained differences", "explained"),
    ):
        counts: dict[tuple[str, str], list[Item]] = defaultdict(list)
        for item in items:
            for text in dict.fromkeys(map(pattern, getattr(item, name))):
                counts[item.kind, text].append(item)
        print(f"\n{title}: {sum(bool(getattr(item, name)) for item in items)} files")
        for (kind, text), group in sorted(counts.items(), key=lambda each: -len(each[1])):
            print(f"{len(group):6d}  {kind:5s} {text}")
            for each in group[:most]:
                told = next(line for line in getattr(each, name) if pattern(line) == text)
                print(f"               {each.path} ({each.staged}): {told[:300]}")
