"""The walk to the names of weights, against onnx's own description of its format and against damaged files."""

from contextlib import suppress

import onnx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from onnx import TensorProto, helper

from arcface_api.errors import InvalidInput
from arcface_faces.embedding.onnx_file import FIELDS, external_files
from support.builders.onnx_model import WEIGHTS, corner_model, with_weights_beside


def test_every_message_that_may_hold_weights_is_walked_through():
    def leads_to_entries(message, visited):
        if message.name == "StringStringEntryProto":
            return "TensorProto" in visited
        if message.name in visited:
            return message.name in FIELDS
        inner = [field.message_type for field in message.fields if field.message_type is not None]
        return any(leads_to_entries(kind, {*visited, message.name}) for kind in inner)

    named = {"metadata_props", "training_info", "quantization_annotation"}  # hold none, or no inference reads them
    for name, fields in FIELDS.items():
        message = getattr(onnx, name, None) or getattr(onnx.onnx_ml_pb2, name)
        described = {
            field.number: field.message_type.name
            for field in message.DESCRIPTOR.fields
            if field.message_type is not None
            and field.name not in named
            and leads_to_entries(field.message_type, {name})
        }
        assert fields == described, name


def external(name):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=f"{name}.data")
    return tensor


def test_weights_of_constants_branches_and_functions_are_found(tmp_path):
    branch = helper.make_graph([helper.make_node("Constant", [], ["v"], value=external("inner"))], "b", [], [])
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    graph = helper.make_graph(nodes, "g", [], [], [external("outer")])
    function = helper.make_function(
        "own", "F", [], ["z"], [helper.make_node("Constant", [], ["z"], value=external("f"))], []
    )
    model = helper.make_model(graph, functions=[function])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    for name in ("outer", "inner", "f"):
        (tmp_path / f"{name}.data").touch()
    assert [path.name for path in external_files(tmp_path / "m.onnx")] == ["f.data", "inner.data", "outer.data"]


def test_weights_behind_a_group_are_found_as_its_readers_find_them(tmp_path):
    """Protocol buffers, "Groups": begin and end of an unknown field 99 are read over, with what is between them."""
    group = b"\x9b\x06\x08\x01\x9c\x06"
    graph = onnx.GraphProto(initializer=[external("outer")])
    data = group + onnx.ModelProto(graph=graph).SerializeToString()
    assert onnx.ModelProto.FromString(data).graph == graph
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(InvalidInput, match=r"its weights are missing: put 'outer\.data' beside it"):
        external_files(tmp_path / "m.onnx")


def test_a_model_and_its_weights_may_be_links_into_one_store(tmp_path):
    store, shown = tmp_path / "blobs", tmp_path / "snapshot"
    store.mkdir(), shown.mkdir()
    with_weights_beside(corner_model(store / "a1"), "model.data")
    (store / "b2").write_bytes(WEIGHTS)
    (shown / "model.onnx").symlink_to(store / "a1")
    (shown / "model.data").symlink_to(store / "b2")
    assert external_files(shown / "model.onnx") == [shown / "model.data"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "w.data").write_bytes(WEIGHTS)
    return with_weights_beside(corner_model(folder / "m.onnx"), "w.data")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4), st.integers(1, 10_000))
def test_damaged_bytes_end_in_files_of_the_folder_or_one_line(model, changes, size):
    data = bytearray(model.read_bytes())
    for position, value in changes:
        data[position % len(data)] = value
    damaged = model.with_name("damaged.onnx")
    damaged.write_bytes(data[:size])
    with suppress(InvalidInput):
        assert set(external_files(damaged)) <= {model.with_name("w.data"), model, damaged}


def test_messages_nested_without_end_are_left(tmp_path):
    nested = b""
    for _ in range(3000):  # an attribute with a graph with a node with ...
        for tag in (b"\x0a", b"\x2a", b"\x32"):
            size, coded = len(nested), b""
            while size >= 128:
                coded, size = coded + bytes([size % 128 + 128]), size // 128
            nested = tag + coded + bytes([size]) + nested
    (tmp_path / "deep.onnx").write_bytes(nested)
    assert external_files(tmp_path / "deep.onnx") == []
