"""Coming to an alliance with one invitation file: looked at, prepared for, answered (rules G2, L5; ADR 22).

Before anything is drawn: whether the invitation is whole, signed and counts, is the one that people compared, fits this
build and this clock; whether the members can be reached, and whether there is room. Then the keys are drawn, and the request
is written, what the services start from, and what a cluster is given. After that the members vote.
"""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from consilium.ceremony import manifests
from consilium.ceremony.founding import AUTHORITIES, GENESIS, PUBLIC
from consilium.ceremony.keys import KEYS, Founder, bind_first_authority, card_of, draw_member
from consilium.identity.generations import authority_file
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import (
    BadSignature,
    ConsiliumError,
    FailedPrecondition,
    Malformed,
    ResourceExhausted,
    Unavailable,
)
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.invitations import InvitationFile, JoinRequest, ServiceAddress, checkpoint_of, verify_invitation_file
from consilium.kernel.parameters import PROTOCOL_VERSION
from consilium.kernel.signed_genesis import same_fingerprint
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import Grade
from consilium.runtime.addresses import split_address
from consilium.runtime.names import authority_uri
from consilium.runtime.whole_files import write_atomically

REQUEST, VALUES, MANIFESTS, PEERS = ".request", "values.yaml", "manifests.yaml", "peers.yaml"
REACH_S = 3.0
"""How long a member's service may take to take a connection, in seconds."""
ROOM_MIN = 1 << 30
"""The least bytes that have to be free where the member's folder lies."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a coming member has now; `unreached` are the services that took no connection."""

    file: InvitationFile
    request: JoinRequest
    unreached: tuple[ServiceAddress, ...]

    @property
    def chain_id(self) -> bytes:
        """The chain it comes to."""
        return self.file.chain_id


def read_invitation(path: Path, now_ms: int) -> InvitationFile:
    """An invitation that counts now, and names members that can be: their names become those of files.

    Raises Malformed: BAD_INVITATION_FILE; InvalidArgument: BAD_NAME; and as `verify_invitation_file`.
    """
    try:
        file = decode(InvitationFile, path.read_bytes(), ZERO_DIGEST)
    except ConsiliumError as error:
        raise Malformed("BAD_INVITATION_FILE", f"{path} is no invitation: {error}", "L1") from error
    verify_invitation_file(file, now_ms, Ed25519Verifier())
    bound = [each.binding.member_id for each in file.content.authorities]
    for name in (file.signed.invitation.member_id, *bound, *(each.member_id for each in file.content.addresses)):
        authority_uri(file.content.genesis.genesis.alliance, name)
    return file


def check_here(file: InvitationFile, compared: str, folder: Path) -> None:
    """Raise unless this is the invitation that people compared, and this build and machine can join.

    Raises BadSignature: OTHER_FINGERPRINT; FailedPrecondition: OLD_BUILD; ResourceExhausted: NO_ROOM.
    """
    if not same_fingerprint(compared, file.fingerprint):
        raise BadSignature(
            "OTHER_FINGERPRINT",
            f"This invitation's fingerprint is {file.fingerprint}, not {compared}; ask for it again.",
            "G2",
        )
    if file.content.known_version > PROTOCOL_VERSION:
        wanted = file.content.known_version
        raise FailedPrecondition(
            "OLD_BUILD",
            f"The alliance is at version {wanted} of the protocol, this build knows {PROTOCOL_VERSION}; install a newer.",
            "G5",
        )
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if free < ROOM_MIN:
        raise ResourceExhausted("NO_ROOM", f"{free >> 20} MiB are free at {existing}; a member needs 1 GiB to begin with.")


async def unreached(file: InvitationFile) -> tuple[ServiceAddress, ...]:
    """The services of members that take no connection from here. Raises Unavailable: NO_PEER when no ledger does."""
    addresses = file.content.addresses
    took = await asyncio.gather(*(_takes(each.address) for each in addresses))
    missing = tuple(each for each, fine in zip(addresses, took, strict=True) if not fine)
    ledgers = [each for each in addresses if each.service == "ledger"]
    if all(each in missing for each in ledgers):
        tried = ", ".join(each.address for each in ledgers) or "none is named"
        raise Unavailable(
            "NO_PEER", f"No member's ledger takes a connection from here ({tried}): look at names, routes, firewalls."
        )
    return missing


