"""One deterministic form for every value that is hashed, signed or stored (L1).

A value is a frozen dataclass; its form is deterministic CBOR (RFC 8949 section 4.2) of a positional array

    [domain, chain id, field, field, ...]

so a signature made for one kind of thing, or on one chain, never fits another. Fields are integers from 0 to 2^63-1, bytes,
text, booleans, null, tuples and nested values; floats, maps and tags do not exist. Bounds stand in the annotations
(`Annotated[bytes, Exactly(32)]`), and one decoder enforces them for all values: unknown fields, trailing bytes, foreign
chains, oversize and non-deterministic forms are refused as `Malformed`.

A union of dataclasses is told apart by the class constant `KIND`, which then stands first in the nested array.
"""

import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from typing import (
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    NoReturn,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import cbor2

from consilium.kernel.errors import Malformed

INTEGER_MAX = 2**63 - 1
ENCODED_BYTES_MAX = 4 * 1024 * 1024
"""The most bytes one encoded value may have: a batch of 4,096 transactions of 1 KB. gRPC's cap is the same 4 MiB."""
_HEAD_ITEMS = 2
"""Domain and chain id, in front of a value's own fields."""


# Dataclasses, not tuples: Exactly(64) and AtMost(64) must differ, or `typing` and `_form`, which both remember what they
# have seen, would take one for the other.
@dataclass(frozen=True, slots=True)
class Exactly:
    """The length a bytes, text or tuple field must have."""

    length: int


@dataclass(frozen=True, slots=True)
class AtMost:
    """The largest length a bytes, text or tuple field may have."""

    length: int


Digest = Annotated[bytes, Exactly(32)]
"""A SHA-256 hash."""
PublicKey = Annotated[bytes, Exactly(32)]
"""An Ed25519 public key (RFC 8032)."""
Signature = Annotated[bytes, Exactly(64)]
"""An Ed25519 signature (RFC 8032)."""
Identifier = Annotated[bytes, Exactly(16)]
"""A random id chosen by its author."""
MemberId = Annotated[str, AtMost(40)]
"""A member's short name, as in the genesis file."""


class Encodable(Protocol):
    """A frozen dataclass with a domain of its own."""

    DOMAIN: ClassVar[str]


Value = TypeVar("Value", bound=Encodable)


_Put = Callable[[Any, list[bytes]], None]


class _Form(NamedTuple):
    """How values of one annotated type are written, and come back from CBOR items.

    `check` is Python for "the item {x} is the value as it stands", and says no exactly where `from_item` raises; it is ""
    where an item must be turned into its value. `parts` are what the value {x} is written as, bytes or Python for bytes;
    where there are none, `put` writes it behind what is there. For a dataclass of `size` fields `led` makes a `put` that
    writes them behind some first bytes.
    """

    from_item: Callable[[Any], Any]
    check: str = ""
    parts: tuple[bytes | str, ...] = ()
    put: _Put | None = None
    led: Callable[[bytes], _Put] | None = None
    size: int = 0


def encode(value: Encodable, chain_id: bytes) -> bytes:
    """The deterministic bytes of `value` on the chain `chain_id` (32 bytes)."""
    opening, put = _outermost(type(value))
    written = [opening, _LENGTHS[len(chain_id)], chain_id]
    put(value, written)
    return b"".join(written)


def decode(kind: type[Value], data: bytes, chain_id: bytes, bytes_max: int = ENCODED_BYTES_MAX) -> Value:
    """The value of class `kind` that `data` is the one form of.

    Raises Malformed: OVERSIZE, NOT_DETERMINISTIC, FOREIGN_DOMAIN, FOREIGN_CHAIN or BAD_FIELD.
    """
    items = _load(data, bytes_max)
    if type(items) is not tuple or len(items) < _HEAD_ITEMS or items[0] != kind.DOMAIN:
        raise Malformed("FOREIGN_DOMAIN", f"These bytes are not a {kind.DOMAIN}.", "L1")
    if items[1] != chain_id:
        raise Malformed("FOREIGN_CHAIN", f"This {kind.DOMAIN} was made for another chain.", "L1")
    value: Value = _form(kind).from_item(items[2:])
    if encode(value, chain_id) != data:
        raise Malformed("NOT_DETERMINISTIC", "These bytes are not the deterministic form of their value.", "L1")
    return value


def _load(data: bytes, bytes_max: int) -> Any:  # noqa: ANN401  the items are judged field by field afterwards
    """The CBOR item in `data`, in whatever form."""
    if len(data) > bytes_max:
        raise Malformed("OVERSIZE", f"{len(data)} bytes are more than the {bytes_max} allowed here.", "L1")
    try:
        return cbor2.loads(
            data, max_depth=16, allow_indefinite=False, immutable=True, semantic_decoders=_NO_TAGS, object_hook=_refuse
        )
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError) as error:
        raise Malformed("NOT_DETERMINISTIC", "These bytes are not one CBOR item without tags and maps.", "L1") from error


