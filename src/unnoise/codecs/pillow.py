"""What the readers that stand on Pillow share: it fails where it must, and its pictures become samples.

Pillow's strictness and Python's warnings are settings of the whole process, so both are taken and put back
here and nowhere else.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageFile

from unnoise.codecs.base import COPY_AGAIN
from unnoise.errors import ImageError, UnnoiseError

ByteArray = npt.NDArray[np.uint8]

_BAND = 1 << 20
"""Pixels that are copied out of a Pillow picture at a time."""

_COLOURS = {
    "1": "L",
    "L": "L",
    "LA": "L",
    "La": "L",
    "P": "RGB",
    "PA": "RGB",
    "RGB": "RGB",
    "RGBA": "RGB",
    "RGBa": "RGB",
    "RGBX": "RGB",
}
"""Pillow's mode -> the mode of its colours alone."""

_EXPANDED = {
    "1": "1-bit picture expanded to 8-bit grey",
    "P": "palette expanded to 8 bits a channel",
    "PA": "palette expanded to 8 bits a channel",
}
_REFUSED = {
    "CMYK": "CMYK colour is not supported in this format",
    "YCbCr": "YCbCr colour is not supported in this format",
    "LAB": "Lab colour is not supported in this format",
    "HSV": "HSV colour is not supported in this format",
    "I": "samples of 32 bits are not supported in this format",
    "I;16": "16 bits a channel are not supported in this format",
    "I;16B": "16 bits a channel are not supported in this format",
    "I;16L": "16 bits a channel are not supported in this format",
    "I;16N": "16 bits a channel are not supported in this format",
    "F": "float samples are not supported in this format",
}


# --- settings of the process -----------------------------------------------------------------------


@dataclass
class _Settings:
    """Who uses Pillow now, and how it was set before the first of them came."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    users: int = 0
    truncated: bool = False
    before: tuple[Any, ...] = ()
    caught: Any = None


class _Said(threading.local):
    """What Pillow warned of in this thread; None where the thread isn't in :func:`strict`."""

    messages: list[str] | None = None


_settings = _Settings()
_said = _Said()


@contextmanager
def strict(*, allow_truncated: bool = False) -> Iterator[list[str]]:
    """Pillow as a reader needs it; yields the list of what it warns of in this thread, each in a line.

    Truncated files fail unless they are allowed, and Pillow's own limit on sizes is off, for
    :class:`~unnoise.codecs.base.Limits` decides. Any number of threads may be inside, as long as they agree
    about truncated files; others wait. So don't stay inside while somebody else consumes what was read:
    a generator enters once for each picture that it makes. Inside another ``strict`` it changes nothing.
    """
    if _said.messages is not None:
        yield _said.messages
        return
    _enter(allow_truncated)
    messages: list[str] = []
    _said.messages = messages
    try:
        yield messages
    finally:
        _said.messages = None
        _leave()


def _enter(allow_truncated: bool) -> None:
    with _settings.changed:
        _settings.changed.wait_for(lambda: not _settings.users or _settings.truncated == allow_truncated)
        if not _settings.users:
            _settings.truncated = allow_truncated
            _settings.before = ImageFile.LOAD_TRUNCATED_IMAGES, PIL.Image.MAX_IMAGE_PIXELS
            ImageFile.LOAD_TRUNCATED_IMAGES, PIL.Image.MAX_IMAGE_PIXELS = allow_truncated, None
            _settings.caught = warnings.catch_warnings()
            _settings.caught.__enter__()
            # Only what Pillow says is ours; warnings of other threads and libraries go their usual way.
            warnings.filterwarnings("always", module=r"PIL\.")
            shown = warnings.showwarning

            def note(message: Any, *about: Any, **more: Any) -> None:
                if _said.messages is None:
                    shown(message, *about, **more)
                else:
                    _said.messages.append(clean(message))

            warnings.showwarning = note
        _settings.users += 1


def _leave() -> None:
    with _settings.changed:
        _settings.users -= 1
        if not _settings.users:
            _settings.caught.__exit__(None, None, None)
            ImageFile.LOAD_TRUNCATED_IMAGES, PIL.Image.MAX_IMAGE_PIXELS = _settings.before
            _settings.changed.notify_all()


# --- failures --------------------------------------------------------------------------------------


