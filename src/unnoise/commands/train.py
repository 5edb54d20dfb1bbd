"""Train a network and write it as one file: `unnoise train`, `unnoise export`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unnoise.console import (
    Command,
    answer,
    as_json,
    emit,
    is_quiet,
    json_option,
    needs_training_extra,
    note,
)

if TYPE_CHECKING:
    from unnoise.trainconfig import TrainConfig


def _assignments(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    options = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"write NAME=VALUE, got {value!r}")
        try:
            options[name.replace("-", "_")] = json.loads(text)
        except ValueError:
            options[name.replace("-", "_")] = text
    return options


def _stages(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[float, int, int], ...]:
    stages = []
    for value in values:
        try:
            part, patch, batch = value.split(":")
            stages.append((float(part), int(patch), int(batch)))
        except ValueError:
            raise click.BadParameter(f"write PART:PATCH:BATCH, such as 0.7:128:8, got {value!r}") from None
    return tuple(stages)


@click.command(cls=Command)
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="The run's folder."
)
@click.option(
    "--preset",
    help="Settings that belong together: gaussian, small, default, finetune. Options given beside it win.  "
    "[default: finetune with --from]",
)
@click.option("--model", default="residual-unet", show_default=True, help="Architecture.")
@click.option(
    "--model-option",
    "model_options",
    multiple=True,
    callback=_assignments,
    metavar="NAME=VALUE",
    help="Of the architecture: skip=false, widths=[32,64,128] ...; repeatable.",
)
@click.option(
    "--optimizer", default="adamw", show_default=True, help="adam, adamw, adamw+lookahead, muon, lion ..."
)
@click.option("--lr", default=1e-3, show_default=True, help="Highest learning rate.")
@click.option("--weight-decay", default=0.01, show_default=True)
@click.option("--beta2", default=0.999, show_default=True, help="Of Adam and AdamW.")
@click.option("--lookahead-k", default=5, show_default=True, help="Fast steps to a slow one.")
@click.option("--lookahead-alpha", default=0.5, show_default=True, help="Length of a slow step.")
@click.option("--schedule", default="cosine", show_default=True, help="Of the learning rate: cosine, none.")
@click.option("--warmup", default=200, show_default=True, help="Steps over which the learning rate rises.")
@click.option("--loss", default="mse", show_default=True, help="mse, l1, charbonnier, psnr.")
@click.option(
    "--noise",
    help="gaussian:0-75, poisson:0.01+jpeg:80 ..., or 'stored'.  [default: the data's, drawn afresh]",
)
@click.option("--float-noise", is_flag=True, help="Don't round and clip drawn noise as 8-bit files do.")
@click.option("--steps", type=int, help="How long to train, in steps.")
@click.option("--epochs", type=float, help="How long to train, in passes over the data.")
@click.option("--minutes", type=float, help="How long to train, in minutes.")
@click.option("--batch", default=64, show_default=True, help="Tiles a step.")
@click.option("--patch", type=int, help="Side of the squares cut from the tiles.  [default: the whole tile]")
@click.option(
    "--later",
    multiple=True,
    callback=_stages,
    metavar="PART:PATCH:BATCH",
    help="Another patch and batch once that part of the run is behind, such as 0.7:128:8; repeatable.",
)
@click.option("--normalize", default="none", show_default=True, help="none, dataset, groups.")
@click.option(
    "--balance", default="none", show_default=True, help="none, groups: each colour group as often."
)
@click.option("--augment/--no-augment", default=True, show_default=True, help="Flips and quarter turns.")
@click.option("--grey", default=0.0, show_default=True, help="Share of examples without colour.")
@click.option(
    "--enlarged", default=0.0, show_default=True, help="Share of examples cut smaller and enlarged."
)
@click.option("--ema", default=0.999, show_default=True, help="Decay of the averaged weights; 0: none.")
@click.option("--clip", default=0.0, show_default=True, help="Largest gradient norm; 0: any.")
@click.option("--precision", default="bf16", show_default=True, help="bf16, float32.")
@click.option("--validations", default=30, show_default=True, help="How often to validate over the run.")
@click.option("--valid-tiles", default=1024, show_default=True, help="Tiles a validation, at most.")
@click.option(
    "--patience",
    default=0,
    show_default=True,
    help="Validations without a better one before stopping; 0: never.",
)
@click.option("--checkpoint-minutes", default=3.0, show_default=True, help="Time between two checkpoints.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=int, help="Of torch.  [default: all cores]")
@click.option(
    "--from", "init", metavar="NETWORK|RUN", help="Start from its weights: a name, an .onnx file or a run."
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard's event files.")
@click.option("--resume", is_flag=True, help="Go on with the run as it was configured.")
@json_option
def train(*, resume: bool, preset: str | None, **options: Any) -> None:
    """Train a network on a prepared data set.

    DATA is a folder made by 'unnoise prepare'. The run's folder gets the weights, the metrics, the learning
    curve and, at the end, network.onnx, which 'unnoise denoise --network RUN' uses. Ctrl-C stops with a
    checkpoint; --resume goes on.
    """
    needs_training_extra()
    from dataclasses import replace

    from unnoise.denoiser import bundled, find
    from unnoise.export import export_run
    from unnoise.recipes import FINETUNE
    from unnoise.run import Run
    from unnoise.train import train as run_training
    from unnoise.trainconfig import TrainConfig

    if preset is None and options["init"] and not resume:
        preset = FINETUNE
    if preset is not None and not resume:
        options = _with_preset(preset, options)
    if init := options["init"]:
        # A run that is not finished has no network file yet, but weights.
        options["init"] = Path(init) if init not in bundled() and Path(init).exists() else find(init)

    if resume:
        stored = Run(options["out"]).config()
        _refuse_changes({**options, "preset": preset}, stored)
        config = replace(
            stored, data=options["data"], out=options["out"], threads=options["threads"] or stored.threads
        )
    else:
        config = TrainConfig(**options)
    leads = int(os.environ.get("RANK", "0")) == 0
    result = run_training(
        config, resume=resume, log=note if leads else lambda _: None, progress=not is_quiet()
    )
    if not result.finished:
        note(f"go on with: unnoise train {config.data} -o {config.out} --resume")
        raise KeyboardInterrupt
    if leads:
        network = export_run(result.run)
        record = {"status": "done", "run": str(result.run), "network": str(network), "steps": result.steps}
        if as_json():
            emit({**record, "valid_mse": result.best, "seconds": round(result.seconds, 1)})
        else:
            answer(str(network))


def _with_preset(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's settings, and over them what the command line says."""
    from unnoise.errors import UnknownName
    from unnoise.recipes import LENGTHS, RECIPES, fitted
    from unnoise.tiles import load_dataset
    from unnoise.trainconfig import NOT_STORED, STORED

    if name not in RECIPES:
        raise UnknownName("preset", name, RECIPES)
    ctx = click.get_current_context()
    told = {n for n in options if ctx.get_parameter_source(n) is click.core.ParameterSource.COMMANDLINE}
    left_out = told | (LENGTHS if told & LENGTHS else set())
    if options["noise"] == STORED:
        left_out |= NOT_STORED.keys()
    recipe = fitted(RECIPES[name], load_dataset(options["data"]).info.tile)
    return {**options, **{n: v for n, v in recipe.items() if n not in left_out}}


