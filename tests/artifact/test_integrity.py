"""What is read from the bytes is what onnx itself reads, and nothing foreign gets past."""

import contextlib
from collections.abc import Iterator

import hypothesis.strategies as some
import numpy as np
import onnx
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from onnx import GraphProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from kidney.artifact import integrity
from kidney.artifact.integrity import check_self_contained, metadata
from kidney.errors import ArtifactError
from tests.helpers.tiny_model import tiny_model

WHOLE = numpy_helper.from_array(np.zeros(2, np.float32), "whole")


def external(location: str = "../../etc/passwd") -> TensorProto:
    tensor = TensorProto(name="outside", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def custom(domain: str = "com.microsoft") -> NodeProto:
    return helper.make_node("EPContext", ["slices"], ["x"], domain=domain)


def graph(*nodes: NodeProto, tensors: tuple[TensorProto, ...] = ()) -> GraphProto:
    return helper.make_graph(list(nodes), "inner", [], [], list(tensors))


def holding(**attributes: object) -> NodeProto:
    return helper.make_node("If", ["x"], ["y"], **attributes)


def sparse(values: TensorProto) -> SparseTensorProto:
    return SparseTensorProto(values=values, indices=WHOLE, dims=[2])


def refusal(data: bytes) -> str:
    with pytest.raises(ArtifactError) as error:
        check_self_contained(data)
    return str(error.value)


def test_a_model_of_standard_operators_passes():
    check_self_contained(tiny_model(ood_score=True).SerializeToString())


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.contrib", "ai.onnx.ml", "é\n"])
def test_an_operator_of_another_domain_is_refused_by_name(domain: str):
    model = tiny_model()
    model.graph.node.append(custom(domain))
    assert repr(domain) in refusal(model.SerializeToString())


def test_a_domain_that_is_imported_but_not_used_does_no_harm():
    model = tiny_model()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))  # as the quantiser does
    check_self_contained(model.SerializeToString())


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "*/_ORT_MEM_ADDR_/*", ""])
def test_weights_in_another_file_are_refused(location: str):
    model = tiny_model()
    model.graph.initializer.append(external(location))
    assert "external data" in refusal(model.SerializeToString())


def test_either_sign_of_external_data_is_enough():
    for field in ("data_location", "external_data"):
        model = tiny_model()
        tensor = external()
        tensor.ClearField(field)
        model.graph.initializer.append(tensor)
        assert "external data" in refusal(model.SerializeToString())


def hidden() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Models with a foreign thing in every corner."""
    for name, node in {
        "subgraph": holding(then_branch=graph(tensors=(external(),))),
        "subgraphs": holding(branches=[graph(), graph(custom())]),
        "deep": holding(then_branch=graph(holding(then_branch=graph(custom())))),
        "tensor": helper.make_node("Constant", [], ["c"], value=external()),
        "tensors": holding(values=[WHOLE, external()]),
        "sparse": holding(value=sparse(external())),
        "sparse list": holding(values=[sparse(external())]),
    }.items():
        model = tiny_model()
        model.graph.node.append(node)
        yield name, model
    model = tiny_model()
    model.graph.sparse_initializer.append(sparse(external()))
    yield "sparse initializer", model
    model = tiny_model()
    model.functions.append(
        helper.make_function("", "f", ["a"], ["x"], [custom()], [helper.make_opsetid("", 18)])
    )
    yield "function", model
    model = tiny_model()
    model.training_info.add().algorithm.CopyFrom(graph(custom()))
    yield "training", model


@pytest.mark.parametrize(("where", "model"), list(hidden()), ids=lambda value: str(value)[:20])
def test_nothing_hides_in_a_corner(where: str, model: onnx.ModelProto):
    assert "Nothing was opened" in refusal(model.SerializeToString()), where


def paths(message: Descriptor, seen: set[str]) -> Iterator[tuple[str, int, str]]:
    """Yield (message, number, message in it) of all below `message`, by onnx's own schema."""
    if message.name in seen:
        return
    seen.add(message.name)
    for field in message.fields:
        if field.message_type is not None:
            yield message.name, field.number, field.message_type.name
            yield from paths(field.message_type, seen)


def test_the_ways_to_nodes_and_tensors_are_those_of_the_schema():
    ways = set(paths(onnx.ModelProto.DESCRIPTOR, set()))
    leads = {"NodeProto", "TensorProto"}
    while more := {above for above, _, below in ways if below in leads} - leads:
        leads |= more
    expected = {(above, number, below) for above, number, below in ways if below in leads}
    called = {
        "model": "ModelProto", "graph": "GraphProto", "node": "NodeProto",
        "attribute": "AttributeProto", "tensor": "TensorProto", "training": "TrainingInfoProto",
        "sparse tensor": "SparseTensorProto", "function": "FunctionProto",
    }  # fmt: skip
    assert {
        (called[above], number, called[below])
        for above, fields in integrity._MESSAGES.items()
        for number, below in fields.items()
    } == expected


