"""Which files show the same photograph, and which split each photograph goes to.

Crops of one photograph overlap, or share its light and its grain. When they fall into two splits the
test score measures memory, so a photograph is the unit that is split. Putting two photographs into one
group only coarsens the split, while taking one photograph for two leaks; in doubt the rules join.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import PurePosixPath

from unnoise.errors import ConfigError

SPLITS = ("train", "valid", "test")

#: Crop-naming patterns by name, tried in this order on the file's name without its suffix; the first group
#: names the photograph. Numbers of more than five digits are dates, times or serial numbers, not coordinates.
PATTERNS: dict[str, str] = {
    "roboflow copy": r"^(.+?)(?:_(?:jpe?g|png|bmp|webp|tiff?))?\.rf\.[0-9A-Za-z]{16,}$",
    "concrete wall": r"^(.*concrete_wall_\d+)_\d+$",
    "DeepCrack": r"^(deepcrack_.+)-\d+$",
    "Sylvie Chambon": r"^(sylvie_chambon_.*\d)[a-z]?$",
    "name_x1_y2": r"^(.+?)[ _-](?:x|r|row)[_-]?\d+[ _-](?:y|c|col)[_-]?\d+$",
    "name_tile1": r"^(.+?)[ _-](?:tile|patch|crop|part|piece)[_-]?\d+$",
    "name_x_y_w_h": r"^(.+?)_\d{1,5}_\d{1,5}_\d{1,5}_\d{1,5}$",
    "name_x_y": r"^(.+?)_\d{1,5}_\d{1,5}$",
}

WHOLE_FILE = "one file, one photograph"


@dataclass(frozen=True)
class Matched:
    """How much one naming pattern explains.

    Attributes:
        pattern: a key of :data:`PATTERNS`, :data:`WHOLE_FILE`, or the user's expression.
        files: number of files that it named.
        photographs: number of different photographs among them.
    """

    pattern: str
    files: int
    photographs: int


@dataclass(frozen=True)
class Grouping:
    """The photograph of every file.

    Attributes:
        group: relative path -> name of its photograph.
        pattern: relative path -> what named it: a key of :data:`PATTERNS`, :data:`WHOLE_FILE`, or the user's
            expression.
        unnamed: files for which the user's expression finds no photograph; they are not in ``group``.
    """

    group: Mapping[str, str]
    pattern: Mapping[str, str]
    unnamed: tuple[str, ...]


def compile_group_by(expression: str) -> re.Pattern[str]:
    """Compile a user's expression for the photograph's name.

    Raises:
        ConfigError: it is no regular expression, or has no group.
    """
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise ConfigError(
            f"--group-by {expression!r} is not a regular expression: {error}",
            hint="For example: --group-by '(IMG_[0-9]+)'.",
        ) from None
    if compiled.groups < 1:
        raise ConfigError(
            f"--group-by {expression!r} has no group",
            hint=f"Put the part that names the photograph in parentheses: '({expression})'.",
        )
    return compiled


def group_files(sources: Iterable[str], expression: str | None) -> Grouping:
    """Name the photograph of each file.

    Args:
        sources: relative posix paths.
        expression: regular expression, searched in the whole relative path; its first group names the
            photograph. None tries :data:`PATTERNS` on the file's name, without regard to case or folder: two
            folders may hold crops, or a copy in another format, of one photograph.

    Raises:
        ConfigError: the expression is none, or has no group.
    """
    own = None if expression is None else compile_group_by(expression)
    rules = {name: re.compile(text, re.IGNORECASE) for name, text in PATTERNS.items()}
    group: dict[str, str] = {}
    pattern: dict[str, str] = {}
    unnamed = []
    for source in sorted(sources):
        if own is not None:
            found = own.search(source)
            named = found.group(1) if found else None
            if named is None:
                unnamed.append(source)
                continue
            pattern[source], group[source] = own.pattern, named
        else:
            pattern[source], group[source] = _photograph(PurePosixPath(source).stem, rules)
    return Grouping(group, pattern, tuple(unnamed))


def explained(pattern: Mapping[str, str], group: Mapping[str, str]) -> tuple[Matched, ...]:
    """What each pattern explains among the files of ``group``, in the order of :data:`PATTERNS`.

    Args:
        pattern: relative path -> pattern, as in :class:`Grouping`.
        group: relative path -> photograph.
    """
    order = {name: index for index, name in enumerate((*PATTERNS, WHOLE_FILE))}
    found: dict[str, list[str]] = {}
    for source, photograph in group.items():
        found.setdefault(pattern[source], []).append(photograph)
    return tuple(
        Matched(name, len(photographs), len(set(photographs)))
        for name, photographs in sorted(found.items(), key=lambda item: order.get(item[0], -1))
    )


def _photograph(stem: str, rules: Mapping[str, re.Pattern[str]]) -> tuple[str, str]:
    for name, rule in rules.items():
        if found := rule.match(stem):
            return name, found.group(1).casefold()
    return WHOLE_FILE, stem.casefold()


def join_identical(
    group: Mapping[str, str], digest: Mapping[str, str], alike: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """Join the groups that share a byte-identical file, or of which one holds a file like one of the other.

    Args:
        group: relative path -> photograph.
        digest: relative path -> hash of the file's bytes; only its files are in the result.
        alike: pairs of those files that show the same.

    Returns:
        relative path -> photograph; joined groups take the first of their names in alphabetical order.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.get(name, name)) != name:
            parent[name] = parent.get(above, above)
            name = above
        return name

    def join(one: str, other: str) -> None:
        low, high = sorted((root(one), root(other)))
        parent[high] = low

    first: dict[str, str] = {}
    for source in sorted(digest):
        join(group[source], first.setdefault(digest[source], group[source]))
    for one, other in alike:
        join(group[one], group[other])
    return {source: root(group[source]) for source in digest}


