"""The promises about consent: P2, no release against the order of the chain; P3, no release without an audit entry.

A model of consent that is kept from the blocks alone judges every GRANTED verdict and every fragment an honest proxy
releases (rules S3, S5, S6; reference: reliability.md section 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from consilium.kernel.codes import Code, is_refusal
from consilium.kernel.consent import owner_commitment
from consilium.kernel.transactions import GrantBody, RecordBody, RequestBody, RevokeBody
from tests.simulation.checkers import Checker
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from consilium.kernel.certificates import ResultCertificate
    from consilium.kernel.opening import OpenedTransaction
    from consilium.kernel.parameters import Parameters
    from consilium.kernel.transactions import GrantTerms
    from tests.simulation.clock import Clock
    from tests.simulation.observed import Execution, Released

SLACK_MS = 500
"""How much later than the freshness limit a release may still come: links carry a certificate for a while."""


class Granted(NamedTuple):
    """An audit entry: a request the ledger granted."""

    height: int
    terms: GrantTerms
    record_id: bytes


class Consent(Checker):
    """P2 and P3. `clock` times when a revocation became final anywhere."""

    def __init__(self, parameters: Parameters, clock: Clock) -> None:
        self._parameters = parameters
        self._clock = clock
        self._terms: dict[bytes, GrantTerms] = {}
        self._revoked: dict[bytes, int] = {}
        self._closed: dict[bytes, None] = {}
        self._commitments: dict[bytes, bytes] = {}
        self._requests: dict[bytes, Granted] = {}
        self._final_at: dict[int, int] = {}
        self._leaked: dict[tuple[bytes, bytes], dict[str, None]] = {}
        self._opened: dict[tuple[bytes, bytes], None] = {}
        self.releases = 0

    def first_executed(self, execution: Execution) -> None:
        time_ms = execution.opened.header.time_ms
        for _, transaction, code in execution.outcomes():
            if not is_refusal(code):
                self._apply(execution.height, time_ms, transaction, code)

    def certified(self, endpoint: str, certificate: ResultCertificate) -> None:
        self._final_at.setdefault(certificate.result.height, self._clock.now_ms)

    def _apply(self, height: int, time_ms: int, transaction: OpenedTransaction, code: Code) -> None:
        match transaction.payload.body:
            case GrantBody(terms=terms):
                self._permit(height, terms)
            case RevokeBody() as body:
                self._revoke(height, body)
            case RecordBody(record_id=record_id, owner_commitment=commitment):
                self._commitments[record_id] = commitment
            case RequestBody() as body if code is Code.GRANTED:
                self._judge(height, time_ms, transaction, body)
            case _:
                pass

    def _permit(self, height: int, terms: GrantTerms) -> None:
        """Consent never grows back: nothing is granted under a key that was closed (S6)."""
        if terms.delegating_pk in self._closed:
            raise Violation("P2 consent", f"A grant under a closed key took effect at {height}.")
        self._terms[terms.grant_id] = terms

    def _revoke(self, height: int, body: RevokeBody) -> None:
        """A successor closes the key: every grant under it ends (S6)."""
        ended = self._terms[body.grant_id]
        if body.successor_pk is not None:
            self._closed[ended.delegating_pk] = None
        for grant_id, terms in self._terms.items():
            same_key = body.successor_pk is not None and terms.delegating_pk == ended.delegating_pk
            if grant_id == body.grant_id or same_key:
                self._revoked.setdefault(grant_id, height)
        for regrant in body.regrants:
            self._permit(height, regrant.terms)

    def _judge(self, height: int, time_ms: int, transaction: OpenedTransaction, body: RequestBody) -> None:
        """A verdict GRANTED under the model's own reading of S3."""
        terms = self._terms.get(body.grant_id)
        if terms is None or body.grant_id in self._revoked:
            raise Violation("P2 consent", f"A request under no standing grant was granted at {height}.")
        fits = (
            self._commitments.get(body.record_id) == owner_commitment(body.salt, terms.delegating_pk)
            and transaction.payload.author == terms.recipient_key
            and body.purpose == terms.purpose
            and terms.not_before_ms <= time_ms < terms.not_after_ms
        )
        if not fits:
            raise Violation("P2 consent", f"A request that does not fit its grant was granted at {height}.")
        self._requests[transaction.leaf] = Granted(height, terms, body.record_id)

    def released(self, released: Released) -> None:
        self.releases += 1
        request = self._requests.get(released.request_hash)
        if request is None or request.height != released.request_height:
            raise Violation("P3 audit", f"{released.holder} released a fragment without a granted request.")
        if released.holder not in request.terms.holders or request.terms.grant_id != released.grant_id:
            raise Violation("P3 audit", f"{released.holder} released under another grant.")
        self._opened[released.grant_id, request.record_id] = None
        self._judge_time(released, self._revoked.get(released.grant_id))

    def leaked(self, holder: str, grant_id: bytes, record_id: bytes) -> None:
        """Fewer than t faulty holders open nothing: who has t fragments of a record has one from an honest holder (P3)."""
        terms = self._terms.get(grant_id)
        if terms is None or holder not in terms.holders:
            return
        holders = self._leaked.setdefault((grant_id, record_id), {})
        holders[holder] = None
        if len(holders) >= terms.threshold and (grant_id, record_id) not in self._opened:
            raise Violation("P3 audit", f"{', '.join(holders)} open a record, and no honest holder had a verdict to see.")

    def _judge_time(self, released: Released, revoked: int | None) -> None:
        if released.released_height - released.request_height > self._parameters.release_window_blocks:
            raise Violation("P2 consent", f"{released.holder} released outside the window.")
        if revoked is None:
            return
        if revoked < released.request_height:
            raise Violation("P2 consent", f"{released.holder} served a request ordered after the revocation.")
        final_at = self._final_at.get(revoked)
        late = final_at is not None and released.now_ms - final_at > self._parameters.tip_age_max_ms + SLACK_MS
        if revoked <= released.released_height or late:
            raise Violation("P2 consent", f"{released.holder} released after the revocation at {revoked}.")
