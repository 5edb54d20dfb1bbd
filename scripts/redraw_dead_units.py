"""A run's network with its dead hidden channels drawn anew, as a run to start another training from.

A channel of a residual pair that fires nowhere, for no picture and no noise, gets no gradient either. It is
drawn anew without a response to mere brightness, and what reads it is set to zero: the output stays as is.

    python scripts/redraw_dead_units.py runs/gaussian-1 runs/gaussian-2 data/shipped
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unnoise.models import Model
from unnoise.models.residual_unet import ResidualPair
from unnoise.run import Run, State
from unnoise.tiles import Dataset, load_dataset

LEVELS, EVERY, FIRES = (5, 25, 60), 91, 1e-3


@torch.no_grad()
def dead_channels(model: Model, dataset: Dataset) -> dict[str, Tensor]:
    """For each residual pair, which of its hidden channels (C,) fire nowhere."""
    tiles = np.asarray(dataset.split("train").clean[::EVERY], np.float32) / np.float32(255)
    clean = torch.from_numpy(tiles).permute(0, 3, 1, 2)
    fired: dict[str, Tensor] = {}

    def watch(name: str, first: nn.Conv2d) -> None:
        def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            share = (output > 0).float().mean((0, 2, 3))
            fired[name] = torch.maximum(share, fired.get(name, share))

        first.register_forward_hook(note)

    for name, module in model.named_modules():
        if isinstance(module, ResidualPair):
            watch(name, module.first)
    for level in LEVELS:
        noisy = clean + torch.randn_like(clean) * level / 255
        model(noisy, torch.full((len(clean), 1, 1, 1), level / 255))
    return {name: share < FIRES for name, share in fired.items()}


@torch.no_grad()
def redraw(pair: ResidualPair, dead: Tensor) -> None:
    """Draw the first convolution's dead kernels anew, as large as the others."""
    kernels = pair.first.weight
    fresh = torch.empty_like(kernels)
    nn.init.kaiming_uniform_(fresh, nonlinearity="relu")
    fresh -= fresh.mean((1, 2, 3), keepdim=True)
    alike = kernels[~dead] if (~dead).any() else fresh
    fresh *= alike.flatten(1).norm(dim=1).median() / fresh.flatten(1).norm(dim=1).median()
    kernels[dead] = fresh[dead]
    pair.second.weight[:, dead] = 0


def main() -> None:
    source, target, data = (Path(argument) for argument in sys.argv[1:4])
    torch.manual_seed(2)
    dataset = load_dataset(data)
    model, config, _ = Run(source).trained_model()
    found = dead_channels(Run(source).trained_model()[0], dataset)
    for name, dead in found.items():
        if dead.any():
            redraw(model.get_submodule(name), dead)  # type: ignore[arg-type]
    run = Run(target)
    config = replace(config, out=target, init=source)
    run.create(config)
    run.save_best(config, dataset.info, model, State())
    print(f"{sum(int(dead.sum()) for dead in found.values())} dead channels drawn anew: {target}")


if __name__ == "__main__":
    main()
