"""Finding a patient's grants on the ledger again, whatever this client remembers of them (promise 8, S6).

A grant stands under a delegating key: one scope, one epoch. Its author key may be of an earlier epoch, where it came as a
regrant with the closing of that epoch. So the keys are tried, epoch after epoch, up to the first that is neither noted nor
granted. A member may answer with other people's transactions, proven as well as ours: what counts is signed by the author
key that was asked about.
"""

from dataclasses import dataclass

from consilium.client.keys import PatientKeys
from consilium.client.patient import PatientClient
from consilium.client.session import Fault
from consilium.client.sharing import PreparedGrant
from consilium.kernel.codes import Code
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.transactions import GrantBody, RevokeBody


@dataclass(frozen=True, slots=True)
class FoundGrant:
    """A grant of the records of an epoch."""

    epoch: int
    grant: PreparedGrant


@dataclass(frozen=True, slots=True)
class FoundGrants:
    """The grants, and by name the members that were not heard to the end, with why."""

    grants: list[FoundGrant]
    faults: dict[str, Fault]


async def find_grants(patient: PatientClient, keys: PatientKeys, noted_epoch: int = 0) -> FoundGrants:
    """Every grant in the patient's scope that any member's ledger proves; their key fragments are with the holders alone."""
    scope, found, epoch, is_used = patient.owner.scope, FoundGrants([], {}), 0, True
    while is_used or epoch <= noted_epoch:
        delegating_pk, before = keys.delegating(scope, epoch).public_key, len(found.grants)
        for author_epoch in range(epoch + 1):
            author = keys.author(scope, author_epoch).public_key
            history = await patient.history(delegating_pk, scope, author_epoch)
            found.faults.update(history.faults)
            own = [body for each in history.transactions if each.author == author for body in _grants_in(each)]
            made = [each for each in own if each.terms.delegating_pk == delegating_pk]
            found.grants.extend(FoundGrant(epoch, PreparedGrant(each, scope, author_epoch, ())) for each in made)
        is_used, epoch = len(found.grants) > before, epoch + 1
    return found


def _grants_in(transaction: VerifiedTransaction) -> list[GrantBody]:
    """The grants a transaction made; none when it was refused."""
    body = transaction.payload.body
    if transaction.code is not Code.APPLIED:
        return []
    return [body] if isinstance(body, GrantBody) else list(body.regrants) if isinstance(body, RevokeBody) else []
