"""What the corpora themselves say about their files: which must be read, and which must be refused.

Only what their documentation or own tests state is here. A file with no entry has no expectation: a fuzzed
file, for example, may be either.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

GOOD, BAD = "read", "refused"

EXPECTATIONS: tuple[tuple[str, str | None], ...] = (
    # PngSuite: "x: corrupted files"; all others are valid
    ("*/tests/pngsuite/x*.png", BAD),
    ("*/tests/pngsuite/*.png", GOOD),
    ("*/png/PngSuite/x*.png", BAD),
    ("*/png/PngSuite/*.png", GOOD),
    # image-rs: bad_images.rs wants an error for each of these; reference_images.rs reads the others
    ("image-rs/image-rs+image/tests/bad/*", BAD),
    ("image-rs/image-rs+image/tests/images/*", GOOD),
    ("image-rs/image-rs+image-png/tests/pngsuite-extra/*", GOOD),
    ("image-rs/image-rs+image-tiff/tests/images/*", GOOD),
    ("image-rs/image-rs+image-webp/tests/images/*", GOOD),
    ("image-rs/image-rs+jpeg-decoder/tests/reftest/images/*", GOOD),
    # Pillow: names that its tests expect an error for
    ("pillow/*/Tests/images/bmp/g/*", GOOD),
    ("pillow/*/Tests/images/bmp/b/*", None),
    ("pillow/*/Tests/images/truncated_image.png", BAD),
    ("pillow/*/Tests/images/truncated_end_chunk.png", BAD),
    ("pillow/*/Tests/images/truncated_jpeg.jpg", BAD),
    ("pillow/*/Tests/images/truncated_app14.jpg", GOOD),
    ("pillow/*/Tests/images/broken.png", BAD),
    ("pillow/*/Tests/images/broken_data_stream.png", BAD),
    ("pillow/*/Tests/images/png_decompression_dos.png", None),
    ("pillow/*/Tests/images/seek_too_large.tif", BAD),
    ("pillow/*/Tests/images/string_dimension.tiff", BAD),
    ("pillow/*/Tests/images/hopper*.png", GOOD),
    ("pillow/*/Tests/images/hopper*.webp", GOOD),
    ("pillow/*/Tests/images/hopper*.gif", GOOD),
    ("pillow/*/Tests/images/hopper*.bmp", GOOD),
    ("pillow/*/Tests/images/hopper*.tif", GOOD),
    ("pillow/*/Tests/images/hopper*.jpg", GOOD),
    ("pillow/*/Tests/images/hopper*.ppm", GOOD),
    ("pillow/*/Tests/images/apng/*", None),
    # orientation samples: all are valid
    ("orientation/*", GOOD),
    # conformance files
    ("formats/webmproject+libwebp-test-data/vp80*.webp", GOOD),
    ("formats/webmproject+libwebp-test-data/lossless*.webp", GOOD),
    ("formats/vadz+libtiff/test/images/*", GOOD),
    ("formats/link-u+avif-sample-images/*.avif", GOOD),
    ("formats/nokiatech+heif_conformance/*.heic", GOOD),
)
"""Pattern of a path, corpus first -> what is expected of a reader of the format; the first fit counts."""


def expected(path: str) -> str | None:
    """What a corpus says of one of its files."""
    for pattern, verdict in EXPECTATIONS:
        if fnmatchcase(path, pattern):
            return verdict
    return None
