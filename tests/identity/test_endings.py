"""What metrics tell of people's credentials: when the first one of a kind ends, and nothing about whose it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.identity.core.credentials import (
    SKEW_MS,
    VALIDITY_S_MAX,
    Credential,
    CredentialKind,
    CredentialTerms,
    RevocationReason,
    revoke_credential,
)
from consilium.identity.endings import Endings, counting
from consilium.kernel.hashing import ZERO_DIGEST
from tests.identity.hospital import HOME, Person, hospitals, play

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.identity.hospital import Served

NOW_MS, DAY_MS = 1_800_000_000_000, 86_400_000


def credential(number: int, name: str, ends_ms: int, kind: CredentialKind = CredentialKind.STAFF) -> Credential:
    """A credential whose id comes from a number, issued a day before now."""
    terms = CredentialTerms(number.to_bytes(16), kind, name, "", None, NOW_MS - DAY_MS - SKEW_MS, ends_ms)
    return Credential(terms, b"certificate", ZERO_DIGEST, None)


def counted(*credentials: Credential) -> Endings:
    """They were issued in this order."""
    made = Endings()
    for each in credentials:
        made.issued(each)
    return made


def test_the_first_end_of_each_kind_is_told() -> None:
    patients = [credential(number, f"p{number}", NOW_MS + number, CredentialKind.PATIENT) for number in (3, 2, 4)]
    endings = counted(credential(1, "a", NOW_MS + 9), *patients)
    assert endings.first(NOW_MS) == {CredentialKind.STAFF: NOW_MS + 9, CredentialKind.PATIENT: NOW_MS + 2}


def test_what_was_renewed_counts_no_more() -> None:
    endings = counted(credential(1, "a", NOW_MS + 1), credential(2, "a", NOW_MS + DAY_MS))
    assert endings.first(NOW_MS) == {CredentialKind.STAFF: NOW_MS + DAY_MS}


def test_what_has_ended_counts_no_more() -> None:
    endings = counted(credential(1, "a", NOW_MS), credential(2, "b", NOW_MS + 5))
    assert endings.first(NOW_MS) == {CredentialKind.STAFF: NOW_MS}
    assert endings.first(NOW_MS + 1) == {CredentialKind.STAFF: NOW_MS + 5}
    assert endings.first(NOW_MS + 6) == {}


@pytest.mark.parametrize(("revoked", "left"), [(1, {CredentialKind.STAFF: NOW_MS + 7}), (2, {})], ids=["old", "newest"])
def test_what_was_revoked_counts_no_more(revoked: int, left: dict[CredentialKind, int]) -> None:
    """Of a holder whose older one is revoked the newer one still has to be renewed."""
    both = {1: credential(1, "a", NOW_MS + 5), 2: credential(2, "a", NOW_MS + 7)}
    endings = counted(*both.values())
    endings.revoked(revoke_credential(both[revoked], RevocationReason.ROLE_ENDED, NOW_MS))
    assert endings.first(NOW_MS) == left


def test_a_start_counts_what_the_store_holds_and_reads_no_further_than_it_has_to() -> None:
    """The newest of each holder, but a revoked one; behind one older than any lasts nothing is read."""
    gone = revoke_credential(credential(6, "c", NOW_MS + 3), RevocationReason.ROLE_ENDED, NOW_MS)
    newest_first = [gone, credential(5, "a", NOW_MS + 8), credential(4, "b", NOW_MS + 6), credential(3, "c", NOW_MS + 2)]
    young = credential(2, "old", NOW_MS - 1)
    begun_ms = NOW_MS - VALIDITY_S_MAX * 1_000 - SKEW_MS - 1
    old = replace(young, terms=replace(young.terms, not_before_ms=begun_ms))

    def kept() -> Iterator[Credential]:
        yield from [*newest_first, old]
        raise AssertionError("read too far")

    assert counting(kept(), NOW_MS) == newest_first[1:3]


def test_metrics_tell_it_also_after_a_start(tmp_path: Path) -> None:
    """One series a kind: the administrator's is a member of staff's, and each service has one."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            given, _ = await served.enrolled(Person("lin"), pb.CREDENTIAL_KIND_PATIENT, validity_seconds=3_600)
            told = by_kind(served)
            assert told["patient"] == given.not_after_ms // 1_000
            assert told.keys() == {"staff", "patient", "service"}
        async with home.serving() as served:
            assert by_kind(served) == told
            served.driver.enrolment.revoke(given.credential_id, RevocationReason.ROLE_ENDED)
            left = by_kind(served)
            assert left.keys() == {"staff", "service"}
        async with home.serving() as served:
            assert by_kind(served) == left

    play(scene)


def by_kind(served: Served) -> dict[str, float]:
    """The metric's samples by the only label it has."""
    families = {each.name: each for each in served.running.metrics.registry.collect()}
    samples = families["consilium_identity_credential_expiry_timestamp_seconds"].samples
    assert all(each.labels.keys() == {"kind"} for each in samples)
    return {each.labels["kind"]: each.value for each in samples}
