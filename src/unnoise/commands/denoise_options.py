"""What `unnoise denoise` can be asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from unnoise.errors import ConfigError

if TYPE_CHECKING:
    from unnoise.codecs.base import Limits
    from unnoise.denoising import Settings

F = TypeVar("F", bound=Callable[..., Any])


def _sigma(_ctx: click.Context, _param: click.Parameter, value: str) -> float | None:
    if value == "auto":
        return None
    try:
        sigma = float(value)
    except ValueError:
        sigma = -1.0
    if not 0 <= sigma <= 100:
        raise click.BadParameter(f"give 'auto' or a number from 0 to 100, got {value!r}")
    return sigma


def _finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):  # a range lets nan through
        raise click.BadParameter(f"{value} is no number to work with")
    return value


_OPTIONS = (
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
    click.option(
        "-o", "--output", metavar="OUT", help="File, folder, template such as out/{stem}_clean{ext}, or -."
    ),
    click.option("--in-place", is_flag=True, help="Replace every file by its result, instead of -o."),
    click.option(
        "--network",
        help="Name, .onnx file, or folder of a run.  [default: gaussian with --sigma, else default]",
    ),
    click.option(
        "--sigma",
        default="auto",
        callback=_sigma,
        metavar="auto|0..100",
        help="The noise's standard deviation on the 8-bit scale; auto estimates it for each picture.  "
        "[default: auto with a --network that is told it]",
    ),
    click.option(
        "--strength",
        default=1.0,
        show_default=True,
        type=click.FloatRange(0, 1),
        callback=_finite,
        help="0: the picture as it was; 1: the network's result.",
    ),
    click.option(
        "--linear/--encoded",
        "linear",
        default=None,
        help="Samples are proportional to light, or encoded for the eye.  [default: what the profile says]",
    ),
    click.option(
        "--white",
        type=click.FloatRange(0, min_open=True),
        callback=_finite,
        metavar="VALUE",
        help="The sample that shows white, for float pictures and odd 16-bit ones.",
    ),
    click.option(
        "--nan",
        type=click.Choice(["refuse", "fill"]),
        default="refuse",
        show_default=True,
        help="What to do with float pictures that hold NaN or Inf.",
    ),
    click.option(
        "--tile", type=click.IntRange(min=64), help="Longest side of a tile.  [default: by the memory]"
    ),
    click.option(
        "--memory",
        metavar="SIZE",
        help="What it may take, such as 2GB.  [default: a quarter of what is free]",
    ),
    click.option("--threads", type=click.IntRange(1, 1024), help="Processor cores to use.  [default: all]"),
    click.option(
        "--backend",
        type=click.Choice(["onnxruntime", "openvino"]),
        default="onnxruntime",
        show_default=True,
        help="What computes; openvino needs the extra of that name.",
    ),
    click.option(
        "--precision",
        default="auto",
        show_default=True,
        metavar="auto|float32|bfloat16",
        help="In which it computes; auto is the fastest that is measured to do this network no harm.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace outputs that exist."),
    click.option("--skip-existing", is_flag=True, help="Leave out inputs whose output exists."),
    click.option(
        "--resume",
        is_flag=True,
        help="Leave out what the manifest says was done so; make again what was made otherwise.",
    ),
    click.option(
        "--manifest",
        metavar="FILE",
        help="Where to record what was made of what.  [default: manifest.jsonl in an output folder]",
    ),
    click.option("--no-manifest", is_flag=True, help="Record nothing."),
    click.option("--watch", is_flag=True, help="Denoise what is put into the INPUT folders, until Ctrl-C."),
    click.option(
        "--interval",
        default=1.0,
        show_default=True,
        type=click.FloatRange(0.01, 86400),
        callback=_finite,
        metavar="SECONDS",
        help="With --watch: how often to look, and how long a file must stand still.",
    ),
    click.option("--dry-run", is_flag=True, help="List what would become what, and stop."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first file that fails."),
    click.option(
        "--allow-truncated",
        is_flag=True,
        help="Read files that are cut off as far as they go; the rest is blank.",
    ),
    click.option(
        "--max-megapixels",
        default=250.0,
        show_default=True,
        type=click.FloatRange(0, min_open=True),
        callback=_finite,
        help="Refuse larger pictures before decoding.",
    ),
)


def request_options(command: F) -> F:
    """Add the options that make a :class:`Request`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Request:
    """What a person asked for; a field an option."""

    inputs: tuple[str, ...]
    output: str | None
    in_place: bool
    network: str | None
    sigma: float | None
    strength: float
    linear: bool | None
    white: float | None
    nan: str
    tile: int | None
    memory: str | None
    threads: int | None
    backend: str
    precision: str
    overwrite: bool
    skip_existing: bool
    resume: bool
    manifest: str | None
    no_manifest: bool
    watch: bool
    interval: float
    dry_run: bool
    fail_fast: bool
    allow_truncated: bool
    max_megapixels: float

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: with the options.
        """
        exclusive = (
            ("--overwrite", self.overwrite, "--skip-existing", self.skip_existing),
            ("--resume", self.resume, "--skip-existing", self.skip_existing),
            ("--manifest", self.manifest is not None, "--no-manifest", self.no_manifest),
            ("--watch", self.watch, "--in-place", self.in_place),
            ("--allow-truncated", self.allow_truncated, "--in-place", self.in_place),
            ("--watch", self.watch, "--dry-run", self.dry_run),
            ("--watch", self.watch, "-o -", self.output == "-"),
        )
        for one, is_one, other, is_other in exclusive:
            if is_one and is_other:
                raise ConfigError(f"{one} and {other} exclude each other", hint="Choose one.")
        if self.watch and not self.output:
            raise ConfigError(
                "say where the results go", hint="--watch needs -o OUT, a folder or a template."
            )
        if self.manifest == "-":
            raise ConfigError("a manifest is a file", hint="Use --json for records on stdout.")
        self.settings()  # says what is wrong with the memory

    def settings(self) -> Settings:
        """How a picture is denoised."""
        from unnoise.denoising import Settings
        from unnoise.memory import parse_size

        return Settings(
            sigma=self.sigma,
            strength=self.strength,
            tile=self.tile,
            memory=None if self.memory is None else parse_size(self.memory),
            nan_fill=self.nan == "fill",
            white=self.white,
            linear=self.linear,
        )

    def limits(self) -> Limits:
        """What is read."""
        from unnoise.codecs.base import Limits

        return Limits(max_pixels=int(self.max_megapixels * 1e6), allow_truncated=self.allow_truncated)

    def manifest_in(self, folder: Path | None) -> str | None:
        """Where the manifest lies: as asked for, or in the folder below which all outputs lie."""
        from unnoise.manifest import NAME

        if self.no_manifest:
            return None
        if self.manifest is not None:
            return self.manifest
        return None if folder is None else os.fspath(folder / NAME)

    def parameters(self) -> dict[str, object]:
        """All that has a say in the result, beside the network."""
        return {
            "sigma": self.sigma,
            "strength": self.strength,
            "linear": self.linear,
            "white": self.white,
            "nan": self.nan,
            "allow_truncated": self.allow_truncated,
            "backend": self.backend,
            "precision": self.precision,
        }

    def how(self) -> dict[str, object]:
        """What has no say in the result."""
        return {"tile": self.tile, "memory": self.memory, "threads": self.threads}
