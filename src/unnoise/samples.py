"""Pictures for a report to show: for each method those on which it gained most and least."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
from tqdm import tqdm

from unnoise.cores import available_cores
from unnoise.errors import ConfigError
from unnoise.files import replacing
from unnoise.filters import Denoiser
from unnoise.journal import Journal, key_of
from unnoise.records import Sample
from unnoise.results import decode
from unnoise.scoring import fingerprint, is_portable
from unnoise.workers import Workers

FloatArray = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

FOLDER = "samples"
SIDE = 256
"""Longest side of what is shown, pixels."""
MOST = 12
"""Pictures that are shown."""
_LOSSLESS = 128
"""Pictures up to this side are stored as PNG, larger ones as JPEG."""
_QUALITY = 93


@dataclass(frozen=True)
class Extremes:
    """Which pictures to show.

    Attributes:
        best_of: picture -> methods that gained most there.
        worst_of: picture -> methods that gained least there.
    """

    best_of: Mapping[int, tuple[int, ...]]
    worst_of: Mapping[int, tuple[int, ...]]

    @property
    def pictures(self) -> list[int]:
        """All of them, rising."""
        return sorted(self.best_of.keys() | self.worst_of.keys())


def extremes(psnr: Doubles, order: Sequence[int], most: int = MOST) -> Extremes:
    """The pictures on which methods gained most and least PSNR over the noisy input.

    Args:
        psnr: (methods, pictures), dB; the first method is the noisy input.
        order: methods, the most interesting first: where there would be too many pictures, theirs are taken.
        most: pictures at most.
    """
    with np.errstate(invalid="ignore"):  # equal pictures have no finite PSNR: nothing to look at there
        gains = psnr - psnr[0]
    low, high = np.where(np.isfinite(gains), gains, np.inf), np.where(np.isfinite(gains), gains, -np.inf)
    best: dict[int, tuple[int, ...]] = {}
    worst: dict[int, tuple[int, ...]] = {}
    for method in order:
        for found, picture in ((worst, int(low[method].argmin())), (best, int(high[method].argmax()))):
            if picture in best or picture in worst or len(best.keys() | worst.keys()) < most:
                found[picture] = (*found.get(picture, ()), method)
    return Extremes(best, worst)


def typical(psnr: Doubles, method: int, groups: npt.NDArray[np.int16] | None) -> list[int]:
    """A picture of each group, or of all, on which a method's gain is in the middle.

    Args:
        psnr: (methods, pictures), dB; the first method is the noisy input.
        method: whose gain.
        groups: (pictures,), or None where there are none.
    """
    with np.errstate(invalid="ignore"):
        gains = psnr[method] - psnr[0]
    kinds = np.zeros(len(gains), np.int16) if groups is None else groups
    found = []
    for kind in np.unique(kinds):
        rows = np.flatnonzero((kinds == kind) & np.isfinite(gains))
        if len(rows):
            found.append(int(rows[np.argsort(gains[rows], kind="stable")[len(rows) // 2]]))
    return found


def window(clean: FloatArray, denoised: FloatArray, side: int = SIDE) -> tuple[int, int, int, int]:
    """Left, top, width and height of the square where the denoised picture errs most.

    Args:
        clean: (H, W, C).
        denoised: the same shape.
        side: of the square in pixels, cut down to the picture.
    """
    height, width = (min(side, length) for length in clean.shape[:2])
    error = ((np.clip(denoised, 0, 1) - clean) ** 2).sum(axis=2)
    total = cv2.boxFilter(
        error.astype(np.float64), -1, (width, height), anchor=(0, 0), normalize=False
    )  # the sum of the square whose upper left pixel it is
    inside = total[: clean.shape[0] - height + 1, : clean.shape[1] - width + 1]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(left), int(top), width, height


def cut(picture: FloatArray, place: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """What is shown of a picture (H, W, C), as 8-bit RGB."""
    left, top, width, height = place
    piece = np.clip(picture[top : top + height, left : left + width], 0, 1) * np.float32(255)
    bytes_ = np.rint(piece).astype(np.uint8)
    return np.repeat(bytes_, 3, axis=2) if bytes_.shape[2] == 1 else bytes_


def encoded(pixels: npt.NDArray[np.uint8]) -> tuple[str, bytes]:
    """Suffix and content of a picture's file: PNG where it is small, else JPEG of all colours (4:4:4)."""
    stream = io.BytesIO()
    if max(pixels.shape[:2]) <= _LOSSLESS:
        PIL.Image.fromarray(pixels).save(stream, "PNG")
        return "png", stream.getvalue()
    PIL.Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    return "jpg", stream.getvalue()


