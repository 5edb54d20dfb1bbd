"""The one call: a noisy picture in, the denoised picture out; networks by name, file or run."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from unnoise import images
from unnoise.card import read_card
from unnoise.codecs.base import Frame, Image, Samples
from unnoise.cores import available_cores, given_threads
from unnoise.denoising import Cleaned, Settings, clean
from unnoise.errors import ConfigError, ImageError, NetworkError, UnknownName
from unnoise.files import replacing
from unnoise.formats import format_of
from unnoise.inference import FloatArray, Inference
from unnoise.runtime import AUTO

logger = logging.getLogger(__name__)

NETWORKS = Path(__file__).with_name("networks")
BLIND, TOLD = "default", "gaussian"
"""The bundled networks that are taken where nobody names one: without a noise level, and with one."""
RUN_NETWORK = "network.onnx"
"""The network's name in the folder of a training run."""


# --- networks --------------------------------------------------------------------------------------


def bundled() -> dict[str, Path]:
    """Names and files of the networks that come with the package."""
    return {path.stem: path for path in sorted(NETWORKS.glob("*.onnx"))}


def chosen(network: str | os.PathLike[str] | None, *, told: bool) -> str | os.PathLike[str]:
    """``network``, or the bundled one that fits where none was named: ``told`` the noise level, or blind."""
    if network is not None:
        return network
    return TOLD if told and TOLD in bundled() else BLIND


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """The .onnx file of a bundled network's name, of a path, or of a training run's folder.

    Raises:
        UnknownName: no bundled network has this name and no file either.
        NetworkError: the folder is no training run, or its network is not exported yet.
    """
    known = bundled()
    text = os.fspath(name_or_path)
    if text in known:
        return known[text]
    path = Path(text)
    if path.is_dir():
        if not (path / RUN_NETWORK).is_file():
            raise NetworkError(
                f"{path}: this folder holds no {RUN_NETWORK}",
                hint="Give the folder of a finished run, or export it: unnoise export RUN -o NETWORK.onnx",
            )
        return path / RUN_NETWORK
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise NetworkError(
            f"{path}: there is no such file", hint="Give a name, an .onnx file or a run folder."
        )
    raise UnknownName("network", text, known)


def load(
    name_or_path: str | os.PathLike[str] = "default",
    *,
    threads: int | None = None,
    backend: str = "onnxruntime",
    precision: str = AUTO,
) -> Network:
    """Load a network.

    Args:
        name_or_path: a bundled network's name, an .onnx file, or a training run's folder.
        threads: processor cores to use; None takes all that this process may.
        backend: ``onnxruntime``, or ``openvino`` where that extra is installed.
        precision: ``float32``; ``bfloat16`` with OpenVINO on processors that have it: about 1.8 times as
            fast, and up to two steps of 255 off; ``auto``, bfloat16 where that can be had and the network's
            card says that it loses at most 0.05 dB, else float32.

    Raises:
        NetworkError: the file is refused or cannot be run; the hint says what to do.
        ConfigError: there is no such network, backend or precision.
    """
    path = find(name_or_path)
    card = read_card(path)
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}", hint="Leave it out to use all cores.")
    cores = threads or available_cores(physical=True)
    return Network(path, card, cores, backend=backend, precision=precision)