def is_foreign(message: Message) -> bool:
    """Tell by onnx's own reading whether `check_self_contained` has to refuse."""
    if isinstance(message, NodeProto) and message.domain not in ("", "ai.onnx"):
        return True
    if isinstance(message, TensorProto) and (message.external_data or message.data_location):
        return True
    for field, value in message.ListFields():
        if field.message_type is not None:
            if isinstance(value, Message):
                value = [value]
            if any(map(is_foreign, value)):
                return True
    return False


tensors = some.sampled_from([WHOLE, WHOLE, WHOLE, external()])
plain = some.builds(
    lambda domain, tensor: helper.make_node("Constant", [], ["c"], domain=domain, value=tensor),
    some.sampled_from(["", "", "ai.onnx", "own"]),
    tensors,
)
nodes = some.recursive(
    plain,
    lambda inner: some.builds(
        lambda first, second, tensor: holding(
            a=graph(*first, tensors=(tensor,)), b=[graph(*second), graph()]
        ),
        some.lists(inner, max_size=2),
        some.lists(inner, max_size=2),
        tensors,
    ),
    max_leaves=6,
)
models = some.builds(
    lambda inside, key: helper.make_model(graph(*inside), producer_name=key),
    some.lists(nodes, max_size=4),
    some.text(max_size=5),
)


@settings(max_examples=150, deadline=None)
@given(models)
def test_it_agrees_with_onnx_on_any_model(model: onnx.ModelProto):
    data = model.SerializeToString()
    if is_foreign(model):
        refusal(data)
    else:
        check_self_contained(data)


@settings(max_examples=300, deadline=None)
@given(models, some.data())
def test_damage_is_an_artifact_error_and_never_hides_what_onnx_would_read(model, data):
    damaged = bytearray(model.SerializeToString())
    for _ in range(data.draw(some.integers(1, 4))):
        at = data.draw(some.integers(0, len(damaged) - 1)) if damaged else 0
        damaged[at : at + data.draw(some.integers(0, 2))] = data.draw(some.binary(max_size=2))
    try:
        check_self_contained(bytes(damaged))
        metadata(bytes(damaged))
    except ArtifactError:
        return
    try:
        read = onnx.ModelProto.FromString(bytes(damaged))
    except DecodeError:
        return
    assert not is_foreign(read)


@settings(max_examples=200, deadline=None)
@given(some.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes):
    for read in (check_self_contained, metadata):
        with contextlib.suppress(ArtifactError):
            read(data)


@settings(max_examples=50, deadline=None)
@given(some.dictionaries(some.text(max_size=8), some.text(max_size=300), max_size=4))
def test_metadata_is_what_onnx_wrote(entries: dict[str, str]):
    model = tiny_model()
    helper.set_model_props(model, entries)
    assert metadata(model.SerializeToString()) == entries


def test_fields_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(integrity, "_MOST_FIELDS", 1000)
    assert "at most 1,000 fields" in refusal(b"\x08\x01" * 1001)


def test_messages_within_messages_without_end_are_given_up():
    data = b""
    for number in [6, 5, 1] * 60 + [7]:  # a graph in an attribute in a node in a graph ...
        data = bytes([number << 3 | 2, len(data) & 127 | 128, len(data) >> 7]) + data
    assert "cannot be read" in refusal(data)


def test_a_number_that_protobuf_cuts_to_32_bits_hides_nothing():
    tensor = b"\x70\x81\x80\x80\x80\x10"  # data_location = 2**32 + 1
    graph_ = b"\x2a" + bytes([len(tensor)]) + tensor
    data = b"\x3a" + bytes([len(graph_)]) + graph_
    (read,) = onnx.ModelProto.FromString(data).graph.initializer
    assert read.data_location == TensorProto.EXTERNAL
    assert "external data" in refusal(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x3a\x05\x08",  # a graph longer than the file
        b"\x3a\x03\x2a\x05\x08\x01\x01\x01\x01",  # a tensor longer than its graph
        b"\x3d\x01",  # half a number
        b"\x38" + b"\xff" * 11,  # a number without end
        b"\x3b\x3c",  # a group
        b"\x00\x01",  # field 0
    ],
)
def test_lengths_and_numbers_that_cannot_be_are_refused(data: bytes):
    assert "cannot be read" in refusal(data)
