"""Which members keep a copy of an object (rule S2; design section 7). Pure.

Rendezvous hashing (Thaler and Ravishankar 1998): every member has its own rank for every record, so all agree on the
order without asking, and a member that leaves moves only the copies it had.
"""

from collections.abc import Sequence

from consilium.kernel.hashing import domain_hash


def copy_order(record_id: bytes, home: str, members: Sequence[str]) -> list[str]:
    """The members that may keep a copy of a record's object, the first choice first; never its home."""
    others = [each for each in members if each != home]
    return sorted(others, key=lambda each: domain_hash("consilium.copy", record_id, each.encode()))
