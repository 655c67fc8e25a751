"""Ending grants: one of them, or a whole epoch whose others go on under the next, and what is noted of it (rule S6).

What the ledger holds is noted even where an answer was lost, so that nobody's grant is forgotten or made twice.
"""

from consilium.client.commands.desk import PersonDesk
from consilium.client.commands.granted import noted, state_facts
from consilium.client.commands.telling import Told, short
from consilium.client.notebook import KeptGrant
from consilium.client.patient import PatientClient
from consilium.client.sharing import Permission, PreparedGrant, Recipient
from consilium.kernel.state_values import GrantState
from consilium.kernel.transactions import GrantBody
from consilium.runtime.clock import wall_ms


async def end_one(desk: PersonDesk, patient: PatientClient, kept: KeptGrant, *, same_epoch: bool) -> tuple[KeptGrant, ...]:
    """End the one grant, and note it; nobody else's access changes."""
    await patient.revoke(await _restored(desk, kept))
    note_end(desk, kept, (), same_epoch=same_epoch)
    return ()


async def end_epoch(
    desk: PersonDesk, patient: PatientClient, kept: KeptGrant, *, allow_weaker: bool
) -> tuple[KeptGrant, ...]:
    """End the epoch with all its grants; who else could read goes on under the next, for as long as was granted (S6).

    What stands on the ledger is noted, also where it could not be delivered.
    """
    others = []
    for each in desk.person.notebook.read().grants:
        if each != kept and (each.scope, each.epoch) == (kept.scope, kept.epoch):
            state = await desk.alliance.session.grant(each.grant_id)
            if state.revoked_height is None and state.terms.not_after_ms > wall_ms():
                others.append(_same_permission(state))
    before = len(patient.grants)
    try:
        await patient.close(await _restored(desk, kept), others, allow_weaker=allow_weaker)
    finally:
        made = tuple(noted(each, kept.scope, kept.epoch + 1) for each in patient.grants[before:])
        if patient.owner.epoch > kept.epoch:
            note_end(desk, kept, made, same_epoch=False)
    return made


def _same_permission(state: GrantState) -> tuple[Recipient, Permission]:
    terms = state.terms
    permission = Permission(terms.purpose, terms.actor, terms.not_before_ms, terms.not_after_ms)
    return Recipient(terms.recipient_member, terms.recipient_key, terms.receiving_pk), permission


def note_end(desk: PersonDesk, kept: KeptGrant, regrants: tuple[KeptGrant, ...], *, same_epoch: bool) -> None:
    """Note the epoch that new records go under, and the grants that go on."""
    following = kept.epoch if same_epoch else kept.epoch + 1
    desk.person.notebook.change(lambda notes: notes.at_epoch(kept.scope, following).with_grants(regrants))


def told_end(
    state: GrantState, kept: KeptGrant, regrants: tuple[KeptGrant, ...], *, same_epoch: bool, is_old: bool = False
) -> Told:
    """What has ended and who goes on; `is_old` for a grant that had ended before."""
    facts = {
        **state_facts(kept, state),
        "next_epoch": kept.epoch if same_epoch else kept.epoch + 1,
        "regrants": [{"grant": each.grant_id.hex(), "recipient": each.recipient, "epoch": each.epoch} for each in regrants],
    }
    deleted = f"{len(state.deleted_by)} of {len(state.terms.holders)} holders have signed that theirs is deleted."
    lines = [f"Ended at height {state.revoked_height}: nothing is released for it any more. {deleted}"]
    if is_old:
        lines.append("It had ended before; this is noted now. Grants that came with its end are found by `consilium audit`.")
    lines += [
        f"{each.recipient} goes on with grant {short(each.grant_id.hex())}: hand over a new reference." for each in regrants
    ]
    if not same_epoch:
        lines.append(
            f"New records of {kept.scope!r} go under epoch {kept.epoch + 1}: who is to read them needs a grant of it."
        )
    return Told(facts, tuple(lines))


async def _restored(desk: PersonDesk, kept: KeptGrant) -> PreparedGrant:
    """The grant as it was made, from the ledger; its fragments are with the holders and nowhere else."""
    terms = (await desk.alliance.session.grant(kept.grant_id)).terms
    return PreparedGrant(GrantBody(terms, b""), kept.scope, kept.author_epoch, ())