class Network(Inference):
    """A denoising network, ready to run: a call takes float32 pixels, :meth:`denoise` arrays and files."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its file, in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def fingerprint(self) -> str:
        """What its results depend on, in a line."""
        return f"network {self.digest} {self.backend} {self.precision}"

    def closed(self) -> Closed:
        """The same network, which takes memory only while it is at work."""
        return Closed(
            self.name, self.parameters, self.path, self.digest, self.backend, self.precision, self.fingerprint
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process it uses the threads that are that process's.
        return _reopened, (str(self.path), self.digest, self.backend, self.precision)

    def clean(
        self, image: Image, settings: Settings, on_tile: Callable[[int, int], None] | None = None
    ) -> Cleaned:
        """Denoise a picture of a file; see :func:`unnoise.denoising.clean`."""
        return clean(self, image, settings, on_tile)

    @overload
    def denoise(
        self,
        image: str | os.PathLike[str] | npt.NDArray[Any],
        out: None = None,
        *,
        sigma: float | None = None,
        strength: float = 1.0,
        tile: int | None = None,
        white: float | None = None,
        nan_fill: bool = False,
        overwrite: bool = False,
    ) -> npt.NDArray[Any]: ...

    @overload
    def denoise(
        self,
        image: str | os.PathLike[str] | npt.NDArray[Any],
        out: str | os.PathLike[str],
        *,
        sigma: float | None = None,
        strength: float = 1.0,
        tile: int | None = None,
        white: float | None = None,
        nan_fill: bool = False,
        overwrite: bool = False,
    ) -> None: ...

    def denoise(
        self,
        image: str | os.PathLike[str] | npt.NDArray[Any],
        out: str | os.PathLike[str] | None = None,
        *,
        sigma: float | None = None,
        strength: float = 1.0,
        tile: int | None = None,
        white: float | None = None,
        nan_fill: bool = False,
        overwrite: bool = False,
    ) -> npt.NDArray[Any] | None:
        """Denoise an array or a file.

        Args:
            image: an array, uint8 (0 to 255), uint16 (0 to 65535) or float (about 0 to 1), (H, W) or
                (H, W, C) with C 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha); or a file's path.
            out: a file to write the result to, with all that the file at ``image`` had (profile, EXIF, …).
            sigma: standard deviation of the noise in 8-bit units; None has it estimated.
            strength: 0 gives the picture back, 1 the network's result.
            tile: longest side of the tiles that a large picture is cut into; None is a good one.
            white: the value that shows white, where it is not 255, 65535, for floats 1.
            nan_fill: values that are no numbers are filled from what is around them, not refused.
            overwrite: whether ``out`` may exist.

        Returns:
            an array of the dtype and shape that came in; for a file its samples (H, W) or (H, W, C) with its
            alpha, and (N, …) if it has several frames. None where the result went to ``out``.

        Raises:
            ImageError: the array or file is not of a kind that is taken.
            ConfigError: an argument is out of range, or ``out`` exists.
        """
        settings = Settings(sigma, strength, tile, white=white, nan_fill=nan_fill)
        target = None if out is None else format_of(out)
        if out is not None and os.path.lexists(out) and not overwrite:
            raise ConfigError(f"{out}: exists already", hint="Pass overwrite=True to replace it.")
        if not isinstance(image, str | os.PathLike | np.ndarray):
            raise ImageError(
                f"got {type(image).__name__}, expected an array or the path of a file",
                hint="numpy.asarray makes an array of most pictures; unnoise.read gives one in .samples.",
            )
        if isinstance(image, np.ndarray):
            picture = from_array(image)
            if out is None or target is None:
                return image.copy() if strength == 0 else _like(image, self._whole(picture, settings))
            images.write(out, picture, self._whole(picture, settings))
            return None
        with images.open(image) as document:
            if out is None or target is None:
                made = [_joined(frame, self._whole(frame, settings)) for frame in document]
                return _one(made)
            frames = self._frames(document, target, settings)
            try:
                with replacing(Path(out)) as temporary, temporary.open("w+b") as file:
                    images.store(file, target, frames, document.count)
            except OSError as error:
                raise ImageError(
                    f"{out}: cannot be written: {error.strerror or error}",
                    hint="Check the folder and the space.",
                ) from error
        return None

    def _frames(self, document: images.Document, target: str, settings: Settings) -> Iterator[Frame]:
        for frame in document:
            images.check_target(frame, target, document.count)
            cleaned = self.clean(frame, settings)
            yield frame, cleaned.bands
            for note in cleaned.notes:
                logger.warning("%s", note)

    def _whole(self, image: Image, settings: Settings) -> Samples:
        cleaned = self.clean(image, settings)
        made = np.concatenate(list(cleaned.bands))
        for note in cleaned.notes:
            logger.warning("%s", note)
        return made


@dataclass(frozen=True)
class Closed:
    """A network that is opened where it is called, and few at a time: a Denoiser that costs no memory.

    Attributes:
        name: what the card calls it.
        parameters: how many weights it has.
        path: its file.
        digest: SHA-256 of that.
        backend: what runs it.
        precision: what its arithmetic is done in.
        fingerprint: what its results depend on.
    """

    name: str
    parameters: int | None
    path: Path
    digest: str
    backend: str
    precision: str
    fingerprint: str

    def __call__(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        """See :meth:`unnoise.inference.Inference.__call__`."""
        return self._open()(noisy, sigma)

    def stack(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        """See :meth:`unnoise.inference.Inference.stack`."""
        return self._open().stack(noisy, sigma)

    def _open(self) -> Network:
        return _reopened(str(self.path), self.digest, self.backend, self.precision)


@lru_cache(maxsize=2)
def _reopened(path: str, _digest: str, backend: str, precision: str) -> Network:
    """The network of a file, opened once in a process."""
    return load(path, threads=given_threads(), backend=backend, precision=precision)


@overload
def denoise(
    image: str | os.PathLike[str] | npt.NDArray[Any],
    out: None = None,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    white: float | None = None,
    nan_fill: bool = False,
    network: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> npt.NDArray[Any]: ...


@overload
def denoise(
    image: str | os.PathLike[str] | npt.NDArray[Any],
    out: str | os.PathLike[str],
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    white: float | None = None,
    nan_fill: bool = False,
    network: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> None: ...


def denoise(
    image: str | os.PathLike[str] | npt.NDArray[Any],
    out: str | os.PathLike[str] | None = None,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    white: float | None = None,
    nan_fill: bool = False,
    network: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> npt.NDArray[Any] | None:
    """Denoise an array or a file with a network that is loaded once; see :meth:`Network.denoise`.

    Without a ``network``, ``gaussian`` is taken where ``sigma`` is given, and ``default`` where it is not.
    """
    path = find(chosen(network, told=sigma is not None))
    loaded = _cached(path, path.stat().st_mtime_ns)
    if out is None:
        return loaded.denoise(image, sigma=sigma, strength=strength, white=white, nan_fill=nan_fill)
    loaded.denoise(
        image, out, sigma=sigma, strength=strength, white=white, nan_fill=nan_fill, overwrite=overwrite
    )
    return None


@lru_cache(maxsize=2)
def _cached(path: Path, _changed: int) -> Network:
    return load(path)


# --- arrays ----------------------------------------------------------------------------------------

_TAKEN = "Give uint8 (0-255), uint16 (0-65535) or float (0-1), (H, W) or (H, W, C) with C from 1 to 4."


def from_array(array: npt.NDArray[Any]) -> Image:
    """A picture of an array as :meth:`Network.denoise` takes it.

    Raises:
        ImageError: another dtype or shape; the message says what was got, the hint what is expected.
    """
    shape = array.shape if array.ndim == 3 else (*array.shape, 1)
    if len(shape) != 3 or shape[2] not in (1, 2, 3, 4) or array.size == 0:
        first = len(shape) == 3 and shape[0] in (1, 3, 4)
        hint = "Put the channels last: array.transpose(1, 2, 0)." if first else _TAKEN
        raise ImageError(f"got an array shaped {array.shape}, expected a picture", hint=hint)
    kinds = {"u1": 255.0, "u2": 65535.0, "f2": 1.0, "f4": 1.0, "f8": 1.0}
    kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    if kind not in kinds:
        raise ImageError(f"got an array of {array.dtype}, expected uint8, uint16 or float32", hint=_TAKEN)
    native = array.astype("f4" if kind == "f8" else kind, copy=False).reshape(shape)
    colours = 3 if shape[2] >= 3 else 1
    return Image(
        samples=native[:, :, :colours],
        format="",
        white=kinds[kind],
        alpha=native[:, :, colours] if shape[2] > colours else None,
    )


def _like(array: npt.NDArray[Any], samples: Samples) -> npt.NDArray[Any]:
    """The new samples in the dtype and shape of ``array``, with its alpha."""
    result = array.copy()
    result.reshape(*array.shape[:2], -1)[:, :, : samples.shape[2]] = samples
    return result


def _joined(image: Image, samples: Samples) -> Samples:
    """Samples with their alpha as a last channel."""
    return samples if image.alpha is None else np.dstack([samples, image.alpha[0 : len(samples)]])


def _one(frames: list[Samples]) -> Samples:
    """The only frame, or all of them in one array."""
    if len(frames) == 1:
        return frames[0]
    if len({(frame.shape, frame.dtype) for frame in frames}) > 1:
        raise ImageError(
            "its frames differ in size or kind, so one array cannot hold them", hint="Give an output file."
        )
    return np.stack(frames)
