"""Strict requests: bytes that are no message, and fields the contract does not name, are refused (rule L1).

Protobuf keeps unknown fields and hands them on; a member that ignored one would answer a question it was not asked.
"""

from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-not-found]

from consilium.kernel.errors import Malformed


def refuse_unknown_fields(message: Message) -> None:
    """Raise Malformed: UNKNOWN_FIELD when a message, or one inside it, carries a field its contract does not name."""
    unknown = UnknownFieldSet(message)
    if len(unknown):
        name, number = message.DESCRIPTOR.name, unknown[0].field_number
        raise Malformed("UNKNOWN_FIELD", f"{name} has no field {number}; this service knows an older contract.", "L1")
    for field, is_repeated in _inner(message.DESCRIPTOR):
        if is_repeated:
            for each in getattr(message, field):
                refuse_unknown_fields(each)
        elif message.HasField(field):
            refuse_unknown_fields(getattr(message, field))


@cache
def _inner(descriptor: Descriptor) -> tuple[tuple[str, bool], ...]:
    """Name and repeatedness of the fields that hold messages; our contracts hold no maps, which would need more."""
    found = [each for each in descriptor.fields if each.type == FieldDescriptor.TYPE_MESSAGE]
    assert not any(each.message_type.GetOptions().map_entry for each in found), f"{descriptor.full_name} holds a map"
    return tuple((each.name, each.is_repeated) for each in found)
