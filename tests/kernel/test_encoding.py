from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consilium.kernel.encoding import ENCODED_BYTES_MAX, INTEGER_MAX, AtMost, Exactly, decode, encode
from consilium.kernel.errors import Malformed
from tests.vectors import make
from tests.vectors.make import CHAIN_ID, Circle, Colour, Label, Sample

DIGESTS = st.binary(min_size=32, max_size=32)
INTEGERS = st.integers(0, INTEGER_MAX)
CIRCLES = st.builds(Circle, INTEGERS)
VALUES = st.builds(
    Sample,
    number=INTEGERS,
    data=st.binary(max_size=64),
    digest=DIGESTS,
    name=st.text(max_size=16),
    colour=st.sampled_from(Colour),
    inner=CIRCLES,
    shape=CIRCLES | st.builds(Label, st.text(max_size=8)),
    maybe=st.none() | CIRCLES,
    many=st.lists(DIGESTS, max_size=4).map(tuple),
    flag=st.booleans(),
)
FULL = make.samples()[1]


@dataclass(frozen=True, slots=True)
class Other:
    """The sample's first field, under a domain of its own."""

    DOMAIN: ClassVar[str] = "consilium.other"
    number: int


@dataclass(frozen=True, slots=True)
class Blob:
    """One field as large as an encoding may be."""

    DOMAIN: ClassVar[str] = "consilium.blob"
    data: Annotated[bytes, AtMost(ENCODED_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A field of exactly 37 bytes."""

    DOMAIN: ClassVar[str] = "consilium.fixed"
    data: Annotated[bytes, Exactly(37)]


@dataclass(frozen=True, slots=True)
class Upto:
    """A field of at most 37 bytes."""

    DOMAIN: ClassVar[str] = "consilium.upto"
    data: Annotated[bytes, AtMost(37)]


def items_of(value: Sample) -> list[Any]:
    """The CBOR items of an encoded value."""
    return list(cbor2.loads(encode(value, CHAIN_ID)))


def reason(data: bytes, kind: Any = Sample) -> str:
    """The reason these bytes are refused for."""
    with pytest.raises(Malformed) as refused:
        decode(kind, data, CHAIN_ID)
    assert refused.value.rule == "L1"
    return refused.value.reason


@given(VALUES)
def test_a_value_comes_back(value: Sample) -> None:
    """L1: one value, one form."""
    data = encode(value, CHAIN_ID)
    assert decode(Sample, data, CHAIN_ID) == value
    assert encode(decode(Sample, data, CHAIN_ID), CHAIN_ID) == data


@given(VALUES, VALUES)
def test_two_values_never_share_their_bytes(one: Sample, other: Sample) -> None:
    """L1: what is signed is one value's alone."""
    assert (encode(one, CHAIN_ID) == encode(other, CHAIN_ID)) == (one == other)


@given(st.binary(max_size=300))
@example(b"\x81" * 100_000)
@example(b"\xff")
@example(b"\x5b\x7f" + b"\xff" * 7)
@example(b"\x9b\x7f" + b"\xff" * 7)
@example(b"\xd8\x1e\x82\x01\x00")
@example(b"\xd8\x1c\x81\xd8\x1d\x00")
@example(b"\x81\xf9\x7e\x00")
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """L1: a decoder answers bad bytes with one typed error, whatever they are."""
    reason(data)


@given(VALUES, st.data())
def test_a_changed_form_is_refused_or_another_value(value: Sample, data: st.DataObject) -> None:
    """L1: no bit of a form can change and leave the value as it was."""
    changed = bytearray(encode(value, CHAIN_ID))
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode(Sample, bytes(changed), CHAIN_ID)
    except Malformed:
        return
    assert encode(decoded, CHAIN_ID) == changed


@given(VALUES, st.integers(0))
def test_a_truncated_form_is_refused(value: Sample, end: int) -> None:
    data = encode(value, CHAIN_ID)
    reason(data[: end % len(data)])


def test_an_exact_length_is_not_an_upper_bound() -> None:
    """L1: two bounds of one number stay two, whichever class is read first."""
    short = Upto(b"x")
    assert decode(Upto, encode(short, CHAIN_ID), CHAIN_ID) == short
    with pytest.raises(Malformed):
        encode(Fixed(b"x"), CHAIN_ID)
    assert reason(cbor2.dumps(["consilium.fixed", CHAIN_ID, b"x"]), Fixed) == "BAD_FIELD"


def test_trailing_bytes_are_refused() -> None:
    """L1: nothing hides behind a value."""
    assert reason(encode(FULL, CHAIN_ID) + b"\x00") == "NOT_DETERMINISTIC"


def test_an_unknown_field_is_refused() -> None:
    """L1: nothing hides inside a value."""
    assert reason(cbor2.dumps([*items_of(FULL), 0])) == "BAD_FIELD"
    assert reason(cbor2.dumps(items_of(FULL)[:-1])) == "BAD_FIELD"


def test_a_replay_on_another_chain_is_refused() -> None:
    """L1: the chain id stands inside, so what was signed for one chain means nothing on another."""
    assert reason(encode(FULL, bytes(32))) == "FOREIGN_CHAIN"


@pytest.mark.parametrize("item", [[], ["consilium.sample"], 7, "consilium.sample", None, [7, CHAIN_ID]])
def test_another_domain_is_refused(item: object) -> None:
    """L1: a form for one kind of thing never passes for another."""
    assert reason(cbor2.dumps(item)) == "FOREIGN_DOMAIN"
    assert reason(encode(Other(1), CHAIN_ID)) == "FOREIGN_DOMAIN"


@pytest.mark.parametrize(
    "other_form",
    [
        b"\x18\x07",  # 7 in two bytes
        b"\xc2\x41\x07",  # 7 as a bignum
        b"\x1b\x00\x00\x00\x00\x00\x00\x00\x07",
    ],
)
def test_another_form_of_the_same_number_is_refused(other_form: bytes) -> None:
    """L1: RFC 8949 section 4.2, the shortest form alone."""
    form = encode(Other(7), CHAIN_ID)
    assert form[-1:] == b"\x07"
    assert reason(form[:-1] + other_form, Other) == "NOT_DETERMINISTIC"


def test_an_indefinite_length_is_refused() -> None:
    form = encode(Other(7), CHAIN_ID)
    assert reason(b"\x9f" + form[1:] + b"\xff", Other) == "NOT_DETERMINISTIC"


@pytest.mark.parametrize(
    ("tag", "content"), [(0, "2013-03-21T20:04:00Z"), (35, "[a-z]+"), (37, bytes(16)), (258, []), (2**40, 7)]
)
def test_a_tag_is_refused_and_never_read(tag: int, content: object) -> None:
    """L1: or a hostile regular expression (tag 35) would keep every service busy that sees it."""
    form = encode(Other(7), CHAIN_ID)
    assert reason(form[:-1] + cbor2.dumps(cbor2.CBORTag(tag, content)), Other) == "NOT_DETERMINISTIC"


@pytest.mark.parametrize("item", [{}, {2: 7}])
def test_a_map_is_refused(item: object) -> None:
    """L1: there are none in our forms."""
    assert reason(cbor2.dumps(item)) == reason(cbor2.dumps([*items_of(FULL)[:9], item])) == "NOT_DETERMINISTIC"


@pytest.mark.parametrize(
    ("place", "item"),
    [
        (2, -1),
        (2, INTEGER_MAX + 1),
        (2, 1.0),
        (2, True),
        (2, None),
        (3, "text"),
        (3, b"x" * 65),
        (4, bytes(31)),
        (4, bytes(33)),
        (5, b"bytes"),
        (5, "x" * 17),
        (6, 3),
        (6, True),
        (7, 5),
        (7, []),
        (8, [3, 1]),
        (8, []),
        (8, [True, 1]),
        (8, None),
        (8, [2, "x" * 9]),
        (9, [7, 1, 1]),
        (10, [bytes(32)] * 5),
        (10, [bytes(31)]),
        (10, "text"),
        (11, 1),
    ],
)
def test_a_field_out_of_its_bounds_is_refused(place: int, item: object) -> None:
    """L1: bounds stand in the annotations, and one decoder holds them all."""
    items = items_of(FULL)
    items[place] = item
    assert reason(cbor2.dumps(items)) == "BAD_FIELD"


@pytest.mark.parametrize(
    "value",
    [
        replace(FULL, number=-1),
        replace(FULL, number=INTEGER_MAX + 1),
        replace(FULL, data=bytes(65)),
        replace(FULL, digest=bytes(31)),
        replace(FULL, many=(bytes(32),) * 5),
    ],
)
def test_what_others_must_refuse_is_never_made(value: Sample) -> None:
    with pytest.raises(Malformed):
        encode(value, CHAIN_ID)


@given(st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2), max_leaves=40), st.integers(0, 60))
def test_deep_nesting_is_refused(item: object, depth: int) -> None:
    for _ in range(depth):
        item = [item]
    reason(cbor2.dumps(["consilium.sample", CHAIN_ID, item]))


