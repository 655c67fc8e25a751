"""The way to a member's Cassandra: one session, prepared statements, and errors as ours (rule S2, design section 7).

Every statement is idempotent: rows are immutable or carry a timestamp that is drawn once. So a request whose outcome is
unknown (a time-out, a broken connection, a coordinator that died) is sent again as it was, until `cassandra_wait_ms` is
over; then it is Unavailable, and still unknown. The settings of the connection answer known traps: libev under mutual TLS,
TCP_NODELAY, few chunks in flight; a connection that is busy is tried again like the rest.
"""

import re
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from inspect import ismethod
from itertools import islice
from socket import IPPROTO_TCP, TCP_NODELAY
from threading import BoundedSemaphore
from typing import Any, TypeAlias, TypeVar
from weakref import WeakMethod

import cassandra
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, ResponseFuture, Session
from cassandra.connection import ConnectionException
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import (
    ConstantReconnectionPolicy,
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import ErrorMessage, PreparedQueryNotFound, RequestValidationException
from cassandra.query import BoundStatement

from consilium.kernel.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from consilium.runtime.tls import AUTHORITIES, CERTIFICATE, KEY
from consilium.storage.settings import StorageSettings

PAGE_ROWS = 1_000
"""How many rows a scan asks for at once."""
HEARTBEAT_S = 5
"""After how long a silent connection is probed; a paused instance is left when the probe took longer than a request may."""
RECONNECT_S = 1.0
SPECULATE_S, SPECULATE_MAX = 1.0, 2
"""An answer that late is asked of another instance too: every statement may be sent twice."""
PAUSE_S_MIN, PAUSE_S_MAX = 0.05, 1.0
"""Between two tries, doubled each time."""
NOBODY_TO_ASK = "Unable to perform auth"
"""Cassandra keeps roles and permissions under a quorum too: in these words it refuses, and means Unavailable."""
NOT_HEARD_OF = re.compile(r"no keyspace has been specified|(keyspace|table) \S+ (does not|doesn't) exist", re.IGNORECASE)
"""What an instance says, or a connection to it, that has not heard yet of keyspace or table; there is no code for it."""
_TRANSIENT = (
    NoHostAvailable,
    cassandra.Timeout,
    cassandra.OperationTimedOut,
    cassandra.Unavailable,
    cassandra.CoordinationFailure,
    ConnectionException,
    ErrorMessage,
)

Made = TypeVar("Made")
Row: TypeAlias = Any
Statement: TypeAlias = Any
"""A prepared statement; the driver has no types."""
Timer: TypeAlias = Any


@dataclass(slots=True)
class Pending:
    """A request under way; it holds a slot until it is answered."""

    database: "Database"
    bound: BoundStatement
    deadline_s: float
    is_answered: bool = False
    _has_failed: bool = False
    _future: ResponseFuture = field(init=False, repr=False)

    def send(self) -> None:
        """Send it, as often as one likes."""
        slot = self.database.slot()
        self.is_answered = False
        try:
            self._future = self.database.session.execute_async(self.bound)
        except BaseException:
            slot()
            raise

        def answered(_: object) -> None:
            self.is_answered = True
            slot()

        self._future.add_callbacks(answered, answered)

    def rows(self) -> list[Row]:
        """What it gave, tried again while that can help.

        Raises Unavailable: DATABASE_UNREACHABLE; FailedPrecondition: DATABASE_REFUSED; ResourceExhausted: DISK_FULL.
        """
        return patiently(self.deadline_s, self._result)

    def _result(self) -> list[Row]:
        if self._has_failed:
            self.send()
        self._has_failed = True
        rows = list(self._future.result())
        self._has_failed = False
        self._future.clear_callbacks()  # they know this request, and it them: the collector would have to find both
        return rows


class LightConnection(LibevConnection):  # type: ignore[misc]  # the driver has no types
    """A connection whose timers hold nothing, to an instance that is not given up for want of others.

    A timer that watches over a request stays with the driver until its time comes, long after the answer, and with it would
    the request and the chunk in it: as many as are moved in `SPECULATE_S`.
    """

    @classmethod
    def factory(cls, *where: object, **how: object) -> "LightConnection":
        """One that is ready. What refuses a password the driver leaves for good; who could not look it up is tried again."""
        try:
            connection: LightConnection = super().factory(*where, **how)
        except cassandra.AuthenticationFailed as error:
            if NOBODY_TO_ASK in str(error):
                raise ConnectionException(str(error)) from error
            raise
        return connection

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], object]) -> Timer:
        """One that does nothing once what it is about is gone."""
        if not ismethod(callback):
            return super().create_timer(timeout, callback)
        known = WeakMethod(callback)

        def call() -> None:
            if (found := known()) is not None:
                found()

        return super().create_timer(timeout, call)


