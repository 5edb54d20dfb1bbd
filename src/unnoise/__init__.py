"""Takes the noise out of photographs.

::

    import unnoise

    clean = unnoise.denoise(noisy)                    # an array: the same dtype and shape come back
    unnoise.denoise("noisy.jpg", "clean.jpg")         # a file
    network = unnoise.load("gaussian")                # once, for many pictures
    clean = network.denoise(noisy, sigma=25, strength=0.8)

The names are looked up when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unnoise import errors

if TYPE_CHECKING:
    from unnoise.denoiser import Network, bundled, denoise, load
    from unnoise.errors import ConfigError, ImageError, NetworkError, UnnoiseError
    from unnoise.estimate import estimate_sigma
    from unnoise.images import Image, read, write

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "Image",
    "ImageError",
    "Network",
    "NetworkError",
    "UnnoiseError",
    "__version__",
    "bundled",
    "denoise",
    "errors",
    "estimate_sigma",
    "load",
    "read",
    "write",
]

_HOME = {
    "ConfigError": "errors",
    "Image": "images",
    "ImageError": "errors",
    "Network": "denoiser",
    "NetworkError": "errors",
    "UnnoiseError": "errors",
    "bundled": "denoiser",
    "denoise": "denoiser",
    "estimate_sigma": "estimate",
    "load": "denoiser",
    "read": "images",
    "write": "images",
}
"""Where each public name lives."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
