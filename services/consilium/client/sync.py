"""The SDK without asyncio, for scripts and notebooks: same names, same errors, no `await`.

    with open_alliance(client_settings()) as alliance:
        reference = alliance.patient(keys, "imaging").write(Path("scan.dcm"))

One event loop runs in a thread of its own for as long as the alliance is open; each call is handed to it and waited for, so
several threads may call at once. A call that is interrupted is cancelled, and has ended before the interruption goes on.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from consilium.client import finding, remote
from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.outgoing import Progress, ignore
from consilium.client.patient import PatientClient as AsyncPatientClient
from consilium.client.placement import CollusionBudget, HolderChoice
from consilium.client.recipient import OpenedRecord
from consilium.client.recipient import RecipientClient as AsyncRecipientClient
from consilium.client.report import PatientReport
from consilium.client.retention import ErasedRecord
from consilium.client.session import Session as AsyncSession
from consilium.client.settings import ClientSettings
from consilium.client.sharing import Permission, PreparedGrant, Recipient, RecordReference
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.state_values import GrantState, MemberState
from consilium.kernel.transactions import RecordBody

Answer = TypeVar("Answer")


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="consilium-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """What the work comes to; raises what it raises."""
        tasks, ended = list[asyncio.Task[Answer]](), threading.Event()

        def begin() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(lambda _: ended.set())

        def give_up() -> None:
            if tasks:
                tasks[0].cancel()
            else:  # interrupted before it was handed over
                work.close()
                ended.set()

        try:
            self._loop.call_soon_threadsafe(begin)
            ended.wait()
        except BaseException:
            self._loop.call_soon_threadsafe(give_up)
            ended.wait()
            raise
        return tasks[0].result()

    def iterate(self, items: AsyncGenerator[Answer, None]) -> Iterator[Answer]:
        """The items, each made when it is asked for; an iterator that is left is closed."""
        try:
            while True:
                try:
                    item = self.run(anext_of(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self.run(items.aclose())

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[Answer]) -> Iterator[Answer]:
        """Within an asynchronous context manager."""
        found = self.run(manager.__aenter__())
        try:
            yield found
        finally:
            self.run(manager.__aexit__(None, None, None))

    def close(self) -> None:
        """End what is still at work, and the thread."""
        try:
            self.run(_end_all())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def anext_of(items: AsyncGenerator[Answer, None]) -> Answer:
    """The next item, as a coroutine."""
    return await anext(items)


async def _end_all() -> None:
    """Cancel every other task of the loop and see them end; then its generators and its threads."""
    loop, own = asyncio.get_running_loop(), asyncio.current_task()
    left = [each for each in asyncio.all_tasks() if each is not own]
    for each in left:
        each.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


@contextmanager
def open_alliance(settings: ClientSettings, height: int = 0) -> Iterator["Alliance"]:
    """As `remote.open_alliance`."""
    loop = Loop()
    try:
        with loop.entered(remote.open_alliance(settings, height)) as alliance:
            yield Alliance(loop, alliance)
    finally:
        loop.close()


class Alliance:
    """As `remote.Alliance`."""

    def __init__(self, loop: Loop, alliance: remote.Alliance) -> None:
        self._loop, self._alliance = loop, alliance
        self.settings, self.genesis = alliance.settings, alliance.genesis
        self.session = Session(loop, alliance.session)

    def patient(self, keys: PatientKeys, scope: str, epoch: int = 0, custodian: str | None = None) -> "PatientClient":
        """As `remote.Alliance.patient`."""
        return PatientClient(self._loop, self._alliance.patient(keys, scope, epoch, custodian))

    def recipient(self, keys: RecipientKeys) -> "RecipientClient":
        """As `remote.Alliance.recipient`."""
        return RecipientClient(self._loop, self._alliance.recipient(keys))

    def learn_authorities(self) -> None:
        """As `remote.Alliance.learn_authorities`."""
        self._loop.run(self._alliance.learn_authorities())


class Session:
    """As `session.Session`, its verified reading."""

    def __init__(self, loop: Loop, session: AsyncSession) -> None:
        self._loop, self._session = loop, session

    @property
    def height(self) -> int:
        """The highest height seen final."""
        return self._session.height

    def member(self, member_id: str) -> MemberState:
        """As `session.Session.member`."""
        return self._loop.run(self._session.member(member_id))

    def all_members(self) -> list[MemberState]:
        """As `session.Session.all_members`."""
        return self._loop.run(self._session.all_members())

    def grant(self, grant_id: bytes) -> GrantState:
        """As `session.Session.grant`."""
        return self._loop.run(self._session.grant(grant_id))

    def record(self, record_id: bytes) -> RecordBody:
        """As `session.Session.record`."""
        return self._loop.run(self._session.record(record_id))


class PatientClient:
    """As `patient.PatientClient`."""

    def __init__(self, loop: Loop, patient: AsyncPatientClient) -> None:
        self._loop, self._patient = loop, patient

    @property
    def grants(self) -> list[PreparedGrant]:
        """The grants that this client made or was given."""
        return self._patient.grants

    @grants.setter
    def grants(self, grants: list[PreparedGrant]) -> None:
        self._patient.grants = grants

    def find_grants(self, keys: PatientKeys, noted_epoch: int = 0) -> finding.FoundGrants:
        """As the function `finding.find_grants`."""
        return self._loop.run(finding.find_grants(self._patient, keys, noted_epoch))

    def write(self, source: bytes | Path, media_class: int = 0, progress: Progress = ignore) -> RecordReference:
        """As `patient.PatientClient.write`; `progress` is called in the loop's thread."""
        return self._loop.run(self._patient.write(source, media_class, progress))

    def erase(self, record_id: bytes) -> ErasedRecord:
        """As `patient.PatientClient.erase`."""
        return self._loop.run(self._patient.erase(record_id))

    def plan(
        self, recipient_member: str, grant_id: bytes, *, allow_weaker: bool = False
    ) -> tuple[HolderChoice, CollusionBudget]:
        """As `patient.PatientClient.plan`."""
        return self._loop.run(self._patient.plan(recipient_member, grant_id, allow_weaker=allow_weaker))

    def share(self, recipient: Recipient, permission: Permission, *, allow_weaker: bool = False) -> PreparedGrant:
        """As `patient.PatientClient.share`."""
        return self._loop.run(self._patient.share(recipient, permission, allow_weaker=allow_weaker))

    def grant(self, recipient: Recipient, permission: Permission, *, allow_weaker: bool = False) -> PreparedGrant:
        """As `patient.PatientClient.grant`."""
        return self._loop.run(self._patient.grant(recipient, permission, allow_weaker=allow_weaker))

    def deliver(self, grant: PreparedGrant) -> None:
        """As `patient.PatientClient.deliver`."""
        self._loop.run(self._patient.deliver(grant))

    def revoke(self, grant: PreparedGrant) -> None:
        """As `patient.PatientClient.revoke`."""
        self._loop.run(self._patient.revoke(grant))

    def close(
        self, grant: PreparedGrant, others: Sequence[tuple[Recipient, Permission]] = (), *, allow_weaker: bool = False
    ) -> None:
        """As `patient.PatientClient.close`."""
        self._loop.run(self._patient.close(grant, others, allow_weaker=allow_weaker))

    def advance(self) -> None:
        """As `patient.PatientClient.advance`."""
        self._patient.advance()

    def report(self) -> PatientReport:
        """As `patient.PatientClient.report`."""
        return self._loop.run(self._patient.report())


class RecipientClient:
    """As `recipient.RecipientClient`."""

    def __init__(self, loop: Loop, recipient: AsyncRecipientClient) -> None:
        self._loop, self._recipient = loop, recipient

    def request(self, grant_id: bytes, reference: RecordReference, evidence: bytes) -> VerifiedTransaction:
        """As `recipient.RecipientClient.request`."""
        return self._loop.run(self._recipient.request(grant_id, reference, evidence))

    def open(self, grant_id: bytes, reference: RecordReference, evidence: bytes) -> OpenedRecord:
        """As `recipient.RecipientClient.open`."""
        return self._loop.run(self._recipient.open(grant_id, reference, evidence))

    def read(self, opened: OpenedRecord) -> Iterator[bytes]:
        """As `recipient.RecipientClient.read`."""
        return self._loop.iterate(self._recipient.read(opened))

    def read_range(self, opened: OpenedRecord, offset: int, length: int) -> Iterator[bytes]:
        """As `recipient.RecipientClient.read_range`."""
        return self._loop.iterate(self._recipient.read_range(opened, offset, length))
