"""What a camera does to noise: its strength by brightness, its grain, and the picture that must stay."""

from __future__ import annotations

import numpy as np
import pytest

from unnoise.camera import GAIN, Camera, FloatArray

SIDE = 192
TEXTURE = np.kron(np.random.default_rng(7).random((SIDE // 4, SIDE // 4, 3)), np.ones((4, 4, 1))).astype(
    np.float32
)


def flat(level: float) -> FloatArray:
    """Not quite grey: where all channels are equal, so is their noise."""
    return np.full((SIDE, SIDE, 3), (level, level + 1e-4, level), np.float32)


def residual(camera: Camera, clean: FloatArray, seed: int = 0) -> FloatArray:
    noise: FloatArray = camera.shoot(clean, np.random.default_rng(seed)) - clean
    return noise


def correlation(noise: FloatArray, lag: int) -> float:
    """Mean over both directions."""
    centred = noise - noise.mean((0, 1))
    down = (centred[lag:] * centred[:-lag]).mean()
    right = (centred[:, lag:] * centred[:, :-lag]).mean()
    return float((down + right) / 2 / (centred**2).mean())


def luma(noise: FloatArray) -> FloatArray:
    return noise @ np.array([0.299, 0.587, 0.114], np.float32)


def to_linear(encoded: float) -> float:
    return encoded / 12.92 if encoded <= 0.04045 else float(((encoded + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("level", [0.25, 0.5, 0.8])
def test_noise_has_the_variance_of_a_sensor_behind_the_tone_curve(level: float) -> None:
    camera = Camera(gain=1e-4, read=4e-6)
    light = to_linear(level)
    slope = 1.055 / 2.4 * light ** (1 / 2.4 - 1)
    expected = slope * (1e-4 * light + 4e-6) ** 0.5
    assert residual(camera, flat(level)).std() == pytest.approx(expected, rel=0.02)


def test_white_balance_makes_a_channel_noisier() -> None:
    camera = Camera(gain=1e-4, read=1e-9, balance=(2.25, 1.0, 1.0))
    red, green, blue = residual(camera, flat(0.5)).std((0, 1))
    assert red / green == pytest.approx(1.5, rel=0.02)
    assert blue / green == pytest.approx(1.0, rel=0.02)


def test_a_colour_matrix_ties_channels_together() -> None:
    noise = residual(Camera(gain=1e-4, read=1e-9, matrix=1.0), flat(0.5))
    found = np.corrcoef(noise.reshape(-1, 3).T)
    assert found[0, 1] < -0.3
    assert found[1, 2] < -0.3
    free = np.corrcoef(residual(Camera(gain=1e-4, read=1e-9), flat(0.5)).reshape(-1, 3).T)
    assert np.abs(free - np.eye(3)).max() < 0.02


@pytest.mark.parametrize("mosaic", ["bilinear", "edge-aware"])
def test_demosaicing_correlates_neighbours_and_keeps_the_green_of_the_sensor(mosaic: str) -> None:
    noise = residual(Camera(gain=1e-4, read=1e-9, mosaic=mosaic), flat(0.5))
    assert abs(correlation(residual(Camera(gain=1e-4, read=1e-9), flat(0.5)), 1)) < 0.02
    assert all(correlation(noise[:, :, [channel]], 1) > 0.2 for channel in range(3))
    # A quarter of the places has red light of its own, and so its noise in full; the rest has means.
    own = max(noise[row::2, column::2, 0].std() for row in (0, 1) for column in (0, 1))
    white = residual(Camera(gain=1e-4, read=1e-9), flat(0.5)).std()
    assert own == pytest.approx(white, rel=0.04)
    assert noise[:, :, 0].std() < 0.9 * white


def test_noise_of_a_mosaic_lies_where_the_light_is() -> None:
    clean = flat(0.5)
    clean[:96, :, :] = clean[:, :96, :] = (0, 1e-4, 0)
    for seed in range(4):
        noise = residual(Camera(gain=1e-4, read=0.0, mosaic="bilinear"), clean, seed)[:, :, 1]
        full = noise[100:, 100:].std()
        for across in (noise[:, 100:].std(1), noise[100:].std(0)):
            assert across[94] < 0.1 * full
            assert across[96] > 0.6 * full


def test_colours_of_a_mosaic_are_not_swapped() -> None:
    camera = Camera(gain=1e-4, read=1e-9, balance=(2.25, 1.0, 1.0), mosaic="bilinear")
    red, _, blue = residual(camera, flat(0.5)).std((0, 1))
    assert red / blue == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize(
    "camera",
    [
        Camera(gain=1e-12, read=0.0, mosaic="bilinear", matrix=1.0, contrast=1.0, balance=(2, 1, 2)),
        Camera(gain=1e-12, read=0.0, mosaic="edge-aware", sharpening=1.0),
        Camera(gain=1e-12, read=0.0, luma_blur=2.0, chroma_blur=3.0, chroma=1.0, blotches=3.0),
        Camera(gain=1e-12, read=0.0, size=0.6),
        Camera(gain=1e-12, read=0.0, size=1.7),
    ],
)
def test_the_picture_itself_goes_through_unchanged(camera: Camera) -> None:
    assert np.abs(residual(camera, TEXTURE)).max() < 0.5 / 255


@pytest.mark.parametrize("size", [0.6, 1.7])
def test_noise_of_another_size_is_coarser_or_weaker(size: float) -> None:
    same, other = (residual(Camera(gain=1e-4, read=1e-9, size=s), flat(0.5)) for s in (1.0, size))
    assert correlation(other, 1) > 0.3 if size < 1 else other.std() < 0.75 * same.std()


def test_noise_reduction_smears_colour_more_than_luma() -> None:
    camera = Camera(gain=1e-4, read=1e-9, luma_blur=0.6, chroma_blur=2.0, chroma=0.4)
    noise = residual(camera, flat(0.5))
    grain = luma(noise)[:, :, None]
    colour = noise - grain
    assert correlation(colour, 1) > 0.85
    assert correlation(colour, 3) > 0.4
    assert 0.1 < correlation(grain, 1) < 0.85
    assert abs(correlation(grain, 3)) < 0.05
    plain = luma(residual(Camera(gain=1e-4, read=1e-9), flat(0.5)))
    assert np.sqrt((colour**2).mean()) == pytest.approx(0.4 * plain.std(), rel=0.05)


def test_luma_that_is_kept_and_sharpening_bring_the_grain_back() -> None:
    def grain(**settings: float) -> float:
        camera = Camera(gain=1e-4, read=1e-9, luma_blur=1.0, luma_kept=settings.pop("kept", 0.0), **settings)
        return float(luma(residual(camera, flat(0.5))).std())

    assert grain() < grain(kept=0.5) < grain(kept=1.0)
    assert grain(sharpening=1.0) > 1.2 * grain()


def test_blotches_are_large() -> None:
    with_them, without = (
        residual(Camera(gain=1e-4, read=1e-9, chroma_blur=0.6, chroma=0.5, blotches=b), flat(0.5))
        for b in (3.0, 0.0)
    )
    far = [correlation(noise - luma(noise)[:, :, None], 5) for noise in (with_them, without)]
    assert far[0] > 0.05
    assert abs(far[1]) < 0.02


@pytest.mark.parametrize("camera", [Camera(1e-3, 1e-6), Camera(1e-3, 1e-6, mosaic="bilinear", chroma_blur=2)])
def test_the_mean_stays(camera: Camera) -> None:
    for level in (0.3, 0.7):
        assert np.abs(residual(camera, flat(level)).mean((0, 1))).max() < 0.5 / 255


def test_jpeg_takes_colour_away_before_luma() -> None:
    def kept(quality: int | None, subsampling: str) -> tuple[float, float]:
        noise = residual(Camera(1e-3, 1e-6, quality=quality, subsampling=subsampling), flat(0.5))
        grain = luma(noise)[:, :, None]
        return float(grain.std()), float((noise - grain).std())

    plain, fine, coarse = kept(None, "420"), kept(100, "444"), kept(80, "420")
    assert fine == pytest.approx(plain, rel=0.05)
    assert coarse[1] < 0.6 * plain[1]
    assert coarse[0] / plain[0] > 1.5 * coarse[1] / plain[1]


def test_blocks_of_a_jpeg_may_begin_anywhere() -> None:
    ramp = np.broadcast_to(np.linspace(0.1, 0.9, 64, dtype=np.float32)[:, None, None], (64, 64, 3)).copy()
    camera = Camera(gain=1e-12, read=0.0, quality=60)
    profiles = {camera.shoot(ramp, np.random.default_rng(seed))[:, 20, 0].tobytes() for seed in range(8)}
    assert len(profiles) > 3


@pytest.mark.parametrize("shape", [(40, 33), (40, 33, 1), (40, 33, 3)])
def test_grey_stays_grey(shape: tuple[int, ...]) -> None:
    column = np.linspace(0.1, 0.9, 33, dtype=np.float32)
    clean = np.broadcast_to(column if len(shape) == 2 else column[:, None], shape)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noisy = Camera.drawn(0.7, rng).shoot(np.ascontiguousarray(clean), rng)
        assert noisy.shape == shape
        assert noisy.dtype == np.float32
        assert (np.abs(noisy - clean) > 1 / 255).mean() > 0.2
        if len(shape) == 3:
            assert (noisy == noisy[:, :, :1]).all()


def test_any_size_comes_back_in_range() -> None:
    for shape in [(1, 1, 3), (1, 40, 3), (5, 2, 3), (1, 1)]:
        clean = np.random.default_rng(0).random(shape, dtype=np.float32)
        for seed in range(30):
            rng = np.random.default_rng(seed)
            noisy = Camera.drawn(1.0, rng).shoot(clean, rng)
            assert noisy.shape == shape
            assert np.isfinite(noisy).all()
            assert 0 <= noisy.min() <= noisy.max() <= 1


def test_strength_sets_the_gain_and_all_settings_occur() -> None:
    rng = np.random.default_rng(0)
    cameras = [Camera.drawn(1.0, rng) for _ in range(200)]
    assert all(camera.gain == pytest.approx(GAIN[1]) for camera in cameras)
    assert Camera.drawn(0.5, rng).gain == pytest.approx((GAIN[0] * GAIN[1]) ** 0.5)
    assert {camera.mosaic for camera in cameras} == {None, "bilinear", "edge-aware"}
    assert {camera.subsampling for camera in cameras} == {"420", "444"}
    qualities = [camera.quality for camera in cameras if camera.quality is not None]
    assert min(qualities) >= 60
    assert max(qualities) <= 100
    assert 80 < len(qualities) < 160
