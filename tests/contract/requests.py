"""Requests made from the descriptors: unknown fields at every depth, and messages of any shape, some nearly right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cbor2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from tests.contract.contracts import UNKNOWN_FIELD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message
    from hypothesis.strategies import SearchStrategy

LENGTHS = (0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 105, 310)
"""Around the lengths of ids, digests, keys, signatures, capsules and fragments."""
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}
MISFITS: tuple[object, ...] = (
    None,
    -1,
    2**63,
    2**64 - 1,
    1.5,
    True,
    "",
    "x" * 41,
    "a\x00b",
    b"",
    bytes(32),
    [],
    [[]],
    [0] * 5_000,
)
WAIT_MS_MAX = 3
WORDS = (
    "anshan",
    "nowhere",
    "physician",
    "captain",
    "RECORD",
    "sonnet",
    "application/pdf",
    "1/anshan",
    "7",
    "-1",
    "00" * 32,
)


def unknown_at_every_depth(descriptor: Descriptor, depth: int = 3) -> Iterator[tuple[str, bytes]]:
    """Where, and a message that carries an unknown field there and nothing else."""
    yield descriptor.name, UNKNOWN_FIELD
    for field in descriptor.fields if depth else ():
        if field.message_type is not None:
            for place, inner in unknown_at_every_depth(field.message_type, depth - 1):
                yield f"{field.name}.{place}", delimited(field.number, inner)


def delimited(number: int, content: bytes) -> bytes:
    """A field with its length in front, in protobuf's form; both numbers in one byte."""
    assert number < 16
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def messages(descriptor: Descriptor, known: Sequence[bytes]) -> SearchStrategy[Message]:
    """Any message of a type; `known` are bytes that mean something here, used whole and damaged."""
    fields = {each.name: _values(each, known) for each in descriptor.fields}
    alone = [[each.name for each in group.fields] for group in descriptor.oneofs]

    def made(values: dict[str, Any]) -> Message:
        for group in alone:
            for name in [each for each in group if each in values][1:]:
                del values[name]
        message: Message = GetMessageClass(descriptor)(**values)
        return message

    return st.fixed_dictionaries({}, optional=fields).map(made)


def _values(field: FieldDescriptor, known: Sequence[bytes]) -> SearchStrategy[Any]:
    one = _value(field, known)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _value(field: FieldDescriptor, known: Sequence[bytes]) -> SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, known)
    if field.cpp_type in INTEGERS:
        least, most = INTEGERS[field.cpp_type]
        if field.name == "wait_ms":
            most = WAIT_MS_MAX
        return st.integers(0, min(most, 80)) | st.integers(least, most) | st.sampled_from([least, most])
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes(known)
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.sampled_from(WORDS) | st.text(max_size=80)
    assert field.type == FieldDescriptor.TYPE_BOOL, field.full_name
    return st.booleans()


def _bytes(known: Sequence[bytes]) -> SearchStrategy[bytes]:
    whole = st.sampled_from(known)
    place = st.integers(0, 2_000)
    cut = st.builds(lambda data, at: data[: at % (len(data) + 1)], whole, place)
    longer = st.builds(lambda data, tail: data + tail, whole, st.binary(min_size=1, max_size=3))
    flipped = st.builds(_flipped, whole, place, st.integers(1, 255))
    misfit = st.builds(_misfit, whole, place, st.sampled_from(MISFITS))
    of_length = st.sampled_from(LENGTHS).flatmap(lambda length: st.binary(min_size=length, max_size=length))
    return whole | cut | longer | flipped | misfit | of_length


def _flipped(data: bytes, at: int, bits: int) -> bytes:
    at %= max(len(data), 1)
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :] if data else data


def _misfit(data: bytes, at: int, item: object) -> bytes:
    """A value of this chain in its one form, one field of it something else."""
    try:
        items = cbor2.loads(data)
        items[2 + at % (len(items) - 2)] = item
    except (cbor2.CBORError, TypeError, ValueError, ZeroDivisionError):
        return data
    return cbor2.dumps(items)
