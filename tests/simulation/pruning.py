"""S13: a vote log that is written anew still holds all its replica may be asked for.

What must stay: the newest view, every prepared certificate above the stable checkpoint in its highest view, and every batch
the replica answers for that no block has ordered yet. Kept by member, from what the replica once wrote itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consilium.consensus.core.events import BatchRecord, NewViewRecord, PreparedRecord, StableRecord, ViewRecord
from consilium.kernel.opening import open_batch
from tests.simulation.checkers import Checker
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consilium.consensus.core.events import Record
    from consilium.kernel.chain import Outlook
    from tests.simulation.member import Member
    from tests.simulation.observed import Execution


@dataclass(slots=True)
class Written:
    """What one replica has written in one epoch, and the batches it has taken on in any."""

    epoch: int = -1
    view: int = 0
    prepared: dict[int, int] = field(default_factory=dict)
    batches: dict[bytes, str] = field(default_factory=dict)
    electors: dict[str, bytes] = field(default_factory=dict)


class Pruning(Checker):
    """S13."""

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id = chain_id
        self._written: dict[str, Written] = {}
        self._ordered: dict[bytes, None] = {}
        self._named: dict[bytes, tuple[bytes, str]] = {}

    def executed(self, execution: Execution) -> None:
        self._ordered.update(dict.fromkeys(execution.opened.header.batch_digests))

    def forgot(self, member_id: str) -> None:
        self._written.pop(member_id, None)

    def persisted(self, member: Member, records: Sequence[Record], replace: bool) -> None:  # noqa: FBT001  the effect's field
        if not member.honest:
            return
        written = self._written.setdefault(member.endpoint, Written())
        self._cross(written, member.replica.state.outlook)
        if replace:
            self._judge(member.endpoint, written, records)
            written.batches = {}
        for record in records:
            self._note(written, record)

    def _cross(self, written: Written, outlook: Outlook) -> None:
        """Another epoch: batches of members that were not electors before and after, under one key, are dropped (L2)."""
        if outlook.epoch == written.epoch:
            return
        keys = {each.member_id: each.member_key for each in outlook.electorate.electors}
        stay = [name for name, key in keys.items() if written.electors.get(name) == key]
        written.batches = {digest: name for digest, name in written.batches.items() if name in stay}
        written.epoch, written.view, written.prepared, written.electors = outlook.epoch, 0, {}, keys

    def _note(self, written: Written, record: Record) -> None:
        match record:
            case ViewRecord(epoch=epoch, view=view) if epoch == written.epoch:
                written.view = max(written.view, view)
            case NewViewRecord(new_view=new_view) if new_view.epoch == written.epoch:
                written.view = max(written.view, new_view.view)
            case PreparedRecord(epoch=epoch, height=height, certificate=certificate) if epoch == written.epoch:
                written.prepared[height] = max(certificate.view, written.prepared.get(height, 0))
            case BatchRecord(batch=data):
                digest, author = self._name(data)
                if author in written.electors:  # no delegate takes another's, and a restart leaves it out (L2)
                    written.batches[digest] = author
            case _:
                pass

    def _judge(self, endpoint: str, written: Written, records: Sequence[Record]) -> None:
        kept = Written(written.epoch, electors=written.electors)
        stable = 0
        for record in records:
            self._note(kept, record)
            if isinstance(record, StableRecord):
                stable = max(stable, record.certificate.result.height)
        if kept.view < written.view:
            raise Violation("S13 pruning", f"{endpoint} forgets that it has left the views below {written.view}.")
        for height, view in written.prepared.items():
            if height > stable and kept.prepared.get(height, -1) < view:
                raise Violation("S13 pruning", f"{endpoint} forgets what it has prepared at {height} in view {view}.")
        for digest, author in written.batches.items():
            if digest not in kept.batches and digest not in self._ordered:
                raise Violation("S13 pruning", f"{endpoint} forgets a batch of {author} that waits.")

    def _name(self, data: bytes) -> tuple[bytes, str]:
        """A batch's digest and the member that formed it."""
        if data not in self._named:
            opened = open_batch(data, self._chain_id)
            self._named[data] = opened.digest, opened.batch.member_id
        return self._named[data]
