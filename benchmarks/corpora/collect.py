"""Take the picture files of public corpora out of clones of their repositories, into a folder for run.py.

Nothing is downloaded: --clones is a folder that holds clones (with a work tree, bare, or only .git), each
called name, owner/name or owner+name; what isn't there is left out with a word. Only files that a commit
holds are taken, never what lies about in a work tree. The pictures keep their owners' licences.

    python benchmarks/corpora/collect.py --clones CLONES --out CORPORA [CORPUS...]

writes CORPORA/corpus/owner+name/path and CORPORA/corpus/origin.json: repositories, commits, counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from kinds import words

LARGEST = 64_000_000
"""Larger files (bytes) are left out and counted: a corpus is for odd files, not for large ones."""

NO_PICTURES = words(
    """.txt .md .rst .json .jsonl .py .rs .c .h .cc .cpp .go .js .html .css .toml .yml .yaml .lock .sh .xml
    .xmp .bz2 .gz .zip .tar .cpio .mp3 .mp4 .mov .avi .m4a .m4v .3gp .3g2 .mts .m2ts .m2v .265 .y4m .npy .npz
    .bsdf .swf .webm .fits .ttf .otf .pcf .bdf .pil .icc .icm .license .diff .patch .mat .csv .nii .php .rb
    .readme .in .cmake .sql .elf .pcap .der .rtf .var .build .list .map .gpl .ggr .lut .p7"""
)
"""Endings of what lies beside the pictures."""

NO_PICTURE_NAMES = words(
    """readme license copying copyright version notes reproducing repository root entries genimages
    makefile gemfile"""
)

CAMERAS = words(
    """arw avif bmp cr2 cr3 crw dcr dng gif heic heif ico jpg jpg2000 jxr nef netpbm orf pcx pef png psd raf
    rw2 rwl srw tga tif webp x3f"""
)
"""Folders of metadata-extractor's samples that hold pictures."""


@dataclass(frozen=True)
class Source:
    """Folders of a repository; those in ``without`` are left out."""

    repository: str
    folders: tuple[str, ...] = ("",)
    without: tuple[str, ...] = ()


CORPORA: dict[str, tuple[Source, ...]] = {
    "pngsuite": (Source("image-rs/image-png", ("tests/pngsuite/",)),),
    "pillow": (Source("python-pillow/Pillow", ("Tests/images/",)),),
    "image-rs": (
        Source("image-rs/image", ("tests/images/", "tests/bad/", "tests/regression/", "fuzz-afl/in/")),
        Source("image-rs/image-png", ("tests/", "fuzz/corpus/"), ("tests/pngsuite/",)),
        Source("image-rs/image-tiff", ("tests/",)),
        Source("image-rs/image-gif", ("tests/", "benches/samples/")),
        Source("image-rs/image-webp", ("tests/images/",)),
        Source("image-rs/jpeg-decoder", ("tests/", "fuzz-afl/in/")),
    ),
    "orientation": (
        Source("recurser/exif-orientation-examples"),
        Source("rasteiner/exif-orientation-test-images"),
        Source("ianare/exif-samples", ("jpg/orientation/",)),
        Source("libvips/libvips", ("test/test-suite/images/rotation/",)),
    ),
    "exif": (
        Source("ianare/exif-samples", ("jpg/", "tiff/", "heic/"), ("jpg/orientation/",)),
        Source(
            "drewnoakes/metadata-extractor-images",
            tuple(f"{kind}/" for kind in CAMERAS),
        ),
    ),
    "formats": (
        Source("vadz/libtiff", ("test/images/",)),
        Source(
            "safelibs/port-libtiff",
            tuple(f"original/{each}/" for each in ("test/images", "doc/images", "doc/specification")),
        ),
        Source("golang/image", ("testdata/", "tiff/testdata/", "ccitt/testdata/")),
        Source("GeoTIFF/test-data", ("files/",)),
        Source("webmproject/libwebp-test-data"),
        Source("link-u/avif-sample-images"),
        Source("AOMediaCodec/libavif", ("tests/data/",)),
        Source("bigcat88/pillow_heif", ("tests/images/",)),
        Source("nokiatech/heif_conformance"),
        Source("imageio/test_images"),
        Source("libvips/libvips", ("test/test-suite/images/",), ("test/test-suite/images/rotation/",)),
        Source("lovell/sharp", ("test/fixtures/",), ("test/fixtures/expected/",)),
        Source("imazen/codec-corpus", ("image-rs/", "jxl/", "zune/test-images/")),
    ),
    "fuzz": (
        Source("google/AFL", ("testcases/images/", "docs/vuln_samples/")),
        Source(
            "dvyukov/go-fuzz-corpus",
            tuple(f"{kind}/corpus/" for kind in words("bmp gif jpeg png tiff webp")),
        ),
        Source(
            "strongcourage/fuzzing-corpus",
            tuple(f"{kind}/" for kind in words("bmp gif ico jp2 jpc jpg pgm png pnm ppm tiff webp")),
        ),
        Source("libjpeg-turbo/seed-corpora"),
        Source("etemesi254/zune-image", ("fuzz-corpus/jpeg/", "fuzz-corpus/png/")),
        Source("randy408/libspng", ("tests/crashers/",)),
    ),
}


