"""Training losses: what a difference between output and target costs, where a mask lets it count."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor | None], Tensor]
"""From a difference (N, C, H, W) and a mask (N, 1, H, W) of 0 and 1, None for everywhere, to one number."""

_FLOOR = 1e-6
"""Squared error below which nothing is gained: a quarter of an 8-bit step."""


def _means(penalty: Tensor, mask: Tensor | None) -> Tensor:
    """Each picture's mean of ``penalty`` (N, C, H, W) where ``mask`` is 1; (N,)."""
    if mask is None:
        return penalty.mean(dim=(1, 2, 3))
    return (penalty * mask).sum(dim=(1, 2, 3)) / (mask.sum(dim=(1, 2, 3)) * penalty.shape[1]).clamp(min=1)


def masked_mean(penalty: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of ``penalty`` (N, C, H, W) where ``mask`` (N, 1, H, W) is 1, or everywhere."""
    if mask is None:
        return penalty.mean()
    return (penalty * mask).sum() / (mask.sum() * penalty.shape[1]).clamp(min=1)


def _mse(difference: Tensor, mask: Tensor | None) -> Tensor:
    return masked_mean(difference.square(), mask)


def _l1(difference: Tensor, mask: Tensor | None) -> Tensor:
    return masked_mean(difference.abs(), mask)


def _charbonnier(difference: Tensor, mask: Tensor | None) -> Tensor:
    """A smooth L1: Lai et al., "Deep Laplacian pyramid networks", CVPR 2017, arXiv:1704.03915."""
    return masked_mean((difference.square() + 1e-6).sqrt(), mask)


def _psnr(difference: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the pictures of the logarithm of the root mean squared error: 1 of it is 8.7 dB.

    Each picture counts by the part of its error that is taken away, so that weak noise is learnt as eagerly
    as strong; used by Chen et al., "Simple baselines for image restoration", ECCV 2022, arXiv:2204.04676.
    """
    return 0.5 * torch.log(_means(difference.square(), mask) + _FLOOR).mean()


LOSSES: dict[str, Loss] = {"mse": _mse, "l1": _l1, "charbonnier": _charbonnier, "psnr": _psnr}
