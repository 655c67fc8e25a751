"""`consilium verify --transaction`: one answer of the home member, checked from genesis on (promise 8; L3 to L5)."""

from typing import Any

from consilium.client.commands.desk import Desk, Options, at_desk
from consilium.client.commands.telling import Told, facts_table
from consilium.kernel.errors import Conflict, InvalidArgument
from consilium.kernel.hashing import DIGEST_BYTES
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.transactions import Kind


def verify_transaction(options: Options, name: str) -> None:
    """Ask for a transaction's proof, follow the committees from genesis to it, check both paths, tell what it was."""

    async def work(desk: Desk) -> Told:
        transaction_hash, session = _hash(name), desk.alliance.session
        verified = await session.verified(await session.home.prove_transaction(transaction_hash))
        if verified.transaction_hash != transaction_hash:
            raise Conflict("OTHER_TRANSACTION", "The member proved another transaction than the one asked for.", "L4")
        facts = _facts(verified)
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
