"""How much memory there is for pictures."""

from __future__ import annotations

import re
from pathlib import Path

from unnoise.errors import ConfigError

SHARE = 4
"""One part in so many of what is free is taken when nobody says otherwise."""

_UNKNOWN = 4 << 30
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def available() -> int:
    """Bytes that this process may still take: free on the machine, and within its container's limit."""
    free = [_UNKNOWN]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")] or free
    except (OSError, ValueError, IndexError):  # no Linux
        pass
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            bounds = (int(Path("/sys/fs/cgroup", name).read_text()) for name in (limit, used))
            free.append(max(0, next(bounds) - next(bounds)))
        except (OSError, ValueError):  # none, or "max"
            continue
    return min(free)


def default_budget() -> int:
    """Bytes for pictures when nobody says otherwise: a quarter of what is free."""
    return available() // SHARE


def parse_size(text: str) -> int:
    """Bytes in a text such as ``2GB``, ``512MB``, ``1.5GiB`` or ``800000000``.

    Raises:
        ConfigError: no such text, or less than a megabyte.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    size = int(float(match[1]) * _UNITS[match[2] or ""]) if match and (match[2] or "") in _UNITS else 0
    if size < 1_000_000:
        raise ConfigError(f"{text!r} is no amount of memory", hint="Give one such as 512MB or 2GB.")
    return size


def readable(size: float) -> str:
    """``1.5 GB`` for a person."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"
