"""The formats that are mostly known for moving: WebP and GIF."""

from __future__ import annotations

from unnoise.codecs.gif import GIF
from unnoise.codecs.webp import WEBP

__all__ = ["GIF", "WEBP"]
