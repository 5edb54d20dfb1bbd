"""One contract suite for every architecture: an entry in MODELS is tested by being there."""

from __future__ import annotations

import pytest
import torch

from unnoise.errors import ConfigError, UnknownName
from unnoise.models import MODELS, Model, build, parameters
from unnoise.models.normalized import normalized
from unnoise.models.residual_unet import _pixel_shuffled

SMALL = {"dense": {"size": 16}, "split-dense": {"size": 16}}
ANY_SIZE = sorted(set(MODELS) - set(SMALL))
ARTICLE_COUNTS = {"split-dense": 220_523_994, "convolutional": 741_379, "unet": 7_697_475}


def small(name: str) -> Model:
    torch.manual_seed(0)
    return build(name, SMALL.get(name)).eval()


def side_of(model: Model) -> int:
    return model.fixed_size or 3 * model.size_multiple


@pytest.fixture(params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str) -> Model:
    return small(name)


@torch.no_grad()
def run(model: Model, noisy: torch.Tensor, sigma: float = 25.0) -> torch.Tensor:
    out: torch.Tensor = model(noisy, torch.full((len(noisy), 1, 1, 1), sigma / 255))
    return out


def test_keeps_shape_and_is_deterministic(model: Model) -> None:
    noisy = torch.rand(2, 3, side_of(model), side_of(model))
    out = run(model, noisy)
    assert out.shape == noisy.shape
    assert torch.isfinite(out).all()
    assert torch.equal(out, run(model, noisy))


def test_pictures_of_a_batch_do_not_mix(model: Model) -> None:
    noisy = torch.rand(3, 3, side_of(model), side_of(model))
    alone = torch.cat([run(model, noisy[i : i + 1]) for i in range(3)])
    assert torch.allclose(run(model, noisy), alone, atol=1e-5)


def test_wrong_sizes_are_refused_with_both_sizes_named(model: Model) -> None:
    side = side_of(model)
    with pytest.raises(ValueError, match=rf"got {side}×{side + 1} pixels.*(multiples of|exactly)"):
        model(torch.rand(1, 3, side, side + 1), torch.zeros(1, 1, 1, 1))


@pytest.mark.parametrize("name", ANY_SIZE)
def test_any_multiple_of_the_size_fits(name: str) -> None:
    model = small(name)
    unit = model.size_multiple
    for height, width in ((unit, unit), (2 * unit, 5 * unit)):
        assert run(model, torch.rand(1, 3, height, width)).shape == (1, 3, height, width)


def test_gradients_reach_every_parameter(model: Model) -> None:
    noisy = torch.rand(2, 3, side_of(model), side_of(model))
    model(noisy, torch.full((2, 1, 1, 1), 0.1)).square().sum().backward()
    unreached = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not unreached


def test_only_sigma_conditioned_models_heed_sigma(model: Model) -> None:
    noisy = torch.rand(1, 3, side_of(model), side_of(model))
    same = torch.equal(run(model, noisy, 5), run(model, noisy, 70))
    assert same is not model.sigma_input


def test_bounded_models_stay_in_range(model: Model) -> None:
    noisy = torch.rand(2, 3, side_of(model), side_of(model)) * 20 - 10
    out = run(model, noisy)
    inside = bool((out >= 0).all() and (out <= 1).all())
    assert inside if model.bounded else not inside


BLIND = {"widths": [16, 32], "depths": [1, 1], "blind": True}


@pytest.mark.parametrize(
    ("name", "options"), [*((name, None) for name in ANY_SIZE), ("residual-unet", BLIND)]
)
def test_halo_covers_the_receptive_field(name: str, options: dict[str, object] | None) -> None:
    """A changed pixel has no influence beyond the halo, and the halo is not wastefully large."""
    model = build(name, options).eval().double()
    # No influence is cancelled, cut off by a ReLU, or lost in rounding beside larger numbers.
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.0 if parameter.ndim == 1 else 1.0)
    side = 2 * (model.halo + model.size_multiple)
    noisy = torch.zeros(1, 3, side, side, dtype=torch.double)
    sigma = torch.zeros(1, 1, 1, 1, dtype=torch.double)
    with torch.no_grad():
        before = model(noisy, sigma)
    reach = 0
    for offset in range(model.size_multiple):
        row = side // 2 + offset - model.size_multiple // 2
        changed = noisy.clone()
        changed[0, :, row, row] += 1.0
        with torch.no_grad():
            touched = (model(changed, sigma) != before).any(dim=1)[0].nonzero()
        reach = max(reach, int((touched - row).abs().max()))
    assert model.halo - model.size_multiple <= reach <= model.halo


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), ARTICLE_COUNTS.items())
def test_parameter_counts_of_the_article(name: str, count: int) -> None:
    with torch.device("meta"):
        assert parameters(build(name, size=56)) == count


