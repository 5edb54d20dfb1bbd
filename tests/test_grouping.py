from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise.errors import ConfigError
from unnoise.grouping import (
    SPLITS,
    WHOLE_FILE,
    assign_splits,
    explained,
    group_files,
    join_identical,
)

SAME_PHOTOGRAPH = [
    # the article's kinds of data
    (
        "Rissbilder_for_Florian_9S6A2783_485_963_3019_3865.jpg",
        "Rissbilder_for_Florian_9S6A2783_510_849_2889_2880.jpg",
    ),
    ("CRACK500_20160328_151657_641_361.jpg", "CRACK500_20160328_151657_1_1.jpg"),
    ("CRACK500_IMG_2931_1945_969.jpg", "CRACK500_IMG_2931_1_1.jpg"),
    ("GAPS384_train_0516_541_641.jpg", "GAPS384_train_0516_1_1.jpg"),
    ("Volker_DSC01623_0_0_1824_2736.jpg", "Volker_DSC01623_134_615_1595_1694.jpg"),
    ("noncrack_noncrack_concrete_wall_18_1.jpg", "noncrack_noncrack_concrete_wall_18_19.jpg"),
    ("DeepCrack_7Q3A9064-17.jpg", "DeepCrack_7Q3A9064-20.jpg"),
    ("DeepCrack_IMG_6522-1.jpg", "DeepCrack_IMG_6522-12.jpg"),
    ("Eugen_Muller_9360_7_26_751_632.jpg", "Eugen_Muller_9360_99_556_518_594.jpg"),
    ("Sylvie_Chambon_Im_noGT_ESAR_33a.jpg", "Sylvie_Chambon_Im_noGT_ESAR_33b.jpg"),
    # general rules
    ("wall_0_56.png", "wall_112_0.png"),
    ("wall-x0-y56.png", "wall-x112-y0.png"),
    ("wall_row1_col2.png", "wall_row10_col0.png"),
    ("wall_tile_3.png", "wall_tile_11.png"),
    ("wall_jpg.rf.0123456789abcdef0123456789abcdef.jpg", "wall_jpg.rf.fedcba9876543210fedcba9876543210.jpg"),
    # another folder, another format, another case: still that photograph
    ("a/IMG_1234.png", "b/img_1234.JPG"),
    ("a/DSC7_0_0.png", "b/DSC7_0_9.png"),
]

OTHER_PHOTOGRAPHS = [
    (
        "Rissbilder_for_Florian_9S6A2783_485_963_3019_3865.jpg",
        "Rissbilder_for_Florian_9S6A2785_485_963_3019_3865.jpg",
    ),
    ("CRACK500_20160328_151657_641_361.jpg", "CRACK500_20160328_151201_641_361.jpg"),
    ("CRACK500_IMG_2931_1945_969.jpg", "CRACK500_IMG_2932_1945_969.jpg"),
    ("GAPS384_train_0516_541_641.jpg", "GAPS384_train_0559_541_641.jpg"),
    ("noncrack_noncrack_concrete_wall_18_1.jpg", "noncrack_noncrack_concrete_wall_13_1.jpg"),
    ("DeepCrack_11215-15.jpg", "DeepCrack_11218-15.jpg"),
    ("Eugen_Muller_8980a_123_420_527_438.jpg", "Eugen_Muller_9360_123_420_527_438.jpg"),
    ("Sylvie_Chambon_022.jpg", "Sylvie_Chambon_039.jpg"),
    ("cracktree200_6201.jpg", "cracktree200_6258.jpg"),
    ("IMG_20240101_120000.jpg", "IMG_20240101_120007.jpg"),
    ("holiday-001.jpg", "holiday-002.jpg"),
]


def groups_of(*names: str) -> set[str]:
    return set(group_files(names, None).group.values())


@pytest.mark.parametrize(("one", "other"), SAME_PHOTOGRAPH)
def test_crops_of_one_photograph_share_a_group(one: str, other: str) -> None:
    assert len(groups_of(one, other)) == 1