def assign_splits(tiles: Mapping[str, int], shares: Sequence[float], seed: int) -> dict[str, str]:
    """Decide the split of each photograph.

    The photographs are taken in the order of a hash keyed by ``seed``, and each goes to the split that
    lacks most tiles, so the result depends on the names, counts and seed alone, not on their order.

    Args:
        tiles: photograph -> number of its tiles.
        shares: the parts of train, valid and test, adding up to 1.
        seed: another seed gives another split.

    Returns:
        photograph -> split; no split is empty if there are at least three photographs.
    """
    order = sorted(tiles, key=lambda name: (_keyed(seed, name), name))
    lacking = [share * sum(tiles.values()) for share in shares]
    members: list[list[str]] = [[] for _ in shares]
    for name in order:
        most = max(range(len(shares)), key=lambda index: lacking[index])
        members[most].append(name)
        lacking[most] -= tiles[name]
    for empty in [names for names in members if not names]:
        giver = max(members, key=len)
        if len(giver) > 1:
            smallest = min(giver, key=lambda name: (tiles[name], order.index(name)))
            giver.remove(smallest)
            empty.append(smallest)
    return {name: split for split, names in zip(SPLITS, members, strict=True) for name in names}


def split_files(
    grouping: Grouping,
    digest: Mapping[str, str],
    tiles: Mapping[str, int],
    train_only: Set[str],
    shares: Sequence[float],
    seed: int,
    alike: Collection[tuple[str, str]] = (),
    same: Collection[tuple[str, str]] = (),
) -> tuple[dict[str, str], dict[str, str]]:
    """Decide the photograph and the split of each file.

    What only trains has no say in where the others go, and holds nothing of what validates or tests.

    Args:
        grouping: of all files.
        digest: relative path -> hash of the file's bytes, of the files that can be used.
        tiles: relative path -> number of its tiles, of the same.
        train_only: those of them that take no part in the split.
        shares: as for :func:`assign_splits`.
        seed: likewise.
        alike: pairs of files that show the same: what only trains is left out where the other is held out.
        same: those of them that are taken for one photograph.

    Returns:
        relative path -> photograph, without those that only train and belong to what is held out;
        photograph -> split.
    """
    judged = {source: digest[source] for source in digest.keys() - train_only}
    group = join_identical(grouping.group, judged, [pair for pair in same if judged.keys() >= set(pair)])
    counts: dict[str, int] = {}
    for source, name in group.items():
        counts[name] = counts.get(name, 0) + tiles[source]
    splits = assign_splits(counts, shares, seed)
    joined = join_identical(
        grouping.group, digest, [*same, *(pair for pair in alike if train_only & set(pair))]
    )
    held = {joined[source] for source, name in group.items() if splits[name] != "train"}
    known = {joined[source]: name for source, name in group.items()}
    for source in digest.keys() & train_only:
        if joined[source] not in held:
            group[source] = known.get(joined[source], joined[source])
    return group, dict.fromkeys(group.values(), "train") | splits


def _keyed(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{name}".encode("utf-8", "surrogateescape")).digest()