class Database:
    """A member's keyspace in its Cassandra; its methods may be called from any thread."""

    def __init__(self, cluster: Cluster, session: Session, settings: StorageSettings) -> None:
        """Not for callers: `open` makes one."""
        self.session, self._cluster = session, cluster
        self._slots = BoundedSemaphore(settings.cassandra_chunks_in_flight)
        self.in_flight = settings.cassandra_chunks_in_flight
        self._wait_s = settings.cassandra_wait_ms / 1_000

    @classmethod
    def open(cls, settings: StorageSettings) -> "Database":
        """Connect, as the settings say, trying again for a while; no keyspace is chosen, for it may not be there yet.

        Raises InvalidArgument: BAD_SETTING or BAD_TLS_FILES; Unavailable: DATABASE_UNREACHABLE; FailedPrecondition:
        DATABASE_REFUSED.
        """

        def connect() -> Database:
            cluster = _cluster(settings)
            try:
                return cls(cluster, cluster.connect(), settings)
            except BaseException:
                cluster.shutdown()
                raise

        return patiently(time.monotonic() + settings.cassandra_wait_ms / 1_000, connect)

    def enter(self, keyspace: str) -> None:
        """Speak of this keyspace's tables from now on, once who is asked has heard of it. Raises as `Pending.rows`."""
        patiently(self._deadline_s(), lambda: self.session.set_keyspace(keyspace))

    def prepare(self, cql: str, *, of_one: bool = False) -> Statement:
        """A statement that may be sent twice; `of_one` asks whichever instance has the row. Raises as `Pending.rows`."""
        statement = patiently(self._deadline_s(), lambda: self.session.prepare(cql))
        statement.is_idempotent = True
        statement.fetch_size = None
        if of_one:
            statement.consistency_level = cassandra.ConsistencyLevel.LOCAL_ONE
        return statement

    def slot(self) -> Callable[[], None]:
        """One of the requests that may be in flight, once there is room; what comes back gives it up.

        Only the first time: the driver, which may ask two instances, may also tell of two answers.
        """
        self._slots.acquire()
        held = [self._slots]

        def give_up() -> None:
            with suppress(IndexError):
                held.pop().release()

        return give_up

    def begin(self, statement: Statement, *values: object) -> Pending:
        """Send a request, once there is a slot for it."""
        pending = Pending(self, statement.bind(values), self._deadline_s())
        pending.send()
        return pending

    def run(self, statement: Statement, *values: object) -> list[Row]:
        """Send a request and wait for its rows; raises as `Pending.rows`."""
        return self.begin(statement, *values).rows()

    def each(self, statement: Statement, several: Iterable[tuple[object, ...]]) -> Iterator[list[Row]]:
        """The rows of several requests in their order, as many in flight as may be; raises as `Pending.rows`."""
        rest = iter(several)
        sent = deque(self.begin(statement, *values) for values in islice(rest, self.in_flight))
        while sent:
            rows = sent.popleft().rows()
            sent.extend(self.begin(statement, *values) for values in islice(rest, 1))
            yield rows

    def scan(self, statement: Statement) -> Iterator[Row]:
        """All rows of a table, page by page; raises as `Pending.rows`."""
        bound, state = statement.bind(()), None
        bound.fetch_size = PAGE_ROWS
        while True:
            page = patiently(self._deadline_s(), partial(self.session.execute, bound, paging_state=state))
            yield from page.current_rows
            state = page.paging_state
            if state is None:
                return

    def say(self, cql: str) -> list[Row]:
        """Something said seldom, and not prepared, that may be said twice; raises as `Pending.rows`."""
        return patiently(self._deadline_s(), lambda: list(self.session.execute(cql)))

    def ask(self, host: object, cql: str) -> list[Row]:
        """What one instance says of itself, without patience; raises as `Pending.rows`."""
        with translated():
            return list(self.session.execute(cql, host=host))

    def schema(self, statement: Statement, *values: object) -> list[Row]:
        """What a table of the schema has, at whichever instance that is up has it; none only when each has said so.

        An instance answers from its own, and hears a moment later of what another one made. Raises as `Pending.rows`.
        """
        return self.run(statement, *values) or patiently(self._deadline_s(), lambda: self._at_any(statement.bind(values)))

    def _at_any(self, bound: BoundStatement) -> list[Row]:
        """The rows of the first instance that has some; raises what one that did not answer failed with, when none has."""
        silent: list[Exception] = []
        for each in self.instances():
            try:
                if rows := list(self.session.execute(bound, host=each)):
                    return rows
            except _TRANSIENT as error:
                silent.append(error)
        if silent:
            raise silent[0]
        return []

    def instances(self) -> list[Any]:
        """The instances of the ring that are believed up."""
        return [each for each in self._cluster.metadata.all_hosts() if each.is_up]

    def close(self) -> None:
        """Let go of all connections."""
        self._cluster.shutdown()

    def _deadline_s(self) -> float:
        return time.monotonic() + self._wait_s


