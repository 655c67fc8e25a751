"""Stopping for a recovery, and crossing into the epoch that it opens (rule C10, ADR 14).

A replica that has stopped says nothing more in its epoch, not after a restart either; so what it reports stays true. With
the certificate it hands its ledger the blocks that stand by it, as far as it holds them; where it does not, another member's
ledger has them. The epoch ends when the last of them is executed, and the next begins as after a handover (C7): only that
its primary waits for no result certificate, which the lost quorum cannot make. The new committee makes it later.
"""

from consilium.consensus.core.checkpointing import enter_epoch
from consilium.consensus.core.events import Deliver, RecoveryRecord, StopRecord
from consilium.consensus.core.state import State
from consilium.kernel.certificates import CommitCertificate
from consilium.kernel.chain import CertifiedBlock, Header, recovered
from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, FailedPrecondition
from consilium.kernel.recovery import RecoveryCertificate
from consilium.kernel.recovery_reports import RecoveryReport


def stop(state: State, epoch: int) -> None:
    """Say nothing more in this epoch, durably. Raises FailedPrecondition: OTHER_EPOCH."""
    if epoch != state.outlook.epoch:
        raise FailedPrecondition("OTHER_EPOCH", f"This replica is in epoch {state.outlook.epoch}, not in {epoch}.", "C10")
    if state.stopped_epoch != epoch:
        state.stopped_epoch = epoch
        state.persist(StopRecord(epoch))


def report(state: State) -> RecoveryReport:
    """What this replica knows, once it has stopped: nothing it says or hears in this epoch changes what it has prepared."""
    epoch, commit = state.outlook.epoch, state.last_commit
    commit = commit if commit is not None and commit.epoch == epoch else None
    floor = commit.height if commit is not None else state.outlook.epoch_start - 1
    prepared = tuple(proof for height, proof in sorted(state.log.prepared.items()) if height > floor)
    witness = state.index is not None and state.silence is None
    return RecoveryReport(epoch, state.identity.member_id, witness, commit, prepared)


def take(state: State, certificate: RecoveryCertificate) -> None:
    """Take a verified certificate, durably; the same again changes nothing.

    Raises FailedPrecondition: OTHER_EPOCH; Conflict (OTHER_RECOVERY) for a second one of the epoch.
    """
    known, statement = state.recovery, certificate.statement
    if known is not None and known.statement.epoch == statement.epoch:
        if known.statement != statement:
            raise Conflict("OTHER_RECOVERY", f"Another recovery of epoch {statement.epoch} has been taken here.", "C10")
        return
    stop(state, statement.epoch)
    state.recovery = certificate
    state.persist(RecoveryRecord(certificate))


def proceed(state: State) -> bool:
    """Deliver what stands by the certificate, and cross once the last of it is executed; whether it crossed."""
    recovery = state.recovery
    if recovery is None or recovery.statement.epoch != state.outlook.epoch:
        return False
    while state.delivered >= recovery.statement.height and _deliver_next(state, recovery):
        state.delivered += 1
    if not recovery.statement.ends_with(state.tip.height, state.tip.hash):
        return False
    enter_epoch(state, recovered(state.outlook, recovery.statement))
    return True


def _deliver_next(state: State, recovery: RecoveryCertificate) -> bool:
    """Hand the next block that stands by the recovery to the ledger, if this replica holds all of it."""
    place = state.delivered - recovery.statement.height
    if place >= len(recovery.prepared):
        return False
    proof = recovery.prepared[place]
    header = decode(Header, proof.header, state.identity.chain_id)
    held = [entry for entry in map(state.pool.get, header.batch_digests) if entry is not None]
    if len(held) < len(header.batch_digests):
        return False
    commit = CommitCertificate(header.epoch, proof.view, header.height, recovery.statement.prepared[place], ())
    data = tuple(entry.opened.data for entry in held)
    state.effects.append(Deliver(CertifiedBlock(proof.header, data, commit, recovery)))
    return True
