"""What a comparison found, as plain records: methods and their scores, searches, differences, costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from unnoise.tiles import Leak

Kind = Literal["input", "filter", "network"]
Outcome = Literal["better", "worse", "can't tell"]


@dataclass(frozen=True)
class PicturesInfo:
    """Whole pictures that were scored, where there is no data set.

    Attributes:
        where: the folder, as it was given.
        pictures: how many.
        photographs: of how many photographs they are.
        noises: what was added, a spelling each; one entry, empty, where the noise is real.
        clipped: whether the noisy pictures were clipped to [0, 1], as those that come from files are.
        smallest: width and height of the smallest picture.
        largest: likewise.
        seed: of the noise.
        sha256: of the pictures' names and contents.
        tuned_on: the folder whose pictures the filters were searched on, or nothing.
        tuned_pictures: on squares of how many of them.
        tuned_sha256: of the names and contents of all of them.
        leaks: pictures that were tuned or trained on, and show what is scored, where that was allowed.
        told: whether the noise has a strength that methods were told, if they can be.
    """

    where: str
    pictures: int
    photographs: int
    noises: tuple[str, ...]
    clipped: bool
    smallest: tuple[int, int]
    largest: tuple[int, int]
    seed: int
    sha256: str
    tuned_on: str = ""
    tuned_pictures: int = 0
    tuned_sha256: str = ""
    leaks: tuple[Leak, ...] = ()
    told: bool = True


@dataclass(frozen=True)
class GroupScore:
    """A method's means over a part of the pictures that were scored.

    Attributes:
        group: index in :attr:`Results.groups`.
        tiles: how many tiles or pictures that is.
        mse: mean squared error, pixels in [0, 1].
        psnr: mean of the pictures' PSNR in dB.
        ssim: mean SSIM.
        psnr_of_mean_mse: -10 log10(mse), in dB.
        ms_ssim: mean multi-scale SSIM.
        edges: mean of :func:`unnoise.metrics.edges`, how well edges were kept, at most 1.
        settings: a filter's, where they differ from group to group.
    """

    group: int
    tiles: int
    mse: float
    psnr: float
    ssim: float
    psnr_of_mean_mse: float = math.nan
    ms_ssim: float = math.nan
    edges: float = math.nan
    settings: str = ""


@dataclass(frozen=True)
class Group:
    """A part of the pictures that is also scored by itself.

    Attributes:
        label: for people, in a word or two.
        detail: more about it, or nothing.
        colour: its colour (R, G, B) in [0, 1], where that is what makes it a group.
    """

    label: str
    detail: str = ""
    colour: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Cost:
    """What a method takes on this machine for one megapixel (1e6 pixels), with all cores at its disposal.

    Attributes:
        seconds: by the clock, median of the rounds.
        cpu_seconds: processor time, likewise.
        megabytes: the most memory (1e6 bytes) beyond what the process held before; None where the system
            does not tell.
        pixels: of the picture that was timed.
        rounds: how often.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float | None
    pixels: int
    rounds: int


