"""The alliance on a second cluster, in which no pod, Service or name has an IPv4 address (the chart's `listenOn: "::"`).

Two of its members keep their objects in Cassandras there, as in the first cluster.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

from tests.cluster.alliance import FOUR, RELEASE
from tests.cluster.conftest import installed, running
from tests.cluster.looking import until_attending
from tests.cluster.places import IPV6
from tests.cluster.test_life import LETTER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.alliance import Alliance, Member


@pytest.fixture(scope="module")
def without_ipv4(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alliance]:
    """Four members that are installed there."""
    with running(images, IPV6) as cluster:
        yield installed(cluster, tmp_path_factory.mktemp("without-ipv4"))


def test_there_is_none(without_ipv4: Alliance) -> None:
    """Of a pod or a Service; so the tests below tell something."""
    cluster = without_ipv4.cluster
    pods = [one["ip"] for each in cluster.get("pods", "--all-namespaces")["items"] for one in each["status"]["podIPs"]]
    given = [each["spec"]["clusterIP"] for each in cluster.get("services", "--all-namespaces")["items"]]
    found = [ipaddress.ip_address(each) for each in (*pods, *given) if each != "None"]
    assert len(found) > 2 * 5 * len(FOUR)
    assert {each.version for each in found} == {6}


@pytest.mark.parametrize("member", FOUR[:2], ids=lambda each: each.member_id)
def test_a_record_goes_round_and_the_doctor_finds_nothing(without_ipv4: Alliance, member: Member) -> None:
    """On the embedded store, and on Cassandra; then nobody is missing."""
    without_ipv4.sh(member, LETTER)
    without_ipv4.cluster.helm("test", RELEASE, f"--namespace={member.namespace}", "--timeout=5m")
    until_attending(without_ipv4)
