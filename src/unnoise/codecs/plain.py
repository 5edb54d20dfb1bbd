"""The formats that hold hardly more than pixels."""

from __future__ import annotations

from unnoise.codecs.bmp import BMP
from unnoise.codecs.pnm import PNM

__all__ = ["BMP", "PNM"]
