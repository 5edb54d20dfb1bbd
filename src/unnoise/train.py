"""Training: one loop that reads from top to bottom."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch
from tqdm import tqdm

from unnoise import noise
from unnoise.charts import learning_curves
from unnoise.dataset import Batch, TrainingBatches, data_hash, prefetched, validation_batches
from unnoise.errors import ConfigError, DataError, TrainingError
from unnoise.files import replacing
from unnoise.losses import LOSSES, Loss
from unnoise.models import Model, build, parameters
from unnoise.models.normalized import normalized
from unnoise.optimizers import build_optimizer, learning_rate
from unnoise.parallel import agreed, process_group, rank_and_world, summed, wait_for_all
from unnoise.run import MetricsWriter, Run, State
from unnoise.strategies import STRATEGIES
from unnoise.tiles import Dataset, load_dataset
from unnoise.trainconfig import STORED, TrainConfig

Log = Callable[[str], None]


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        run: the run's folder.
        steps: optimiser steps in all.
        examples: training tiles or patches seen.
        seconds: time spent, over all sessions of the run.
        best: mean squared validation error, in [0, 1] units, of the weights that ship.
        finished: whether the planned end or early stopping was reached; false after an interruption.
    """

    run: Path
    steps: int
    examples: int
    seconds: float
    best: float
    finished: bool


