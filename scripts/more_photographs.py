"""Further photographs for the bundled networks, as tiles for `unnoise prepare --train-only`.

    python scripts/more_photographs.py --photos FOLDER --codec-corpus FOLDER --budgie FOLDER -o FOLDER

--photos is what photos/ is for scripts/train_networks. --codec-corpus is a checkout of the repository
imazen/codec-corpus, of which the photographs of CLIC 2025 (Unsplash licence) and the validation part of CID22
(CC BY-SA 4.0) are taken. --budgie is a checkout of BuddiesOfBudgie/budgie-backgrounds (CC0).

Photographs in a camera's own size are soft, and smaller ones sharp, so those of CLIC come in both, and most
of the others in half their size. Tiles go to detailed/, or to smooth/ where there is hardly any detail.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

SIDE = 256
LEAST_DETAIL = 5.5
"""Mean size of the Laplacian of brightness, 8-bit units: half of the tiles of CLIC have less."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Photograph:
    """A file, and what is made of it.

    Attributes:
        path: where it lies.
        name: what its tiles are called after; that of the file in ``photos``, where it is there, too.
        folder: for its tiles.
        half: whether it is shrunk to half its size.
    """

    path: Path
    name: str
    folder: str
    half: bool = False

    def pixels(self) -> Pixels | None:
        """uint8 (H, W, 3); None where the file is no picture, as one that a checkout has not fetched."""
        picture = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if picture is not None and self.half:
            picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        return None if picture is None else np.asarray(picture, np.uint8)


def photographs(photos: Path, corpus: Path, budgie: Path) -> Iterator[Photograph]:
    for path in sorted(photos.glob("*.webp")):
        yield Photograph(path, path.stem, "photos-half", half=True)
    for path in sorted((corpus / "clic2025").rglob("*.png")):
        name = f"clic2025_{path.stem[:16]}"  # as in photos/, which has a part of each
        yield Photograph(path, name, "clic2025")
        yield Photograph(path, name, "clic2025-half", half=True)
    for path in sorted((corpus / "CID22" / "CID22-512" / "validation").glob("*.png")):
        yield Photograph(path, f"cid22_{path.stem}", "cid22")
    for path in sorted((budgie / "backgrounds").glob("*.jpg")):
        yield Photograph(path, f"budgie_{path.stem}", "budgie-half", half=True)


def tiles(pixels: Pixels) -> Iterator[tuple[int, int, Pixels]]:
    """Squares side by side from the upper left corner on: left, top, pixels."""
    height, width = pixels.shape[:2]
    for top in range(0, height - SIDE + 1, SIDE):
        for left in range(0, width - SIDE + 1, SIDE):
            yield left, top, pixels[top : top + SIDE, left : left + SIDE]


def detail(tile: Pixels) -> float:
    brightness = tile.mean(axis=2, dtype=np.float32)
    return float(np.abs(cv2.Laplacian(brightness, cv2.CV_32F)[1:-1, 1:-1]).mean())


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("photos", "codec-corpus", "budgie"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for photograph in photographs(options.photos, options.codec_corpus, options.budgie):
        pixels = photograph.pixels()
        if pixels is None:
            print(f"no picture: {photograph.path}")
            continue
        for left, top, tile in tiles(pixels):
            kind = "detailed" if detail(tile) >= LEAST_DETAIL else "smooth"
            folder = options.output / kind / photograph.folder
            folder.mkdir(parents=True, exist_ok=True)
            # `prepare` takes what stands before two numbers for the photograph's name.
            cv2.imwrite(str(folder / f"{photograph.name}_{left}_{top}.png"), tile)
            counts[kind] += 1
    print(", ".join(f"{kind}: {count} tiles of {SIDE} pixels" for kind, count in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
