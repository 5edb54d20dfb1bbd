"""Noise as photographs and scans carry it: from the light on a sensor to the pixels of a file.

A :class:`Camera` is one draw of everything that shapes the noise: how much light a sensor element counts,
white balance, tone curve, demosaicing, the camera's own noise reduction and sharpening, resizing, JPEG.
:meth:`Camera.shoot` gives a clean picture that noise.

The clean picture goes through none of the steps before JPEG; the noise alone does. A picture that went
through them would come out blurred, and a network that is to give back the sharp one would learn to sharpen.
The noise's mean stays at zero, or nearly, so that a denoiser has no brightness to correct. What no file
escapes, clipping at black and white and JPEG, is done to the picture with its noise.

Sources: the inverted camera pipeline with white balance, colour matrix, tone curve and jointly drawn shot
and read noise is that of Brooks et al., "Unprocessing images for learned raw denoising", CVPR 2019,
doi:10.1109/CVPR.2019.01129; noise that differs from camera to file by all later steps is argued for in Guo
et al., "Toward convolutional blind denoising of real photographs", CVPR 2019, doi:10.1109/CVPR.2019.00181.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

GAIN = (1e-4, 0.04)
"""Variance of shot noise a unit of linear light, at strength just above 0 and at 1."""

_READ = (2.18, 1.2, 0.5, 6e-4)
"""Slope, offset and deviation of log(read) over log(gain), after Brooks et al. (theirs: 0.26); the most."""

_MATRIX = np.array([[1.55, -0.45, -0.1], [-0.2, 1.4, -0.2], [0.0, -0.45, 1.45]], np.float32)
"""What a typical colour matrix from a camera's colours to sRGB looks like; rows sum to 1."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue in brightness, ITU-R BT.601."""

_DEMOSAICING = {
    "bilinear": cv2.COLOR_BayerRGGB2RGB,
    "edge-aware": cv2.COLOR_BayerRGGB2RGB_EA,
}
_BORDER = 4
"""Pixels around the picture that a demosaicing may get wrong at its edge."""
_BLACK, _STEPS = 0.3, 36_000.0
"""16-bit values of a mosaic: (light + _BLACK) * _STEPS, so that negative values and 1.5 fit in."""

_NODES = np.linspace(0.0, 1.0, 1024) ** 3
"""Linear light at which the tone curve is computed: closest where it is steepest."""
_TONES = np.where(_NODES <= 0.0031308, 12.92 * _NODES, 1.055 * _NODES ** (1 / 2.4) - 0.055)
"""The sRGB curve, IEC 61966-2-1, at each node."""
_S_SHAPE = _TONES**2 * (3 - 2 * _TONES) - _TONES
_TINY = 1e-12
_LEVELS = np.arange(256) / 255.0