@dataclass(frozen=True)
class Shown:
    """A picture to be shown.

    Attributes:
        name: its name.
        group: its group, or None.
        clean: (H, W, C).
        noisy: the same shape.
        sigma: what methods are told of the noise.
        focus: name of the method whose largest error decides what is cut out.
        psnr: method's name -> PSNR, dB.
        best_of: names of methods.
        worst_of: names of methods.
    """

    name: str
    group: int | None
    clean: FloatArray
    noisy: FloatArray
    sigma: float | None
    focus: str
    psnr: Mapping[str, float]
    best_of: tuple[str, ...]
    worst_of: tuple[str, ...]


def write(
    shown: Sequence[Shown],
    denoisers: Sequence[Mapping[str, Denoiser]],
    folder: Path,
    *,
    journal: Journal,
    workers: int | None = None,
    progress: bool = False,
) -> tuple[Sample, ...]:
    """Denoise pictures by every method, and write what a report shows of them.

    Args:
        shown: the pictures.
        denoisers: for each picture, name -> method.
        folder: the report's; the files go to a folder inside it.
        journal: pictures that it knows, and whose files are there, are not made again.
        workers: processes; None takes one a core.
        progress: draw a progress bar on a terminal.

    Raises:
        ConfigError: a file cannot be written.
    """
    keys = [_key(each, methods) for each, methods in zip(shown, denoisers, strict=True)]
    made: dict[int, Sample] = {}
    for number, key in enumerate(keys):
        kept = journal.get(key) if key else None
        if kept is not None:
            sample: Sample = decode(Sample, kept)
            if all((folder / name).is_file() for name in sample.files.values()):
                made[number] = sample
    left = [number for number in range(len(shown)) if number not in made]
    # Method by method: a process keeps few networks open.
    work = [
        (number, name, denoisers[number][name], shown[number].noisy, shown[number].sigma)
        for name in (denoisers[0] if denoisers else ())
        for number in left
    ]
    denoised: dict[int, dict[str, FloatArray]] = {number: {} for number in left}
    bar = tqdm(
        total=len(work),
        desc="pictures to show",
        unit="image",
        disable=None if progress else True,
        leave=False,
    )

    def take(item: _Work, picture: FloatArray) -> None:
        number, name, *_ = item
        denoised[number][name] = picture
        bar.update()
        if len(denoised[number]) == len(denoisers[number]):
            ordered = {name: denoised[number][name] for name in denoisers[number]}
            made[number] = _write(shown[number], ordered, folder)
            denoised[number].clear()
            if keys[number]:
                journal.keep(keys[number], asdict(made[number]))

    portable = [item for item in work if is_portable(item[2])]
    with bar, Workers(min(workers or available_cores(), len(portable))) as pool:
        for _ in pool.map(
            _denoised, portable, name=lambda item: f"{shown[item[0]].name}, {item[1]}", keep=take
        ):
            pass
        for item in work:
            if not is_portable(item[2]):
                take(item, _denoised(item))
    found = tuple(made[number] for number in range(len(shown)))
    wanted = {name for sample in found for name in sample.files.values()}
    for path in (folder / FOLDER).glob("*-[0-9]*.*"):
        if f"{FOLDER}/{path.name}" not in wanted:
            path.unlink()
    return found


_Work = tuple[int, str, Denoiser, FloatArray, float | None]


def _denoised(item: _Work) -> FloatArray:
    _, _, denoiser, noisy, sigma = item
    return denoiser(noisy, sigma)


def _key(shown: Shown, denoisers: Mapping[str, Denoiser]) -> str:
    told = [fingerprint(each) for each in denoisers.values()]
    if not all(told):
        return ""
    pixels = hashlib.sha256(np.ascontiguousarray(shown.noisy).tobytes()).hexdigest()
    about = [shown.name, str(shown.group), pixels, shown.focus, *shown.best_of, "/", *shown.worst_of]
    return key_of(["sample", *about, *denoisers, *told])


def _write(shown: Shown, denoised: Mapping[str, FloatArray], folder: Path) -> Sample:
    place = window(shown.clean, denoised[shown.focus])
    stem = key_of([shown.name, str(shown.group)])[:8]
    files = {}
    layers = {"clean": shown.clean, "noisy": shown.noisy, **denoised}
    for number, (layer, picture) in enumerate(layers.items()):
        suffix, data = encoded(cut(picture, place))
        path = folder / FOLDER / f"{stem}-{number:02}.{suffix}"
        try:
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise ConfigError(
                f"cannot write {path}: {error.strerror}", hint="Check the room and the rights."
            ) from None
        files[layer] = f"{FOLDER}/{path.name}"
    height, width = shown.clean.shape[:2]
    return Sample(
        picture=shown.name,
        group=shown.group,
        place=place,
        size=(width, height),
        files=files,
        psnr=dict(shown.psnr),
        best_of=shown.best_of,
        worst_of=shown.worst_of,
    )
