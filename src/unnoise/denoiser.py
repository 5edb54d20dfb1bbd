"""The one call: noisy picture and sigma in, denoised picture out, through a network on ONNX Runtime.

For all that runs a network file, (H, W, C) pictures become (N, C, H, W) tensors here alone, and here alone
sigma, in 8-bit units everywhere else, is divided by 255. Training feeds its networks itself (``dataset``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unnoise.card import Card, read_card
from unnoise.cores import available_cores
from unnoise.errors import ConfigError, ImageError, NetworkError, UnknownName
from unnoise.estimate import estimate_sigma
from unnoise.formats import format_of
from unnoise.images import check_target, encode, fill_hidden, read, save, to_bytes
from unnoise.noise import SIGMA_SCALE
from unnoise.runtime import Session
from unnoise.tiling import denoise_tiled, round_up, with_border

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

logger = logging.getLogger(__name__)

NETWORKS = Path(__file__).with_name("networks")
RUN_NETWORK = "network.onnx"
"""The network's name in the folder of a training run."""

DEFAULT_CORE = 1024
"""Pixels that a tile adds to the picture, on a side, when nothing else is asked for."""

_SMALLEST_TILE = 64
_STACK = 32
_PLAUSIBLE = (-4.0, 5.0)
"""Float pictures beyond this are not in [0, 1], however noisy."""


# --- networks --------------------------------------------------------------------------------------


def bundled() -> dict[str, Path]:
    """Names and files of the networks that come with the package."""
    return {path.stem: path for path in sorted(NETWORKS.glob("*.onnx"))}


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


def load(name_or_path: str | os.PathLike[str] = "default", *, threads: int | None = None) -> Network:
    """Load a network.

    Args:
        name_or_path: a bundled network's name, an .onnx file, or a training run's folder.
        threads: processor cores to use; None takes all that this process may.

    Raises:
        NetworkError: the file is refused or cannot be run; the hint says what to do.
        UnknownName: there is no such network.
    """
    path = find(name_or_path)
    card = read_card(path)
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}", hint="Leave it out to use all cores.")
    return Network(path, card, threads or available_cores(physical=True))


