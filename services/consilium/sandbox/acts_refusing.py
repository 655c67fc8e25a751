"""The acts about saying no: a stranger, a revocation, the holders' deletions (rules S3, S5, S6)."""

import time
from collections.abc import Awaitable

from consilium.api.reencryption.v1 import reencryption_pb2
from consilium.api.reencryption.v1.reencryption_pb2_grpc import ReencryptionServiceStub
from consilium.client.session import require
from consilium.client.sharing import RecordReference, request_record
from consilium.kernel.codes import RULES
from consilium.kernel.errors import ConsiliumError, PermissionDenied
from consilium.kernel.state_values import GrantState
from consilium.kernel.umbral import CAPSULE_BYTES
from consilium.runtime.channels import typed
from consilium.sandbox.stage import HOME, REASON, RECIPIENT, SCOPE, STRANGER, Stage
from consilium.sandbox.teller import Act, StoryFailed


async def refuse_stranger(stage: Stage, act: Act) -> None:
    """A third hospital has got hold of the grant's and the record's numbers and tries its luck (S3, S5)."""
    file, grant_id = stage.files[0], stage.grant.terms.grant_id
    act.say(f"{STRANGER} has the number of the grant and of the record, and the salt, from a careless letter.")
    request_hash = await _ask_in_vain(stage, act, file.reference)
    for name in stage.grant.terms.holders:
        refusal = await _refusal(stage.stranger.session.gateway(name).reencrypt_capsule(request_hash, bytes(CAPSULE_BYTES)))
        act.check(refusal.rule == "S5", f"holder {name} refuses: {refusal.sentence} [bold]{_name(refusal)}[/]")
    refusal = await _refusal(stage.stranger.session.gateway(HOME).get_manifest(file.reference.record_id, request_hash))
    act.check(refusal.rule == "S2", f"storage at {HOME} refuses: {refusal.sentence} [bold]{_name(refusal)}[/]")
    state = await stage.stranger.session.grant(grant_id)
    act.check(state.terms.recipient_member == RECIPIENT, f"the grant on the ledger names {RECIPIENT} and nobody else")


async def _ask_in_vain(stage: Stage, act: Act, reference: RecordReference) -> bytes:
    """The hash of a request that the ledger refuses."""
    stranger = stage.stranger
    body = request_record(stage.grant.terms, reference, REASON)
    asked = await stage.wait(stranger.session.perform(body, stranger.keys.author), "a verdict")
    try:
        require(asked)
    except PermissionDenied as refusal:
        act.check(
            refusal.rule == RULES[asked.code],
            f"the ledger refuses the request, for all to see: [bold]{_name(refusal)}[/] in block {asked.height}",
        )
        return asked.transaction_hash
    raise StoryFailed(f"{STRANGER} was granted a record it has no grant for.")


async def _refusal(call: Awaitable[object]) -> ConsiliumError:
    """What a call was refused with; raises StoryFailed when it was not."""
    try:
        await call
    except ConsiliumError as refusal:
        return refusal
    raise StoryFailed("Something was handed out that must be refused.")


def _name(refusal: ConsiliumError) -> str:
    return f"{refusal.reason}, rule {refusal.rule}"


async def revoke(stage: Stage, act: Act) -> None:
    """The patient ends the grant and closes the key epoch with it (S6)."""
    old_key, grant_id = stage.patient.owner.delegating_pk, stage.grant.terms.grant_id
    started = time.monotonic()
    await stage.wait(stage.patient.close(stage.grant), "the revocation")
    state = await stage.wait(_deleted_by_all(stage), "the holders' receipts")
    stage.facts.append(("revocation and the holders' deletion receipts, all final", f"{time.monotonic() - started:.2f} s"))
    epoch = stage.patient.owner.epoch
    act.say(f"Revoked in block {state.revoked_height}; new records go under a new key, of key epoch {epoch}.")
    act.check(stage.patient.owner.delegating_pk != old_key, "the new key epoch has a delegating key of its own")
    asked = await _refusal(stage.recipient.client.request(grant_id, stage.files[0].reference, REASON))
    act.check(isinstance(asked, PermissionDenied), f"{RECIPIENT} asks again and is refused: [bold]{_name(asked)}[/]")
    late = stage.device.patient(stage.patient_keys, SCOPE)
    closed = await _refusal(late.write(b"a letter under the old key"))
    act.check(closed.reason == "KEY_CLOSED", f"writing under the closed key is refused: [bold]{_name(closed)}[/]")
    reference = await stage.wait(stage.patient.write(b"a letter under the new key"), "a record of the new epoch")
    registered = await stage.device.session.record(reference.record_id)
    act.check(registered.holder == HOME, "a record under the new key is stored, and proven to be registered")
    act.say(f"What {RECIPIENT} has read it keeps: a revocation stops future releases, not memories.")


async def delete_fragments(stage: Stage, act: Act) -> None:
    """The holders have destroyed their fragments and signed for it: the grant is dead (S6)."""
    grant_id, terms = stage.grant.terms.grant_id, stage.grant.terms
    state = await stage.device.new_session().grant(grant_id)
    needed = len(terms.holders) - terms.threshold + 1
    act.say(f"Receipts on the ledger, in its order: {', '.join(state.deleted_by)}. {needed} of them end the grant for good.")
    for name in terms.holders:
        receipts = await _deletion_receipts(stage, name, grant_id)
        act.check(
            len(receipts) == 1 and name in state.deleted_by,
            f"{name} destroyed its fragment and signed for it",
        )
    if state.revoked_height is None or state.dead_height is None:
        raise StoryFailed("The grant is not dead, although all holders signed.")
    span_ms = _block_time(stage, state.dead_height) - _block_time(stage, state.revoked_height)
    act.check(
        state.dead_height >= state.revoked_height,
        f"the grant is dead since block {state.dead_height}: {span_ms / 1_000:.2f} seconds of block time after block"
        f" {state.revoked_height}, which revoked it",
    )
    stage.facts.append(("revoked to dead, by block time", f"{span_ms / 1_000:.2f} s"))
    act.say("That holds while fewer than the threshold of holders kept a secret copy, which no receipt can show.")


async def _deleted_by_all(stage: Stage) -> GrantState:
    """The grant once every holder's receipt stands in it: a holder answers when it has signed, and its receipt follows."""
    session, terms = stage.device.new_session(), stage.grant.terms
    while set((state := await session.grant(terms.grant_id)).deleted_by) < set(terms.holders):
        await stage.chain.until_final(stage.chain.height + 1)
    return state


async def _deletion_receipts(stage: Stage, name: str, grant_id: bytes) -> list[reencryption_pb2.Receipt]:
    """What a holder signed, as its own administrator reads it."""
    request = reencryption_pb2.ListReceiptsRequest(grant_id=grant_id, kind=reencryption_pb2.RECEIPT_KIND_DELETION)
    with typed():
        channel = stage.administrators[name].channel(name, "reencryption")
        return list((await ReencryptionServiceStub(channel).ListReceipts(request)).receipts)


def _block_time(stage: Stage, height: int) -> int:
    return stage.chain.block(height).header.time_ms
