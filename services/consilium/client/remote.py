"""An alliance as one client reaches it over gRPC: one credential, accepted at every member (design section 8).

The credential's folder names the authority of its own member and nobody else's. So the home member is called first: its
ledger proves the other members' keys from the genesis file on, its identity service hands over their authorities, and only
those are trusted that the proven key has signed. A home member can keep an authority back; it cannot put one in its place.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from cryptography import x509

from consilium.api.identity.v1 import identity_pb2
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.patient import PatientClient
from consilium.client.private_files import read_private
from consilium.client.recipient import RecipientClient
from consilium.client.remote_member import RemoteMember
from consilium.client.session import Session, ask_all
from consilium.client.settings import ClientSettings, services_of
from consilium.kernel.attestations import BoundAuthority
from consilium.kernel.chain import Genesis
from consilium.kernel.encoding import decode
from consilium.kernel.errors import InvalidArgument, NotFound
from consilium.kernel.signing import SEED_BYTES, Ed25519Signer, Ed25519Verifier
from consilium.runtime.authorities import AUTHORITY_BYTES_MAX, verify_bound
from consilium.runtime.channels import Channel, Limits, Peer, typed
from consilium.runtime.clock import wall_ms
from consilium.runtime.genesis_file import read_genesis
from consilium.runtime.tls import SIGNING_KEY, Tls

if TYPE_CHECKING:
    from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceAsyncStub

MESSAGE_BYTES_MAX = 16 * 1_048_576
"""The largest answer taken, in bytes: a page of proofs."""


@asynccontextmanager
async def open_alliance(settings: ClientSettings, height: int = 0) -> AsyncIterator["Alliance"]:
    """The alliance within, its connections closed at the end; `height` is the highest seen final before (`session.height`).

    Raises InvalidArgument (BAD_SETTING, BAD_GENESIS, BAD_TLS_FILES) for settings and files; FailedPrecondition NOT_FINAL
    while the home member has no certified height, or none that is not below the one given, Conflict STALE_STATE when it
    answers with an older one; Unavailable when it cannot be reached.
    """
    async with AsyncExitStack() as stack:
        alliance = Alliance(settings, stack, height)
        await alliance.learn_authorities()
        yield alliance


class Alliance:
    """All members one client can call; made by `open_alliance`."""

    def __init__(self, settings: ClientSettings, stack: AsyncExitStack, height: int = 0) -> None:
        self.settings = settings
        self._height = height
        self.genesis: Genesis = read_genesis(settings.genesis)
        self.peers = services_of(settings.services)
        self.tls = Tls(settings.credential, settings.alliance)
        if self.tls.material.member_id != settings.member_id:
            certified = self.tls.material.member_id
            sentence = f"member_id is {settings.member_id!r}, and the credential in {settings.credential} is of {certified}."
            raise InvalidArgument("BAD_SETTING", sentence)
        self._stack = stack
        self._channels: dict[Peer, Channel] = {}
        self.faults: dict[str, Exception] = {}
        """Why the authority of a member is not known, by member."""
        self.session = self.new_session()
        """The client's conversation with its home member."""

    @property
    def signer(self) -> Ed25519Signer:
        """The credential's own Ed25519 key.

        Raises NotFound: NO_SIGNING_KEY for an application's credential, FailedPrecondition: OPEN_TO_OTHERS.
        """
        path = self.settings.credential / SIGNING_KEY
        if not path.is_file() or len(seed := read_private(path, SEED_BYTES)) != SEED_BYTES:
            raise NotFound("NO_SIGNING_KEY", f"{path} holds no signing key of {SEED_BYTES} bytes.")
        return Ed25519Signer.from_seed(seed)

    @property
    def identity(self) -> "IdentityServiceAsyncStub":
        """The home member's identity service; its calls fail with gRPC's errors: `runtime.channels.typed`."""
        return IdentityServiceStub(self.channel(self.settings.member_id, "identity"))

    def channel(self, member_id: str, service: str) -> Channel:
        """The way to a service of a member. Raises NotFound: NO_WAY_TO_SERVICE; InvalidArgument: UNKNOWN_MEMBER."""
        peer = self.peers.get(member_id, {}).get(service)
        if peer is None:
            raise NotFound("NO_WAY_TO_SERVICE", f"The setting services names no {member_id}/{service}.")
        if peer not in self._channels:
            limits = Limits(
                unary_s=self.settings.call_s, stream_s=self.settings.transfer_s, message_bytes_max=MESSAGE_BYTES_MAX
            )
            self._channels[peer] = Channel(peer, self.tls, limits)
            self._stack.push_async_callback(self._channels[peer].close)
        return self._channels[peer]

    def new_session(self) -> Session:
        """Another conversation over the same connections, which again starts from the genesis file and the height given."""
        members = {name: self._member(name) for name in self.peers}
        return Session(self.genesis, self.settings.member_id, members, Ed25519Verifier(), self._height)

    def patient(self, keys: PatientKeys, scope: str, epoch: int = 0, custodian: str | None = None) -> PatientClient:
        """One patient in one scope; `custodian` is the member that keeps the seed, None for the patient's device (S1)."""
        return PatientClient(self.session, keys, scope, epoch, custodian)

    def recipient(self, keys: RecipientKeys) -> RecipientClient:
        """The home member's institution as one that asks for records."""
        return RecipientClient(self.session, keys)

    async def learn_authorities(self) -> None:
        """Learn whom connections to the other members must reach; again after a member has changed its authority.

        A credential that was replaced in its folder is taken up as well, for calls from then on.
        Of which members that failed, and how, is in `faults`. Raises what asking the home member's ledger raises.
        """
        self.tls.refresh()
        await self.session.member(self.settings.member_id)
        others = [each for each in self.peers if each != self.settings.member_id]
        answers, faults = await ask_all(others, [self._authorities(each) for each in others])
        self.faults = dict(faults)
        self.tls.learn(dict(answers))

    async def _authorities(self, member_id: str) -> tuple[x509.Certificate, ...]:
        """The certificates of a member's authority that its proven key stands behind."""
        member_key = (await self.session.member(member_id)).profile.member_key
        with typed():
            response = await self.identity.GetAuthority(identity_pb2.GetAuthorityRequest(member_id=member_id))
        chain_id, now_ms = self.genesis.chain_id, wall_ms()
        found = []
        for each in response.authorities:
            bound = decode(BoundAuthority, each, chain_id, AUTHORITY_BYTES_MAX)
            if bound.binding.member_id != member_id:
                raise InvalidArgument("OTHER_AUTHORITY", f"The home member gave another authority than {member_id}'s.", "L1")
            certificate = verify_bound(bound, member_key, self.settings.alliance, chain_id, now_ms, self.session.verifier)
            found.append(certificate)
        return tuple(found)

    def _member(self, member_id: str) -> RemoteMember:
        return RemoteMember(lambda service: self.channel(member_id, service), self.genesis.chain_id, self.settings.wait_s)
