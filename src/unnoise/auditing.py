"""Many pictures audited: what denoisers did to them, told without clean originals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unnoise import images
from unnoise.audit import Audit, audit
from unnoise.cores import available_cores
from unnoise.errors import UnnoiseError
from unnoise.filters import Denoiser
from unnoise.samples import cut, encoded, window
from unnoise.workers import Workers

FloatArray = npt.NDArray[np.float32]

MOST = 16
"""Pictures that a report shows."""


@dataclass(frozen=True)
class Audited:
    """What a method did to a picture.

    Attributes:
        picture: its name.
        method: name of the method, or of the folder that its results are in.
        audit: the measures; None where there are none.
        reason: why there are none.
        noisy: what is shown of the noisy picture, PNG or JPEG: the square that changed most.
        denoised: the same of the result.
    """

    picture: str
    method: str
    audit: Audit | None
    reason: str = ""
    noisy: bytes = b""
    denoised: bytes = b""

    @property
    def flags(self) -> tuple[str, ...]:
        """What is wrong, a sentence each."""
        return self.audit.flags if self.audit else ()


@dataclass(frozen=True)
class _Work:
    picture: str
    method: str
    noisy: Path
    by: Denoiser | Path


def audit_all(
    noisy: Mapping[str, Path],
    methods: Mapping[str, Denoiser | Mapping[str, Path]],
    *,
    workers: int | None = None,
) -> list[Audited]:
    """Audit pictures; those that cannot be are in the result too, with the reason.

    Args:
        noisy: name -> file.
        methods: name -> what denoises them, or the results by the noisy pictures' names; denoisers must be
            such that can be handed to another process.
        workers: processes; None takes one a core.

    Returns:
        method by method, in the order of the pictures.
    """
    work, missing = [], []
    for method, by in methods.items():
        for name, path in noisy.items():
            if not isinstance(by, Mapping):
                work.append(_Work(name, method, path, by))
            elif name in by:
                work.append(_Work(name, method, path, by[name]))
            else:
                missing.append(Audited(name, method, None, f"no result of it in {method}"))
    with Workers(min(workers or available_cores(), max(1, len(work)))) as pool:
        done = list(pool.map(_audited, work, name=lambda each: f"{each.noisy}, {each.method}"))
    return [*done, *missing]


def _audited(work: _Work) -> Audited:
    try:
        noisy = images.read(work.noisy).pixels
        denoised = images.read(work.by).pixels if isinstance(work.by, Path) else work.by(noisy)
        if np.array_equal(noisy, denoised):
            return Audited(work.picture, work.method, None, "nothing was changed")
        found = audit(noisy, denoised)
    except UnnoiseError as error:
        return Audited(work.picture, work.method, None, str(error))
    if not math.isfinite(found.removed):
        return Audited(work.picture, work.method, None, "most of it is near black or white")
    place = window(noisy, denoised)
    shown = [encoded(cut(picture, place))[1] for picture in (noisy, denoised)]
    return Audited(work.picture, work.method, found, "", *shown)


def worst_first(found: Sequence[Audited]) -> list[Audited]:
    """Those with most flags first, then in the order in which they came."""
    return sorted(found, key=lambda each: -len(each.flags))