@pytest.mark.parametrize(("one", "other"), OTHER_PHOTOGRAPHS)
def test_different_photographs_are_told_apart(one: str, other: str) -> None:
    assert len(groups_of(one, other)) == 2


def test_an_expression_names_the_photograph_from_the_whole_path() -> None:
    names = ["site1/a_x.png", "site1/b_x.png", "site2/a_x.png", "readme.png"]
    grouping = group_files(names, r"^(site\d)/")
    assert dict(grouping.group) == {names[0]: "site1", names[1]: "site1", names[2]: "site2"}
    assert grouping.unnamed == ("readme.png",)


def test_an_optional_group_that_took_no_part_names_nothing() -> None:
    assert group_files(["a.png"], r"(x)?a").unnamed == ("a.png",)


@pytest.mark.parametrize("expression", ["IMG_[0-9]+", "(unclosed"])
def test_an_expression_without_a_group_is_refused(expression: str) -> None:
    with pytest.raises(ConfigError) as caught:
        group_files(["IMG_1.png"], expression)
    assert "--group-by" in str(caught.value)
    assert caught.value.hint


def test_what_each_pattern_explains_is_counted() -> None:
    names = ["a_0_0.png", "a_0_9.png", "b_0_0.png", "c.png"]
    grouping = group_files(names, None)
    rows = [(row.pattern, row.files, row.photographs) for row in explained(grouping.pattern, grouping.group)]
    assert rows == [("name_x_y", 3, 2), (WHOLE_FILE, 1, 1)]


def test_identical_files_join_their_groups_across_chains() -> None:
    group = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c", "d1": "d"}
    digest = {"a1": "0", "a2": "1", "b1": "1", "b2": "2", "c1": "2", "d1": "3"}
    joined = join_identical(group, digest)
    assert joined == {"a1": "a", "a2": "a", "b1": "a", "b2": "a", "c1": "a", "d1": "d"}


photographs = st.dictionaries(
    st.text("abcXYZ019_-ü", min_size=1, max_size=8), st.integers(1, 500), min_size=3, max_size=60
)
shares = st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (0.98, 0.01, 0.01), (0.05, 0.05, 0.9)])


@given(photographs, shares, st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_split_is_whole_and_does_not_depend_on_the_order(
    tiles: dict[str, int], parts: tuple[float, float, float], seed: int, chance: random.Random
) -> None:
    splits = assign_splits(tiles, parts, seed)
    assert set(splits) == set(tiles)
    assert set(splits.values()) == set(SPLITS)
    shuffled = list(tiles.items())
    chance.shuffle(shuffled)
    assert assign_splits(dict(shuffled), parts, seed) == splits


names = st.builds(
    "{}_{}_{}".format,
    st.sampled_from(["9S6A1", "9S6A2", "DSC3", "DSC4", "wall"]),
    st.integers(0, 9999),
    st.integers(0, 9999),
)


@given(st.sets(names, min_size=4, max_size=80), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_no_photograph_is_in_two_splits(stems: set[str], seed: int) -> None:
    sources = [f"{stem}.png" for stem in stems]
    group = group_files(sources, None).group
    # every seventh file is a byte-identical copy of its neighbour
    digest = {source: str(index - (index % 7 == 6)) for index, source in enumerate(sorted(sources))}
    joined = join_identical(group, digest)
    tiles: dict[str, int] = {}
    for source in sources:
        tiles[joined[source]] = tiles.get(joined[source], 0) + 64
    splits = assign_splits(tiles, (0.7, 0.15, 0.15), seed)
    seen: dict[str, str] = {}
    for source in sources:
        split = splits[joined[source]]
        for key in (source.split("_")[0], digest[source]):  # the camera's name of the photograph, the bytes
            assert seen.setdefault(key, split) == split


def test_the_shares_are_kept_and_the_seed_counts() -> None:
    tiles = {f"p{index}": 64 for index in range(300)}
    first, second = (assign_splits(tiles, (0.7, 0.15, 0.15), seed) for seed in (0, 1))
    assert [sum(split == name for split in first.values()) for name in SPLITS] == [210, 45, 45]
    assert first != second
