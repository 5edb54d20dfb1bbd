"""Which network is best for its time? Variants trained for the same processor time, and timed side by side.

    python benchmarks/architectures.py DATA [--minutes 2] [--only NAME,...] [--json FILE]

DATA is a folder made by ``unnoise prepare``, its tiles at least 64 pixels wide; that of the bundled networks
is made by scripts/train_networks. VARIANTS in _variants.py says what there is to choose from.

Training: one thread, minutes of its own processor time (validation not counted), patches of 64×64 pixels,
float Gaussian noise of 0 to 75 that is not clipped, 100 steps of warm-up and a cosine to zero, bfloat16. The
weights that are validated are a moving average whose memory is a twentieth of the run, as in training proper.

Validation: PSNR of whole validation tiles, output clipped to [0, 1], mean over the tiles; the same noise for
all. One seed: differences of less than about 0.05 dB are chance.

Time: ONNX Runtime with --threads threads, a picture of --side × --side pixels, the networks in turn with a
large matrix product between, the best of the rounds. Share: of the peak, the fastest product that ONNX
Runtime, torch or numpy made. By the clock, and of processor time: the latter is for busy machines.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from _machine import Product, Rate, Spent, introduce, machine_peak, timed
from _variants import COSTS, VARIANTS, Recipe, Variant, folded
from unnoise import noise
from unnoise.cores import available_cores
from unnoise.dataset import Batch, Stage, TrainingBatches, validation_batches
from unnoise.export import multiply_adds, to_onnx
from unnoise.models import Model, parameters
from unnoise.optimizers import OptimizerOptions, build_optimizer, learning_rate
from unnoise.runtime import BACKENDS, FLOAT32
from unnoise.strategies import STRATEGIES
from unnoise.tables import aligned
from unnoise.tiles import Dataset, load_dataset

PATCH = 64
SIGMAS = (5, 15, 25, 50)
MEAN_OF = (15, 25, 50)
WARMUP = 100
BACKEND = "onnxruntime"
SEED = 0
VALIDATED = 64
"""Validation tiles at most."""


# --- cost --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a network takes.

    Attributes:
        parameters: once folded.
        gmac: 1e9 multiplications for 256×256 pixels.
        seconds: a megapixel, by the clock.
        processor_seconds: a megapixel, in all threads.
        share: of the machine's float32 peak, by the clock.
        processor_share: the same by processor time.
    """

    parameters: int
    gmac: float
    seconds: float
    processor_seconds: float
    share: float
    processor_share: float


def costs(
    models: Mapping[str, Model], folder: Path, threads: int, side: int, rounds: int, products: Sequence[int]
) -> dict[str, Cost]:
    """Every model exported, and timed in turn."""
    peak, again = machine_peak(threads, folder, [BACKEND], products)
    plain = {name: folded(model).eval() for name, model in models.items()}
    passes = {name: _opened(model, folder / f"{name}.onnx", threads, side) for name, model in plain.items()}
    spent: dict[str, list[Spent]] = {name: [] for name in models}
    for number in range(rounds + 1):
        peak = _faster(peak, again)
        for name, run in passes.items():
            once = timed(run)
            if number:  # the first pass gets its memory
                spent[name].append(once)
    return {name: _cost(plain[name], spent[name], side, peak) for name in models}


def _opened(model: Model, path: Path, threads: int, side: int) -> Callable[[], object]:
    path.write_bytes(to_onnx(model).SerializeToString())
    backend = BACKENDS[BACKEND](path, threads, FLOAT32)
    noisy = np.random.default_rng(SEED).random((1, 3, side, side), np.float32)
    return lambda: backend.run({"noisy": noisy, "sigma": np.full((1, 1, 1, 1), 0.1, np.float32)})


def _faster(peak: Rate, products: Iterable[Product]) -> Rate:
    for product in products:
        peak = peak.or_more(product())
    return peak


def _cost(model: Model, spent: Sequence[Spent], side: int, peak: Rate) -> Cost:
    macs, pixels = multiply_adds(model, 256), side * side
    wall, cpu = min(each.wall for each in spent), min(each.cpu for each in spent)
    rate = Rate.of(2 * macs * pixels / 256**2, Spent(wall, cpu))
    return Cost(
        parameters=parameters(model),
        gmac=macs / 1e9,
        seconds=wall / pixels * 1e6,
        processor_seconds=cpu / pixels * 1e6,
        share=rate.wall / peak.wall,
        processor_share=rate.cpu / peak.cpu,
    )


# --- quality -----------------------------------------------------------------------------------------


