"""What a report says beside the numbers: recipes, what held for all methods, versions, the machine."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unnoise.cores import available_cores
from unnoise.noise import Noise, has_levels, parse
from unnoise.tiles import Dataset, read_manifest

_RECIPE = {
    "lr": "learning rate {:g}",
    "beta2": "beta2 {:g}",
    "schedule": "{} schedule",
    "warmup": "warm-up {} steps",
    "batch": "batch {}",
    "loss": "loss {}",
    "clip": "gradients clipped at {:g}",
    "ema": "weights averaged (decay {:g})",
    "precision": "{}",
}
"""A run's setting -> how a reader of the report is told."""


def recipe(settings: Mapping[str, Any], beside: Mapping[str, Any] | None = None) -> str:
    """What a run's configuration says that a reader should know; all, or what differs from another's."""
    return ", ".join(
        words.format(settings[name])
        for name, words in _RECIPE.items()
        if beside is None or settings[name] != beside[name]
    )


def trained_elsewhere(training: Mapping[str, Any]) -> str:
    """How a network that came from outside was trained, from its card."""
    known = [f"noise {training['noise']}"] if "noise" in training else []
    if "examples" in training and training.get("patch"):
        sides = [training["patch"], *(patch for _, patch, _ in training.get("later", ()))]
        sizes = " and ".join(f"{side} × {side}" for side in dict.fromkeys(sides))
        known.append(f"{training['examples']:,} patches of {sizes} pixels")
    return "; ".join(["as it is, trained elsewhere", *known])


def notes(
    dataset: Dataset,
    *,
    common: Mapping[str, Any],
    optimizers: bool,
    shipped: str | None,
    left_out: Iterable[str],
) -> tuple[str, ...]:
    """What held for all methods, as sentences.

    Args:
        dataset: what everything was trained and scored on.
        common: the configuration that runs have where they don't say otherwise.
        optimizers: whether networks that differ in the optimiser alone are among the methods.
        shipped: name of the bundled network that is, or None.
        left_out: filters that could not run, each with the reason.
    """
    said = [
        "Filters were tuned on the validation photographs and networks were chosen by them; all of them "
        "were then frozen and scored on the test photographs, which no tuning and no training here had seen.",
        f"Noise: {dataset.info.noise}, stored without loss; in training it was drawn afresh for every tile. "
        f"{_level(parse(dataset.info.noise))}",
        f"Training, where a network's row says nothing else: {recipe(common)}.",
    ]
    most = dataset.info.tiles_per_image
    if most in Counter(tile.source for tile in read_manifest(dataset.path)).values():
        said.append(f"At most {most} tiles of each image took part: of larger ones a seeded choice.")
    if pairs := len(dataset.info.leaks):
        said.append(
            f"{pairs} pair{'' if pairs == 1 else 's'} of files in different splits show the same, and were "
            "allowed to: the scores may flatter whatever was tuned or trained on them."
        )
    if optimizers:
        said.append(
            "The optimisers are compared on the same network after the same number of steps, each once: with "
            "another seed the order may change where they lie close together."
        )
    if shipped:
        said.append(
            f"The shipped network is shown as it is, not trained here; 'unnoise models {shipped}' names "
            "the photographs that it was trained on. If yours are among them, its row is no test."
        )
    said += [f"Left out: {each}." for each in left_out]
    return tuple(said)


def _level(noise: Noise) -> str:
    if noise.sigma is not None:
        return "Filters and networks that take its level were told it (standard deviation, 8-bit units)."
    told = "Filters that take its level had to estimate it"
    return f"{told}, and so had networks." if has_levels(noise) else f"{told}; networks are blind to it."


def versions() -> dict[str, str]:
    """Name and version of what the results depend on, as far as it is installed."""
    names = (
        "unnoise",
        "torch",
        "onnxruntime",
        "numpy",
        "opencv-python-headless",
        "scikit-image",
        "pytorch-optimizer",
    )
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine(threads: int | None) -> dict[str, str]:
    """The processor, its cores, how many threads torch was given, the system."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": str(available_cores()),
        "threads in training": str(threads or available_cores()),
        "system": platform.platform(),
    }
