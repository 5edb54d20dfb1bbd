from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tiny_network
import unnoise
from unnoise import cores, denoiser, inference
from unnoise.denoiser import Network, denoise, find, load
from unnoise.errors import ConfigError, ImageError, NetworkError, UnknownName
from unnoise.estimate import estimate_sigma


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Network:
    return load(tiny_network.save(folder / "tiny.onnx"), threads=1)


@pytest.fixture(scope="module")
def blind(folder: Path) -> Network:
    return load(
        tiny_network.save(folder / "blind.onnx", tiny_network.card(sigma_input=False, sigma_range=None)),
        threads=1,
    )


@pytest.fixture(scope="module")
def fixed(folder: Path) -> Network:
    described = tiny_network.card(sigma_input=False, sigma_range=None, fixed_size=56)
    return load(tiny_network.save(folder / "fixed.onnx", described), threads=1)


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


# --- tiles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 71, 3))
def test_tiled_equals_whole(tiny: Network, size: int) -> None:
    for shape in ((size, 67, 3), (64, size, 3), (size, size, 1)):
        picture = pixels(*shape)
        whole = tiny(picture, 25, tile=None)
        tiled = tiny(picture, 25, tile=24)
        assert tiled.shape == shape
        assert tiled.dtype == np.float32
        np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_the_network_is_one_that_tiles_could_spoil(folder: Path) -> None:
    # So the test above can fail: with a card that promises too little, seams show.
    wrong = load(tiny_network.save(folder / "wrong.onnx", tiny_network.card(halo=0)), threads=1)
    picture = pixels(64, 64, 3)
    assert np.abs(wrong(picture, 25, tile=24) - wrong(picture, 25)).max() > 1e-3


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 1), (57, 31, 3), (56, 56, 3), (120, 75, 3)])
def test_fixed_sizes_take_any_picture(fixed: Network, shape: tuple[int, int, int]) -> None:
    assert fixed(pixels(*shape)).shape == shape
    for grid in (fixed.grid(90, 20), fixed.grid(90, 20, tile=512)):
        assert grid.rows.tile == grid.columns.tile == 56


