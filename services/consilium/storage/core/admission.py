"""Whom each method of the storage service admits (design section 8); what it demands besides is in its own core call."""

from consilium.kernel.membership import Admits, CallerRole

_HOME_PEOPLE = (Admits(CallerRole.PATIENT), Admits(CallerRole.STAFF), Admits(CallerRole.APPLICATION))
_HOME_WORKING = (Admits(CallerRole.STAFF), Admits(CallerRole.APPLICATION))
_OTHER_STORAGE = Admits(CallerRole.SERVICE, foreign=True, names=("storage",))
_RECIPIENTS = (Admits(CallerRole.STAFF, foreign=True), Admits(CallerRole.APPLICATION, foreign=True))

ADMITTED = {
    "PutObject": _HOME_PEOPLE,
    "GetPutState": (*_HOME_PEOPLE, _OTHER_STORAGE),
    "GetObject": (*_RECIPIENTS, _OTHER_STORAGE),
    "GetManifest": _RECIPIENTS,
    "ReplicateObject": (_OTHER_STORAGE,),
    "ListCopies": (_OTHER_STORAGE,),
    "ListObjects": (Admits(CallerRole.STAFF),),
    "GetCopy": (_OTHER_STORAGE, Admits(CallerRole.STAFF)),
    "HealStorage": _HOME_WORKING,
    "SignRetention": _HOME_PEOPLE,
    "EraseObject": (*_HOME_PEOPLE, _OTHER_STORAGE),
    "GetScrubState": _HOME_WORKING,
    "NoteBackup": (Admits(CallerRole.STAFF),),
}
"""By the method's name."""


def admitted(method: str) -> tuple[Admits, ...]:
    """Whom the method at `/package.Service/Method` admits; methods of other contracts are for those who work here."""
    return ADMITTED.get(method.rpartition("/")[2], _HOME_WORKING)