class Network:
    """A denoising network, ready to run; a Denoiser like every filter.

    Attributes:
        path: its file.
        card: all that is known of it.
        threads: processor cores that it uses.
    """

    def __init__(self, path: Path, card: Card, threads: int) -> None:
        self.path = path
        self.card = card
        self.threads = threads
        self._session = Session(path, card, threads)

    def __repr__(self) -> str:
        return f"Network({self.name!r}, {self.path})"

    @property
    def name(self) -> str:
        """What the card calls it."""
        return self.card.name

    @property
    def parameters(self) -> int | None:
        """How many weights it has."""
        return self.card.parameters

    def tile(self, longest: int | None = None) -> int | None:
        """The longest side of the tiles that pictures are cut into; None if they are not.

        Args:
            longest: what is asked for; None asks for a good one. A network of a fixed size keeps to that.

        Raises:
            ConfigError: tiles are asked for, and the network must see all of a picture at once.
        """
        if self.card.fixed_size is not None:
            return self.card.fixed_size
        if not self.card.whole_image:
            return longest or DEFAULT_CORE + 2 * round_up(self.card.halo, self.card.size_multiple)
        if longest is not None:
            raise ConfigError(
                f"{self.name} must see all of a picture at once; tiles would change its result",
                hint="Leave the tile out, or take another network.",
            )
        return None

    def level(self, pixels: FloatArray, sigma: float | None, shown: BoolArray | None = None) -> float | None:
        """The sigma that the network will be told: estimated where None, kept to what it was trained for.

        Args:
            pixels: float32 (H, W, C), as for a call.
            sigma: as for a call.
            shown: bool (H, W): where an estimate may look.

        Raises:
            ConfigError: sigma is negative, above 255 or not a number.
        """
        if sigma is not None and not 0 <= sigma <= SIGMA_SCALE:
            raise ConfigError(
                f"sigma must be from 0 to 255, got {sigma:g}",
                hint="It is the noise's standard deviation on the 8-bit scale; leave it out to estimate it.",
            )
        if not self.card.sigma_input or self.card.sigma_range is None:
            return None
        wanted = estimate_sigma(pixels, shown) if sigma is None else sigma
        low, high = self.card.sigma_range
        kept = min(max(wanted, low), high)
        if wanted > high or (sigma is not None and wanted < low):
            logger.warning(
                "sigma %.4g is outside of what %s was trained for (%g to %g); it is told %g",
                wanted,
                self.name,
                low,
                high,
                kept,
            )
        return kept

    def __call__(
        self,
        noisy: FloatArray,
        sigma: float | None = None,
        *,
        tile: int | None = None,
        on_tile: Callable[[int, int], None] | None = None,
    ) -> FloatArray:
        """Denoise a picture.

        Args:
            noisy: float32 (H, W, C), C 1 or 3, RGB, [0, 1] plus noise; not clipped.
            sigma: standard deviation of the noise in 8-bit units; None has it estimated.
            tile: longest side of the tiles that a large picture is cut into; None is a good one.
            on_tile: called after each tile with the number done and the number of all.

        Returns:
            float32, the shape of ``noisy``, not clipped.
        """
        _check_pixels(noisy)
        card = self.card
        level = self.level(noisy, sigma)
        scaled = None if level is None else level / SIGMA_SCALE

        def run(piece: FloatArray) -> FloatArray:
            made: FloatArray = self._run(piece[None], scaled)[0]
            return made

        side = self.tile(tile)
        while True:
            try:
                return denoise_tiled(
                    run,
                    noisy,
                    tile=side,
                    halo=card.halo,
                    multiple=1 if card.fixed_size else card.size_multiple,
                    fixed=card.fixed_size is not None,
                    border=card.border,
                    on_tile=on_tile,
                )
            except MemoryError as error:
                smaller = (side or max(noisy.shape[:2])) // 2
                if card.fixed_size or card.whole_image or smaller < _SMALLEST_TILE:
                    raise
                side = smaller
                logger.warning("out of memory (%s); going on with tiles of %d", error, side)

    def stack(self, noisy: FloatArray, sigma: float | None = None) -> FloatArray:
        """Denoise pictures of one size, as a call for each would, but small ones many at a time.

        Args:
            noisy: float32 (N, H, W, C), as for a call.
            sigma: as for a call; None has it estimated for each picture.

        Returns:
            float32, the shape of ``noisy``, not clipped.
        """
        card = self.card
        height, width = noisy.shape[1:3]
        tile, longest = self.tile(), max(height, width) + 2 * card.border
        whole = (height, width) == (tile, tile) if card.fixed_size else tile is None or longest <= tile
        if not whole or (sigma is None and card.sigma_input):
            return np.stack([self(picture, sigma) for picture in noisy])
        _check_pixels(noisy[0])
        level = self.level(noisy[0], sigma)
        scaled = None if level is None else level / SIGMA_SCALE
        multiple = 1 if card.fixed_size else card.size_multiple
        made = [
            self._run(with_border(noisy[i : i + _STACK], card.border, multiple), scaled)
            for i in range(0, len(noisy), _STACK)
        ]
        return np.concatenate(made)[:, card.border :, card.border :][:, :height, :width]

    def _run(self, pieces: FloatArray, scaled: float | None) -> FloatArray:
        """The network on pictures (N, H, W, C) of a size that it takes."""
        planes = pieces.transpose(0, 3, 1, 2)
        grey = planes.shape[1] == 1
        made: FloatArray = self._session.run(np.repeat(planes, 3, axis=1) if grey else planes, scaled)
        if grey:
            made = made.mean(axis=1, keepdims=True)
        return made.transpose(0, 2, 3, 1)

    def clean(
        self,
        pixels: FloatArray,
        sigma: float | None = None,
        *,
        strength: float = 1.0,
        alpha: ByteArray | None = None,
        tile: int | None = None,
        on_tile: Callable[[int, int], None] | None = None,
    ) -> tuple[FloatArray, float | None]:
        """Denoise in part, with regard for transparency.

        Args:
            pixels: float32 (H, W, C), as for a call.
            sigma: as for a call.
            strength: 0 gives the pixels back, 1 the network's result, between is a mixture.
            alpha: uint8 (H, W): what is wholly transparent has no say in what is not, and stays as it was.
            tile: as for a call.
            on_tile: as for a call.

        Returns:
            float32, the shape of ``pixels``, not clipped; and the sigma that the network was told, if any.

        Raises:
            ConfigError: strength is not from 0 to 1.
            ImageError: the pixels are not of a kind that is taken.
        """
        if not 0 <= strength <= 1:
            raise ConfigError(f"strength must be from 0 to 1, got {strength:g}", hint="1 is the full effect.")
        if strength == 0:
            return pixels, None
        shown = None if alpha is None else alpha > 0
        seen = pixels if shown is None else fill_hidden(pixels, shown)
        _check_pixels(seen)
        # Estimated once a picture, not once a tile, and not from what was filled in, which has no noise.
        level = self.level(seen, sigma, shown)
        denoised = self(seen, level, tile=tile, on_tile=on_tile)
        mixed = denoised if strength == 1 else seen + np.float32(strength) * (denoised - seen)
        return mixed if shown is None else np.where(shown[:, :, None], mixed, pixels), level

    def denoise(
        self,
        image: str | os.PathLike[str] | npt.NDArray[Any],
        out: str | os.PathLike[str] | None = None,
        *,
        sigma: float | None = None,
        strength: float = 1.0,
        tile: int | None = None,
        overwrite: bool = False,
    ) -> npt.NDArray[Any]:
        """Denoise an array or a file.

        Args:
            image: uint8 (0 to 255) or float (about [0, 1]) array, (H, W) or (H, W, C) with C 1, 3 or 4
                (RGB, RGBA: alpha is kept), or the path of a picture.
            out: a file to write the result to, with what the file at ``image`` had (profile, EXIF, …).
            sigma: standard deviation of the noise in 8-bit units; None has it estimated.
            strength: 0 gives the picture back, 1 the network's result.
            tile: longest side of the tiles that a large picture is cut into; None is a good one.
            overwrite: whether ``out`` may exist.

        Returns:
            an array of the dtype and shape that came in; for a file uint8 (H, W, C) with its alpha.

        Raises:
            ImageError: the array or file is not of a kind that is taken.
            ConfigError: an argument is out of range, or ``out`` exists.
        """
        if isinstance(image, np.ndarray):
            if out is not None:
                raise ConfigError("an array cannot be written to a file here", hint="Use unnoise.write.")
            pixels, alpha = _from_array(image)
            if strength == 0:
                return image.copy()
            pixels, _ = self.clean(pixels, sigma, strength=strength, alpha=alpha, tile=tile)
            return _like(image, pixels)
        if out is not None and Path(out).exists() and not overwrite:
            raise ConfigError(f"{out}: exists already", hint="Pass overwrite=True to replace it.")
        target = None if out is None else format_of(out)
        picture = read(image)
        if target is not None:
            check_target(picture, target)
        pixels, _ = self.clean(picture.pixels, sigma, strength=strength, alpha=picture.alpha, tile=tile)
        if out is not None:
            save(out, encode(picture, pixels, target))
        samples = to_bytes(pixels)
        return samples if picture.alpha is None else np.dstack([samples, picture.alpha])


