from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import tiny_network
from unnoise import denoiser, onnxfile
from unnoise.card import check_weights, parse_card, read_card
from unnoise.errors import NetworkError


def test_the_card_is_read_from_the_file_alone(tmp_path: Path) -> None:
    card = read_card(tiny_network.save(tmp_path / "net.onnx"))
    assert card.record == tiny_network.CARD
    assert (card.name, card.halo, card.sigma_range) == ("tiny", 4, (0.0, 75.0))
    assert not card.whole_image


def test_a_blind_network_has_no_range(tmp_path: Path) -> None:
    card = read_card(tiny_network.identity(tmp_path / "net.onnx"))
    assert card.sigma_range is None
    assert not card.sigma_input


def test_entries_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    card = parse_card(json.dumps(tiny_network.card(colour="red")), "net")
    assert card.name == "tiny"
    assert card.record["colour"] == "red"


HUGE = 10**400


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": True},
        {"schema": None},
        {"name": ""},
        {"name": ["a"]},
        {"name": "a" * 300},
        {"architecture": 3},
        {"licence": None},
        {"training": []},
        {"scores": "good"},
        {"sigma_input": 1},
        {"whole_image": "no"},
        {"parameters": -1},
        {"parameters": 1.5},
        {"parameters": True},
        {"bytes_per_pixel": 0},
        {"bytes_per_pixel": -1.0},
        {"bytes_per_pixel": "much"},
        {"bytes_per_pixel": True},
        {"bytes_per_pixel": 1e12},
        *(
            {name: value}
            for name in ("size_multiple", "halo", "border", "fixed_size")
            for value in (-1, -64, 1.5, "56", True, [1], 1 << 20, HUGE)
        ),
        {"size_multiple": 0},
        {"size_multiple": None},
        {"halo": None},
        {"fixed_size": 0},
        *(
            {"sigma_range": value}
            for value in (
                [75, 0],
                [-1, 75],
                [0, 256],
                [0, 0],
                [0, HUGE],
                [0],
                [0, 25, 75],
                ["0", "75"],
                [False, True],
                [[0], [75]],
                {"low": 0, "high": 75},
                "07",
                "wide",
                75,
                [],
                None,
            )
        ),
    ],
    ids=lambda change: f"{change}"[:60],
)
def test_cards_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(NetworkError, match="net: its card") as caught:
        parse_card(json.dumps(tiny_network.card(**change)), "net")
    assert caught.value.hint
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"halo": 4', '"halo": NaN', "NaN is no number"),
        ('"halo": 4', '"halo": Infinity', "Infinity is no number"),
        ('"gmac_256": 0.01', '"gmac_256": 1e999', "1e999 is no number"),
        ('"gmac_256": 0.01', '"gmac_256": -Infinity', "-Infinity is no number"),
        ('"halo": 4', '"halo": 4, "halo": 400', "'halo' is there twice"),
        ('"25": 30.6', '"25": 30.6, "25": 50', "'25' is there twice"),
        ('"halo": 4', '"halo": ' + "9" * 5000, "digits"),
        ('{"25"', '{"a": ' * 40 + '{"25"', "its card is damaged"),
    ],
)
def test_numbers_that_json_lacks_and_names_that_come_twice(before: str, after: str, said: str) -> None:
    text = json.dumps(tiny_network.CARD)
    assert before in text
    with pytest.raises(NetworkError, match=said):
        parse_card(text.replace(before, after), "net")