@dataclass(frozen=True)
class Difference:
    """How one method differs from another on the same photographs.

    The differences in PSNR of a photograph's pictures are averaged first; the interval is a bootstrap over
    photographs, so tiles of one photograph do not count as evidence more than once.

    Attributes:
        method: name of the one.
        other: name of the other.
        group: index in :attr:`Results.groups`, or None for all pictures.
        photographs: how many there are.
        mean: PSNR of ``method`` less that of ``other``, mean over the photographs, dB.
        low: lower end of the interval.
        high: upper end.
        confidence: of the interval, such as 0.95.
        wins: photographs on which ``method`` is ahead.
        outcome: what that says of ``method``: better where ``low`` is above 0, worse where ``high`` is below.
    """

    method: str
    other: str
    group: int | None
    photographs: int
    mean: float
    low: float
    high: float
    confidence: float
    wins: int
    outcome: Outcome

    @property
    def is_known(self) -> bool:
        """Whether there were photographs enough for an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Sample:
    """A picture, or a square cut from one, that a report shows; pixel for pixel.

    Attributes:
        picture: its name.
        group: index in :attr:`Results.groups`, or None.
        place: left, top, width and height of what is shown, in the picture's pixels.
        size: width and height of the picture.
        files: layer -> file name of the image, PNG or JPEG; layers are ``clean``, ``noisy`` and methods'
            names.
        psnr: method's name -> PSNR of the whole picture, dB; of the noisy input too.
        best_of: names of the methods that gained more here, in dB over the noisy input, than anywhere else.
        worst_of: likewise, that gained least.
    """

    picture: str
    group: int | None
    place: tuple[int, int, int, int]
    size: tuple[int, int]
    files: dict[str, str]
    psnr: dict[str, float]
    best_of: tuple[str, ...] = ()
    worst_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """What a network received.

    Attributes:
        tiles_available: tiles in the training split that it could draw from.
        tiles_seen: tiles it was shown, each as often as it was shown.
        epochs: tiles_seen / tiles_available.
        minutes: time spent training and validating.
        steps: optimiser steps.
        optimizer: its name.
        finished: the planned end was reached, or early stopping.
        note: a word for readers, or nothing; stands beside the results.
    """

    tiles_available: int
    tiles_seen: int
    epochs: float
    minutes: float
    steps: int
    optimizer: str
    finished: bool = True
    note: str = ""


@dataclass(frozen=True)
class MethodResult:
    """A method's scores over the test tiles; output clipped to [0, 1] before it is scored.

    Attributes:
        name: unique; the key in :attr:`Results.curves`.
        label: for people.
        kind: ``input`` is the noisy picture itself.
        mse: mean over the tiles of the tile's mean squared error, pixels in [0, 1].
        psnr: mean of the tiles' PSNR in dB.
        psnr_of_mean_mse: -10 log10(mse), in dB.
        ssim: mean SSIM.
        tiles: test tiles that were scored.
        groups: the same per colour group.
        settings: how the method was set, in words.
        parameters: of a network.
        ms_ssim: mean multi-scale SSIM; NaN where the pictures are too small for it.
        edges: mean of :func:`unnoise.metrics.edges`, how well edges were kept, at most 1.
        perceptual: mean of a perceptual score, where one was asked for.
        cost: time and memory that it takes.
        source: what it was loaded from, and the SHA-256 of that file; of a network.
        training: of a network.
        article_row: the row of :data:`unnoise.published.PUBLISHED` that is the same method, or None.
    """

    name: str
    label: str
    kind: Kind
    mse: float
    psnr: float
    psnr_of_mean_mse: float
    ssim: float
    tiles: int
    groups: tuple[GroupScore, ...] = ()
    settings: str = ""
    parameters: int | None = None
    training: Training | None = None
    article_row: str | None = None
    ms_ssim: float = math.nan
    edges: float = math.nan
    perceptual: float | None = None
    cost: Cost | None = None
    source: str = ""


@dataclass(frozen=True)
class BlurTable:
    """The GaussianBlur search; rows are kernels, columns are sigmas.

    Attributes:
        kernels: odd widths in pixels.
        sigmas: of the blur, in pixels; 0 lets OpenCV derive it from the kernel.
        valid: mean squared errors on the validation split, on which the choice was made.
        test: likewise on the test split, to show.
        chosen: kernel and sigma of the lowest validation error.
    """

    kernels: tuple[int, ...]
    sigmas: tuple[float, ...]
    valid: tuple[tuple[float, ...], ...]
    test: tuple[tuple[float, ...], ...]
    chosen: tuple[int, float]


@dataclass(frozen=True)
class SearchRound:
    """A part of a search.

    Attributes:
        settings: combinations tried.
        tiles: validation tiles or pictures that each was tried on.
    """

    settings: int
    tiles: int


@dataclass(frozen=True)
class FilterSearch:
    """How a filter was tuned on the validation split.

    Attributes:
        name: the :attr:`MethodResult.name` of the tuned filter.
        label: for people.
        winner: the settings that won, in words.
        valid_mse: the winner's mean squared error on the validation tiles that decided.
        grid: parameter -> the values tried.
        settings: combinations tried.
        tiles: validation tiles that decided; the best were tried on all of these.
        at_edge: parameters whose winning value is the first or last that was tried, where others would make
            sense.
        seconds: processor time that the search took.
        rounds: how many settings were tried on how many tiles, one after the other.
    """

    name: str
    label: str
    winner: str
    valid_mse: float
    grid: dict[str, tuple[str, ...]]
    settings: int
    tiles: int
    at_edge: tuple[str, ...] = ()
    seconds: float | None = None
    rounds: tuple[SearchRound, ...] = ()


@dataclass(frozen=True)
class Curve:
    """A training's metrics.

    Attributes:
        batch: tiles a step.
        records: as in ``metrics.jsonl``: step, epoch, seconds, lr, train_loss, valid_loss, valid_mse,
            tiles_per_second.
    """

    batch: int
    records: tuple[dict[str, float], ...]

    def by_tiles(self) -> tuple[dict[str, float], ...]:
        """The records, each with the number of ``tiles`` seen until then."""
        return tuple({**record, "tiles": record["step"] * self.batch} for record in self.records)
