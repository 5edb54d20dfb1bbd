"""How long a frame is shown, and how often it all is: the same words in ``Image.options`` of every format.

``delay`` is in milliseconds, ``loop`` the number of times that it is played in all, 0 for ever. Unlike other
options they have a meaning in every format that moves, and are taken along from one to another.
"""

from __future__ import annotations

from unnoise.codecs.base import Image

FOR_EVER = 0
_DELAY = 100.0
"""Milliseconds for frames that came without a time, such as the pages of a TIFF."""


def timing(delay: float, plays: int) -> dict[str, str]:
    """The options of a frame."""
    return {"delay": f"{delay:.6g}", "loop": str(plays)}


def delay_of(image: Image) -> float:
    """Milliseconds for which a frame is shown."""
    return max(0.0, _number(image, "delay", _DELAY))


def plays_of(image: Image) -> int:
    """How often the animation is played, 0 for ever."""
    return max(0, int(_number(image, "loop", FOR_EVER)))


def _number(image: Image, name: str, default: float) -> float:
    try:
        number = float(image.options[name])
    except (KeyError, ValueError):
        return default
    return number if abs(number) < 2**31 else default
