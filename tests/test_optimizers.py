from __future__ import annotations

import pytest
import torch

from unnoise import checkpoint
from unnoise.errors import UnknownName
from unnoise.optimizers import OPTIMIZERS, SCHEDULES, OptimizerOptions, build_optimizer, learning_rate

# Step sizes at which each descends on the small problem below.
RATES = {"prodigy": 1.0, "lion": 0.01}


def problem() -> tuple[torch.nn.Sequential, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 3, 3, padding=1)
    )
    return model, torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)


def steps(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor, n: int
) -> float:
    for _ in range(n):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
    return (model(x) - y).square().mean().item()


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_descends_and_its_state_resumes_bit_for_bit(name: str) -> None:
    options = OptimizerOptions(lr=RATES.get(name, 0.02))
    model, x, y = problem()
    before = (model(x) - y).square().mean().item()
    optimizer = build_optimizer(name, model.parameters(), options)
    steps(model, optimizer, x, y, 33)

    tensors: dict[str, torch.Tensor] = {}
    image = checkpoint.flatten(optimizer.state_dict(), "o", tensors)
    tensors = {n: t.clone() for n, t in tensors.items()}
    twin, _, _ = problem()
    twin.load_state_dict(model.state_dict())
    resumed = build_optimizer(name, twin.parameters(), options)
    resumed.load_state_dict(checkpoint.unflatten(image, tensors))

    after = steps(model, optimizer, x, y, 27)
    assert after < 0.8 * before
    assert steps(twin, resumed, x, y, 27) == after
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_muon_takes_every_kernel_as_a_matrix_and_biases_by_adamw() -> None:
    model, x, y = problem()
    optimizer = build_optimizer("muon", model.parameters(), OptimizerOptions(lr=0.1, weight_decay=0.0))
    before = [p.detach().clone() for p in model.parameters()]
    steps(model, optimizer, x, y, 1)
    for old, new in zip(before, model.parameters(), strict=True):
        moved = (new.detach() - old) / 0.1
        if old.ndim == 1:
            assert moved.abs().max().item() == pytest.approx(1, rel=0.01)  # the first step of Adam
            continue
        matrix = moved.flatten(1) / (0.2 * max(old.flatten(1).shape) ** 0.5)
        assert torch.linalg.svdvals(matrix).tolist() == pytest.approx([1.0] * len(matrix), abs=0.4)


def test_lookahead_moves_a_fraction_every_k_steps() -> None:
    k, alpha = 4, 0.25
    model, x, y = problem()
    start = [p.detach().clone() for p in model.parameters()]
    optimizer = build_optimizer(
        "adamw+lookahead", model.parameters(), OptimizerOptions(lookahead_k=k, lookahead_alpha=alpha)
    )
    steps(model, optimizer, x, y, k)
    fast, x, y = problem()
    steps(fast, build_optimizer("adamw", fast.parameters(), OptimizerOptions()), x, y, k)
    for slow, quick, begin in zip(model.parameters(), fast.parameters(), start, strict=True):
        assert torch.allclose(slow, begin + alpha * (quick - begin), atol=1e-7)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"adam", "adamw+lookahead"}))
def test_weight_decay_is_decoupled(name: str) -> None:
    # Without a gradient it shrinks every weight by one factor. As part of the gradient it would be
    # normalised with it, and take the same amount from each.
    weights, other = torch.nn.Parameter(torch.tensor([1.0, 4.0])), torch.nn.Parameter(torch.ones(2))
    rate = 1.0 if name == "prodigy" else 1e-2
    optimizer = build_optimizer(name, [weights, other], OptimizerOptions(lr=rate, weight_decay=0.5))
    for _ in range(10):
        weights.grad, other.grad = torch.zeros(2), torch.ones(2)  # prodigy waits for some gradient
        optimizer.step()
    small, large = weights.tolist()
    assert 0.9 < small < 1
    assert large == pytest.approx(4 * small, rel=1e-6)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_its_options_reach_the_optimizer(name: str) -> None:
    options = OptimizerOptions(0.3, weight_decay=0.02, beta2=0.9)
    optimizer = build_optimizer(name, problem()[0].parameters(), options)
    for group in optimizer.param_groups:
        assert group["lr"] == 0.3
        assert group["weight_decay"] == (0 if name == "adam" else 0.02)
        if name.startswith("adam") or group.get("use_muon") is False:
            assert group["betas"] == (0.9, 0.9)


def test_unknown_optimizer_lists_the_names() -> None:
    with pytest.raises(UnknownName) as caught:
        build_optimizer("adamm", [], OptimizerOptions())
    assert "'adamw'" in caught.value.hint or "'adam'" in caught.value.hint


def test_schedule() -> None:
    def rate(step: int, progress: float, schedule: str = "cosine") -> float:
        return learning_rate(0.1, schedule, step=step, warmup=10, progress=progress)

    assert rate(0, 0.0) == pytest.approx(0.01)
    assert rate(9, 0.0) == pytest.approx(0.1)
    assert rate(500, 0.5) == pytest.approx(0.05)
    assert rate(999, 1.0) == pytest.approx(0.0, abs=1e-12)
    assert rate(999, 1.01) == pytest.approx(0.0, abs=1e-12)  # the last step of a run of minutes
    assert rate(0, 0.9, "none") == 0.1
    assert set(SCHEDULES) == {"cosine", "none"}
    with pytest.raises(UnknownName):
        rate(0, 0.0, "linear")