def test_large_pictures_are_tiled_by_themselves(tiny: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(inference, "DEFAULT_MEMORY", tiny.bytes_per_pixel * 40 * 800)
    tiny(pixels(2100, 40, 3), 10, on_tile=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_out_of_memory_takes_smaller_tiles_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = load(folder / "tiny.onnx", threads=1)
    run = network._session.run

    def small_only(noisy: np.ndarray, level: float | None) -> np.ndarray:
        if noisy.shape[2] > 150:
            raise MemoryError("a tile")
        return run(noisy, level)

    picture = pixels(400, 300, 3)
    expected = network(picture, 25)
    monkeypatch.setattr(network._session, "run", small_only)
    np.testing.assert_allclose(network(picture, 25), expected, atol=1e-5)
    assert "went on with tiles of 200" in caplog.text  # and with shorter ones, since three are needed


def test_networks_that_must_see_all_are_not_tiled(folder: Path) -> None:
    described = tiny_network.card(whole_image=True)
    network = load(tiny_network.save(folder / "whole.onnx", described), threads=1)
    calls = []
    network(pixels(2100, 40, 3), 10, on_tile=lambda *now: calls.append(now))
    assert calls == [(1, 1)]
    with pytest.raises(ConfigError, match="must see all of a picture at once"):
        network(pixels(80, 80, 3), 10, tile=64)


def test_networks_that_must_see_all_are_not_tiled_for_want_of_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load(tiny_network.save(folder / "whole.onnx", tiny_network.card(whole_image=True)), threads=1)
    shapes = []

    def full(noisy: np.ndarray, _: float | None) -> np.ndarray:
        shapes.append(noisy.shape)
        raise MemoryError("a tile")

    monkeypatch.setattr(network._session, "run", full)
    with pytest.raises(MemoryError):
        network(pixels(400, 300, 3), 25)
    assert shapes == [(1, 3, 400, 300)]


# --- sigma -----------------------------------------------------------------------------------------


def test_sigma_steers_and_is_estimated_where_missing(tiny: Network) -> None:
    picture = pixels(80, 80, 3)
    found = estimate_sigma(picture)
    np.testing.assert_array_equal(tiny(picture), tiny(picture, min(found, 75)))
    assert np.abs(tiny(picture, 0) - tiny(picture, 75)).max() > 1e-3


def test_the_network_is_told_sigma_over_255(tiny: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    run = tiny._session.run
    monkeypatch.setattr(tiny._session, "run", lambda noisy, level: told.append(level) or run(noisy, level))
    tiny(pixels(8, 8, 3), 51)
    assert told == [pytest.approx(0.2)]


def test_sigma_beyond_the_training_is_clamped_with_a_warning(
    tiny: Network, caplog: pytest.LogCaptureFixture
) -> None:
    picture = pixels(20, 20, 3)
    np.testing.assert_array_equal(tiny(picture, 90), tiny(picture, 75))
    assert "sigma 90 is outside of what tiny was trained for (0 to 75)" in caplog.text


def test_a_blind_network_ignores_sigma(blind: Network) -> None:
    picture = pixels(20, 20, 3)
    np.testing.assert_array_equal(blind(picture), blind(picture, 50))
    assert blind.level(picture, 50) == (None, "")


@pytest.mark.parametrize("sigma", [-1, 256, float("nan")])
def test_impossible_sigmas_are_refused(tiny: Network, blind: Network, sigma: float) -> None:
    for network in (tiny, blind):
        with pytest.raises(ConfigError, match="from 0 to 255"):
            network(pixels(8, 8, 3), sigma)


def test_grey_goes_in_as_three_equal_channels(tiny: Network) -> None:
    grey = pixels(31, 33, 1)
    colour = tiny(grey.repeat(3, axis=2), 25)
    np.testing.assert_allclose(tiny(grey, 25), colour.mean(axis=2, keepdims=True), atol=1e-6)


# --- strength and alpha ----------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    array=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.float16, np.float32, np.float64]),
        st.one_of(
            st.tuples(st.integers(1, 30), st.integers(1, 30)),
            st.tuples(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3, 4])),
        ),
        elements={"min_value": 0, "max_value": 1},
    )
)
def test_strength_0_gives_back_the_exact_array(tiny: Network, array: np.ndarray) -> None:
    result = tiny.denoise(array, strength=0)
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array)
    assert result is not array


@settings(max_examples=50, deadline=None)
@given(
    array=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.float16, np.float32, np.float64]),
        st.one_of(
            st.tuples(st.integers(1, 30), st.integers(1, 30)),
            st.tuples(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3, 4])),
        ),
        elements={"min_value": 0, "max_value": 1},
    )
)
def test_dtype_shape_and_alpha_come_back(tiny: Network, array: np.ndarray) -> None:
    before = array.copy()
    result = tiny.denoise(array, sigma=20)
    assert (result.dtype, result.shape) == (array.dtype, array.shape)
    assert np.isfinite(result).all()
    if array.ndim == 3 and array.shape[2] in (2, 4):
        np.testing.assert_array_equal(result[:, :, -1], array[:, :, -1])
    np.testing.assert_array_equal(array, before)


def test_strength_mixes_linearly(tiny: Network) -> None:
    picture = pixels(40, 40, 3)
    full = tiny.denoise(picture, sigma=20)
    half = tiny.denoise(picture, sigma=20, strength=0.5)
    np.testing.assert_allclose(half, (picture + full) / 2, atol=1e-6)
    with pytest.raises(ConfigError, match="strength must be from 0 to 1"):
        tiny.denoise(picture, strength=1.5)


def test_hidden_colour_does_not_bleed_and_stays(tiny: Network) -> None:
    picture = (pixels(40, 40, 4) * 255).astype(np.uint8)
    picture[:, :, 3] = 255
    picture[:, 25:, 3] = 0
    other = picture.copy()
    other[:, 25:, :3] = 255 - other[:, 25:, :3]
    first, second = tiny.denoise(picture, sigma=20), tiny.denoise(other, sigma=20)
    np.testing.assert_array_equal(first[:, :25], second[:, :25])
    np.testing.assert_array_equal(first[:, 25:], picture[:, 25:])
    np.testing.assert_array_equal(second[:, 25:], other[:, 25:])


