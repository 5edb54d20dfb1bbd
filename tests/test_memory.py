from __future__ import annotations

import pytest

from unnoise.errors import ConfigError
from unnoise.memory import available, default_budget, parse_size, readable


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2_000_000_000),
        ("512MB", 512_000_000),
        ("1.5GiB", 3 << 29),
        (" 800 mb ", 800_000_000),
        ("1000000", 1_000_000),
        ("64M", 64_000_000),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1e9", "2XB", "100kB", "nan", "2TiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no amount of memory"):
        parse_size(text)


def test_the_budget_is_a_quarter_of_what_is_free() -> None:
    assert 0 < default_budget() <= available() / 3.9


def test_sizes_are_written_for_people() -> None:
    assert [readable(size) for size in (999, 1500, 25e6, 1.234e9)] == [
        "999 bytes",
        "1.5 kB",
        "25 MB",
        "1.23 GB",
    ]
