"""Cleans a noisy photograph with the bundled network and lays the result beside the truth.

``make demo`` runs it in an environment that holds the light runtime alone. It makes the noise, so the
clean picture is known and the gain can be measured; the cleaning itself is the plain command
``unnoise denoise``, which is told nothing about the noise.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unnoise import noise
from unnoise.metrics import psnr

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPH = ROOT / "docs" / "samples" / "chelsea.png"
NETWORK = ROOT / "src" / "unnoise" / "networks" / "default.onnx"
NOISE = noise.parse("gaussian:25")
SEED = 0
WINDOW = (60, 0, 348, 288)
"""What the comparison shows of the photograph (left, top, right, bottom): small enough to be seen 1:1."""


def pixels(path: Path) -> noise.FloatArray:
    """The picture in ``path``, float32 (H, W, 3) in [0, 1]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)


def make_noisy(clean: noise.FloatArray, path: Path) -> None:
    """Write a noisy copy of ``clean`` as an 8-bit PNG, clipped as every camera clips."""
    noisy = np.clip(noise.apply(NOISE, clean, SEED), 0, 1)
    Image.fromarray(np.rint(noisy * 255).astype(np.uint8)).save(path)


def denoise(source: Path, target: Path) -> float:
    """Run ``unnoise denoise`` as a person would; the seconds that it took."""
    command = ["unnoise", "denoise", _short(source), "-o", _short(target)]
    print(f"$ {shlex.join(command)}", flush=True)
    began = time.perf_counter()
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run([program, *command[1:]], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"demo: that ended with exit status {done.returncode}, so there is nothing to show.")
    return time.perf_counter() - began


def lay_side_by_side(panels: list[tuple[str, Path]], path: Path) -> None:
    """Write one picture that shows :data:`WINDOW` of each panel under its label."""
    gap, head = 8, 34
    width, height = WINDOW[2] - WINDOW[0], WINDOW[3] - WINDOW[1]
    sheet = Image.new("RGB", (len(panels) * (width + gap) - gap, height + head), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for column, (label, source) in enumerate(panels):
        left = column * (width + gap)
        draw.text((left + 2, head // 2), label, fill="black", font=font, anchor="lm")
        with Image.open(source) as picture:
            sheet.paste(picture.convert("RGB").crop(WINDOW), (left, head))
    sheet.save(path, optimize=True)


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--picture", type=Path, default=ROOT / "demo" / "before_after.png", help="where the comparison goes"
    )
    picture: Path = parser.parse_args().picture.resolve()
    if not NETWORK.is_file():
        sys.exit(
            f"demo: the bundled network {_short(NETWORK)} is missing from this checkout.\n"
            "  It is part of every release; a checkout without it can train one: see docs/train.md."
        )

    folder = ROOT / "demo"
    folder.mkdir(exist_ok=True)
    noisy, denoised = folder / "noisy.png", folder / "denoised.png"
    denoised.unlink(missing_ok=True)  # `unnoise denoise` overwrites nothing unasked

    clean = pixels(PHOTOGRAPH)
    make_noisy(clean, noisy)
    print(f"{_short(PHOTOGRAPH)} with {NOISE.spec} noise: {_short(noisy)}")
    seconds = denoise(noisy, denoised)

    before, after = (float(psnr(clean, pixels(path), data_range=1.0)) for path in (noisy, denoised))
    lay_side_by_side(
        [(f"noisy, {before:.1f} dB", noisy), (f"denoised, {after:.1f} dB", denoised), ("clean", PHOTOGRAPH)],
        picture,
    )
    print(
        f"\nPSNR against the clean photograph: {before:.2f} dB noisy, {after:.2f} dB denoised, "
        f"a gain of {after - before:.2f} dB in {seconds:.1f} s (program start included).\n"
        f"Look at {_short(picture)}; the whole pictures are {_short(noisy)} and {_short(denoised)}."
    )


if __name__ == "__main__":
    main()