def denoise(
    image: str | os.PathLike[str] | npt.NDArray[Any],
    out: str | os.PathLike[str] | None = None,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    network: str | os.PathLike[str] = "default",
    overwrite: bool = False,
) -> npt.NDArray[Any]:
    """Denoise an array or a file with a network that is loaded once; see :meth:`Network.denoise`."""
    path = find(network)
    loaded = _cached(path, path.stat().st_mtime_ns)
    return loaded.denoise(image, out, sigma=sigma, strength=strength, overwrite=overwrite)


@lru_cache(maxsize=2)
def _cached(path: Path, _changed: int) -> Network:
    return load(path)


# --- arrays ----------------------------------------------------------------------------------------

_TAKEN = "Give uint8 (0 to 255) or float (0 to 1), shaped (H, W) or (H, W, C) with C 1, 3 or 4."


def _check_pixels(noisy: FloatArray) -> None:
    if noisy.dtype != np.float32 or noisy.ndim != 3 or noisy.shape[2] not in (1, 3) or noisy.size == 0:
        raise ImageError(
            f"got {noisy.dtype} {noisy.shape}, expected float32 (H, W, 1) or (H, W, 3)",
            hint="Network.denoise takes other arrays and files.",
        )
    low, high = float(noisy.min()), float(noisy.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(
            "the picture has values that are no numbers (NaN or Inf)", hint="Replace them first."
        )
    if low < _PLAUSIBLE[0] or high > _PLAUSIBLE[1]:
        raise ImageError(
            f"got floats from {low:.4g} to {high:.4g}, expected about 0 to 1",
            hint="Divide by 255 (8-bit values) or 65535 (16-bit values), or give uint8.",
        )


def _from_array(image: npt.NDArray[Any]) -> tuple[FloatArray, ByteArray | None]:
    """float32 (H, W, C) pixels, and the alpha of an RGBA array as far as it says what is hidden."""
    shape = image.shape if image.ndim == 3 else (*image.shape, 1)
    if len(shape) != 3 or shape[2] not in (1, 3, 4) or image.size == 0:
        raise ImageError(f"got an array shaped {image.shape}, expected a picture", hint=_TAKEN)
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise ImageError(f"got an array of {image.dtype}, expected uint8 or float32", hint=_TAKEN)
    full = image.reshape(shape)
    colours = full[:, :, : min(shape[2], 3)]
    scale = np.float32(255 if image.dtype == np.uint8 else 1)
    pixels = colours.astype(np.float32) / scale
    _check_pixels(pixels)
    return pixels, (full[:, :, 3] > 0).astype(np.uint8) if shape[2] == 4 else None


def _like(image: npt.NDArray[Any], pixels: FloatArray) -> npt.NDArray[Any]:
    """The new pixels in the dtype and shape of ``image``, with its alpha."""
    result = image.copy()
    colours = to_bytes(pixels) if image.dtype == np.uint8 else pixels.astype(image.dtype)
    if image.ndim == 2:
        return colours[:, :, 0]
    result[:, :, : colours.shape[2]] = colours
    return result