def train(
    config: TrainConfig, *, resume: bool = False, log: Log = lambda _: None, progress: bool = True
) -> TrainResult:
    """Train a network and leave its run folder.

    On one machine with the same number of threads, a run of ``steps`` or ``epochs`` that was interrupted and
    resumed ends in the same weights, bit for bit, as one that was not. Under ``torchrun`` the processes share
    each batch.

    Args:
        config: what to train; with ``resume`` the run's own.
        resume: go on from the run's last checkpoint; one that was killed before the first begins again.
        log: takes a line of text for people.
        progress: whether to draw a progress bar when standard error is a terminal.

    Raises:
        ConfigError, DataError, NetworkError: before anything is trained; also where a run is resumed that is
            finished and has no checkpoint any more, or with another data set.
        TrainingError: the loss became NaN or infinite; the last good checkpoint stays.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    try:
        with process_group():
            return _train(config, resume, log, progress)
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise TrainingError(
            f"out of memory with batches of {config.batch}", hint=f"Take --batch {max(1, config.batch // 2)}."
        ) from None


def _train(config: TrainConfig, resume: bool, log: Log, progress: bool) -> TrainResult:
    rank, world = rank_and_world()
    leads = rank == 0
    dataset = load_dataset(config.data)
    run, data = Run(config.out), data_hash(dataset.path)
    resumed = resume and _can_go_on(run, data, log)
    if config.init is not None and not resumed:
        from unnoise.export import load_initial, with_options_of

        config = with_options_of(config.init, config)

    # The network: the same random weights on every process.
    torch.manual_seed(config.seed)
    model, averaged = new_model(config, dataset), new_model(config, dataset)
    _check_sizes(config, dataset, model, world)
    if config.init is not None and not resumed:
        load_initial(model, config.init)
    averaged.load_state_dict(model.state_dict())
    # A step takes a quarter less time where kernels lie in memory as pictures do.
    model, averaged = (each.to(memory_format=torch.channels_last) for each in (model, averaged))  # type: ignore[call-overload]
    optimizer = build_optimizer(config.optimizer, model.parameters(), config.optimizer_options)
    state = run.restore(model, averaged, optimizer) if resumed else State()
    state.data_sha256 = data
    forward = torch.nn.parallel.DistributedDataParallel(model) if world > 1 else model

    # The examples: fresh ones in training, the same ones at every validation.
    batches, validation = _examples(config, dataset)
    cost = LOSSES[config.loss]
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16")

    # Nothing can be wrong with the request from here on.
    if leads and not resume:
        run.create(config)
    wait_for_all()

    # How long, and when to look: in steps, or in seconds where minutes were given.
    total = config.steps
    if config.epochs is not None:
        total = max(1, round(config.epochs * batches.steps_per_epoch))
    end = float(total or 60 * (config.minutes or 0))
    every = end / config.validations
    if config.epochs is not None and config.epochs > config.validations:
        every = float(batches.steps_per_epoch)
    log(_summary(config, dataset, model, state, total, world))

    bar = tqdm(
        total=round(end),
        initial=round(state.step if total else state.seconds),
        unit="steps" if total else "s",
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}{postfix}]",
        disable=not (progress and leads and sys.stderr.isatty()),
        file=sys.stderr,
    )
    started = time.perf_counter() - state.seconds
    saved_at = state.seconds
    losses: list[float] = []  # since the last validation, which was at:
    mark = (state.examples, state.seconds)
    done = (state.step if total else state.seconds) / end
    examples = prefetched(batches, state.step, total, done=lambda step: step / end if total else done)
    with contextlib.ExitStack() as cleanup:
        interrupted = cleanup.enter_context(_interrupts())
        cleanup.enter_context(contextlib.closing(examples))
        cleanup.enter_context(bar)
        metrics = cleanup.enter_context(MetricsWriter(run, config.tensorboard, state.step)) if leads else None
        for batch in () if state.finished else examples:
            done = (state.step if total else state.seconds) / end
            rate = learning_rate(
                config.lr, config.schedule, step=state.step, warmup=config.warmup, progress=done
            )
            for group in optimizer.param_groups:
                group["lr"] = rate

            with autocast:
                output = forward(batch.input, batch.sigma)
            loss = cost(output.float() - batch.target, batch.mask)
            # One exchange tells every process the mean loss and whether anybody was interrupted.
            shared = summed(torch.tensor([loss.item() / world, float(interrupted())], dtype=torch.float64))
            value, stop = float(shared[0]), bool(shared[1])
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss became {value} at step {state.step:,}", hint=run.advice(config)
                )
            if stop:
                break
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if config.clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            state.step += 1
            state.examples += len(batch.input) * world
            _move_average(averaged, model, config.ema, state.step)
            losses.append(value)

            state.seconds = agreed(time.perf_counter() - started)
            position = float(state.step) if total else state.seconds
            speed = (state.examples - mark[0]) / max(state.seconds - mark[1], 1e-9)
            bar.set_postfix_str(f"{speed:.0f} tiles/s", refresh=False)
            if position >= end or position - state.validated >= every:
                state.validated = position
                seen = validate(averaged, validation(), autocast, cost)
                state.stale = 0 if seen.loss < state.best_loss else state.stale + 1
                if state.stale == 0:
                    state.best_loss, state.best = seen
                    if leads:
                        run.save_best(config, dataset.info, averaged, state)
                state.finished = position >= end or 0 < config.patience <= state.stale
                mean_loss = sum(losses) / len(losses)
                if metrics:
                    metrics.write(
                        step=state.step,
                        epoch=round(state.examples / dataset.info.counts["train"], 4),
                        seconds=round(state.seconds, 1),
                        lr=rate,
                        train_loss=mean_loss,
                        valid_loss=seen.loss,
                        valid_mse=seen.mse,
                        tiles_per_second=round(speed, 1),
                    )
                judged = f"{seen.loss:.6f}  " if config.loss != "mse" else ""
                with bar.external_write_mode(file=sys.stderr):  # a line of its own, not behind the bar
                    log(
                        f"step {state.step:,}  {state.seconds / 60:.1f} min  train {mean_loss:.6f}  "
                        f"valid {judged}mse {seen.mse:.6f}  {speed:.0f} tiles/s"
                    )
                state.seconds = agreed(time.perf_counter() - started)
                losses, mark = [], (state.examples, state.seconds)
            if leads and (state.finished or state.seconds - saved_at >= 60 * config.checkpoint_minutes):
                run.save_last(config, state, model, averaged, optimizer)
                saved_at = state.seconds
            bar.update(min(round(end), int(position)) - bar.n)
            if state.finished:
                break
    if not state.finished:
        if leads:
            run.save_last(config, state, model, averaged, optimizer)
        log(f"stopped at step {state.step:,}, with a checkpoint")
    if leads and (records := run.metrics()):
        picture = learning_curves({run.path.name: records}, "png")
        with replacing(run.path / "learning_curve.png") as temporary:
            temporary.write_bytes(picture)
    if state.finished and interrupted():
        # It came too late to stop this run, but whoever pressed the keys wants what follows to stop.
        raise KeyboardInterrupt
    return TrainResult(run.path, state.step, state.examples, state.seconds, state.best, state.finished)


class Validation(NamedTuple):
    """Means over the validation tiles: of the loss that the run is trained by, and of the squared error."""

    loss: float
    mse: float


@torch.no_grad()
def validate(model: Model, batches: Iterator[Batch], autocast: torch.autocast, cost: Loss) -> Validation:
    """How far the output, clipped to [0, 1], is from the clean tiles; over all processes."""
    rank, world = rank_and_world()
    total = torch.zeros(3, dtype=torch.float64)
    for i, batch in enumerate(batches):
        if i % world != rank:
            continue
        with autocast:
            output = model(batch.input, batch.sigma)
        error = output.float().clamp(0, 1) - batch.target
        total += len(error) * torch.stack([cost(error, None), error.square().mean(), torch.tensor(1.0)])
    total = summed(total)
    return Validation(float(total[0] / total[2]), float(total[1] / total[2]))


def new_model(config: TrainConfig, dataset: Dataset) -> Model:
    """The model of ``config`` with random weights, inside its normalisation where one was asked for."""
    info = dataset.info
    model = build(config.model, config.model_options, size=config.patch or info.tile)
    if config.normalize == "dataset":
        return normalized(model, [list(info.mean)], [list(info.std)], None)
    if config.normalize == "groups":
        groups = info.colour_groups
        mean, std, centres = ([list(getattr(g, name)) for g in groups] for name in ("mean", "std", "centre"))
        return normalized(model, mean, std, centres)
    return model


def _check_sizes(config: TrainConfig, dataset: Dataset, model: Model, world: int) -> None:
    """Raise where tiles do not fit the model, or the processes cannot share a batch evenly."""
    tile = dataset.info.tile
    stages = config.stages(tile)
    for side in {*(stage.patch for stage in stages), tile}:  # trained on, validated on
        try:
            model.check_input_shape(torch.empty(1, 3, side, side, device="meta"))
        except ValueError as error:
            raise DataError(
                f"{config.model} does not fit this data set: {error}",
                hint="Prepare tiles of another size, or take another --patch or --model.",
            ) from None
    for stage in stages:
        if over := stage.batch % world:
            raise ConfigError(
                f"a batch of {stage.batch} cannot be shared evenly by {world} processes",
                hint=f"Take a batch of {stage.batch + world - over}.",
            )


def _examples(config: TrainConfig, dataset: Dataset) -> tuple[TrainingBatches, Callable[[], Iterator[Batch]]]:
    """Training batches by step, and a function that gives the validation batches anew."""
    rank, world = rank_and_world()
    valid = dataset.split("valid")
    if not len(valid.clean):
        raise DataError(
            f"{config.data} has no validation tiles", hint="Prepare it with a larger validation share."
        )
    spec = config.training_noise(dataset.info)
    level = noise.parse(spec)
    if config.noise == STORED:
        many, which = level.sigma is None, "the stored copies have many"
    else:
        many, which = not noise.has_levels(level), "this noise has no one"
    if many and build(config.model, config.model_options).sigma_input:
        blind = f"Take a blind model: --model-option blind=true for {config.model}."
        raise ConfigError(
            f"{config.model} is told the noise level, but {which} ({spec})",
            hint=f"{blind} Or leave --noise stored away." if config.noise == STORED else blind,
        )
    batches = TrainingBatches(
        dataset.split("train"),
        level,
        STRATEGIES[config.strategy],
        config.stages(dataset.info.tile),
        config.seed,
        augment=config.augment,
        balance=config.balance == "groups",
        grey=config.grey,
        enlarged=config.enlarged,
        stored=not config.float_noise,
        rank=rank,
        world=world,
    )
    # Drawn noise of many levels is validated as it is drawn: the stored copies do not say which each has.
    as_prepared = config.noise == STORED or (
        spec == dataset.info.noise and level.sigma is not None and not config.float_noise
    )

    def validation() -> Iterator[Batch]:
        return validation_batches(
            valid,
            None if as_prepared else level,
            sigma=level.sigma,
            seed=config.seed,
            batch=config.batch,
            tiles=config.valid_tiles,
            stored=not config.float_noise,
        )

    return batches, validation


@torch.no_grad()
def _move_average(averaged: Model, model: Model, decay: float, step: int) -> None:
    """Move the exponential moving average of the weights.

    Its memory is a twentieth of the run so far, up to what ``decay`` allows: an average that reached back to
    the worse weights of a short run's beginning would cost more than it smooths (on averages whose length
    follows the run's: Karras et al., 2024, arXiv:2312.02696). Beside one that remembers a ninth, validation
    errors of runs of one to three minutes were 2 to 7 % lower a quarter of the way, and level at the end.
    """
    memory = step / 20
    decay = min(decay, memory / (1 + memory))
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1.0 - decay)


def _can_go_on(run: Run, data: str, log: Log) -> bool:
    """Whether the run has a checkpoint; raise where it is of other data, or gone from a finished run."""
    state = run.state()
    if state is None:
        if run.network.exists():
            raise ConfigError(
                f"{run.path} is finished, and the checkpoint to go on from ({run.last.name}) was removed",
                hint=f"Start another run from its weights: --from {run.path} with another -o.",
            )
        log(f"{run.path} has no checkpoint yet: training begins again")
        return False
    if state.data_sha256 not in ("", data):
        raise DataError(
            f"{run.path} was trained on another data set, or this one was prepared anew in another way",
            hint=f"Give the data it was begun with, or start another run with --from {run.path}.",
        )
    return True


def _summary(
    config: TrainConfig, dataset: Dataset, model: Model, state: State, total: int | None, world: int
) -> str:
    length = f"{total:,} steps" if total else f"{config.minutes:g} minutes"
    processes = f" × {world} processes" if world > 1 else ""
    resumed = f", resumed at step {state.step:,}" if state.step else ""
    return (
        f"{config.model}: {parameters(model):,} parameters, {config.optimizer}, {config.loss}, "
        f"noise {config.noise or dataset.info.noise}, {dataset.info.counts['train']:,} tiles, "
        f"batch {config.batch}, {config.precision}, {torch.get_num_threads()} threads{processes}, "
        f"{length}{resumed}"
    )


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a polite end of the loop; the second acts at once."""
    seen = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = True

    try:
        previous = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread, which alone receives signals
        yield lambda: False
        return
    try:
        yield lambda: seen
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