def patiently(deadline_s: float, work: Callable[[], Made]) -> Made:
    """Do what may be done twice, again and again while that can help; raises as `Pending.rows`."""
    pause_s = PAUSE_S_MIN
    while True:
        with translated():
            try:
                return work()
            except (*_TRANSIENT, cassandra.DriverException) as error:
                if not _may_pass(error) or time.monotonic() + pause_s > deadline_s:
                    raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)


@contextmanager
def translated() -> Iterator[None]:
    """What the driver raises, as ours.

    Raises Unavailable: DATABASE_UNREACHABLE; FailedPrecondition: DATABASE_REFUSED; ResourceExhausted: DISK_FULL.
    """
    try:
        yield
    except (*_TRANSIENT, cassandra.DriverException) as error:
        said = _said(error)
        if "Guardrail" in said and "disk usage" in said:
            raise ResourceExhausted("DISK_FULL", f"The database takes no more: {said}", "S2") from error
        if _is_refusal(error):
            raise FailedPrecondition("DATABASE_REFUSED", f"The database refused: {said}") from error
        sentence = (
            f"The database does not answer, and nobody knows whether it did what was asked; call again. It said: {said}"
        )
        raise Unavailable("DATABASE_UNREACHABLE", sentence, "S2") from error


def _may_pass(error: Exception) -> bool:
    """Whether asking again may get another answer."""
    return not _is_refusal(error) or NOT_HEARD_OF.search(str(error)) is not None


def _is_refusal(error: Exception) -> bool:
    """Whether Cassandra has heard what was asked of it, and will not do it."""
    if isinstance(error, NoHostAvailable):
        return any(isinstance(each, cassandra.AuthenticationFailed) for each in error.errors.values())
    if isinstance(error, RequestValidationException):  # what it cannot read today it cannot read tomorrow
        return not isinstance(error, PreparedQueryNotFound)
    return not isinstance(error, _TRANSIENT) and NOBODY_TO_ASK not in str(error)


def _said(error: Exception) -> str:
    """The driver's words, on one line."""
    return " ".join(str(error).split())[:500]


def _cluster(settings: StorageSettings) -> Cluster:
    # Shuffled: else one instance of those that have a partition does all the work for it, and is always the one behind.
    policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.cassandra_datacenter), shuffle_replicas=True)
    profile = ExecutionProfile(
        load_balancing_policy=policy,
        consistency_level=cassandra.ConsistencyLevel.name_to_value[settings.cassandra_consistency],
        serial_consistency_level=cassandra.ConsistencyLevel.LOCAL_SERIAL,
        request_timeout=settings.cassandra_request_ms / 1_000,
        speculative_execution_policy=ConstantSpeculativeExecutionPolicy(SPECULATE_S, SPECULATE_MAX),
    )
    return Cluster(
        settings.cassandra_hosts,
        port=settings.cassandra_port,
        auth_provider=PlainTextAuthProvider(settings.cassandra_user, _password(settings)),
        ssl_context=_ssl_context(settings),
        connection_class=LightConnection,
        sockopts=[(IPPROTO_TCP, TCP_NODELAY, 1)],
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ConstantReconnectionPolicy(RECONNECT_S, None),
        idle_heartbeat_interval=HEARTBEAT_S,
        idle_heartbeat_timeout=settings.cassandra_request_ms / 1_000,
        connect_timeout=settings.cassandra_request_ms / 1_000,
        control_connection_timeout=settings.cassandra_request_ms / 1_000,
        # A keyspace or table that was just made is spoken of to another instance next.
        max_schema_agreement_wait=settings.cassandra_wait_ms / 1_000,
        protocol_version=5,
        compression=False,
    )


def _ssl_context(settings: StorageSettings) -> ssl.SSLContext:
    """Mutual TLS with the database's own authority. Raises InvalidArgument: BAD_TLS_FILES."""
    folder = settings.cassandra_tls_directory
    try:
        context = ssl.create_default_context(cafile=folder / AUTHORITIES)
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    except OSError as error:
        raise InvalidArgument("BAD_TLS_FILES", f"The TLS files in {folder} cannot be used: {error}") from error
    context.check_hostname = settings.cassandra_check_names
    return context


def _password(settings: StorageSettings) -> str:
    """The password from its file. Raises InvalidArgument: BAD_SETTING."""
    path = settings.cassandra_password_file
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise InvalidArgument("BAD_SETTING", f"cassandra_password_file is {path}, which cannot be read: {error}") from error