@dataclass(frozen=True)
class Camera:
    """All that shapes the noise of one picture.

    Args:
        gain: variance of the shot noise where linear light is 1 (white), at white balance 1.
        read: variance of the noise that light doesn't change, in linear light squared.
        balance: what white balance multiplies (red, green, blue) by; noise grows with it.
        matrix: 0 to 1, how much of a typical colour matrix mixes the channels.
        contrast: 0 to 1, how much of an S-shaped curve follows the sRGB curve.
        mosaic: how a Bayer mosaic is turned into colours, a key of ``_DEMOSAICING``; None has no mosaic.
        size: size of the picture that the noise is made on, over the final one; above 1 it is shrunk.
        luma_blur: sigma in pixels of the blur that takes luma noise away; 0 for none.
        luma_kept: 0 to 1, the share of the luma noise that the blur leaves alone.
        chroma_blur: sigma in pixels of the blur of colour noise; 0 for none.
        chroma: root mean square of the colour noise (the channels less luma) over that of the luma noise;
            None leaves what the sensor gave.
        blotches: how much of the colour noise at eight pixels and more is added on top, before ``chroma``.
        sharpening: amount of an unsharp mask on luma.
        quality: of the JPEG, 1 to 100; None is no JPEG.
        subsampling: of the JPEG: 420, 422 or 444.
    """

    gain: float
    read: float
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    matrix: float = 0.0
    contrast: float = 0.0
    mosaic: str | None = None
    size: float = 1.0
    luma_blur: float = 0.0
    luma_kept: float = 0.0
    chroma_blur: float = 0.0
    chroma: float | None = None
    blotches: float = 0.0
    sharpening: float = 0.0
    quality: int | None = None
    subsampling: str = "420"

    @staticmethod
    def drawn(strength: float, rng: np.random.Generator) -> Camera:
        """A camera whose sensor is as noisy as ``strength`` says, and all else at random.

        Args:
            strength: above 0 to 1. The gain runs from the first of :data:`GAIN` to the second, each tenth by
                the same factor. Before any smoothing that is a standard deviation in mid-grey of about 1.3 to
                26 on the 8-bit scale.
            rng: all randomness.
        """

        def chance(share: float) -> bool:
            return bool(rng.random() < share)

        def between(low: float, high: float) -> float:
            return float(rng.uniform(low, high))

        gain = GAIN[0] * (GAIN[1] / GAIN[0]) ** strength
        slope, offset, spread, most = _READ
        read = min(math.exp(slope * math.log(gain) + offset + spread * rng.standard_normal()), most)
        mosaic = str(rng.choice(list(_DEMOSAICING))) if chance(0.7) else None
        # The more noise there is, the more a camera does about it.
        smooth_luma, smooth_chroma = chance(0.35 + 0.35 * strength), chance(0.6 + 0.35 * strength)
        return Camera(
            gain=gain,
            read=read,
            balance=(between(1.2, 2.4), 1.0, between(1.2, 2.4)) if mosaic else (1.0, 1.0, 1.0),
            matrix=between(0.0, 1.0) if mosaic else 0.0,
            contrast=between(0.0, 1.0),
            mosaic=mosaic,
            size=math.exp(between(math.log(0.6), math.log(1.8))) if chance(0.3) else 1.0,
            luma_blur=between(0.4, 1.2) if smooth_luma else 0.0,
            luma_kept=between(0.0, 0.8),
            chroma_blur=between(0.6, 3.0) if smooth_chroma else 0.0,
            chroma=math.exp(between(math.log(0.12), math.log(1.0))) if smooth_chroma else None,
            blotches=between(0.0, 3.0) if smooth_chroma and chance(0.3) else 0.0,
            sharpening=between(0.1, 1.0) if chance(0.4) else 0.0,
            quality=round(60 + 40 * math.sqrt(rng.random())) if chance(0.6) else None,
            subsampling=str(rng.choice(["420", "420", "444"])),
        )

    def shoot(self, clean: FloatArray, rng: np.random.Generator) -> FloatArray:
        """``clean`` with this camera's noise.

        Args:
            clean: (H, W, 3) float32, sRGB-encoded, [0, 1]; or (H, W) or (H, W, 1) of grey. Where all channels
                are equal the noise's are too, as in a scan of a grey page.
            rng: all randomness.

        Returns:
            Same shape and dtype, in [0, 1].
        """
        colour = clean.reshape(*clean.shape[:2], -1)
        channels = colour.shape[2]
        if is_grey(colour):
            colour = colour[:, :, :1]
        shape = clean.shape[:2]
        made = tuple(max(1, round(side * self.size)) for side in shape)
        levels = _bytes(colour if made == shape else _resized(colour, made))
        noise = self._finished(self._developed(levels, rng), shape)
        noise += colour
        np.clip(noise, 0.0, 1.0, out=noise)
        if self.quality is not None:
            noise = _through_jpeg(noise, self.quality, self.subsampling, rng.integers(0, 16, 2))
        return np.repeat(noise, channels // noise.shape[2], axis=2).reshape(clean.shape)

    def _tables(self, channels: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """By 8-bit level: linear light, its noise's deviation, and by what the tone curve multiplies it.

        The factor is the tone curve's slope over one deviation to both sides, so noise that is larger than
        the steep foot of the curve isn't blown up by it.

        Returns:
            three arrays of (1, 256, channels).
        """
        tones = _TONES + self.contrast * _S_SHAPE
        linear = np.interp(_LEVELS, tones, _NODES)[:, None].repeat(channels, axis=1)
        balance = np.array(self.balance if channels == 3 else (1.0,))
        deviation = np.sqrt(self.gain * balance * linear + self.read * balance**2 + _TINY)
        below, above = np.clip(linear - deviation, 0, 1), np.clip(linear + deviation, 0, 1)
        slope = (np.interp(above, _NODES, tones) - np.interp(below, _NODES, tones)) / (2 * deviation)
        first, second, third = (a.astype(np.float32)[None] for a in (linear, deviation, slope))
        return first, second, third

    def _developed(self, levels: ByteArray, rng: np.random.Generator) -> FloatArray:
        """The noise of an encoded picture as it leaves the raw converter: (H, W, C), mean 0."""
        linear, deviation, slope = self._tables(levels.shape[2])
        if self.mosaic is None or levels.shape[2] != 3:
            noise = rng.standard_normal(levels.shape, dtype=np.float32)
            noise *= _looked_up(levels, deviation)
        else:
            noise = self._demosaiced(levels, linear, deviation, rng)
        if self.matrix and levels.shape[2] == 3:
            mixing = np.eye(3, dtype=np.float32) * np.float32(1 - self.matrix) + _MATRIX * np.float32(
                self.matrix
            )
            noise = _pixels(cv2.transform(noise, mixing), noise)
        noise *= _looked_up(levels, slope)
        return noise

    def _demosaiced(
        self, levels: ByteArray, linear: FloatArray, deviation: FloatArray, rng: np.random.Generator
    ) -> FloatArray:
        """The noise that is left of a demosaiced noisy mosaic less the demosaiced clean one."""
        top, left = (_BORDER + int(v) for v in rng.integers(0, 2, 2))
        around = (top, _BORDER, left, _BORDER)
        wide = np.asarray(cv2.copyMakeBorder(levels, *around, cv2.BORDER_REFLECT), np.uint8)
        light, noise = _mosaic(_looked_up(wide, linear)), _mosaic(_looked_up(wide, deviation))
        noise *= rng.standard_normal(noise.shape, dtype=np.float32)
        code = _DEMOSAICING[str(self.mosaic)]
        light += np.float32(_BLACK)
        noise += light
        both = [np.asarray(cv2.cvtColor(_words(mosaic), code), np.float32) for mosaic in (noise, light)]
        both[0] -= both[1]
        both[0] *= np.float32(1 / _STEPS)
        rows, columns = levels.shape[:2]
        return np.ascontiguousarray(both[0][top : top + rows, left : left + columns])

    def _finished(self, noise: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        """What noise reduction, sharpening and resizing to ``shape`` leave of the noise."""
        luma = _pixels(cv2.transform(noise, LUMA[None]), noise) if noise.shape[2] == 3 else noise
        colour = noise - luma if noise.shape[2] == 3 else None
        if colour is not None:
            colour = self._smeared(colour, luma)
        if self.luma_blur:
            smooth = _blurred(luma, self.luma_blur)
            luma = smooth + np.float32(self.luma_kept) * (luma - smooth)
        if self.sharpening:
            luma = luma + np.float32(self.sharpening) * (luma - _blurred(luma, 1.0))
        if colour is not None:
            luma = luma + colour
        if luma.shape[:2] != shape:
            luma = _resized(luma, shape)
        return luma

    def _smeared(self, colour: FloatArray, luma: FloatArray) -> FloatArray:
        """Colour noise (H, W, 3) as a camera's noise reduction leaves it: coarser, and some in blotches."""
        smooth = _blurred(colour, self.chroma_blur) if self.chroma_blur else colour
        if self.blotches:
            rows, columns = (max(1, round(side / 8)) for side in colour.shape[:2])
            coarse = _resized(colour, (rows, columns))
            smooth = smooth + np.float32(self.blotches) * _resized(coarse, colour.shape)
        if self.chroma is None:
            return smooth
        return smooth * np.float32(
            self.chroma * _root_mean_square(luma) / max(_root_mean_square(smooth), 1e-9)
        )


def is_grey(picture: FloatArray) -> bool:
    """Whether all channels of (H, W, C) are equal."""
    first = picture[:, :, :1]
    return picture.shape[2] == 1 or bool((picture[:1] == first[:1]).all() and (picture == first).all())


def _pixels(result: object, like: FloatArray) -> FloatArray:
    """OpenCV's result as float32 (H, W, C): it drops an axis of one channel."""
    array = np.asarray(result, np.float32)
    return array.reshape(*array.shape[:2], -1) if like.ndim == 3 else array


def _root_mean_square(noise: FloatArray) -> float:
    return math.sqrt(float(np.mean(np.square(noise))))


def _bytes(picture: FloatArray) -> ByteArray:
    """[0, 1] to 8 bits, rounded."""
    out: ByteArray = np.rint(np.clip(picture, 0, 1) * np.float32(255)).astype(np.uint8)
    return out


def _words(mosaic: FloatArray) -> npt.NDArray[np.uint16]:
    """A mosaic of light above ``-_BLACK`` in 16 bits."""
    values = np.clip(mosaic * np.float32(_STEPS) + np.float32(0.5), 0, 65_535)
    out: npt.NDArray[np.uint16] = values.astype(np.uint16)
    return out


def _looked_up(levels: ByteArray, table: FloatArray) -> FloatArray:
    """``table`` (1, 256, C) at each of ``levels`` (H, W, C), per channel."""
    return _pixels(cv2.LUT(levels, table), table)


def _mosaic(planes: FloatArray) -> FloatArray:
    """Of (H, W, 3) what a sensor under red, green, green and blue filters sees: (H, W)."""
    seen = planes[:, :, 1].copy()
    seen[0::2, 0::2] = planes[0::2, 0::2, 0]
    seen[1::2, 1::2] = planes[1::2, 1::2, 2]
    return seen


def _blurred(noise: FloatArray, sigma: float) -> FloatArray:
    return _pixels(cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), noise)


def _resized(noise: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Shrunk by averaging, or enlarged by cubic interpolation, to the rows and columns of ``shape``."""
    shrink = noise.shape[0] * noise.shape[1] > shape[0] * shape[1]
    method = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
    return _pixels(cv2.resize(noise, (shape[1], shape[0]), interpolation=method), noise)


def _through_jpeg(
    picture: FloatArray, quality: int, subsampling: str, offset: npt.NDArray[np.int64]
) -> FloatArray:
    """(H, W, 1 or 3) after JPEG, whose blocks begin ``offset`` rows and columns before the picture."""
    rows, columns, channels = picture.shape
    top, left = (int(v) for v in offset)
    wide = np.asarray(cv2.copyMakeBorder(_bytes(picture), top, 0, left, 0, cv2.BORDER_REFLECT), np.uint8)
    colours, subsampling = ("RGB", subsampling) if channels == 3 else ("GRAY", "Gray")
    data = simplejpeg.encode_jpeg(
        np.ascontiguousarray(wide.reshape(*wide.shape[:2], channels)), quality, colours, subsampling
    )
    decoded = simplejpeg.decode_jpeg(data, colours)[top : top + rows, left : left + columns]
    out: FloatArray = np.multiply(decoded, np.float32(1 / 255), dtype=np.float32)
    return out
