"""What is known of the methods in the end, and the table of it."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from _machine import Rate
from _methods import Method, NetworkMethod
from _rounds import Timing
from unnoise.denoiser import Network
from unnoise.filters import Denoiser
from unnoise.runtime import FLOAT32
from unnoise.scores import PSNR, SSIM
from unnoise.scoring import Doubles
from unnoise.tables import aligned


@dataclass(frozen=True)
class Row:
    """All that is known of a method.

    Attributes:
        label: its name.
        kind: ours, peer or filter.
        backend: of a network; else empty.
        precision: of a network; else empty.
        gmac: 1e9 multiplications for 256 × 256 pixels, or None.
        parameters: weights of a network.
        pictures: how many its scores are the means of.
        psnr: by sigma, dB.
        ssim: by sigma.
        wall: seconds a megapixel, median.
        cpu: the same of processor time.
        rounds: how often it was timed.
        memory: bytes a pixel.
        rate: of its fastest pass; None where it is no network.
        speed: times the reference's, by the clock; None where there is none.
        speed_cpu: the same by processor time.
        beside: label of that reference.
        settings: of a filter, by sigma.
    """

    label: str
    kind: str
    backend: str = ""
    precision: str = ""
    gmac: float | None = None
    parameters: int | None = None
    pictures: int = 0
    psnr: Mapping[str, float] = field(default_factory=dict)
    ssim: Mapping[str, float] = field(default_factory=dict)
    wall: float = 0.0
    cpu: float = 0.0
    rounds: int = 0
    memory: float = 0.0
    rate: Rate | None = None
    speed: float | None = None
    speed_cpu: float | None = None
    beside: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def reference(method: Method, methods: Sequence[Method]) -> Method | None:
    """FFDNet in the same backend, or in the first."""
    known = [
        each
        for each in methods
        if isinstance(each, NetworkMethod)
        and Path(each.source).stem == "ffdnet"
        and each.precision == FLOAT32
    ]
    own = getattr(method, "backend", "")
    return next((each for each in known if each.backend == own), known[0] if known else None)


def describe(
    method: Method,
    denoiser: Denoiser,
    times: Mapping[Method, Timing],
    scores: Mapping[float, Doubles],
    memory: float,
) -> Row:
    """A method's row."""
    timing, other = times[method], reference(method, list(times))
    megapixels = timing.pixels / 1e6
    row = Row(
        label=method.label,
        kind=method.kind,
        pictures=len(next(iter(scores.values()))),
        psnr={f"{sigma:g}": float(rows[:, PSNR].mean()) for sigma, rows in scores.items()},
        ssim={f"{sigma:g}": float(rows[:, SSIM].mean()) for sigma, rows in scores.items()},
        wall=statistics.median(each.wall for each in timing.calls) / megapixels,
        cpu=statistics.median(each.cpu for each in timing.calls) / megapixels,
        rounds=len(timing.calls),
        memory=memory,
        rate=timing.rate,
        settings={f"{sigma:g}": each.spec for sigma, each in getattr(method, "found", ())},
    )
    if other is not None:
        scale = timing.pixels / times[other].pixels
        both = list(zip(times[other].calls, timing.calls, strict=False))
        row = dataclasses.replace(
            row,
            speed=scale * statistics.median(theirs.wall / own.wall for theirs, own in both),
            speed_cpu=scale * statistics.median(theirs.cpu / own.cpu for theirs, own in both),
            beside=other.label,
        )
    if isinstance(method, NetworkMethod) and isinstance(denoiser, Network):
        row = dataclasses.replace(
            row,
            backend=method.backend,
            precision=method.precision,
            gmac=denoiser.card.record.get("gmac_256"),
            parameters=denoiser.parameters,
        )
    return row


def table(rows: Sequence[Row], sigmas: Sequence[float], shown: float, peak: Rate) -> str:
    """The rows, the best quality first."""

    def told(value: float | None, spelling: str) -> str:
        return "–" if value is None else format(value, spelling)

    def rated(rate: Rate | None) -> list[str]:
        if rate is None:
            return ["–"] * 3
        return [f"{rate.wall:.0f}", f"{rate.wall / peak.wall:.2f}", f"{rate.cpu / peak.cpu:.2f}"]

    header = ["method", "GMAC", *(f"PSNR {sigma:g}" for sigma in sigmas), f"SSIM {shown:g}"]
    header += ["s/MP", "cpu s/MP", "MB/MP", "GFLOP/s", "share", "cpu share", "× FFDNet", "cpu ×", "pictures"]
    lines = [
        [
            row.label,
            told(row.gmac, ".2f"),
            *(f"{row.psnr[f'{sigma:g}']:.2f}" for sigma in sigmas),
            f"{row.ssim[f'{shown:g}']:.4f}",
            f"{row.wall:.3f}",
            f"{row.cpu:.3f}",
            f"{row.memory:.0f}",
            *rated(row.rate),
            told(row.speed, ".2f"),
            told(row.speed_cpu, ".2f"),
            str(row.pictures),
        ]
        for row in sorted(rows, key=lambda row: -row.psnr[f"{shown:g}"])
    ]
    return aligned(header, lines)


def on_the_same(
    scores: Mapping[Method, Mapping[float, Doubles]], method: Method, other: Method, places: Sequence[int]
) -> dict[float, float]:
    """By how many dB a method is above another on the method's own pictures, by sigma."""
    return {
        sigma: float(rows[:, PSNR].mean() - scores[other][sigma][places, PSNR].mean())
        for sigma, rows in scores[method].items()
    }