def test_pixels_are_shuffled_as_torch_does_it() -> None:
    features = torch.randn(2, 12, 5, 7)
    assert torch.equal(_pixel_shuffled(features), torch.pixel_shuffle(features, 2))


def test_input_skips_can_be_switched() -> None:
    for name in ("split-dense", "convolutional"):
        torch.manual_seed(0)
        plain = build(name, {**SMALL.get(name, {}), "skip": False})
        torch.manual_seed(0)
        skipped = build(name, {**SMALL.get(name, {}), "skip": True})
        noisy = torch.rand(1, 3, 16, 16)
        logits = torch.logit(run(plain, noisy)) + noisy
        assert torch.allclose(run(skipped, noisy), torch.sigmoid(logits), atol=1e-5)


def test_residual_unet_scales_with_the_picture() -> None:
    """No bias anywhere: picture and sigma times a factor give the output times that factor."""
    model = small("residual-unet")
    noisy = torch.rand(1, 3, 16, 16)
    assert torch.allclose(run(model, 0.25 * noisy, 10), 0.25 * run(model, noisy, 40), atol=1e-5)


def test_a_blind_one_scales_with_the_picture_alone() -> None:
    model = build("residual-unet", BLIND).eval()
    noisy = torch.rand(1, 3, 16, 16)
    assert torch.allclose(run(model, 0.25 * noisy), 0.25 * run(model, noisy), atol=1e-5)


def test_all_of_a_blind_one_learns() -> None:
    torch.manual_seed(0)
    model, noisy = build("residual-unet", BLIND), torch.rand(2, 3, 16, 16)
    model(noisy).square().sum().backward()
    still = [name for name, p in model.named_parameters() if not p.grad.abs().sum() > 0]  # type: ignore[union-attr]
    assert not still


def test_a_blind_one_goes_on_from_one_that_is_told_the_level() -> None:
    torch.manual_seed(0)
    told = build("residual-unet", {**BLIND, "blind": False}).eval()
    blind = build("residual-unet", BLIND).eval()
    weights = blind.completed(told.state_dict())
    assert {name for name in weights if name not in told.state_dict()} == {
        name for name in blind.state_dict() if name.startswith("level.")
    }
    blind.load_state_dict(weights)
    noisy = torch.rand(1, 3, 24, 32)
    blind.level.forward = lambda noisy: torch.full_like(noisy[:, :1], 40 / 255)  # type: ignore[method-assign, operator, union-attr]
    assert torch.allclose(run(blind, noisy), run(told, noisy, 40), atol=1e-6)


def test_residual_unet_checks_its_widths() -> None:
    with pytest.raises(ConfigError, match="2 widths and 3 depths"):
        build("residual-unet", {"widths": [16, 32], "depths": [1, 1, 1]})
    assert build("residual-unet", {"widths": [16, 32], "depths": [1, 1]}).size_multiple == 4


def test_unknown_names_and_options() -> None:
    with pytest.raises(UnknownName) as caught:
        build("residual-unt")
    assert "'residual-unet'" in caught.value.hint
    with pytest.raises(ConfigError, match="cannot be built"):
        build("unet", {"depth": 7})