@pytest.mark.parametrize("depth", [30, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a": ', "}")])
def test_deep_cards_are_refused(depth: int, opening: str, closing: str) -> None:
    text = json.dumps(tiny_network.card(extra=0)).replace(
        '"extra": 0', f'"extra": {opening * depth}0{closing * depth}'
    )
    with pytest.raises(NetworkError, match=r"net: its card is damaged: .*(deep|recursion)"):
        parse_card(text, "net")


def test_a_card_with_very_many_names_is_read_in_bounded_time() -> None:
    pairs = ", ".join(f'"n{number}": 0' for number in range(60_000))
    text = json.dumps(tiny_network.card(extra=0)).replace('"extra": 0', f'"extra": {{{pairs}, "n7": 1}}')
    begun = time.perf_counter()
    with pytest.raises(NetworkError, match="'n7' is there twice"):
        parse_card(text, "net")
    assert time.perf_counter() - begun < 2


def test_memory_per_pixel_is_optional() -> None:
    assert parse_card(json.dumps(tiny_network.CARD), "net").bytes_per_pixel is None
    for value in (12, 268.4):
        assert (
            parse_card(json.dumps(tiny_network.card(bytes_per_pixel=value)), "net").bytes_per_pixel == value
        )


@pytest.mark.parametrize("missing", ["name", "halo", "sigma_input", "size_multiple", "fixed_size", "schema"])
def test_cards_that_lack_something_are_refused(missing: str) -> None:
    record = tiny_network.card()
    del record[missing]
    with pytest.raises(NetworkError, match="net: its card is damaged"):
        parse_card(json.dumps(record), "net")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"card"'])
def test_cards_that_are_no_json_object_are_refused(text: str) -> None:
    with pytest.raises(NetworkError, match="its card is damaged"):
        parse_card(text, "net")


def test_a_network_without_a_card_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(tiny_network.build(tiny_network.CARD).SerializeToString())
    with pytest.raises(NetworkError, match="has no card") as caught:
        read_card(path)
    assert "unnoise export" in caught.value.hint


def test_external_data_is_refused(tmp_path: Path) -> None:
    path = tiny_network.save(tmp_path / "net.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    with pytest.raises(NetworkError, match=r"weights in other files \(w1\)"):
        read_card(path)


def test_custom_operators_are_refused(tmp_path: Path) -> None:
    path = tiny_network.save(tmp_path / "net.onnx", domain="com.example")
    with pytest.raises(NetworkError, match=r"com\.example\.Relu"):
        read_card(path)


def hidden_in_a_branch() -> onnx.ModelProto:
    """The operators and weights of a branch are as dangerous as those outside."""
    branch = helper.make_graph(
        [helper.make_node("Evil", ["w"], ["y"], domain="com.example")],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.zeros(1, dtype=np.float32), "w")],
    )
    node = helper.make_node("If", ["c"], ["denoised"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph(
        [node], "g", [], [helper.make_tensor_value_info("denoised", TensorProto.FLOAT, [1])]
    )
    model = helper.make_model(graph)
    model.metadata_props.add(key="unnoise", value=json.dumps(tiny_network.CARD))
    return model


def test_operators_in_branches_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(hidden_in_a_branch().SerializeToString())
    with pytest.raises(NetworkError, match=r"com\.example\.Evil"):
        read_card(path)


def test_external_tensors_in_attributes_are_seen(tmp_path: Path) -> None:
    model = tiny_network.build(tiny_network.CARD)
    tensor = numpy_helper.from_array(np.zeros(1, dtype=np.float32), "constant")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["k"], value=tensor))
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NetworkError, match=r"other files \(constant\)"):
        read_card(path)


# --- weights ---------------------------------------------------------------------------------------


def changed(model: onnx.ModelProto, name: str, value: float, kind: Any = np.float32) -> onnx.ModelProto:
    """The model with one weight of these set to a value, and all of these stored as another type."""
    (tensor,) = (each for each in model.graph.initializer if each.name == name)
    weights = numpy_helper.to_array(tensor).astype(kind)
    weights.flat[-1] = value
    tensor.CopyFrom(numpy_helper.from_array(weights, name))
    return model


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("promised", [True, False])
def test_weights_that_are_no_numbers_are_refused(
    tmp_path: Path, value: float, kind: Any, promised: bool
) -> None:
    model = changed(tiny_network.build(tiny_network.CARD), "w2", value, kind)
    described = dict(tiny_network.CARD)
    path = tiny_network.write(tmp_path / "net.onnx", model, described)
    if not promised:
        del described["weights_sha256"]
        tiny_network.put_card(path, described)
    with pytest.raises(NetworkError, match=r"net\.onnx: the weights 'w2' hold NaN or Inf"):
        read_card(path)


@pytest.mark.parametrize("field", ["float_data", "double_data", "bfloat16", "int32_data"])
def test_weights_are_seen_however_they_are_stored(tmp_path: Path, field: str) -> None:
    kinds = {
        "float_data": TensorProto.FLOAT,
        "double_data": TensorProto.DOUBLE,
        "bfloat16": TensorProto.BFLOAT16,
        "int32_data": TensorProto.FLOAT16,
    }
    for values, bad in (([1.0, 2.0], False), ([1.0, np.nan], True)):
        model = tiny_network.build(tiny_network.CARD)
        tensor = helper.make_tensor("odd", kinds[field], [2], values)
        if field == "bfloat16":
            tensor = helper.make_tensor(
                "odd", TensorProto.BFLOAT16, [2], b"\x80?" + (b"\xc0\x7f" if bad else b"\x00@"), raw=True
            )
        model.graph.initializer.append(tensor)
        path = tiny_network.write(tmp_path / f"{field}-{bad}.onnx", model)
        if bad:
            with pytest.raises(NetworkError, match="'odd' hold NaN"):
                read_card(path)
        else:
            read_card(path)


