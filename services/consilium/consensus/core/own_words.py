"""What a replica has ordered in its member's name, unasked: handovers, evidence, reports, signs of life (rules C6 to C8)."""

from consilium.consensus.core.batching import queue
from consilium.consensus.core.forming import OwnBody, own_transaction
from consilium.consensus.core.state import State
from consilium.kernel.chain import Header
from consilium.kernel.transactions import AttendanceBody, EvidenceBody


def accuse(state: State, member_id: str, body: EvidenceBody) -> None:
    """Bring proof of misbehaviour to the ledger, once a member, kind and epoch: a lesser one hides no other (C8)."""
    offence = f"{member_id} {body.proof.KIND}"
    if state.blamed.get(offence) != state.outlook.epoch:
        submit_own(state, body)  # raises for proof that no transaction holds: then a smaller one may still come
        state.blamed[offence] = state.outlook.epoch


def report_attendance(state: State) -> None:
    """As a delegate, say what was missed of all, as soon as the election height is stable; and which views were left (C6).

    Not while views change: then all that counts is that blocks are made again.
    """
    outlook, attendance = state.outlook, state.attendance
    if not state.votes or state.stable_height < outlook.election_height:
        return
    if not attendance.is_reported:
        attendance.is_reported = True
        submit_own(state, AttendanceBody(outlook.epoch, attendance.absences(outlook)))
    for body in attendance.left_views:
        submit_own(state, body)
    attendance.left_views.clear()


def show_life(state: State, header: Header) -> None:
    """As a member without a vote, say once, from half-way through the term on, that this one is there (C6).

    Not while catching up: only when that is done is it there.
    """
    outlook, attendance = state.outlook, state.attendance
    is_fresh = state.wall_ms - header.time_ms <= state.parameters.tip_age_max_ms
    is_due = header.height >= outlook.epoch_start + state.parameters.term_blocks // 2
    if state.index is None and is_fresh and is_due and not attendance.is_reported:
        attendance.is_reported = True
        submit_own(state, AttendanceBody(outlook.epoch, ()))


def submit_own(state: State, body: OwnBody) -> None:
    """Queue a transaction in the member's own name."""
    identity = state.identity
    expiry = state.tip.height + state.parameters.expiry_blocks_max // 2
    queue(state, (own_transaction(body, state.member_signer, expiry, identity.chain_id),))