# --- arrays that are not taken ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4, 5), np.uint8), r"shaped \(4, 4, 5\)"),
        (np.zeros((3, 4, 4, 3), np.uint8), r"shaped \(3, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shaped \(0, 4, 3\)"),
        (np.zeros((4, 4), np.int16), "int16"),
        (np.zeros((4, 4), bool), "bool"),
        (np.full((4, 4), 200, np.float32), "floats from 200 to 200, expected about 0 to 1"),
        (np.full((4, 4), np.nan, np.float32), "NaN"),
        (np.full((4, 4), np.inf, np.float32), "Inf"),
    ],
)
def test_other_arrays_are_refused_with_what_to_do(tiny: Network, array: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        tiny.denoise(array)
    assert caught.value.hint


def test_noise_beyond_the_range_is_no_mistake(tiny: Network) -> None:
    picture = pixels(20, 20, 3) * 3 - 1
    assert tiny.denoise(picture).shape == picture.shape


def test_the_call_takes_float32_alone(tiny: Network) -> None:
    for array in (np.zeros((4, 4, 3)), np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.float32)):
        with pytest.raises(ImageError, match="expected float32"):
            tiny(array)  # type: ignore[arg-type]


# --- files -----------------------------------------------------------------------------------------


def save_png(path: Path, mode: str = "RGB") -> Path:
    samples = (pixels(20, 30, len(mode)) * 255).astype(np.uint8)
    PIL.Image.fromarray(samples[:, :, 0] if mode == "L" else samples).save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_file_becomes_a_file(tiny: Network, tmp_path: Path, mode: str) -> None:
    source, out = save_png(tmp_path / "in.png", mode), tmp_path / "out.png"
    assert tiny.denoise(source, out, sigma=20) is None
    written = np.asarray(PIL.Image.open(out)).reshape(20, 30, -1)
    np.testing.assert_array_equal(written, tiny.denoise(str(source), sigma=20))
    array = np.asarray(PIL.Image.open(source))
    np.testing.assert_array_equal(written, tiny.denoise(array, sigma=20).reshape(20, 30, -1))
    with pytest.raises(ConfigError, match="exists already"):
        tiny.denoise(source, out)
    tiny.denoise(source, out, overwrite=True)


def test_a_format_that_cannot_keep_alpha_is_refused_before_any_work(tiny: Network, tmp_path: Path) -> None:
    source = save_png(tmp_path / "in.png", "RGBA")
    with pytest.raises(ImageError, match="transparency"):
        tiny.denoise(source, tmp_path / "out.jpg")
    assert not (tmp_path / "out.jpg").exists()