def test_integers_are_part_of_the_hash_however_they_are_stored(tmp_path: Path) -> None:
    for kind, values in (
        (TensorProto.INT64, [-1, 2**40]),
        (TensorProto.INT32, [-5, 7]),
        (TensorProto.UINT8, [0, 255]),
        (TensorProto.BOOL, [0, 1]),
        (TensorProto.UINT64, [2**63, 1]),
    ):
        model = tiny_network.build(tiny_network.CARD)
        model.graph.initializer.append(helper.make_tensor("numbers", kind, [2], values))
        path = tiny_network.write(tmp_path / f"{kind}.onnx", model)
        read_card(path)
        content = onnx.load(path)
        content.graph.initializer[-1].CopyFrom(helper.make_tensor("numbers", kind, [2], values[::-1]))
        path.write_bytes(content.SerializeToString())
        with pytest.raises(NetworkError, match="does not hold the weights"):
            read_card(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda model: changed(model, "w1", 0.125),
        lambda model: changed(model, "axis", 2, np.int64),
        lambda model: setattr(model.graph.initializer[0], "name", "w9") or model,
        lambda model: model.graph.initializer.pop() and model,
    ],
    ids=["a weight", "an integer", "a name", "one less"],
)
def test_other_weights_than_the_cards_are_refused(tmp_path: Path, spoil: Any) -> None:
    path = tiny_network.save(tmp_path / "net.onnx")
    path.write_bytes(spoil(onnx.load(path)).SerializeToString())
    with pytest.raises(
        NetworkError, match="does not hold the weights that its card was written for"
    ) as caught:
        read_card(path)
    assert "export it again" in caught.value.hint


def test_a_card_without_a_hash_is_taken(tmp_path: Path) -> None:
    described = tiny_network.card()
    del described["weights_sha256"]
    read_card(tiny_network.put_card(tiny_network.save(tmp_path / "net.onnx"), described))


def test_the_bundled_network_is_what_its_card_says() -> None:
    path = denoiser.NETWORKS / "default.onnx"
    assert read_card(path).record["weights_sha256"] == tiny_network.weights_sha256(onnx.load(path))


def test_weights_are_checked_once_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_network.save(tmp_path / "net.onnx")
    counted = []
    monkeypatch.setattr(onnxfile.Tensor, "is_not_finite", lambda tensor: counted.append(tensor.name))
    for _ in range(3):
        read_card(path)
    assert counted.count("w1") == 1
    os.utime(path, (1, 1))
    check_weights(path)
    assert counted.count("w1") == 2
    os.utime(path, (2, 2))
    read_card(path, weights=False)
    assert counted.count("w1") == 2


def test_checking_five_megabytes_takes_next_to_no_time(tmp_path: Path) -> None:
    model = tiny_network.build(tiny_network.CARD)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1_300_000, np.float32), "much"))
    path = tiny_network.write(tmp_path / "net.onnx", model)
    taken = []
    for number in range(5):
        os.utime(path, (number, number))
        begun = time.perf_counter()
        read_card(path)
        taken.append(time.perf_counter() - begun)
    assert min(taken) < 0.02


# --- damaged and hostile files ---------------------------------------------------------------------


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def entry(value: bytes) -> bytes:
    return field(14, field(1, b"unnoise") + field(2, value))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (field(7, b"") + entry(b'{"a": "' + b"x" * 100_000_000 + b'"}'), "its card is 100000"),
        (field(7, b"") + entry(b"{}") + entry(b"{}"), "it has two cards"),
        (field(7, b"") + entry(b"\xff\xfe"), "utf-8"),
        (field(7, b"\x08\x01" * 3_000_000), "too many parts"),
        (field(7, field(5, field(7, b"\x01" * 3_000_000))), "too many parts"),
        (field(7, b"") * 2, "no network"),
        (field(14, b""), "no network"),
    ],
    ids=["100 MB card", "two cards", "no text", "many fields", "many numbers", "two graphs", "none"],
)
def test_hostile_files_are_refused_in_bounded_time(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    begun = time.perf_counter()
    with pytest.raises(NetworkError, match=said):
        read_card(path)
    assert time.perf_counter() - begun < 3


def test_graphs_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(3000):
        graph = field(1, field(5, field(6, graph)))
    path = tmp_path / "net.onnx"
    path.write_bytes(field(7, graph))
    with pytest.raises(NetworkError, match="nested too deeply"):
        read_card(path)


def test_names_of_a_megabyte_make_no_message_of_a_megabyte(tmp_path: Path) -> None:
    model = tiny_network.build(tiny_network.CARD, domain="x" * 1_000_000)
    path = tiny_network.write(tmp_path / "net.onnx", model)
    with pytest.raises(NetworkError, match="not standard") as caught:
        read_card(path)
    assert len(str(caught.value)) < 1000


def test_folders_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(NetworkError, match="not a readable ONNX file") as caught:
            read_card(path)
        assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x04\x95pickle", bytes(100), b"\xff" * 100])
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(NetworkError, match="not a readable ONNX file"):
        read_card(path)


WHOLE = tiny_network.build(tiny_network.CARD)
WHOLE.graph.initializer.append(helper.make_tensor("typed", TensorProto.INT64, [2], [-1, 5]))
WHOLE.metadata_props.add(key="unnoise", value=json.dumps(tiny_network.CARD))
WHOLE_BYTES = WHOLE.SerializeToString()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_files_never_escape_as_other_errors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(WHOLE_BYTES[: data.draw(st.integers(1, len(WHOLE_BYTES)))])
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    with contextlib.suppress(NetworkError):
        read_card(path)