@dataclass
class Origin:
    """What was taken from one repository."""

    repository: str
    commit: str
    taken: int = 0
    too_large: int = 0
    not_in_the_clone: int = 0


def clone_of(repository: str, clones: Path) -> Path | None:
    """The git directory of a repository, or None."""
    owner, name = repository.split("/")
    for folder in (clones / f"{owner}+{name}", clones / owner / name, clones / name):
        for each in (folder, folder / ".git", folder / "repo", folder / "repo" / ".git"):
            if (each / "HEAD").is_file():
                return each
    return None


def git(directory: Path, *arguments: str) -> bytes:
    command = ["git", "--git-dir", os.fspath(directory), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, env=os.environ | {"GIT_NO_LAZY_FETCH": "1"}
    ).stdout


def wanted(path: str, source: Source) -> bool:
    if not path.startswith(source.folders) or (source.without and path.startswith(source.without)):
        return False
    name = path.rsplit("/", 1)[-1].lower()
    stem, dot, ending = name.rpartition(".")
    if "/metadata/" in path or name.startswith(".") or {name, stem} & set(NO_PICTURE_NAMES):
        return False
    return dot + ending not in NO_PICTURES


def take(source: Source, clones: Path, target: Path) -> Origin | None:
    """Write a source's pictures below ``target``."""
    directory = clone_of(source.repository, clones)
    if directory is None:
        return None
    origin = Origin(source.repository, git(directory, "rev-parse", "HEAD").decode().strip())
    listing = git(directory, "ls-tree", "-r", "-z", "HEAD").decode("utf-8", "surrogateescape").split("\0")
    with subprocess.Popen(
        ["git", "--git-dir", os.fspath(directory), "cat-file", "--batch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"GIT_NO_LAZY_FETCH": "1"},
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        for line in filter(None, listing):
            about, path = line.split("\t", 1)
            mode, kind, digest = about.split()
            if kind != "blob" or mode == "120000" or not wanted(path, source):
                continue
            reader.stdin.write(f"{digest}\n".encode())
            reader.stdin.flush()
            answer = reader.stdout.readline().split()
            if answer[-1] == b"missing":
                origin.not_in_the_clone += 1
                continue
            content = reader.stdout.read(int(answer[2]))
            reader.stdout.read(1)
            if content.startswith(b"version https://git-lfs") or b"git-annex" in content[:60]:
                origin.not_in_the_clone += 1
            elif len(content) > LARGEST:
                origin.too_large += 1
            else:
                file = target / source.repository.replace("/", "+") / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                origin.taken += 1
        reader.stdin.close()
    return origin


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpora", nargs="*", metavar="CORPUS", help=f"of {', '.join(CORPORA)}; default: all")
    parser.add_argument("--clones", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for name in options.corpora or CORPORA:
        if name not in CORPORA:
            parser.error(f"no corpus {name!r}; there are {', '.join(CORPORA)}")
        target = options.out / name
        shutil.rmtree(target, ignore_errors=True)
        origins = []
        for source in CORPORA[name]:
            origin = take(source, options.clones, target)
            if origin is None:
                print(f"{name}: no clone of {source.repository} in {options.clones}: left out")
                continue
            origins.append(origin)
            print(
                f"{name}: {origin.repository} at {origin.commit[:10]}: {origin.taken} files"
                f" ({origin.too_large} too large, {origin.not_in_the_clone} not in the clone)"
            )
        if origins:
            text = json.dumps([asdict(each) for each in origins], indent=1)
            (target / "origin.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