def optimizers_of(model: Model, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """What moves the weights; each has its highest rate in its groups."""
    if recipe.optimizer != "muon-hidden":
        decay = 0.01 if recipe.optimizer == "adamw" else 0.0
        options = OptimizerOptions(recipe.lr, decay, beta2=0.99)
        return [build_optimizer(recipe.optimizer, model.parameters(), options)]
    outer: list[nn.Parameter] = []
    hidden: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (outer if name.startswith(("head.", "tail.")) else hidden).append(parameter)
    return [
        build_optimizer("muon", hidden, OptimizerOptions(recipe.lr, 0.0)),
        build_optimizer("adamw", outer, OptimizerOptions(1e-3, 0.01, beta2=0.99)),
    ]


def batches_of(dataset: Dataset, recipe: Recipe) -> TrainingBatches:
    return TrainingBatches(
        dataset.split("train"),
        noise.parse("gaussian:0-75"),
        STRATEGIES["supervised"],
        (Stage(0.0, PATCH, recipe.batch),),
        SEED,
        stored=False,
    )


def trained(variant: Variant, dataset: Dataset, minutes: float) -> tuple[Model, int]:
    """The averaged network, and the steps that it took.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    torch.manual_seed(SEED)
    recipe = variant.recipe
    model: nn.Module = variant.network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(model, Model)
    averaged = copy.deepcopy(model)
    optimizers, batches = optimizers_of(model, recipe), batches_of(dataset, recipe)
    tops = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    step, started = 0, time.process_time()
    while (progress := (time.process_time() - started) / (60 * minutes)) < 1:
        for optimizer, top in zip(optimizers, tops, strict=True):
            rate = learning_rate(top, "cosine", step=step, warmup=WARMUP, progress=progress)
            for group in optimizer.param_groups:
                group["lr"] = rate
        batch = batches(step, progress)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(batch.input, batch.sigma)
        loss = COSTS[recipe.loss](output.float() - batch.target, None)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss became {loss.item()} at step {step}")
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        _move(averaged, model, step)
    return averaged.eval(), step


@torch.no_grad()
def _move(averaged: Model, model: Model, step: int) -> None:
    memory = step / 20
    decay = min(0.999, memory / (1 + memory))
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)


def _validation(dataset: Dataset, sigma: int) -> Iterator[Batch]:
    level = noise.parse(f"gaussian:{sigma}")
    split = dataset.split("valid")
    return validation_batches(split, level, sigma=sigma, seed=SEED, batch=8, tiles=VALIDATED, stored=False)


@torch.no_grad()
def psnr_of(model: Model, dataset: Dataset, sigma: int) -> float:
    """Mean over the validation tiles, dB."""
    found = []
    for batch in _validation(dataset, sigma):
        error = (model(batch.input, batch.sigma).clamp(0, 1) - batch.target).square().mean(dim=(1, 2, 3))
        found += (-10 * torch.log10(error)).tolist()
    return float(np.mean(found))


# --- all of it ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What is known of a variant.

    Attributes:
        name: of the variant.
        recipe: that it was trained with.
        cost: of its network.
        steps: that it took.
        psnr: by sigma, dB; empty where it was not trained.
        mean: of the sigmas that denoisers are compared at, or None.
    """

    name: str
    recipe: Recipe
    cost: Cost
    steps: int = 0
    psnr: Mapping[str, float] = dataclasses.field(default_factory=dict)
    mean: float | None = None


def measured(name: str, cost: Cost, dataset: Dataset, minutes: float) -> Result:
    """A variant's result; without scores if there is no time to train."""
    variant = VARIANTS[name]
    if not minutes:
        return Result(name, variant.recipe, cost)
    try:
        model, steps = trained(variant, dataset, minutes)
    except FloatingPointError as error:
        print(f"{name}: {error}", flush=True)
        return Result(name, variant.recipe, cost)
    psnr = {sigma: psnr_of(model, dataset, sigma) for sigma in SIGMAS}
    mean = sum(psnr[sigma] for sigma in MEAN_OF) / len(MEAN_OF)
    print(f"{name}: {steps:,} steps, {mean:.2f} dB", flush=True)
    return Result(name, variant.recipe, cost, steps, {str(key): value for key, value in psnr.items()}, mean)


def table(results: Sequence[Result]) -> str:
    """A line a variant, in the order of the registry."""
    header = ["variant", "optimiser", "rate", "loss", "batch", "M parameters", "GMAC", "s/MP", "share"]
    header += ["cpu s/MP", "cpu share", "steps", *(f"PSNR {sigma}" for sigma in SIGMAS), "mean 15–50"]
    rows = [
        [
            each.name,
            each.recipe.optimizer,
            f"{each.recipe.lr:g}",
            each.recipe.loss,
            str(each.recipe.batch),
            f"{each.cost.parameters / 1e6:.3f}",
            f"{each.cost.gmac:.2f}",
            f"{each.cost.seconds:.3f}",
            f"{each.cost.share:.2f}",
            f"{each.cost.processor_seconds:.3f}",
            f"{each.cost.processor_share:.2f}",
            f"{each.steps:,}" if each.steps else "–",
            *(f"{each.psnr[str(sigma)]:.2f}" if each.psnr else "–" for sigma in SIGMAS),
            "–" if each.mean is None else f"{each.mean:.2f}",
        ]
        for each in results
    ]
    return aligned(header, rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, metavar="DATA", help="a folder made by unnoise prepare")
    parser.add_argument("--minutes", type=float, default=2.0, help="to train each; 0 only times them")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--threads", type=int, default=min(2, available_cores()), help="of ONNX Runtime")
    parser.add_argument("--side", type=int, default=512, help="of the picture that is timed")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--products", default="1024,2048", help="sides of the matrices; the last is taken again"
    )
    options = parser.parse_args()
    chosen = [name for name in (options.only or "").split(",") if name] or list(VARIANTS)
    if unknown := [name for name in chosen if name not in VARIANTS]:
        parser.error(f"no variant {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    options.only = chosen
    return options


def main() -> int:
    options = arguments()
    introduce(("numpy", "onnxruntime", "torch", "pytorch-optimizer"), options.threads)
    torch.set_num_threads(1)
    dataset = load_dataset(options.data)
    print(f"{options.minutes:g} minutes of processor time each, {len(options.only)} variants", flush=True)
    # Recipes share networks; those are timed once.
    first = {VARIANTS[name].network: name for name in reversed(options.only)}
    models = {name: make() for make, name in first.items()}
    with tempfile.TemporaryDirectory(prefix="architectures-") as folder:
        products = [int(side) for side in options.products.split(",")]
        cost = costs(models, Path(folder), options.threads, options.side, options.rounds, products)
    results = [
        measured(name, cost[first[VARIANTS[name].network]], dataset, options.minutes) for name in options.only
    ]
    print(f"\n{table(results)}")
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(each) for each in results], indent=1))
        print(options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
