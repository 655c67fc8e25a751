"""`consilium verify --transaction`: one answer of the home member, checked from genesis on (promise 8; L3 to L5)."""

from enum import StrEnum
from typing import Any

from consilium.client.commands.desk import Desk, Options, at_desk
from consilium.client.commands.telling import Told, facts_table
from consilium.kernel.errors import Conflict, FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import DIGEST_BYTES
from consilium.kernel.light_client import Finality, VerifiedTransaction
from consilium.kernel.transactions import Kind


class FinalityName(StrEnum):
    """How final something has to be, on the command line."""

    COMMITTEE = "committee"
    ALLIANCE = "alliance"

    @property
    def value_in_proofs(self) -> Finality:
        """The same as the kernel names it."""
        return Finality[self.name]


def verify_transaction(options: Options, name: str, finality: Finality) -> None:
    """Ask for a transaction's proof, follow the committees from genesis to it, check both paths, tell what it was.

    Whether the alliance has signed for it as well is proven too; where that is asked for it is waited for.
    """

    async def work(desk: Desk) -> Told:
        transaction_hash, session = _hash(name), desk.alliance.session
        proof = await session.home.prove_transaction(transaction_hash, finality)
        verified = await session.verified(proof)
        if verified.transaction_hash != transaction_hash:
            raise Conflict("OTHER_TRANSACTION", "The member proved another transaction than the one asked for.", "L4")
        proven = await session.finality(proof.certificate.result)
        if proven < finality:
            raise FailedPrecondition("NOT_ALLIANCE_FINAL", "The member has no proof that the alliance signed for it.", "C7")
        facts = _facts(verified) | {"finality": proven.name.lower()}
        shown = facts_table("Proven", {each: str(value) for each, value in facts.items()})
        return Told(facts, (shown,))

    at_desk(options, work)


def _hash(text: str) -> bytes:
    """Raises InvalidArgument: BAD_HASH."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != DIGEST_BYTES:
        raise InvalidArgument("BAD_HASH", f"A transaction's hash has {2 * DIGEST_BYTES} hexadecimal digits.")
    return value


def _facts(verified: VerifiedTransaction) -> dict[str, Any]:
    return {
        "transaction": verified.transaction_hash.hex(),
        "height": verified.height,
        "kind": Kind(verified.payload.body.KIND).name,
        "code": verified.code.name,
        "author": verified.author.hex(),
    }
