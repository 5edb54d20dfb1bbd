"""Colour profiles made by hand: of just the tags that a test needs, and of a printer that there's not."""

from __future__ import annotations

import itertools
import struct

import numpy as np

IDENTITY = b"curv" + bytes(8)


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256)) + bytes(2)


def parametric(value: float, kind: int = 0, *more: float) -> bytes:
    values = [round(v * 65536) for v in (value, *more)]
    return b"para" + bytes(4) + struct.pack(f">HH{len(values)}i", kind, 0, *values)


def sampled(values: np.ndarray) -> bytes:
    body = np.clip(np.rint(values), 0, 65535).astype(">u2").tobytes()
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + body + bytes(-len(body) % 4)


def profile(space: bytes, tags: dict[bytes, bytes], device: bytes = b"mntr") -> bytes:
    """A profile of just these tags (ICC.1:2010, 7)."""
    at = 128 + 4 + 12 * len(tags)
    table, content = b"", b""
    for name, body in tags.items():
        padded = body + bytes(-len(body) % 4)
        table += struct.pack(">4sII", name, at + len(content), len(body))
        content += padded
    size = at + len(content)
    header = struct.pack(
        ">I4sI4s4s4s", size, bytes(4), 0x02400000, device, space, b"Lab " if device == b"prtr" else b"XYZ "
    )
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + content


def rgb(*curves: bytes, **more: bytes) -> bytes:
    names = (b"rTRC", b"gTRC", b"bTRC")
    columns = {
        name: b"XYZ " + bytes(4) + struct.pack(">3i", 1 << 14, 1 << 14, 1 << 14)
        for name in (b"rXYZ", b"gXYZ", b"bXYZ")
    }
    return profile(
        b"RGB ",
        {**columns, **dict(zip(names, curves, strict=True)), **{k.encode(): v for k, v in more.items()}},
    )


def printer() -> bytes:
    """A made-up printer: colours of its own (A2B1), and others for those who want them pleasing (A2B0).

    There's also a way back to inks (B2A0), from which its darkest black is found.
    """
    tags = {
        b"A2B0": _inks_to_lab(0.7),
        b"A2B1": _inks_to_lab(1.0),
        b"B2A0": _table(3, np.repeat([65535, 0], 4)[:, None].repeat(4, axis=1)),
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061),
        b"cprt": b"text" + bytes(4) + b"nobody\0",
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"made\0" + bytes(78),
    }
    return profile(b"CMYK", tags, b"prtr")


def _inks_to_lab(strength: float) -> bytes:
    colours = []
    for cyan, magenta, yellow, black in itertools.product((0.0, strength), repeat=4):
        light = 100 * (1 - 0.4 * cyan) * (1 - 0.45 * magenta) * (1 - 0.1 * yellow) * (1 - 0.85 * black)
        a = (-35 * cyan + 70 * magenta - 5 * yellow) * (1 - 0.9 * black)
        b = (-45 * cyan - 5 * magenta + 90 * yellow) * (1 - 0.9 * black)
        # ICC.1:2010, table 42: the old 16-bit encoding of Lab.
        colours.append((light * 652.8, (a + 128) * 256, (b + 128) * 256))
    return _table(4, np.array(colours))


def _table(inputs: int, nodes: np.ndarray) -> bytes:
    """Values where every input is nothing or all, and straight lines between (lut16Type)."""
    outputs = nodes.shape[1]
    straight = struct.pack(">HH", 0, 65535)
    matrix = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    head = b"mft2" + bytes(4) + bytes((inputs, outputs, 2, 0)) + matrix + struct.pack(">HH", 2, 2)
    return head + straight * inputs + nodes.round().astype(">u2").tobytes() + straight * outputs