def test_oversize_is_refused_before_it_is_read() -> None:
    """L1: the bound is on the bytes, so nothing large is ever built from them."""
    data = encode(Blob(bytes(1000)), CHAIN_ID)
    decode(Blob, data, CHAIN_ID, len(data))
    with pytest.raises(Malformed, match="OVERSIZE"):
        decode(Blob, data, CHAIN_ID, len(data) - 1)
    assert reason(encode(Blob(bytes(ENCODED_BYTES_MAX)), CHAIN_ID), Blob) == "OVERSIZE"


@given(VALUES)
def test_a_form_is_what_a_library_writes(value: Sample) -> None:
    """RFC 8949, 4.2: the writer is our own, the form is everybody's."""
    form = encode(value, CHAIN_ID)
    assert cbor2.dumps(cbor2.loads(form)) == form


@pytest.mark.parametrize("number", [0, 1, 23, 24, 255, 256, 1_023, 1_024, 65_535, 65_536, 2**32 - 1, 2**32, INTEGER_MAX])
def test_numbers_and_lengths_have_the_shortest_form(number: int) -> None:
    assert encode(Other(number), CHAIN_ID) == cbor2.dumps(["consilium.other", CHAIN_ID, number])
    if number <= ENCODED_BYTES_MAX:
        assert encode(Blob(bytes(number)), CHAIN_ID) == cbor2.dumps(["consilium.blob", CHAIN_ID, bytes(number)])


def test_frozen_vectors() -> None:
    """L1: old bytes stay readable."""
    assert make.encoding() == make.read("encoding")
    for value, frozen in zip(make.samples(), make.read("encoding"), strict=True):
        assert decode(type(value), bytes.fromhex(frozen["bytes"]), CHAIN_ID) == value