def test_normalisation_takes_the_nearest_group() -> None:
    class Identity(Model):
        def forward(self, noisy: torch.Tensor, sigma: torch.Tensor | None = None) -> torch.Tensor:
            self.seen = noisy
            return noisy

    inner = Identity()
    model = normalized(
        inner, [[0.2] * 3, [0.8] * 3], [[0.1] * 3, [0.5] * 3], [[0.2, 0.2, 0.2], [0.8, 0.8, 0.8]]
    )
    dark, light = torch.full((1, 3, 4, 4), 0.25), torch.full((1, 3, 4, 4), 0.75)
    out = model(torch.cat([dark, light]), None)
    assert torch.allclose(inner.seen[0], torch.full((3, 4, 4), (0.25 - 0.2) / 0.1))
    assert torch.allclose(inner.seen[1], torch.full((3, 4, 4), (0.75 - 0.8) / 0.5))
    assert torch.allclose(out, torch.cat([dark, light]), atol=1e-6)


class Recorder(Model):
    """Keeps what it is given and gives back the picture."""

    sigma_input = True
    size_multiple, fixed_size, halo = 4, 8, 6

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor | None = None) -> torch.Tensor:
        self.seen, self.sigma = noisy, sigma
        return noisy


def test_normalisation_judges_by_the_centres_and_scales_sigma_with_the_picture() -> None:
    inner = Recorder()
    # As k-means finds them, centres are not the means of the pixels: here their order is the other way round.
    model = normalized(inner, [[0.8] * 3, [0.2] * 3], [[0.1] * 3, [0.5] * 3], [[0.1] * 3, [0.9] * 3])
    noisy = torch.cat([torch.full((1, 3, 8, 8), 0.15), torch.full((1, 3, 8, 8), 0.85)])
    assert torch.allclose(run(model, noisy, 51), noisy, atol=1e-6)
    assert inner.seen[:, 0, 0, 0].tolist() == pytest.approx([-0.65 / 0.1, 0.65 / 0.5], rel=1e-5)
    assert inner.sigma is not None
    assert inner.sigma.flatten().tolist() == pytest.approx([0.2 / 0.1, 0.2 / 0.5])


def test_normalisation_promises_what_the_model_inside_it_does() -> None:
    inner = Recorder()
    model = normalized(inner, [[0.5] * 3], [[0.1] * 3], None)
    promised = ("sigma_input", "bounded", "size_multiple", "fixed_size", "halo")
    assert [getattr(model, name) for name in promised] == [getattr(inner, name) for name in promised]
    assert model.halo == 6


def test_a_bounded_model_is_not_scaled_back() -> None:
    dense = small("dense")
    model = normalized(dense, [[0.5] * 3], [[0.1] * 3], None)
    noisy = torch.rand(2, 3, 16, 16)
    assert torch.equal(run(model, noisy), run(dense, (noisy - model.mean[0, 0]) / model.std[0, 0]))


def test_the_channels_inside_pairs_are_chosen_by_level() -> None:
    model = build("residual-unet", {"widths": [16, 32], "depths": [1, 2], "hidden": [32, 16]})
    shapes = {name: tuple(weight.shape[:2]) for name, weight in model.state_dict().items()}
    assert (shapes["encoders.0.0.first.weight"], shapes["encoders.0.0.second.weight"]) == ((32, 16), (16, 32))
    assert shapes["decoders.0.0.first.weight"] == (32, 16)
    assert (shapes["middle.1.first.weight"], shapes["middle.1.second.weight"]) == ((16, 32), (32, 16))
    with pytest.raises(ConfigError, match="hidden"):
        build("residual-unet", {"widths": [16, 32], "depths": [1, 2], "hidden": [32]})


def test_a_deeper_network_starts_as_the_one_it_goes_on_from() -> None:
    torch.manual_seed(0)
    shallow = build("residual-unet", {"widths": [16, 32], "depths": [1, 1]}).eval()
    deep = build("residual-unet", {"widths": [16, 32], "depths": [3, 2]}).eval()
    deep.load_state_dict(deep.completed(shallow.state_dict()))
    noisy = torch.rand(1, 3, 24, 32)
    assert torch.equal(run(deep, noisy), run(shallow, noisy))
    noisy.requires_grad_()
    deep(noisy, torch.full((1, 1, 1, 1), 0.1)).square().sum().backward()
    stuck = [
        n for n, p in deep.named_parameters() if n.endswith("second.weight") and not p.grad.abs().sum() > 0
    ]
    assert not stuck
    weights = {name: t for name, t in shallow.state_dict().items() if not name.startswith("head")}
    assert "head.weight" not in deep.completed(weights)
