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
from functools import cache
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


class _Form(NamedTuple):
    """How values of one annotated type become CBOR items, and come back.

    `check` is Python for "the item {x} is the value as it stands", and says no exactly where `from_item` raises; it is ""
    where an item must be turned into its value.
    """

    to_item: Callable[[Any], Any]
    from_item: Callable[[Any], Any]
    check: str = ""


def encode(value: Encodable, chain_id: bytes) -> bytes:
    """The deterministic bytes of `value` on the chain `chain_id` (32 bytes)."""
    return cbor2.dumps((value.DOMAIN, chain_id, *_form(type(value)).to_item(value)))


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
    return value


def _load(data: bytes, bytes_max: int) -> Any:  # noqa: ANN401  the items are judged field by field afterwards
    """The CBOR item `data` is the deterministic form of."""
    if len(data) > bytes_max:
        raise Malformed("OVERSIZE", f"{len(data)} bytes are more than the {bytes_max} allowed here.", "L1")
    try:
        item = cbor2.loads(
            data, max_depth=16, allow_indefinite=False, immutable=True, semantic_decoders=_NO_TAGS, object_hook=_refuse
        )
        again = cbor2.dumps(item)
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError) as error:
        raise Malformed("NOT_DETERMINISTIC", "These bytes are not one CBOR item without tags and maps.", "L1") from error
    if again != data:
        raise Malformed("NOT_DETERMINISTIC", "These bytes are not the deterministic form of their value.", "L1")
    return item


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


def _same(value: object) -> object:
    return value


_SCALARS: dict[Any, _Form] = {
    int: _Form(_integer_from, _integer_from, f"type({{x}}) is int and 0 <= {{x}} <= {INTEGER_MAX}"),
    bytes: _Form(_same, _exact(bytes, "bytes"), "type({x}) is bytes"),
    str: _Form(_same, _exact(str, "text"), "type({x}) is str"),
    bool: _Form(_same, _exact(bool, "true or false"), "type({x}) is bool"),
}


def _bounded(form: _Form, bound: Exactly | AtMost) -> _Form:
    """The same form within a length; checked both ways, so that we never make what others must refuse."""
    to_item, from_item, check = form
    least, most = (bound.length if isinstance(bound, Exactly) else 0), bound.length

    def write(value: Any) -> Any:  # noqa: ANN401
        if not least <= len(value) <= most:
            raise _bad(f"from {least} to {most} long")
        return to_item(value)

    def read(item: Any) -> Any:  # noqa: ANN401
        value = from_item(item)
        if not least <= len(value) <= most:
            raise _bad(f"from {least} to {most} long")
        return value

    return _Form(write, read, f"{check} and {least} <= len({{x}}) <= {most}" if check else "")


def _sequence(element: _Form) -> _Form:
    to_element, from_element, _ = element

    def from_item(item: object) -> tuple[Any, ...]:
        if type(item) is not tuple:
            raise _bad("a list")
        return tuple([from_element(each) for each in item])

    return _Form(lambda values: tuple([to_element(each) for each in values]), from_item)


def _enumeration(kind: type[IntEnum]) -> _Form:
    members = {int(each): each for each in kind}

    def from_item(item: object) -> IntEnum:
        if type(item) is not int or item not in members:
            raise _bad(f"a known {kind.__name__}")
        return members[item]

    return _Form(int, from_item)


def _fields(kind: type) -> _Form:
    """A dataclass as the tuple of its fields; one too many or too few is refused, so nothing hides."""
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]
    forms = [_form(hints[name]) for name in names]
    return _Form(_compiled_writer(names, forms), _compiled_reader(kind, names, forms))


def _compiled_writer(names: Sequence[str], forms: Sequence[_Form]) -> Callable[[Any], Any]:
    """One function that turns this class into its items, field by field; see `_compiled_reader`."""
    scope: dict[str, Any] = {}
    lines = []
    for i, (name, form) in enumerate(zip(names, forms, strict=True)):
        scope[f"write{i}"] = form.to_item
        check = form.check.format(x=f"x{i}")
        lines += [f"x{i} = value.{name}"]
        lines += [f"if not ({check}): write{i}(x{i})" if check else f"x{i} = write{i}(x{i})"]
    lines += [f"return ({''.join(f'x{i}, ' for i in range(len(names)))})"]
    exec("\n    ".join(["def write(value):", *lines]), scope)  # noqa: S102  see `_compiled_reader`
    write: Callable[[Any], Any] = scope["write"]
    return write


def _compiled_reader(kind: type, names: Sequence[str], forms: Sequence[_Form]) -> Callable[[Any], Any]:
    """One function that reads this class, written out field by field, as `dataclasses` writes an `__init__`.

    Decoding is most of a replica's work, and this halves it: plain fields are judged in place and set through their slots.
    Its source holds nothing but the class's own field numbers and bounds.
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
    source = "\n    ".join(["def read(item):", *lines, "return made"])
    exec(source, scope)  # noqa: S102  see above
    read: Callable[[Any], Any] = scope["read"]
    return read


def _union(kinds: tuple[Any, ...]) -> _Form:
    """Null or one of several dataclasses, told apart by their KIND in front."""
    by_kind = {each.KIND: _form(each) for each in kinds if each is not type(None) and hasattr(each, "KIND")}
    if not by_kind:
        return _optional(_form(kinds[0]))

    def from_item(item: object) -> object:
        if type(item) is not tuple or not item or type(item[0]) is not int or item[0] not in by_kind:
            raise _bad("a known kind")
        return by_kind[item[0]].from_item(item[1:])

    form = _Form(lambda value: (value.KIND, *by_kind[value.KIND].to_item(value)), from_item)
    return _optional(form) if type(None) in kinds else form


def _optional(form: _Form) -> _Form:
    to_item, read, _ = form
    return _Form(
        lambda value: None if value is None else to_item(value),
        lambda item: None if item is None else read(item),
    )