def test_the_function_takes_arrays_and_files(folder: Path, tiny: Network, tmp_path: Path) -> None:
    source = save_png(tmp_path / "in.png")
    array = np.asarray(PIL.Image.open(source))
    expected = tiny.denoise(array, sigma=20)
    np.testing.assert_array_equal(denoise(array, sigma=20, network=tiny.path), expected)
    np.testing.assert_array_equal(denoise(source, sigma=20, network=str(tiny.path)), expected)
    np.testing.assert_array_equal(unnoise.denoise(source, network=tiny.path, strength=0), array)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_strength_0_gives_every_file_back(tiny: Network, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever is stored without loss: any format, dtype, mode and size, from file to file."""
    name = data.draw(st.sampled_from(["png", "tif", "webp", "ppm"]))
    kinds = {"png": ["u1", "u2"], "tif": ["u1", "u2", "f2", "f4"], "webp": ["u1"], "ppm": ["u1", "u2"]}
    dtype = np.dtype(data.draw(st.sampled_from(kinds[name])))
    channels = data.draw(st.sampled_from([1, 3] if name == "ppm" else [1, 2, 3, 4]))
    height, width = data.draw(st.tuples(st.integers(1, 50), st.integers(1, 50)))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).random((height, width, channels))
    array = (values * np.iinfo(dtype).max if dtype.kind == "u" else values * 3 - 1).astype(dtype)
    source, out = tmp_path / f"in.{name}", tmp_path / f"out.{name}"
    unnoise.write(source, denoiser.from_array(array.copy()))
    tiny.denoise(source, out, strength=0, overwrite=True)
    before, after = unnoise.read(source), unnoise.read(out)
    assert (after.dtype, after.white, after.format) == (dtype, before.white, before.format)
    expected = array[:, :, : 1 if channels < 3 else 3]
    got = after.samples[0:height]
    np.testing.assert_array_equal(got, np.broadcast_to(expected, got.shape))  # WebP has no grey
    if channels in (2, 4):
        np.testing.assert_array_equal(after.alpha[0:height], array[:, :, -1])
    else:
        assert after.alpha is None


def test_an_array_becomes_a_file(tiny: Network, tmp_path: Path) -> None:
    array = (pixels(20, 30, 4) * 65535).astype(np.uint16)
    before = array.copy()
    assert tiny.denoise(array, tmp_path / "out.png", sigma=20) is None
    np.testing.assert_array_equal(
        tiny.denoise(tmp_path / "out.png", strength=0), tiny.denoise(array, sigma=20)
    )
    np.testing.assert_array_equal(array, before)
    with pytest.raises(ImageError, match="JPEG cannot hold 16-bit"):
        tiny.denoise(array, tmp_path / "out.jpg")


def test_channels_that_come_first_are_named(tiny: Network) -> None:
    with pytest.raises(ImageError, match="expected a picture") as caught:
        tiny.denoise(np.zeros((3, 20, 30), np.uint8))
    assert "transpose(1, 2, 0)" in caught.value.hint


def test_white_says_what_a_float_means(tiny: Network) -> None:
    picture = pixels(40, 40, 3)
    scaled = tiny.denoise(picture * np.float32(4095), sigma=20, white=4095)
    np.testing.assert_allclose(scaled / 4095, tiny.denoise(picture, sigma=20), atol=1e-4)
    with pytest.raises(ImageError, match="got floats from") as caught:
        tiny.denoise(picture * np.float32(4095))
    assert "--white" in caught.value.hint


def test_16_bits_are_denoised_as_8_bits_are(tiny: Network) -> None:
    picture = (pixels(40, 40, 3) * 255).astype(np.uint8)
    fine = tiny.denoise(picture.astype(np.uint16) * 257, sigma=20)
    assert np.abs(fine / 257 - tiny.denoise(picture, sigma=20)).max() <= 0.5 + 1e-3
    assert len(np.unique(fine % 257)) > 100  # more than 8 bits come out


# --- finding and loading ---------------------------------------------------------------------------


def test_without_a_name_a_noise_level_takes_gaussian_and_none_takes_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denoiser, "NETWORKS", tmp_path)
    blind = tiny_network.card(name="blind", sigma_input=False, sigma_range=None)
    networks = {"default": load(tiny_network.save(tmp_path / "default.onnx", blind))}
    networks["gaussian"] = load(tiny_network.save(tmp_path / "gaussian.onnx"))
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(unnoise.denoise(picture), networks["default"].denoise(picture))
    told = networks["gaussian"].denoise(picture, sigma=25)
    np.testing.assert_array_equal(unnoise.denoise(picture, sigma=25), told)
    assert not np.array_equal(told, networks["default"].denoise(picture))
    blindly = unnoise.denoise(picture, sigma=25, network="default")
    np.testing.assert_array_equal(blindly, networks["default"].denoise(picture))


def test_names_paths_and_run_folders_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = tmp_path / "networks"
    networks.mkdir()
    bundled = tiny_network.save(networks / "default.onnx")
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr(denoiser, "NETWORKS", networks)
    assert denoiser.bundled() == {"default": bundled}
    assert find("default") == bundled
    assert load().path == bundled
    with pytest.raises(UnknownName, match="'defautl'") as unknown:
        find("defautl")
    assert "Did you mean 'default'?" in unknown.value.hint
    with pytest.raises(NetworkError, match=r"holds no network\.onnx"):
        find(run)
    exported = tiny_network.save(run / "network.onnx")
    assert find(run) == exported
    with pytest.raises(NetworkError, match="no such file"):
        find(tmp_path / "none.onnx")


def test_a_graph_that_breaks_the_cards_promise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    tiny_network.write(path, tiny_network.build(tiny_network.card(sigma_input=False)))
    with pytest.raises(NetworkError, match=r"takes \['noisy'\]"):
        load(path)


def test_a_graph_that_does_not_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    model = tiny_network.build(tiny_network.CARD)
    model.graph.node[-1].input[1] = "nowhere"
    tiny_network.write(path, model)
    with pytest.raises(NetworkError, match="cannot load it"):
        load(path)


def test_values_that_are_no_numbers_are_not_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    model = tiny_network.build(tiny_network.CARD)
    weights = next(item for item in model.graph.initializer if item.name == "w3")
    weights.raw_data = np.full(3 * 8 * 9, 3e38, np.float32).tobytes()  # finite, and too much for a sum
    with pytest.raises(NetworkError, match="no numbers"):
        load(tiny_network.write(path, model), threads=1)(pixels(8, 8, 3), 25)


def test_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(folder / "tiny.onnx", threads=2).threads == 2
    # Hyper-threads of one core are one.
    monkeypatch.setattr(cores, "_siblings", lambda _: "0-99")
    assert load(folder / "tiny.onnx").threads == 1
    with pytest.raises(ConfigError, match="at least 1"):
        load(folder / "tiny.onnx", threads=0)


def test_a_network_is_a_denoiser_with_a_name(tiny: Network) -> None:
    assert tiny.name == "tiny"
    assert tiny.parameters == 1000
    assert "tiny" in repr(tiny)


@pytest.mark.parametrize("border", [0, 5])
@pytest.mark.parametrize("shape", [(40, 16, 16, 3), (3, 57, 33, 3), (2, 1, 9, 1)])
def test_a_stack_is_denoised_as_its_pictures_are(tmp_path: Path, shape: tuple[int, ...], border: int) -> None:
    network = load(tiny_network.save(tmp_path / "n.onnx", tiny_network.card(border=border)))
    noisy = np.random.default_rng(0).random(shape, dtype=np.float32)
    single = np.stack([network(picture, 25) for picture in noisy])
    assert network.stack(noisy, 25).shape == shape
    assert np.abs(network.stack(noisy, 25) - single).max() < 1e-6
    assert np.abs(network.stack(noisy[:2]) - np.stack([network(picture) for picture in noisy[:2]])).max() == 0


def test_the_border_is_what_lies_behind_a_mirror(tmp_path: Path) -> None:
    """The result is that of the mirrored picture, cut out: no pixel of the picture sees zeros."""
    plain, bordered = (
        load(tiny_network.save(tmp_path / f"{b}.onnx", tiny_network.card(border=b))) for b in (0, 8)
    )
    noisy = np.random.default_rng(0).random((24, 40, 3), dtype=np.float32)
    mirrored = np.pad(noisy, ((8, 8), (8, 8), (0, 0)), mode="reflect")
    assert np.abs(bordered(noisy, 25) - plain(mirrored, 25)[8:-8, 8:-8]).max() < 1e-6
    assert np.abs(bordered(noisy, 25) - plain(noisy, 25)).max() > 1e-4


@pytest.mark.parametrize("wrong", [[[1, 2]], None, PIL.Image.new("L", (4, 4)), 7])
def test_what_is_no_picture_is_refused_with_what_to_do(tiny: Network, wrong: object) -> None:
    with pytest.raises(ImageError, match="expected an array or the path") as caught:
        tiny.denoise(wrong)  # type: ignore[call-overload]
    assert "asarray" in caught.value.hint
    with pytest.raises(ConfigError, match="sigma must be a number"):
        tiny.denoise(np.zeros((9, 9), np.uint8), sigma="25")  # type: ignore[call-overload]


def test_values_that_are_no_numbers_can_be_filled(tiny: Network) -> None:
    picture = pixels(30, 30, 3)
    picture[4, 4] = np.nan
    assert np.isfinite(tiny.denoise(picture, sigma=20, nan_fill=True)).all()
