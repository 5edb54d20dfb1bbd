"""Examples depend on the seed and their place in the run alone."""

from __future__ import annotations

import contextlib
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unnoise.dataset import Stage, TrainingBatches, as_stored, prefetched, validation_batches
from unnoise.errors import DataError
from unnoise.noise import FloatArray, Noise, parse
from unnoise.strategies import STRATEGIES, Pair, Stored
from unnoise.tiles import Split


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Twenty tiles of 12×12, each of one value; the last five are the second colour group."""
    clean = np.repeat(np.arange(20, dtype=np.uint8) * 10, 12 * 12 * 3).reshape(20, 12, 12, 3)
    group = np.array([0] * 15 + [1] * 5, np.int16)
    return Split("train", clean, 255 - clean, group, tmp_path)


def batches(
    split: Split, *, patch: int = 8, batch: int = 6, later: tuple[Stage, ...] = (), **changes: object
) -> TrainingBatches:
    settings: dict[str, object] = {
        "noise": parse("gaussian:50"),
        "strategy": STRATEGIES["supervised"],
        "seed": 0,
    }
    stages = (Stage(0.0, patch, batch), *later)
    return TrainingBatches(split, stages=stages, **{**settings, **changes})  # type: ignore[arg-type]


def test_an_epoch_draws_each_tile_once_over_all_stages(split: Split) -> None:
    assert batches(split, batch=6).steps_per_epoch == 3
    # Half of the steps with 6 and half with 2 examples: 4 in the mean, of 20 tiles.
    assert batches(split, batch=6, later=(Stage(0.5, 8, 2),)).steps_per_epoch == 5


def test_patches_and_batches_change_with_the_part_of_the_run_that_is_behind(split: Split) -> None:
    source = batches(split, later=(Stage(0.5, 12, 2), Stage(0.75, 4, 3)))
    shapes = [tuple(source(7, done).input.shape) for done in (0.0, 0.49, 0.5, 0.74, 0.75, 1.0)]
    small, large, least = (6, 3, 8, 8), (2, 3, 12, 12), (3, 3, 4, 4)
    assert shapes == [small, small, large, large, least, least]
    with closing(prefetched(source, 3, done=lambda step: step / 8)) as stream:
        assert [tuple(next(stream).input.shape) for _ in range(3)] == [small, large, large]


def test_grey_examples_have_the_same_noise_in_all_channels(split: Split) -> None:
    for share, expected in ((0.0, 0), (1.0, 20)):
        batch = batches(split, batch=20, grey=share, stored=False)(0)
        same = [bool((p == p[:1]).all()) for p in batch.input]
        assert sum(same) == expected
    coloured = split.clean.copy()
    coloured[..., 1] += 40
    made = batches(
        replace(split, clean=coloured), batch=20, grey=0.5, noise=parse("gaussian:25"), stored=False
    )
    drawn = [made(step) for step in range(10)]
    targets = torch.cat([b.target for b in drawn])
    grey = (targets == targets[:, :1]).all(dim=(1, 2, 3))
    assert 0.3 < grey.float().mean() < 0.7
    noise = (torch.cat([b.input for b in drawn]) - targets)[grey]
    assert (noise == noise[:, :1]).all()
    assert noise.std().item() == pytest.approx(25 / 255, rel=0.1)


def test_enlarged_examples_are_softer_and_their_noise_is_not(split: Split) -> None:
    """Of tiles whose columns are black and white in turn."""
    striped = np.zeros_like(split.clean)
    striped[:, :, ::2] = 255
    plain, enlarged = (
        batches(replace(split, clean=striped), batch=20, enlarged=share, augment=False, stored=False)(0)
        for share in (0.0, 1.0)
    )
    assert plain.target.shape == enlarged.target.shape == (20, 3, 8, 8)
    assert (plain.target.diff(dim=3).abs() == 1).all()
    steps = enlarged.target.diff(dim=3).abs().mean(dim=(1, 2, 3))
    assert 0.2 < steps.min() < steps.max() < 0.95
    assert len({round(float(step), 3) for step in steps}) > 2  # several factors
    assert (enlarged.input - enlarged.target).std().item() == pytest.approx(50 / 255, rel=0.1)


def test_a_batch_is_a_function_of_its_step(split: Split) -> None:
    made, again = batches(split)(4), batches(split)(4)
    assert torch.equal(made.input, again.input)
    assert torch.equal(made.target, again.target)
    assert not torch.equal(made.input, batches(split)(5).input)
    assert not torch.equal(made.input, batches(split, seed=1)(4).input)
    assert made.input.shape == (6, 3, 8, 8)
    assert made.input.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(made.sigma, torch.full((6, 1, 1, 1), 50 / 255))


def test_prefetching_changes_nothing(split: Split) -> None:
    source = batches(split)
    for step, batch in enumerate(prefetched(source, 2, 9), start=2):
        assert torch.equal(batch.input, source(step).input)
    assert step == 8


@pytest.mark.parametrize(("cores", "seconds", "alone"), [(1, 0.2, True), (8, 60, False)])
def test_prefetching_takes_no_more_threads_than_cores(
    split: Split, monkeypatch: pytest.MonkeyPatch, cores: int, seconds: float, alone: bool
) -> None:
    source, two = batches(split), threading.Barrier(2)

    def meeting(step: int, done: float) -> object:
        with contextlib.suppress(threading.BrokenBarrierError):
            two.wait(seconds)
        return source(step)

    monkeypatch.setattr("unnoise.dataset.available_cores", lambda: cores)
    assert len(list(prefetched(meeting, 0, 4))) == 4  # type: ignore[arg-type]
    assert two.broken == alone


def test_an_error_in_a_thread_is_raised_at_its_step(split: Split) -> None:
    source = batches(split)

    def broken(step: int, done: float) -> object:
        if step == 3:
            raise OSError("train-clean.npy vanished")
        return source(step)

    stream = prefetched(broken, 0, 6)  # type: ignore[arg-type]
    assert len([next(stream) for _ in range(3)]) == 3
    with pytest.raises(OSError, match=r"train-clean\.npy vanished"):
        next(stream)


def test_processes_share_a_batch_without_overlap(split: Split) -> None:
    whole = batches(split)(3).input
    parts = [batches(split, rank=rank, world=2)(3).input for rank in (0, 1)]
    assert torch.equal(whole[0::2], parts[0])
    assert torch.equal(whole[1::2], parts[1])


def test_an_epoch_draws_each_tile_once(split: Split) -> None:
    source = batches(split, batch=5)
    values = torch.cat([source(step).target[:, 0, 0, 0] for step in range(source.steps_per_epoch)])
    assert sorted((values * 25.5).round().int().tolist()) == list(range(20))
    following = torch.cat([source(step).target[:, 0, 0, 0] for step in range(4, 8)])
    assert sorted(following.tolist()) == sorted(values.tolist())
    assert following.tolist() != values.tolist()


def test_a_seed_decides_which_tiles_are_drawn_and_what_noise_they_get(split: Split) -> None:
    def made(seed: int, step: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        batch = batches(split, seed=seed, batch=20, patch=12, stored=False)(step)
        return batch.target[:, 0, 0, 0], batch.input - batch.target

    (tiles, noise), (others, another) = made(0), made(1)
    assert not torch.equal(tiles, others)
    every = torch.cat([noise, another, made(0, 1)[1]]).flatten(1)
    alike = torch.corrcoef(every).fill_diagonal_(0)
    assert alike.abs().max() < 0.3  # no two examples share their noise


def test_a_range_of_noise_tells_the_network_the_level_it_drew(split: Split) -> None:
    noise = parse("gaussian:10-60")
    drawn = batches(split, noise=noise, batch=20, patch=12, stored=False)(0)
    (fixed,) = validation_batches(split, noise, sigma=None, seed=0, batch=20, tiles=20, stored=False)
    for batch in (drawn, fixed):
        measured, told = (batch.input - batch.target).flatten(1).std(dim=1), batch.sigma.flatten()
        assert torch.allclose(measured, told, rtol=0.15)
        assert told.max() > 2 * told.min()


def test_patches_are_cut_from_anywhere_and_alike_in_both_pictures(tmp_path: Path) -> None:
    where = np.zeros((1, 10, 10, 3), np.uint8)
    where[0, :, :, 0], where[0, :, :, 1] = np.mgrid[:10, :10]
    split = Split("train", where, where, np.zeros(1, np.int16), tmp_path)
    source = batches(split, batch=1, patch=8, strategy=STRATEGIES["pairs"], augment=False)
    seen = set()
    for step in range(80):
        batch = source(step)
        assert torch.equal(batch.input, batch.target)
        pixels = (batch.target[0] * 255).round().int()
        top, left = int(pixels[0, 0, 0]), int(pixels[1, 0, 0])
        assert pixels[:2, -1, -1].tolist() == [top + 7, left + 7]  # neither turned nor flipped
        seen.add((top, left))
    assert seen == {(top, left) for top in range(3) for left in range(3)}


def test_masks_reach_the_batch(split: Split) -> None:
    def half(clean: FloatArray, stored: Stored, noise: Noise, rng: np.random.Generator) -> Pair:
        mask = np.zeros((*clean.shape[:2], 1), np.float32)
        mask[:4] = 1
        return Pair(clean, clean, mask, 0.0)

    mask = batches(split, strategy=half)(0).mask
    assert mask is not None
    assert mask.shape == (6, 1, 8, 8)
    assert mask[:, :, :4].min() == 1
    assert mask[:, :, 4:].max() == 0
    assert batches(split)(0).mask is None


def test_balancing_draws_small_groups_as_often(split: Split) -> None:
    def part_of_second_group(balance: bool) -> float:
        source = batches(split, balance=balance, batch=20)
        values = torch.cat([source(step).target[:, 0, 0, 0] for step in range(60)])
        return float((values > 145 / 255).float().mean())

    assert part_of_second_group(False) == pytest.approx(0.25)
    assert part_of_second_group(True) == pytest.approx(0.5, abs=0.05)


def test_noise_is_fresh_and_stored_as_files_do(split: Split) -> None:
    source = batches(split, batch=20)
    first, later = source(0), source(1)
    order = [first.target[:, 0, 0, 0].argsort(), later.target[:, 0, 0, 0].argsort()]
    assert not torch.equal(first.input[order[0]], later.input[order[1]])
    levels = first.input * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert 0 <= first.input.min() <= first.input.max() <= 1
    assert batches(split, stored=False)(0).input.min() < 0


def test_pairs_take_the_stored_copy(split: Split) -> None:
    batch = batches(split, strategy=STRATEGIES["pairs"], augment=False, patch=12)(0)
    assert torch.allclose(batch.input, 1 - batch.target, atol=1e-6)
    assert torch.allclose(batch.sigma, torch.full((6, 1, 1, 1), 50 / 255))


def test_augmentation_takes_all_eight_symmetries_of_both_pictures(tmp_path: Path) -> None:
    tile = np.zeros((1, 8, 8, 3), np.uint8)
    tile[0, 0, 1] = 255  # one marked pixel tells all eight apart
    split = Split("train", tile, tile, np.zeros(1, np.int16), tmp_path)
    source = batches(split, batch=1, strategy=STRATEGIES["pairs"])
    seen = set()
    for step in range(80):
        batch = source(step)
        assert torch.equal(batch.input, batch.target)
        row, column = np.argwhere(batch.target[0, 0].numpy() > 0.5)[0]
        seen.add((int(row), int(column)))
    assert len(seen) == 8


def test_validation_is_the_same_every_time_and_keyed_by_tile(split: Split) -> None:
    def inputs(tiles: int, noise: str | None = "gaussian:25") -> torch.Tensor:
        made = validation_batches(
            split, parse(noise) if noise else None, sigma=50, seed=0, batch=4, tiles=tiles, stored=False
        )
        return torch.cat([b.input for b in made])

    assert torch.equal(inputs(20), inputs(20))
    assert len(inputs(7)) == 7
    assert torch.equal(inputs(20)[0], inputs(7)[0])
    assert torch.allclose(inputs(20, None)[3, 0, 0, 0], torch.tensor((255 - 30) / 255))


def test_fewer_validation_tiles_are_the_same_ones_spread_over_the_split(split: Split) -> None:
    def inputs(tiles: int, stored: bool = False) -> torch.Tensor:
        made = validation_batches(
            split, parse("gaussian:50"), sigma=50, seed=0, batch=3, tiles=tiles, stored=stored
        )
        return torch.cat([b.input for b in made])

    assert torch.equal(inputs(4), inputs(20)[[0, 6, 13, 19]])
    assert torch.allclose(inputs(20, stored=True), torch.from_numpy(as_stored(inputs(20).numpy())))
    assert inputs(20).min() < 0 <= inputs(20, stored=True).min()


def test_sizes_that_do_not_fit_are_explained(split: Split) -> None:
    with pytest.raises(DataError) as caught:
        batches(split, patch=16)
    assert "--patch 12" in caught.value.hint
    with pytest.raises(DataError, match="20 tiles, fewer than one batch of 64"):
        batches(split, batch=64)


def test_as_stored_is_what_a_png_keeps() -> None:
    values = np.array([[[-0.3, 0.5, 1.7]]], np.float32)
    assert np.allclose(as_stored(values), [[[0, 128 / 255, 1]]])
