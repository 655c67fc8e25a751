"""Whom each method of the re-encryption service admits (design section 8).

Owners and recipients are at other members: a fragment is judged by the grant that commits to it, a release by the rule S5. A
recipient asks through its own member, which `driver` compares with the grant's.
"""

from consilium.kernel.membership import Admits, CallerRole

_HOME_WORKING = (Admits(CallerRole.STAFF), Admits(CallerRole.APPLICATION))
_WORKING = tuple(Admits(role, foreign=True) for role in (CallerRole.STAFF, CallerRole.APPLICATION))
_PEOPLE = (*_WORKING, Admits(CallerRole.PATIENT, foreign=True))

ADMITTED = {
    "GrantAccess": _PEOPLE,
    "RevokeAccess": _PEOPLE,
    "ReencryptCapsule": _WORKING,
    "ListReceipts": _HOME_WORKING,
}
"""By the method's name."""


def admitted(method: str) -> tuple[Admits, ...]:
    """Whom the method at `/package.Service/Method` admits; methods of other contracts are for those who work here."""
    return ADMITTED.get(method.rpartition("/")[2], _HOME_WORKING)
