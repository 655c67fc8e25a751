"""The figures at the end of the story: what the services counted themselves, read from their metrics pages over mutual TLS.

The pages stay in the story's folder beside everything else it leaves. A service that was killed counts from its restart on.
"""

import asyncio
import http.client
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from consilium.runtime.names import server_name
from consilium.runtime.tls import AUTHORITIES, CERTIFICATE, KEY
from consilium.sandbox.founders import ALLIANCE
from consilium.sandbox.local import SandboxAlliance, SandboxMember
from consilium.sandbox.processes import SandboxService
from consilium.sandbox.stage import HOME, Stage

FOLDER = "metrics"
MEBIBYTE = 1024 * 1024
ANSWER_S = 30
"""How long a page may take."""


async def fetch_pages(alliance: SandboxAlliance) -> dict[tuple[str, str], str]:
    """The metrics page of every service, by member and service, also written to `metrics/` in the alliance's folder."""
    folder = alliance.folder / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    pages = {}
    for each in alliance.services():
        page = await asyncio.to_thread(fetch_page, alliance.member(each.member_id), each)
        (folder / f"{each.member_id}-{each.name}").write_text(page)
        pages[each.member_id, each.name] = page
    return pages


def fetch_page(member: SandboxMember, service: SandboxService) -> str:
    """One service's page, asked for as the member's administrator. Raises OSError when it does not answer."""
    context = ssl.create_default_context(cafile=member.administrator / AUTHORITIES)
    context.load_cert_chain(member.administrator / CERTIFICATE, member.administrator / KEY)
    name = server_name(ALLIANCE, member.member_id, service.name)
    connection = http.client.HTTPConnection(service.host, service.metrics_port)
    with socket.create_connection((service.host, service.metrics_port), ANSWER_S) as plain:
        connection.sock = context.wrap_socket(plain, server_hostname=name)
        connection.request("GET", "/metrics", headers={"Host": name})
        page = connection.getresponse().read().decode()
        connection.close()
    return page


def figures(stage: Stage, pages: dict[tuple[str, str], str]) -> list[tuple[str, str]]:
    """What was counted along the way, and what is left on disk."""
    consensus = [page for (_, service), page in pages.items() if service == "consensus"]
    messages = sum(_values(consensus, "consilium_consensus_messages_total", "sent"))
    return [
        ("blocks final", f"{stage.chain.height:,}"),
        ("transactions in them", f"{sum(each.transactions for each in stage.chain.blocks):,}"),
        ("messages between the consensus services", f"{messages:,.0f}"),
        (f"syncs of {HOME}'s vote log", _shown([pages[HOME, "consensus"]], "consilium_consensus_syncs_total")),
        (f"syncs of {HOME}'s block store", _shown([pages[HOME, "ledger"]], "consilium_ledger_syncs_total")),
        ("CPU seconds of all services", _shown(pages.values(), "process_cpu_seconds_total")),
        ("largest service now, MiB resident", f"{_largest(pages.values()) / MEBIBYTE:.0f}"),
        ("left on disk, by all members, MiB", f"{_bytes_in(stage.alliance.folder) / MEBIBYTE:,.0f}"),
    ]


def _largest(pages: Iterable[str]) -> float:
    return max(_values(pages, "process_resident_memory_bytes"))


def _shown(pages: Iterable[str], name: str) -> str:
    return f"{sum(_values(pages, name)):,.0f}"


def _values(pages: Iterable[str], name: str, label: str | None = None) -> list[float]:
    """The samples of a name on some pages, of one label's value where one is given."""
    families = [family for page in pages for family in text_string_to_metric_families(page)]
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return [each.value for each in samples if label is None or label in each.labels.values()]


def _bytes_in(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
