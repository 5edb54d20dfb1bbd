from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import tiny_network
from unnoise.card import parse_card, read_card
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


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"size_multiple": 0},
        {"size_multiple": 1.5},
        {"halo": -1},
        {"sigma_range": [75, 0]},
        {"sigma_range": "wide"},
        {"sigma_range": None},
        {"name": ""},
        {"fixed_size": "56"},
    ],
)
def test_cards_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(NetworkError, match="net: its card"):
        parse_card(json.dumps(tiny_network.card(**change)), "net")


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


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x04\x95pickle", bytes(100), b"\xff" * 100])
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(NetworkError, match="not a readable ONNX file"):
        read_card(path)


WHOLE = tiny_network.build(tiny_network.CARD)
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
