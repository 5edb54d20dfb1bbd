from __future__ import annotations

import numpy as np
import pytest

from unnoise.filling import Filled


def picture(dtype: type, height: int = 150, width: int = 90) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((height, width, 3)) * (255 if dtype is np.uint8 else 1)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_is_shown_stays_and_what_is_hidden_has_no_say(dtype: type) -> None:
    samples = picture(dtype)
    alpha = np.ones(samples.shape[:2], np.uint8)
    alpha[40:, 30:70] = 0
    other = samples.copy()
    other[alpha == 0] = 0
    filled = Filled(samples, alpha, 127.5)[0:150]
    np.testing.assert_array_equal(filled, Filled(other, alpha, 127.5)[0:150])
    np.testing.assert_array_equal(filled[alpha != 0], samples[alpha != 0])
    assert filled.dtype == dtype


def test_hidden_pixels_continue_what_is_beside_them() -> None:
    samples = np.zeros((64, 64, 1), np.uint8)
    samples[:, :32] = 200
    alpha = np.ones((64, 64), np.uint8)
    alpha[:, 32:] = 0
    assert (Filled(samples, alpha, 0)[0:64] == 200).all()


def test_far_from_all_that_is_shown_it_is_what_was_asked_for() -> None:
    alpha = np.zeros((200, 70), np.uint8)
    alpha[0, 0] = 1
    filled = Filled(np.full((200, 70, 1), 9, np.uint8), alpha, 127)[0:200]
    assert (filled[128:] == 127).all()
    assert (filled[:64, :64] == 9).all()


def test_rows_are_the_same_whichever_are_asked_for() -> None:
    samples = picture(np.uint8)
    alpha = (np.random.default_rng(1).random(samples.shape[:2]) > 0.7).astype(np.uint8)
    alpha[60:100] = 0
    filled = Filled(samples, alpha, 127)
    whole = filled[0:150]
    for start, stop in ((0, 1), (63, 65), (1, 149), (149, 150), (100, 120)):
        np.testing.assert_array_equal(filled[start:stop], whole[start:stop])


def test_values_that_are_no_numbers_are_filled() -> None:
    samples = picture(np.float32)
    samples[5, 5] = np.nan
    samples[70, 3, 1] = np.inf
    filled = Filled(samples, None, 0.5)[0:150]
    assert np.isfinite(filled).all()
    assert (filled[0:5] == samples[0:5]).all()
    near = samples[4:6, 4:6].reshape(-1, 3)[:3]
    np.testing.assert_allclose(filled[5, 5], near.mean(axis=0), rtol=1e-5)