def clean(said: object) -> str:
    """The first line of a message, printable, without the addresses of objects."""
    lines = str(said).strip().splitlines()
    line = re.sub(r"\s*<[^<>]* object at 0x[0-9a-f]+>|\s*<_io\.[^<>]*>", "", lines[0] if lines else "")
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= 200 else line[:197] + "…"


@contextmanager
def refusing(title: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError about a damaged file of the format ``title``.

    Our own errors pass as they are, and so does what is no failure (Ctrl-C).
    """
    try:
        yield
    except UnnoiseError:
        raise
    except MemoryError as error:
        raise ImageError(
            f"the {title} file needs more memory than there is",
            hint="It may be damaged: copy or download it again.",
        ) from error
    except PIL.UnidentifiedImageError as error:
        raise ImageError(f"the {title} file is damaged or truncated", hint=COPY_AGAIN) from error
    except OSError as error:
        if error.errno is not None:
            raise ImageError(
                f"the {title} file cannot be read: {error.strerror}", hint="Check the disk."
            ) from error
        raise _damaged(title, clean(error)) from error
    except (SyntaxError, ValueError, EOFError, RuntimeError) as error:
        raise _damaged(title, clean(error)) from error
    except Exception as error:  # a decoder's own slip over nonsense: KeyError, IndexError, struct.error, …
        raise _damaged(title, "") from error


def _damaged(title: str, why: str) -> ImageError:
    reason = f": {why}" if why else ""
    return ImageError(f"the {title} file is damaged or truncated{reason}", hint=COPY_AGAIN)


# --- pictures --------------------------------------------------------------------------------------


@contextmanager
def opened(
    file: BinaryIO, kind: str, title: str = "", *, allow_truncated: bool = False
) -> Iterator[tuple[PIL.Image.Image, list[str]]]:
    """A file as Pillow's picture, not decoded yet, and the list of what Pillow warns of meanwhile.

    Everything in the block is done under :func:`strict`, and whatever Pillow raises in it is an ImageError.

    Args:
        file: seekable; read from where it stands.
        kind: Pillow's name of the format, the only one that is tried.
        title: what people call it, if that is something else.
        allow_truncated: see :func:`strict`.

    Raises:
        ImageError: it cannot be opened, or the block fails.
    """
    with strict(allow_truncated=allow_truncated) as said, refusing(title or kind):
        picture = PIL.Image.open(file, formats=[kind])
        yield picture, said


def samples(picture: PIL.Image.Image) -> tuple[ByteArray, ByteArray | None, tuple[str, ...]]:
    """A picture as colours (H, W, 1 or 3), alpha (H, W) or None, and notes; under :func:`strict`.

    Both are C-contiguous and of their own memory. A palette of greys alone gives one channel.

    Raises:
        ImageError: colours of a kind that Pillow has and we have not.
    """
    if picture.mode not in _COLOURS:
        message = _REFUSED.get(picture.mode, f"pixels of the kind {picture.mode!r} are not supported")
        raise ImageError(message, hint="Save it as PNG or TIFF.")
    picture.load()
    mode = _COLOURS[picture.mode]
    if picture.mode in ("P", "PA") and _is_grey(picture):
        mode = "L"
    has_alpha = picture.has_transparency_data
    # By way of the mode that Pillow converts to without rounding: RGBA for every palette.
    through = ("RGB" if picture.mode in ("P", "PA") else mode) + ("A" if has_alpha else "")
    channels = len(mode)
    colours = np.empty((picture.height, picture.width, channels), np.uint8)
    alpha = np.empty((picture.height, picture.width), np.uint8) if has_alpha else None
    step = max(1, _BAND // picture.width)
    for top in range(0, picture.height, step):
        bottom = min(top + step, picture.height)
        part = picture.crop((0, top, picture.width, bottom))
        # Only for its palette's and transparency's sake: in the same mode nothing is converted.
        band = np.asarray(part if part.mode == through else part.convert(through))
        band = band.reshape(bottom - top, picture.width, -1)
        colours[top:bottom] = band[:, :, :channels]
        if alpha is not None:
            alpha[top:bottom] = band[:, :, -1]
    expanded = _EXPANDED.get(picture.mode)
    return colours, alpha, (expanded,) if expanded else ()


def _is_grey(picture: PIL.Image.Image) -> bool:
    entries = np.array(picture.getpalette("RGB") or (), np.uint8).reshape(-1, 3)
    return bool((entries == entries[:, :1]).all())
