from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import tiny_network
from unnoise import equalize
from unnoise.card import read_card
from unnoise.equalize import calibrate, equalized, layers, steadied
from unnoise.errors import ConfigError
from unnoise.export import to_onnx
from unnoise.models import build
from unnoise.quantize import ends, quantized, rounded, static, steps_for

SIGMAS = (0.02, 0.1, 0.3)


def network(*, bias: bool = False, gated: bool = False) -> onnx.ModelProto:
    """A residual network with a level below, in the form of ours: head, pair, down, pair, up, skip, tail."""
    rng = np.random.default_rng(0)
    kept: list[TensorProto] = [
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
        numpy_helper.from_array(np.array([1, 1], np.int64), "ones"),
    ]
    nodes = [
        helper.make_node("Shape", ["noisy"], ["size"], start=2),
        helper.make_node("Concat", ["ones", "size"], ["shape"], axis=0),
        helper.make_node("Expand", ["sigma", "shape"], ["level"]),
        helper.make_node("Concat", ["noisy", "level"], ["all"], axis=1),
    ]

    def convolution(
        source: str, target: str, inner: int, outer: int, strength: float, stride: int = 1, size: int = 3
    ) -> None:
        # Channels whose ranges differ much, as those of trained networks do.
        spread = np.geomspace(0.2, 3, outer)[:, None, None, None]
        values = rng.normal(0, strength, (outer, inner, size, size)) * spread
        kept.append(numpy_helper.from_array(values.astype(np.float32), f"{target}.weight"))
        inputs = [source, f"{target}.weight"]
        if bias:
            kept.append(numpy_helper.from_array(np.full(outer, 0.1, np.float32), f"{target}.bias"))
            inputs.append(f"{target}.bias")
        pads = 4 * [size // 2]
        shape = {"kernel_shape": [size, size], "pads": pads, "strides": [stride, stride]}
        nodes.append(helper.make_node("Conv", inputs, [target], name=target, **shape))

    def pair(source: str, target: str, channels: int) -> None:
        convolution(source, f"{target}.1", channels, channels, 0.1)
        nodes.append(helper.make_node("Relu", [f"{target}.1"], [f"{target}.relu"]))
        convolution(f"{target}.relu", f"{target}.2", channels, channels, 0.1)
        nodes.append(helper.make_node("Add", [source, f"{target}.2"], [target]))

    convolution("all", "head", 4, 16, 0.2)
    pair("head", "above", 16)
    convolution("above", "down", 16, 32, 0.1, 2)
    pair("down", "below", 32)
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    nodes.append(helper.make_node("Resize", ["below", "", "scales"], ["large"], **nearest))
    convolution("large", "enlarged", 32, 32, 0.05)
    convolution("enlarged", "up", 32, 16, 0.1, size=1)
    nodes.append(helper.make_node("Add", ["up", "above"], ["sum"]))
    if gated:
        nodes.append(helper.make_node("Mul", ["sum", "up"], ["gate"]))
    pair("gate" if gated else "sum", "after", 16)
    convolution("after", "tail", 16, 3, 0.02)
    nodes.append(helper.make_node("Add", ["noisy", "tail"], ["denoised"]))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (
            ("noisy", ["N", 3, "H", "W"]), ("sigma", ["N", 1, 1, 1]), ("denoised", ["N", 3, "H", "W"]),
        )
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "n", ports[:2], ports[2:], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def examples(count: int = 6, side: int = 32) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    made = []
    for at in range(count):
        clean = rng.random((1, 3, side // 8, side // 8)).repeat(8, axis=2).repeat(8, axis=3)
        sigma = SIGMAS[at % len(SIGMAS)]
        noisy = clean + rng.normal(0, sigma, clean.shape)
        made.append({"noisy": noisy.astype("f4"), "sigma": np.full((1, 1, 1, 1), sigma, np.float32)})
    return made


def session(model: onnx.ModelProto, optimized: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def outputs(model: onnx.ModelProto) -> np.ndarray:
    """What it adds to each of some pictures that calibration did not see."""
    opened = session(model)
    return np.concatenate([opened.run(None, feed)[0] - feed["noisy"] for feed in examples(9, 48)[6:]])


def error(made: np.ndarray, expected: np.ndarray) -> float:
    """Relative to the strength of what is expected, in dB."""
    return float(10 * np.log10(np.mean((made - expected) ** 2) / np.mean(expected**2)))


# --- equalisation -------------------------------------------------------------------------------------


def test_dividing_by_sigma_is_exact() -> None:
    steady = steadied(network())
    assert {"gain", "noisy_steady"} <= {name for node in steady.graph.node for name in node.output}
    assert error(outputs(steady), outputs(network())) < -100


@pytest.mark.parametrize("kind", ["bias", "gated"])
def test_a_network_that_does_not_scale_is_left_alone(kind: str) -> None:
    given = network(bias=kind == "bias", gated=kind == "gated")
    assert steadied(given) == given


def test_a_blind_network_is_left_alone() -> None:
    given = tiny_network.build(tiny_network.card(sigma_input=False, sigma_range=None))
    assert steadied(given) == given


def test_equalisation_is_exact_and_makes_ranges_alike() -> None:
    given = network()
    seen = calibrate(given, examples())
    made, then = equalized(given, seen)
    assert error(outputs(made), outputs(given)) < -100
    again = calibrate(made, examples())
    for name in ("above.relu", "below.relu", "sum"):
        np.testing.assert_allclose(then.values[name], again.values[name], rtol=1e-3, atol=1e-4)
        spread = [np.ptp(np.log(np.abs(each.values[name]).max(axis=1))) for each in (seen, then)]
        assert spread[1] < 0.5 * spread[0], name
    for name, moment in again.moments.items():
        np.testing.assert_allclose(then.moments[name], moment, rtol=1e-2, atol=1e-3 * moment.max())


def test_channels_that_meet_a_product_keep_their_scale() -> None:
    given = network(gated=True)
    made, _ = equalized(given, calibrate(given, examples()))
    assert error(outputs(made), outputs(given)) < -100
    assert made != given


def test_ranges_hold_zero_and_each_picture_s_extremes() -> None:
    seen = calibrate(network(), examples())
    low, high = equalize.range_of(seen.values["head"])
    assert (low <= 0).all()
    assert (high >= 0).all()
    assert (low <= seen.values["head"].min(axis=1) * 0.9 + 1e-6).all()
    low, high = equalize.range_of(np.full((1, 50), 3, np.float32))
    assert (low[0], high[0]) == (0, 3)


def test_calibration_needs_an_example() -> None:
    with pytest.raises(ValueError, match="at least one example"):
        static(network(), [])


# --- rounding -----------------------------------------------------------------------------------------


def test_zero_is_an_integer_and_the_range_fits() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, (4, 500)).astype(np.float32)
    steps = steps_for(values, own=False)
    assert not steps.own
    assert abs(float(steps.step) * (0 - int(steps.zero)) - values.min()) <= float(steps.step)
    assert abs(float(steps.step) * (255 - int(steps.zero)) - values.max()) <= float(steps.step)
    own = steps_for(values, own=True)
    np.testing.assert_allclose(own.lowest, values.min(axis=1))
    np.testing.assert_allclose(own.lowest + 255 * own.step, values.max(axis=1), rtol=1e-5)


def test_weights_make_good_for_each_other_where_their_inputs_are_alike() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 1, (6, 4, 3, 3)).astype(np.float32)
    flat = weights.reshape(6, -1)
    alike = (0.95 + 0.05 * np.eye(36)).astype(np.float32)

    def loss(integers: np.ndarray, step: np.ndarray) -> float:
        off = integers.reshape(6, -1) * step[:, None] - flat
        return float(np.einsum("oi,ij,oj->", off, alike, off))

    made, step = rounded(weights, alike)
    assert made.dtype == np.int8
    assert np.abs(made).max() == 127
    plain, same = rounded(weights, np.eye(36, dtype=np.float32))
    np.testing.assert_array_equal(step, same)
    np.testing.assert_array_equal(plain, np.round(weights / step[:, None, None, None]))
    assert loss(made, step) < 0.3 * loss(plain, step)


def test_weights_of_zero_and_inputs_of_zero_are_no_trouble() -> None:
    made, step = rounded(np.zeros((2, 1, 3, 3), np.float32), np.zeros((9, 9), np.float32))
    assert not made.any()
    assert np.isfinite(step).all()


# --- the whole ----------------------------------------------------------------------------------------


def test_integers_come_near_the_floats(tmp_path: Path) -> None:
    given = network()
    made = static(given, examples(), keep=())
    assert -60 < error(outputs(made), outputs(given)) < -25
    session(made, tmp_path / "optimized.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == len(layers(given)) == 11
    assert "Conv" not in kinds


def test_the_ends_stay_float_and_that_helps(tmp_path: Path) -> None:
    given = network()
    assert ends(given) == ("head.weight", "up.weight", "tail.weight")
    made = static(given, examples())
    kept = {tensor.name for tensor in made.graph.initializer if tensor.name.endswith(".weight")}
    assert kept == set(ends(given))
    assert (
        error(outputs(made), outputs(given))
        < error(outputs(static(given, examples(), ())), outputs(given)) - 1
    )


def test_equalisation_and_steady_ranges_help() -> None:
    given = network()
    plain = quantized(given, calibrate(given, examples()), ends(given))
    assert (
        error(outputs(static(given, examples())), outputs(given)) < error(outputs(plain), outputs(given)) - 1
    )


def test_the_result_is_a_network_file_of_standard_operators(tmp_path: Path) -> None:
    path = tiny_network.write(tmp_path / "n.onnx", static(network(), examples()))
    assert read_card(path).sigma_input
    assert path.stat().st_size < len(network().SerializeToString())


def test_a_network_with_other_operators_is_quantised_as_far_as_it_goes() -> None:
    given = network(gated=True)
    made = static(given, examples())
    assert error(outputs(made), outputs(given)) < -15
    with pytest.raises(ConfigError, match="no convolutions without biases"):
        static(network(bias=True), examples())


def test_all_that_sees_the_picture_stays_float() -> None:
    """As in a blind network, whose first convolution looks for the noise level."""
    blind = build("residual-unet", {"widths": [16, 16], "depths": [1, 1], "blind": True})
    kept = ends(to_onnx(blind))
    seeing, small = {"level.first.weight", "head.weight"}, {"ups.0.weight", "level.last.weight"}
    assert {*kept} == seeing | small | {"tail.weight"}