def _refuse(*_: object) -> NoReturn:
    """What the library calls for a tag or a map."""
    raise ValueError


class _NoTags(Mapping[int, Callable[..., NoReturn]]):
    """Refuses every tag before its content is read.

    Left to itself the library makes of a tag what it says: a date, a message with attachments, a regular expression, whose
    compiling alone takes seconds when somebody means it to.
    """

    def __getitem__(self, tag: int) -> Callable[..., NoReturn]:
        return _refuse

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


_NO_TAGS = _NoTags()


def _bad(what: str) -> Malformed:
    return Malformed("BAD_FIELD", f"A field is not {what}.", "L1")


_BYTES, _TEXT, _ARRAY = 0x40, 0x60, 0x80
"""The kinds of CBOR items that begin with their length; an unsigned integer's is 0."""
_NULL = b"\xf6"


def _head(kind: int, number: int) -> bytes:
    """An item's first bytes, in the one shortest form there is: its kind, and its value or length (RFC 8949, 4.2.1)."""
    if number < 24:  # noqa: PLR2004  RFC 8949, 3: so small a number stands in the first byte
        return bytes((kind + number,))
    for more, length in enumerate((1, 2, 4, 8), start=24):
        if number < 1 << 8 * length:
            return bytes((kind + more,)) + number.to_bytes(length, "big")
    raise _bad("of a length or size that CBOR can write")


_NUMBERS = tuple([_head(0, each) for each in range(1024)])
_LENGTHS = tuple([_head(_BYTES, each) for each in range(1024)])


@lru_cache(1024)
def _text(text: str) -> bytes:
    """A text's item. Members' names come again and again."""
    data = text.encode()
    return _head(_TEXT, len(data)) + data


_SCOPE: dict[str, Any] = {
    "head": _head,
    "text": _text,
    "NUMBERS": _NUMBERS,
    "LENGTHS": _LENGTHS,
    "ARRAYS": tuple([_head(_ARRAY, each) for each in range(64)]),
    "TRUE": b"\xf5",
    "FALSE": b"\xf4",
}
"""What compiled writers use. Most numbers and lengths are small: their heads are at hand."""