def _refuse_changes(options: Mapping[str, Any], stored: TrainConfig) -> None:
    """A resumed run goes on as it was configured: another wish must not be passed over in silence."""
    from unnoise.errors import ConfigError

    ctx = click.get_current_context()
    spelt = {param.name: param.opts[0] for param in ctx.command.params}
    changed = [
        str(spelt[name])
        for name, value in options.items()
        if name not in ("data", "out", "threads")
        and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        and value != getattr(stored, name, None)  # a preset is no part of it
    ]
    if changed:
        raise ConfigError(
            f"--resume goes on with the run as it was configured, not with another {', '.join(changed)}",
            hint="Leave that out, or start another run from these weights with --from.",
        )


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), help="The file.  [default: RUN/network.onnx]"
)
@click.option("--name", help="What the network is called.  [default: the run's folder]")
@click.option(
    "--card",
    "extra",
    type=click.Path(path_type=Path),
    help="JSON file with more entries for the card: licence, data, scores ...",
)
@click.option(
    "--int8",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Compute in 8-bit integers, calibrated on this data set: about twice as fast, for some loss.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file.")
@json_option
def export(
    *, run: Path, out: Path | None, name: str | None, extra: Path | None, int8: Path | None, overwrite: bool
) -> None:
    """Write a run's best weights as a network file (ONNX)."""
    needs_training_extra()
    from unnoise.errors import ConfigError
    from unnoise.export import export_run

    try:
        entries = json.loads(extra.read_text(encoding="utf-8")) if extra else {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{extra} is not a readable JSON file: {error}") from None
    if out is not None and out.exists() and not overwrite:
        raise ConfigError(f"{out} is there already", hint="Take another -o, or --overwrite.")
    network = export_run(run, out, name=name, card=entries, int8=int8)
    if as_json():
        emit({"status": "done", "run": str(run), "network": str(network)})
    else:
        answer(str(network))
