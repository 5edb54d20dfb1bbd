"""What a file is by its content, told apart without unnoise."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """A list that is easy to read and to add to."""
    return tuple(text.split())


PNM = {b"P%d" % number for number in range(1, 7)}

ENDINGS = {
    "png": (".png", ".apng"),
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "tiff": (".tif", ".tiff"),
    "webp": (".webp",),
    "gif": (".gif",),
    "bmp": (".bmp",),
    "pnm": (".ppm", ".pgm", ".pbm", ".pnm"),
    "avif": (".avif",),
    "heic": (".heic", ".heif"),
}
"""Kind -> file name endings; the first is given to a file that has another."""


def kind_of(data: bytes) -> str:
    """A key of :data:`ENDINGS`, or "" for everything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and data[8:10] != b"CR":
        return "tiff"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if data[:2] == b"BM":
        return "bmp"
    if data[:2] in PNM and data[2:3].isspace():
        return "pnm"
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(int.from_bytes(data[:4]), 64), 4))}
        if brands & {b"avif", b"avis"}:
            return "avif"
        if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}:
            return "heic"
    return ""