@cache
def _form(annotation: Any) -> _Form:  # noqa: ANN401  type annotations have no common type
    """The form of an annotated type, worked out once."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bounded(_form(arguments[0]), arguments[1])
    if origin is tuple:
        return _sequence(_form(arguments[0]))
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _fields(annotation)
    if isinstance(annotation, type) and issubclass(annotation, IntEnum):
        return _enumeration(annotation)
    return _SCALARS[annotation]


def _integer_from(item: object) -> int:
    if type(item) is not int or not 0 <= item <= INTEGER_MAX:
        raise _bad("an integer from 0 to 2^63-1")
    return item


def _exact(kind: type, name: str) -> Callable[[Any], Any]:
    def from_item(item: object) -> object:
        if type(item) is not kind:
            raise _bad(name)
        return item

    return from_item


_NUMBER = ("NUMBERS[{x}] if {x} < 1024 else head(0, {x})",)
_SCALARS: dict[Any, _Form] = {
    int: _Form(_integer_from, f"type({{x}}) is int and 0 <= {{x}} <= {INTEGER_MAX}", _NUMBER),
    bytes: _Form(
        _exact(bytes, "bytes"),
        "type({x}) is bytes",
        (f"LENGTHS[len({{x}})] if len({{x}}) < 1024 else head({_BYTES}, len({{x}}))", "{x}"),
    ),
    str: _Form(_exact(str, "text"), "type({x}) is str", ("text({x})",)),
    bool: _Form(_exact(bool, "true or false"), "type({x}) is bool", ("TRUE if {x} else FALSE",)),
}


def _bounded(form: _Form, bound: Exactly | AtMost) -> _Form:
    """The same form within a length; checked both ways, so that we never make what others must refuse."""
    least, most = (bound.length if isinstance(bound, Exactly) else 0), bound.length
    from_item, check, parts, put, *_ = form

    def read(item: Any) -> Any:  # noqa: ANN401
        value = from_item(item)
        if not least <= len(value) <= most:
            raise _bad(f"from {least} to {most} long")
        return value

    def write(values: Any, written: list[bytes]) -> None:  # noqa: ANN401
        if not least <= len(values) <= most:
            raise _bad(f"from {least} to {most} long")
        assert put is not None, "what has no parts is put"
        put(values, written)

    if not check:
        return _Form(read, put=write)
    if form is _SCALARS[bytes] and least == most:
        parts = (_head(_BYTES, most), "{x}")
    return _Form(read, f"{check} and {least} <= len({{x}}) <= {most}", parts)


def _sequence(element: _Form) -> _Form:
    from_element = element.from_item

    def from_item(item: object) -> tuple[Any, ...]:
        if type(item) is not tuple:
            raise _bad("a list")
        return tuple([from_element(each) for each in item])

    lines, scope = _writing(["value"], [element])
    length = f"ARRAYS[len(value)] if len(value) < 64 else head({_ARRAY}, len(value))"
    begin = [f"written.append({length})", "for value in value:"]
    return _Form(from_item, put=_compiled_writer([*begin, *(f"    {line}" for line in lines)], scope))


def _enumeration(kind: type[IntEnum]) -> _Form:
    members = {int(each): each for each in kind}

    def from_item(item: object) -> IntEnum:
        if type(item) is not int or item not in members:
            raise _bad(f"a known {kind.__name__}")
        return members[item]

    return _Form(from_item, parts=_NUMBER)


def _fields(kind: type) -> _Form:
    """A dataclass as the tuple of its fields; one too many or too few is refused, so nothing hides."""
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]
    forms, size = [_form(hints[name]) for name in names], len(names)

    def led(lead: bytes) -> _Put:
        return _compiled_writer(*_writing([f"value.{name}" for name in names], forms, lead))

    return _Form(_compiled_reader(kind, names, forms), put=led(_head(_ARRAY, size)), led=led, size=size)


@cache
def _outermost(kind: type[Encodable]) -> tuple[bytes, _Put]:
    """What a value with a domain of its own begins with, up to the chain id, and what writes its fields behind that."""
    form = _form(kind)
    assert form.led is not None, "a value is a dataclass"
    return _head(_ARRAY, _HEAD_ITEMS + form.size) + _text(kind.DOMAIN), form.led(b"")


def _writing(sources: Sequence[str], forms: Sequence[_Form], lead: bytes = b"") -> tuple[list[str], dict[str, Any]]:
    """Python that writes what each source gives for a value, in its form, behind the lead; and what it goes by."""
    lines, scope = list[str](), dict(_SCOPE)
    parts: list[bytes | str] = [lead]
    for i, (source, form) in enumerate(zip(sources, forms, strict=True)):
        scope[f"refuse{i}"], scope[f"put{i}"], x = form.from_item, form.put, f"x{i}"
        lines += [f"{x} = {source}"]
        lines += [f"if not ({form.check.format(x=x)}): refuse{i}({x})"] if form.check else []
        parts += [each if isinstance(each, bytes) else each.format(x=x) for each in form.parts]
        if form.put is not None:
            lines += [*_joined(parts), f"put{i}({x}, written)"]
            parts = []
    return lines + _joined(parts), scope


def _compiled_writer(lines: Sequence[str], scope: dict[str, Any]) -> _Put:
    """One function that writes as these lines do; of a class without fields there are none."""
    return _compiled("put(value, written)", [*lines, "return"], scope)


def _compiled(signature: str, lines: Sequence[str], scope: dict[str, Any]) -> Callable[..., Any]:
    """One function of these lines, as `dataclasses` makes an `__init__`.

    Their source holds nothing but a class's own fields, their numbers and bounds.
    """
    exec("\n    ".join([f"def {signature}:", *lines]), scope)  # noqa: S102  see above
    made: Callable[..., Any] = scope[signature.partition("(")[0]]
    return made


def _joined(parts: Sequence[bytes | str]) -> list[str]:
    """The line that writes these parts, those that are the same in every value as one."""
    merged: list[bytes | str] = []
    for part in parts:
        if merged and isinstance(part, bytes) and isinstance(merged[-1], bytes):
            merged[-1] += part
        else:
            merged.append(part)
    shown = [repr(each) if isinstance(each, bytes) else each for each in merged if each]
    return [f"written += ({', '.join(shown)},)"] if shown else []


def _compiled_reader(kind: type, names: Sequence[str], forms: Sequence[_Form]) -> Callable[[Any], Any]:
    """One function that reads this class, written out field by field.

    Decoding is most of a replica's work, and this halves it: plain fields are judged in place and set through their slots.
    """

    def refuse(_: object) -> None:
        raise _bad(f"a {kind.__name__} of {len(names)} fields")

    scope: dict[str, Any] = {"kind": kind, "new": object.__new__, "refuse": refuse}
    lines = [f"if type(item) is not tuple or len(item) != {len(names)}: refuse(item)"]
    lines += [f"({''.join(f'x{i}, ' for i in range(len(names)))}) = item"]
    for i, form in enumerate(forms):
        scope[f"read{i}"] = form.from_item
        check = form.check.format(x=f"x{i}")
        lines += [f"if not ({check}): read{i}(x{i})" if check else f"x{i} = read{i}(x{i})"]
    lines += ["made = new(kind)"]
    for i, name in enumerate(names):
        scope[f"set{i}"] = kind.__dict__[name].__set__
        lines += [f"set{i}(made, x{i})"]
    return _compiled("read(item)", [*lines, "return made"], scope)


def _union(kinds: tuple[Any, ...]) -> _Form:
    """Null or one of several dataclasses, told apart by their KIND in front."""
    by_kind = {each.KIND: _form(each) for each in kinds if each is not type(None) and hasattr(each, "KIND")}
    if not by_kind:
        return _optional(_form(kinds[0]))
    puts = {
        kind: form.led(_head(_ARRAY, 1 + form.size) + _head(0, kind))
        for kind, form in by_kind.items()
        if form.led is not None
    }

    def from_item(item: object) -> object:
        if type(item) is not tuple or not item or type(item[0]) is not int or item[0] not in by_kind:
            raise _bad("a known kind")
        return by_kind[item[0]].from_item(item[1:])

    form = _Form(from_item, put=lambda value, written: puts[value.KIND](value, written))
    return _optional(form) if type(None) in kinds else form


def _optional(form: _Form) -> _Form:
    read, put = form.from_item, _compiled_writer(*_writing(["value"], [form]))

    def write(value: Any, written: list[bytes]) -> None:  # noqa: ANN401
        if value is None:
            written.append(_NULL)
        else:
            put(value, written)

    return _Form(lambda item: None if item is None else read(item), put=write)
