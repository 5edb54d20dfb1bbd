"""What can be tried out: formats, networks, backends, and a picture that is denoised."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from unnoise.checkup import FAULT, OK, WARNING, Finding
from unnoise.errors import UnnoiseError

FloatArray = npt.NDArray[np.float32]

SIGMA = 25.0
SIDE = 384
GAIN = 3.0
"""dB that a network must gain on a picture as simple as ours."""
BOUND = 0.1
"""Steps of 1/255 by which tiles may differ from the whole picture."""


def main() -> None:
    """Print all findings, a line of JSON each."""
    for section, make in (
        ("formats", formats),
        ("networks", networks),
        ("backends", backends),
        ("self-test", denoising),
    ):
        for finding in _safely(section, make):
            print(json.dumps(asdict(finding)), flush=True)


def _safely(section: str, make: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from make()
    except UnnoiseError as error:
        yield Finding(section, section, str(error), FAULT, error.hint)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        yield Finding(section, section, told, FAULT, "This is a fault in unnoise; report it.")


def formats() -> Iterator[Finding]:
    """Which formats are read and written here: a small picture goes through each."""
    from unnoise import images
    from unnoise.codecs.base import Image
    from unnoise.formats import CODECS

    grey = np.linspace(0, 255, 32 * 32).reshape(32, 32, 1)
    for name, codec in CODECS.items():
        # A format that has no bytes is one that only floats or bits can be stored in.
        dtype = np.dtype("uint8" if "uint8" in codec.dtypes else sorted(codec.dtypes)[0])
        white = float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0
        samples = np.repeat(grey * (white / 255), 3, axis=2).astype(dtype)
        if codec.write is None:
            yield Finding("formats", codec.title, "read")
            continue
        try:
            file = io.BytesIO()
            images.store(file, name, iter([(Image(samples, name, white=white), [samples])]), 1)
            file.seek(0)
            with images.open(file) as document:
                back = next(iter(document)).pixels
        except (UnnoiseError, ImportError) as error:
            hint = getattr(error, "hint", "")
            yield Finding("formats", codec.title, f"cannot be used: {error}", WARNING, hint)
            continue
        off = float(np.abs(back - samples / white).max())
        right = off < 0.1
        advice = "" if right else "Install the packages again."
        value = "read and written" if right else f"a picture comes back {off:.2f} different"
        yield Finding("formats", codec.title, value, OK if right else FAULT, advice)


def networks() -> Iterator[Finding]:
    """The bundled networks: whether their files are as they were made."""
    from unnoise.card import read_card
    from unnoise.denoiser import bundled

    found = bundled()
    if "default" not in found:
        yield Finding("networks", "default", "is not there", FAULT, "Install unnoise again.")
    for name, path in found.items():
        try:
            card = read_card(path)
        except UnnoiseError as error:
            yield Finding("networks", name, str(error), FAULT, "Install unnoise again.")
            continue
        promised = str(card.record.get("weights_sha256", ""))
        whole = f"weights {promised[:12]}… as promised" if promised else "its card promises no hash"
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        yield Finding("networks", name, f"{card.architecture}, {size}, {whole}")


def backends() -> Iterator[Finding]:
    """What runs networks here."""
    import importlib.util

    import onnxruntime

    providers = ", ".join(onnxruntime.get_available_providers())
    yield Finding("backends", "onnxruntime", f"{onnxruntime.__version__}: {providers}")
    if importlib.util.find_spec("openvino") is not None:
        import openvino

        devices = ", ".join(openvino.Core().available_devices)
        version = openvino.get_version().split("-")[0]
        able = "CPU" in devices
        advice = "" if able else "It cannot be used; leave --backend out."
        yield Finding("backends", "openvino", f"{version}: {devices}", OK if able else WARNING, advice)


def denoising() -> Iterator[Finding]:
    """A picture with noise through the default network: how well, how fast, and whether tiles show."""
    from unnoise.denoiser import load
    from unnoise.metrics import psnr

    clean = picture(SIDE)
    noise = np.random.default_rng(0).normal(0, SIGMA / 255, clean.shape)
    noisy = (clean + noise).astype(np.float32)
    network = load("default")
    whole = network(noisy, SIGMA)  # the first pass prepares much
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        network(noisy, SIGMA)
        taken.append(time.perf_counter() - begun)
    seconds = min(taken)
    before, after = (psnr(clean, made, data_range=1.0) for made in (noisy, whole))
    good = after >= before + GAIN
    yield Finding(
        "self-test",
        "quality",
        f"PSNR {before:.2f} dB before, {after:.2f} dB after (sigma {SIGMA:g})",
        OK if good else FAULT,
        "" if good else "The network or the runtime does not work right here; report this.",
    )
    speed = clean[:, :, 0].size / seconds / 1e6
    slow = speed < 0.05
    yield Finding(
        "self-test",
        "speed",
        f"{seconds:.3f} s, {speed:.2f} megapixels a second with {network.threads} threads",
        WARNING if slow else OK,
        "Something else may keep the processor busy." if slow else "",
    )
    margin = 2 * network.card.halo + 64
    apart = float(np.abs(network(noisy, SIGMA, tile=margin) - whole).max() * 255)
    same = apart <= BOUND
    yield Finding(
        "self-test",
        "tiles",
        f"differ from the whole picture by {apart:.4f} of 1/255 at most",
        OK if same else FAULT,
        "" if same else "The network's card is wrong about its halo; take another network.",
    )


def picture(side: int) -> FloatArray:
    """A clean picture of gradients, rings, edges and a fine pattern, float32 (side, side, 3)."""
    y, x = np.mgrid[0:side, 0:side] / side
    radius = np.hypot(x - 0.5, y - 0.5)
    rings = 0.5 + 0.25 * np.sin(60 * radius**1.5)
    edges = np.where((x + 0.3 * y) % 0.25 < 0.125, 0.2, 0.0)
    fine = np.where(y > 0.7, 0.08 * np.sign(np.sin(x * side / 3)), 0.0)
    planes = [rings * (0.6 + 0.4 * x) + edges, rings * (1 - 0.4 * y) + fine, 0.3 + 0.5 * x * y + edges - fine]
    pixels: FloatArray = np.clip(np.stack(planes, axis=2), 0, 1).astype(np.float32)
    return pixels