async def _takes(address: str) -> bool:
    try:
        async with asyncio.timeout(REACH_S):
            _, writer = await asyncio.open_connection(*split_address(address))
    except OSError:
        return False
    writer.close()
    return True


def draw(file: InvitationFile, folder: Path, addresses: Mapping[str, str], now_ms: int, days: int = 365) -> JoinRequest:
    """Draw the member's keys and first authority into `folder`/keys, and answer the invitation.

    `addresses` say where its services will answer, by service. Keys that no request was written for are taken. Raises
    Conflict: KEYS_EXIST.
    """
    invitation, chain_id = file.signed.invitation, file.chain_id
    alliance, name = file.content.genesis.genesis.alliance, invitation.member_id
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draw_member(folder / KEYS, folder / f"{name}{REQUEST}", alliance, name, now_ms, days)
    # A grade rests on evidence, and is a proposal of its own (C6).
    coming = Founder(name, Grade.UNGRADED, invitation.owner_group)
    card = card_of(folder / KEYS, coming, alliance, now_ms, chain_id)
    own = tuple(ServiceAddress(name, service, addresses[service]) for service in sorted(addresses))
    return JoinRequest(file.signed, card, bind_first_authority(folder / KEYS, name, chain_id), own)


def write_all(file: InvitationFile, request: JoinRequest, folder: Path) -> dict[str, bytes]:
    """Write the request, the genesis with all authorities, and what a cluster is given; the public files by name."""
    chain_id, name = file.chain_id, file.signed.invitation.member_id
    files = {GENESIS: encode(file.content.genesis, ZERO_DIGEST)}
    for each in (*file.content.authorities, request.authority):
        files[authority_file(each, f"-{each.signature.hex()[:8]}")] = encode(each, chain_id)
    (folder / AUTHORITIES).mkdir(mode=0o700, exist_ok=True)
    for path, data in files.items():
        write_atomically(folder / path if path == GENESIS else folder / AUTHORITIES / path, data, PUBLIC)
    given = manifests.as_yaml(manifests.keys_secret(folder / KEYS), manifests.genesis_map(files))
    write_atomically(folder / MANIFESTS, given.encode())
    write_atomically(folder / VALUES, manifests.as_yaml(values_of(file)).encode(), PUBLIC)
    write_atomically(
        folder / PEERS, manifests.as_yaml({"alliance": {"peers": peers_of(request.addresses)}}).encode(), PUBLIC
    )
    # Written last: a folder without it is prepared again, with the keys that are there.
    write_atomically(folder / f"{name}{REQUEST}", encode(request, chain_id), PUBLIC)
    return files


def values_of(file: InvitationFile) -> dict[str, object]:
    """The chart's values for the coming member."""
    checkpoint = checkpoint_of(file.content.checkpoint, file.chain_id)
    return {
        "member": {"id": file.signed.invitation.member_id, "keys": {"existingSecret": manifests.KEYS_SECRET}},
        "genesis": {"existingConfigMap": manifests.GENESIS_MAP},
        "alliance": {"name": file.content.genesis.genesis.alliance, "peers": peers_of(file.content.addresses)},
        "ledger": {"settings": {"checkpoint": checkpoint}},
    }


def peers_of(addresses: Sequence[ServiceAddress]) -> list[dict[str, object]]:
    """The chart's `alliance.peers` for these addresses: by namespace where all are Services of one cluster."""
    found: list[dict[str, object]] = []
    for name in sorted({each.member_id for each in addresses}):
        own = {each.service: each.address for each in addresses if each.member_id == name}
        namespaces = {_namespace(each) for each in own.values()}
        where = next(iter(namespaces)) if len(namespaces) == 1 else ""
        place = {"namespace": where} if where else {"host": next(iter(own.values())).rpartition(":")[0]}
        found.append({"member": name, **place, "addresses": own})
    return found


def _namespace(address: str) -> str:
    """The namespace in `<service>.<namespace>.svc:port`, "" for another address."""
    labels = address.rpartition(":")[0].split(".")
    return labels[1] if len(labels) >= 3 and labels[2] == "svc" else ""  # noqa: PLR2004  name, namespace, svc
