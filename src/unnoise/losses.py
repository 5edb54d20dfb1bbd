"""Training losses: penalties per value, and the one masked mean over them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def _mse(difference: Tensor) -> Tensor:
    return difference.square()


def _l1(difference: Tensor) -> Tensor:
    return difference.abs()


def _charbonnier(difference: Tensor) -> Tensor:
    """A smooth L1: Lai et al., "Deep Laplacian pyramid networks", CVPR 2017, arXiv:1704.03915."""
    return (difference.square() + 1e-6).sqrt()


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"mse": _mse, "l1": _l1, "charbonnier": _charbonnier}


def masked_mean(penalty: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of ``penalty`` (N, C, H, W) where ``mask`` (N, 1, H, W) is 1, or everywhere."""
    if mask is None:
        return penalty.mean()
    return (penalty * mask).sum() / (mask.sum() * penalty.shape[1]).clamp(min=1)
