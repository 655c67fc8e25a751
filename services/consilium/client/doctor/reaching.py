"""Whether every configured address has a name that resolves, a port that answers, and the right service behind it.

The certificate is looked at before anybody believes it: an expired one, or that of another service, ends a handshake in a
word that says nothing.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509

from consilium.client.doctor.certificates import judge_shown
from consilium.client.doctor.findings import Finding, well, wrong
from consilium.runtime.addresses import split_address
from consilium.runtime.channels import Peer
from consilium.runtime.tls import CERTIFICATE, KEY

REACH_S = 4.0
"""How long a name, a connection and a handshake may take, each, in seconds."""
Authorities = Mapping[str, Sequence[x509.Certificate]]


async def reach(
    peers: Sequence[Peer], credential: Path, alliance: str, authorities: Authorities, now_ms: int
) -> list[Finding]:
    """What is to be said of every service, in their order: names first, then ports and certificates."""
    hosts = dict.fromkeys(split_address(each.address)[0] for each in peers)
    resolved = dict(zip(hosts, await asyncio.gather(*(_resolve(host) for host in hosts)), strict=True))
    findings = [each for each in resolved.values() if each is not None]
    context = _context(credential)
    there = [each for each in peers if resolved[split_address(each.address)[0]] is None]
    looked = await asyncio.gather(*(_look(each, context, alliance, authorities, now_ms) for each in there))
    if not findings:
        findings.append(well("dns", f"{len(hosts)} names", "Every configured name has an address."))
    return findings + [finding for several in looked for finding in several]


async def _resolve(host: str) -> Finding | None:
    """A fault of the name; None where it has an address."""
    try:
        async with asyncio.timeout(REACH_S):
            await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except TimeoutError:
        return wrong("dns", host, "The name server does not answer.", "See that DNS is reached from here: network policies.")
    except OSError as error:
        advice = "Compare the setting services with the member's own; in Kubernetes a name is <service>.<namespace>.svc."
        return wrong("dns", host, f"The name has no address ({error.strerror or error}).", advice)
    return None


async def _look(peer: Peer, context: ssl.SSLContext, alliance: str, authorities: Authorities, now_ms: int) -> list[Finding]:
    """One service: its port, and the certificate it shows."""
    subject = f"{peer.member_id}/{peer.service}"
    try:
        async with asyncio.timeout(REACH_S):
            _, writer = await asyncio.open_connection(*split_address(peer.address), ssl=context)
    except TimeoutError:
        advice = "A network policy or a firewall swallows it, or the service stands still: ask that member's operators."
        return [wrong("reach", subject, f"Nothing answers at {peer.address} within {REACH_S:.0f} s.", advice)]
    except ssl.SSLError as error:
        advice = "Something that is no service of the alliance listens there, or a proxy ends TLS: it must pass it through."
        return [wrong("reach", subject, f"No TLS at {peer.address} ({error.reason}).", advice)]
    except OSError as error:
        advice = "The service is down, or listens elsewhere: see its pod or process, and the address in the settings."
        return [wrong("reach", subject, f"{peer.address} takes no connection ({error.strerror or error}).", advice)]
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    expected = alliance, peer.member_id, peer.service
    return judge_shown(shown, subject, expected, authorities.get(peer.member_id, ()), now_ms)


def _context(credential: Path) -> ssl.SSLContext:
    """One that takes any certificate, which is then judged, and shows our own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(credential / CERTIFICATE, credential / KEY)
    context.set_alpn_protocols(["h2"])
    return context
