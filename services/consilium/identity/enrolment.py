"""Issuing and revoking: the core's rules, the authority's signature, the store's word, in that order.

Everything here is quick and blocks (a signature, a synced write); the servicer calls it in a thread, one call at a time.
"""

import secrets

from consilium.identity.authority import draw_tls_key
from consilium.identity.core.credentials import (
    Credential,
    CredentialRequest,
    Occasion,
    Policy,
    RevocationReason,
    issue_credential,
    revoke_credential,
    service_terms,
)
from consilium.identity.endings import Endings, counting
from consilium.identity.generations import Generations
from consilium.identity.store import IdentityStore
from consilium.kernel.encoding import encode
from consilium.kernel.errors import Conflict, NotFound
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.runtime.clock import wall_ms

CREDENTIAL_ID_BYTES = 16
PSEUDONYM_BYTES = 16


class Enrolment:
    """A member's credentials. `revoked` are the serial numbers its services refuse, `endings` what is to be renewed when."""

    def __init__(self, store: IdentityStore, generations: Generations, policy: Policy, chain_id: bytes) -> None:
        self.store, self.generations = store, generations
        self._policy, self._chain_id = policy, chain_id
        self.revoked = dict.fromkeys(store.revoked(wall_ms()))
        self.endings = Endings()
        for each in counting(store.credentials_back(), wall_ms()):
            self.endings.issued(each)

    def issue(self, request: CredentialRequest) -> Credential:
        """The credential asked for; the first answer again for the same request.

        Raises as `issue_credential`; Conflict (REQUEST_ID_USED) for another request under a used id.
        """
        digest = sha256(encode(request, self._chain_id))
        answered = self.store.credential_of_request(request.request_id)
        if answered is not None:
            if answered.request_digest != digest:
                raise Conflict("REQUEST_ID_USED", "The request id was used for another credential.", "L6")
            return answered
        occasion = self._occasion()
        predecessor = self.store.credential_of_name(request.pseudonym) if request.pseudonym else None
        terms = issue_credential(request, self._policy, predecessor, occasion)
        certificate = self.generations.issuing(occasion.now_ms).issue(terms, request.tls_key)
        credential = Credential(terms, certificate, digest, None)
        self.store.put_credential(credential, request.request_id)
        self.endings.issued(credential)
        return credential

    def issue_service(self, service: str, validity_s: int) -> tuple[Credential, bytes]:
        """A certificate for one of the member's own services, and its secret key in PEM, which is kept nowhere else."""
        occasion = self._occasion()
        secret, public = draw_tls_key()
        terms = service_terms(service, validity_s, occasion)
        certificate = self.generations.issuing(occasion.now_ms).issue(terms, public)
        credential = Credential(terms, certificate, ZERO_DIGEST, None)
        self.store.put_credential(credential, None)
        self.endings.issued(credential)
        return credential, secret

    def revoke(self, credential_id: bytes, reason: RevocationReason) -> Credential:
        """End a credential, at once and for good. Raises NotFound: NO_SUCH_CREDENTIAL."""
        credential = self.store.credential(credential_id)
        ended = revoke_credential(credential, reason, wall_ms())
        if ended != credential:
            self.store.put_revoked(ended)
            self.revoked[int.from_bytes(credential_id)] = None
            self.endings.revoked(ended)
        return ended

    def holder(self, serial: int) -> Credential | None:
        """The credential behind a certificate of this member, None for one that this service did not issue."""
        if serial.bit_length() > 8 * CREDENTIAL_ID_BYTES:
            return None
        try:
            return self.store.credential(serial.to_bytes(CREDENTIAL_ID_BYTES))
        except NotFound:
            return None

    def _occasion(self) -> Occasion:
        now_ms = wall_ms()
        # Never 0: serial numbers are positive (RFC 5280, 4.1.2.2).
        credential_id = secrets.token_bytes(CREDENTIAL_ID_BYTES - 1) + b"\1"
        ends_ms = self.generations.issuing(now_ms).not_after_ms
        return Occasion(credential_id, secrets.token_hex(PSEUDONYM_BYTES), now_ms, ends_ms)
