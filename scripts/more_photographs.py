"""Further photographs for the bundled networks, for `unnoise prepare --train-only`.

    python scripts/more_photographs.py --photos FOLDER --codec-corpus FOLDER --budgie FOLDER -o FOLDER

--photos is what photos/ is for scripts/train_networks. --codec-corpus is a checkout of the repository
imazen/codec-corpus, of which the photographs of CLIC 2025 (Unsplash licence) and the validation part of CID22
(CC BY-SA 4.0) are taken. --budgie is a checkout of BuddiesOfBudgie/budgie-backgrounds (CC0).

Photographs in a camera's own size are soft, and smaller ones sharp, so those of CLIC come in both, and most
of the others in half their size. A checkout without the files that the repository keeps elsewhere (Git LFS)
has 41 of the 62 of CLIC: with those the bundled network was made.
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

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Photograph:
    """A file, and what is made of it.

    Attributes:
        path: where it lies.
        name: of the file that is made; photographs that are in photos/, too, are called the same there.
        folder: of that file.
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
        name = f"clic2025_{path.stem[:16]}"  # as in photos/, which has parts of some
        yield Photograph(path, name, "clic2025")
        yield Photograph(path, name, "clic2025-half", half=True)
    for path in sorted((corpus / "CID22" / "CID22-512" / "validation").glob("*.png")):
        yield Photograph(path, f"cid22_{path.stem}", "cid22")
    for path in sorted((budgie / "backgrounds").glob("*.jpg")):
        yield Photograph(path, f"budgie_{path.stem}", "budgie-half", half=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("photos", "codec-corpus", "budgie"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    made: Counter[str] = Counter()
    for photograph in photographs(options.photos, options.codec_corpus, options.budgie):
        pixels = photograph.pixels()
        if pixels is None:
            print(f"no picture: {photograph.path}")
            continue
        folder = options.output / photograph.folder
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{photograph.name}.png"
        if not cv2.imwrite(str(file), pixels):
            raise OSError(f"{file} cannot be written")
        made[photograph.folder] += 1
    print(", ".join(f"{folder}: {count}" for folder, count in made.items()))
    if len(made) < 5:
        print("some folder has no photographs: are the paths right?")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
