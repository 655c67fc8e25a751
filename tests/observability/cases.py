"""For every alert a story in which it rings, with the words it rings with, and one just short of it."""

from __future__ import annotations

from dataclasses import dataclass

from consilium.kernel.membership import SERVICES

OWN = 'namespace="hospital-1a",member="1A"'
OTHER = 'namespace="hospital-2a",member="2A"'
HOUR, DAY = 60, 1_440
"""In minutes."""


@dataclass(frozen=True)
class Case:
    """`series`: each with its values a minute while it rings, and while all is well; looked at after so many minutes."""

    alert: str
    series: tuple[tuple[str, str, str], ...]
    minutes: int
    labels: dict[str, str]
    says: str


def own(metric: str, labels: str = "") -> str:
    """A series of the member that the rules are for."""
    return f"{metric}{{{OWN}{',' if labels else ''}{labels}}}"


def other(metric: str, labels: str = "") -> str:
    """One of another member."""
    return f"{metric}{{{OTHER}{',' if labels else ''}{labels}}}"


def case(
    alert: str, series: tuple[tuple[str, str, str], ...], minutes: int, says: str, home: str = "1A", **labels: str
) -> Case:
    """A case about the member itself, or with `home=""` about none."""
    named = {"namespace": f"hospital-{home.lower()}", "member": home} if home else {}
    return Case(alert, series, minutes, named | labels, says)


def lasting(value: float, minutes: int = 30) -> str:
    """The same value all the time."""
    return f"{value}+0x{minutes}"


def burning(alert: str, minutes: int, failing: int, says: str) -> Case:
    """Of 100 calls a minute so many fail, against none."""
    labels = 'component="ledger",grpc_type="unary",grpc_service="s",grpc_method="GetTip"'
    good, bad = own("grpc_server_handled_total", f'{labels},grpc_code="OK"'), f'{labels},grpc_code="Unavailable"'
    series = (
        (good, f"0+{100 - failing}x{minutes}", f"0+100x{minutes}"),
        (own("grpc_server_handled_total", bad), f"0+{failing}x{minutes}", f"0+0x{minutes}"),
    )
    return Case(alert, series, minutes, {"namespace": "hospital-1a", "component": "ledger"}, says)


def slow(alert: str, minutes: int, late: int, says: str) -> Case:
    """Of 100 blocks a minute so many come late, against none."""
    name = "consilium_consensus_ordering_seconds"
    series = (
        (own(f"{name}_bucket", 'le="5.0"'), f"0+{100 - late}x{minutes}", f"0+100x{minutes}"),
        (own(f"{name}_count"), f"0+100x{minutes}", f"0+100x{minutes}"),
    )
    return Case(alert, series, minutes, {"namespace": "hospital-1a"}, says)


MISSING = own("consilium_consensus_delegate_missing", 'peer="3B"')
HEARD = own("consilium_consensus_delegate_heard_timestamp_seconds", 'peer="3B"')
QUORUM = (own("consilium_consensus_quorum"), lasting(3), lasting(3))
SINCE = "1970-01-01 00:05:00 +0000 UTC"
ASK = "ask their operators whether consensus and ledger run there, then see `consilium status`."
ASK_ONE = (
    "Ask its operators whether its consensus service and its ledger run, and whether this member's address is reached from"
    " there."
)

BUDGETS = [
    burning(
        "ConsiliumAvailabilityBurnFast",
        2 * HOUR,
        2,
        "ledger in hospital-1a has failed 2% of its calls in the last hour; 0.1% are allowed.",
    ),
    burning(
        "ConsiliumAvailabilityBurnMedium",
        8 * HOUR,
        1,
        "ledger in hospital-1a has failed 1% of its calls in the last six hours; 0.1% are allowed.",
    ),
    burning(
        "ConsiliumAvailabilityBurnSlow",
        3 * DAY + 2 * HOUR,
        1,
        "ledger in hospital-1a has failed 1% of its calls in three days; 0.1% are allowed.",
    ),
    slow(
        "ConsiliumOrderingBurnFast",
        2 * HOUR,
        20,
        "20% of the blocks of the last hour ordered what had waited more than 5 s; 1% are allowed.",
    ),
    slow(
        "ConsiliumOrderingBurnSlow",
        3 * DAY + 2 * HOUR,
        2,
        "2% of the blocks of three days ordered what had waited more than 5 s; 1% are allowed.",
    ),
]

CONSENSUS = [
    case(
        "ConsiliumConsensusStalled",
        ((own("consilium_consensus_stalled_seconds"), lasting(90), lasting(59)), (MISSING, lasting(1), lasting(1))),
        5,
        f"1A has waited for a block for 1m 30s. Missing: 3B - {ASK}",
    ),
    case(
        "ConsiliumQuorumLost",
        ((own("consilium_consensus_delegates_heard"), lasting(2), lasting(3)), QUORUM, (MISSING, lasting(1), lasting(1))),
        5,
        "1A hears 2 delegates, too few for a quorum. Missing: 3B - they have to come back, or the members sign a recovery.",
    ),
    case(
        "ConsiliumQuorumAtRisk",
        ((own("consilium_consensus_delegates_heard"), lasting(3), lasting(4)), QUORUM, (MISSING, lasting(1), lasting(1))),
        10,
        "1A hears 3 delegates, no more than decide. Missing: 3B - bring one back before anything is restarted or drained.",
    ),
    case(
        "ConsiliumDelegateMissing",
        ((MISSING, lasting(1), lasting(0)), (HEARD, lasting(300), lasting(300))),
        5,
        f"3B has not been heard of by 1A since {SINCE}. {ASK_ONE}",
        peer="3B",
    ),
    case(
        "ConsiliumViewChangeStorm",
        ((own("consilium_consensus_view_changes_total", 'reason="timeout"'), "0+1x30", "0+1x4"),),
        20,
        "1A has left 15 views in 15 minutes.",
    ),
    case(
        "ConsiliumSlowPrimary",
        (
            (own("consilium_consensus_view_changes_total", 'reason="slow_primary"'), "0x60 1x60", lasting(0, 90)),
            (own("consilium_consensus_view_changes_total", 'reason="timeout"'), "0x60 1x60", "0x60 1x60"),
        ),
        90,
        "1A and a quorum have left 1 views of slow primaries within an hour.",
    ),
    case(
        "ConsiliumBacklog",
        ((own("consilium_consensus_waiting_oldest_seconds"), lasting(45), lasting(30)),),
        10,
        "The oldest batch at 1A has waited 45s.",
    ),
    case(
        "ConsiliumEnvelopesDropped",
        ((own("consilium_consensus_envelopes_dropped_total"), "0+10x30", "0+1x30"),),
        20,
        "1A has dropped 150 messages in 15 minutes; see which streams are down or slow.",
    ),
    case(
        "ConsiliumKeyRunsElsewhere",
        ((own("consilium_consensus_links_disowned"), lasting(2), lasting(0)),),
        5,
        "2 members refuse 1A because its key runs elsewhere: stop one of the two processes now.",
    ),
    case(
        "ConsiliumReplicaSilent",
        ((own("consilium_consensus_state", 'state="silent"'), lasting(1), lasting(0)),),
        15,
        "1A does not vote: it is as if it were missing, until an epoch begins that lies far enough ahead.",
        state="silent",
    ),
    case(
        "ConsiliumReplicaStopped",
        ((own("consilium_consensus_state", 'state="stopped"'), lasting(1), lasting(0)),),
        15,
        "1A says nothing more in this epoch; `consilium recovery status` tells whose signature is missing.",
        state="stopped",
    ),
    case(
        "ConsiliumMisbehaviourProven",
        ((own("consilium_election_evidence", 'peer="3B"'), "0x60 1x60", lasting(1, 120)),),
        90,
        "3B has 1 more offences proven on the ledger of 1A than an hour ago.",
        peer="3B",
    ),
    case(
        "ConsiliumRevealsRunningOut",
        ((own("consilium_consensus_reveals_left"), lasting(12, 90), lasting(50, 90)),),
        80,
        "1A has reveals for 12 more terms as a delegate: rotate the keys, which draws a new chain.",
    ),
]

LEDGER = [
    case(
        "ConsiliumLedgerBehind",
        ((own("consilium_ledger_behind_blocks"), lasting(21), lasting(20)),),
        10,
        "1A is 21 blocks behind what other ledgers show.",
    ),
    case(
        "ConsiliumTipStale",
        ((own("consilium_ledger_tip_age_seconds"), lasting(90), lasting(15)),),
        5,
        "The newest certified block of 1A is 1m 30s old.",
    ),
    case(
        "ConsiliumLedgerPeerBanned",
        ((own("consilium_ledger_banned", 'peer="3B"'), lasting(1), lasting(0)),),
        5,
        "1A asks 3B for no more blocks: one of them did not verify.",
        peer="3B",
    ),
    case(
        "ConsiliumUpgradeUnknown",
        (
            (own("consilium_ledger_upgrade_unknown"), lasting(1), lasting(0)),
            (own("consilium_ledger_upgrade_height"), lasting(5000), lasting(5000)),
        ),
        5,
        "1A stops at height 5000 unless a newer release is installed before.",
    ),
    case(
        "ConsiliumRecovered",
        ((own("consilium_ledger_recoveries"), "0x60 1x60", lasting(1, 120)),),
        90,
        "1A has crossed 1 recoveries within an hour: see who was dismissed, and replace them.",
    ),
    case(
        "ConsiliumRevocationSlow",
        ((own("consilium_ledger_revocation_oldest_seconds"), lasting(1800), lasting(600)),),
        10,
        "The oldest revocation that not all holders have signed for is 30m 0s old, seen from 1A.",
    ),
    case(
        "ConsiliumGradeExpiring",
        (
            (own("consilium_election_grade_expiry_height", 'peer="3B"'), lasting(60000, 90), lasting(500000, 90)),
            (own("consilium_ledger_height"), lasting(10000, 90), lasting(10000, 90)),
        ),
        80,
        "The grade of 3B counts for 50k more blocks: propose it anew with evidence.",
        peer="3B",
    ),
]

SHARING = [
    case(
        "ConsiliumWrongFragments",
        ((own("consilium_reencryption_wrong_fragments_total"), "0+1x30", lasting(3)),),
        20,
        "1A has refused 15 wrong fragments in 15 minutes; the owner's client or somebody in its name makes them.",
    ),
    case(
        "ConsiliumReleasesRefused",
        (
            (own("consilium_rpc_refused_total", 'grpc_method="ReencryptCapsule",reason="REVOKED"'), "0+2x30", "0+1x30"),
            (own("consilium_rpc_refused_total", 'grpc_method="ReencryptCapsule",reason="STALE_TIP"'), "0+9x30", "0+9x30"),
        ),
        20,
        "1A has refused 30 releases in 15 minutes for REVOKED.",
        reason="REVOKED",
    ),
    case(
        "ConsiliumReceiptsUnsettled",
        ((own("consilium_reencryption_receipts_unsettled"), lasting(4, 60), "4x20 0x40"),),
        50,
        "1A has 4 receipts that are not on the ledger; while blocks go on, consensus does not take them.",
    ),
    case(
        "ConsiliumStorageDamaged",
        ((own("consilium_storage_damaged_chunks_total"), "0x30 2x60", lasting(2, 90)),),
        60,
        "The scrub of 1A has found 2 damaged chunks within an hour; look at the disk.",
    ),
    case(
        "ConsiliumStorageNotHealed",
        (
            (own("consilium_storage_unhealed_chunks"), lasting(2, 120), lasting(0, 120)),
            (own("consilium_storage_damaged_chunks_total"), lasting(3, 120), lasting(3, 120)),
            (own("consilium_storage_healed_chunks_total"), lasting(1, 120), lasting(1, 120)),
        ),
        90,
        "2 chunks at 1A are still damaged.",
    ),
    case(
        "ConsiliumCopiesMissing",
        ((own("consilium_storage_copies_missing"), lasting(5, 120), lasting(0, 120)),),
        90,
        "5 copies of 1A are missing at other members.",
    ),
    case(
        "ConsiliumScrubOverdue",
        # A service that was started anew has read nothing through yet.
        (
            (own("consilium_storage_scrub_timestamp_seconds"), lasting(60, 5 * DAY), lasting(0, 5 * DAY)),
            (own("process_start_time_seconds", 'component="storage"'), "0+60x7200", "0+60x7200"),
        ),
        4 * DAY,
        "The last scrub of 1A ended 3d 23h 59m 0s ago, or its first has not ended since then.",
    ),
]

SHARING += [
    case(
        "ConsiliumBackupOverdue",
        ((own("consilium_storage_backup_timestamp_seconds"), lasting(300, 4 * DAY), lasting(0, 4 * DAY)),),
        3 * DAY,
        f"The last backup of 1A began at {SINCE}.",
    ),
    case(
        "ConsiliumDatabaseCertificateExpiring",
        (
            (
                own("consilium_storage_database_certificate_expiry_timestamp_seconds"),
                lasting(3 * 86_400, 120),
                lasting(10 * 86_400, 120),
            ),
        ),
        120,
        "Storage of 1A is let into its database for 2d 22h 0m 0s more; nobody renews this certificate but you.",
    ),
]

PLATFORM = [
    case(
        "ConsiliumTargetDown",
        (
            (own("up", 'component="ledger"'), lasting(0), lasting(1)),
            *((own("up", f'component="{each}"'), lasting(1), lasting(1)) for each in SERVICES if each != "ledger"),
        ),
        10,
        "ledger in hospital-1a has not answered for five minutes, or Prometheus finds no pod of it.",
        component="ledger",
    ),
    case(
        "ConsiliumVolumeFilling",
        (
            (own("consilium_volume_free_bytes", 'component="ledger"'), lasting(9), lasting(10)),
            (own("consilium_volume_size_bytes", 'component="ledger"'), lasting(100), lasting(100)),
        ),
        20,
        "9% of the volume of ledger at 1A are free.",
        component="ledger",
    ),
    case(
        "ConsiliumCertificateExpiring",
        (
            (
                own("consilium_certificate_expiry_timestamp_seconds", 'component="ledger",purpose="server"'),
                lasting(3 * 86_400, 120),
                lasting(10 * 86_400, 120),
            ),
        ),
        120,
        "The certificate of ledger at 1A ends in 2d 22h 0m 0s; identity renews it long before, so look at identity.",
        component="ledger",
        purpose="server",
    ),
    case(
        "ConsiliumCertificateExpiringCritical",
        (
            (
                own("consilium_certificate_expiry_timestamp_seconds", 'component="ledger",purpose="server"'),
                lasting(43_200),
                lasting(2 * 86_400),
            ),
        ),
        10,
        "The certificate of ledger at 1A ends in 11h 50m 0s; then nobody talks to it any more.",
        component="ledger",
        purpose="server",
    ),
    case(
        "ConsiliumAuthorityExpiring",
        (
            (
                own("consilium_authority_expiry_timestamp_seconds", 'component="ledger",peer="3B"'),
                lasting(10 * 86_400, 120),
                lasting(60 * 86_400, 120),
            ),
        ),
        120,
        "The newest authority of 3B known to 1A ends in 9d 22h 0m 0s.",
        peer="3B",
    ),
    case(
        "ConsiliumCredentialExpiring",
        (
            (
                own("consilium_identity_credential_expiry_timestamp_seconds", 'component="identity",kind="staff"'),
                lasting(86_400, 120),
                lasting(3 * 86_400, 120),
            ),
            (
                own("consilium_identity_credential_expiry_timestamp_seconds", 'component="identity",kind="patient"'),
                lasting(43_200, 120),
                lasting(43_200, 120),
            ),
        ),
        120,
        "A credential of kind staff at 1A ends in 22h 0m 0s; its holder has it renewed, or you revoke it.",
        component="identity",
        kind="staff",
    ),
    case(
        "ConsiliumEventLoopLag",
        (
            (own("consilium_event_loop_lag_seconds_bucket", 'component="ledger",le="0.5"'), "0+0x60", "0+100x60"),
            (own("consilium_event_loop_lag_seconds_bucket", 'component="ledger",le="1.0"'), "0+100x60", "0+100x60"),
            (own("consilium_event_loop_lag_seconds_bucket", 'component="ledger",le="+Inf"'), "0+100x60", "0+100x60"),
        ),
        40,
        "The event loop of ledger at 1A comes 995ms late.",
        component="ledger",
    ),
]

HEIGHTS = "consilium_ledger_height"
ALLIANCE = [
    case(
        "ConsiliumAllianceStalled",
        ((own("consilium_consensus_block_timestamp_seconds"), lasting(60), "0+60x30"), (MISSING, lasting(1), lasting(1))),
        10,
        "The newest block anywhere is 9m 0s old. Missing: 3B (for 1 members) -"
        " ask their operators whether consensus and ledger run there.",
        home="",
    ),
    case(
        "ConsiliumDelegateGone",
        (
            (MISSING, lasting(1), lasting(1)),
            (other("consilium_consensus_delegate_missing", 'peer="3B"'), lasting(1), lasting(0)),
            (HEARD, lasting(300), lasting(300)),
        ),
        5,
        f"2 members do not hear of 3B; it was last heard of {SINCE}."
        " Ask its operators whether its consensus service and its ledger run.",
        home="",
        peer="3B",
    ),
    case(
        "ConsiliumMemberFallsBehind",
        ((own(HEIGHTS), lasting(100), lasting(100)), (other(HEIGHTS), lasting(79), lasting(80))),
        20,
        "2A stands at height 79, more than 20 below the others.",
        home="2A",
    ),
    case(
        "ConsiliumEpochsApart",
        (
            (own("consilium_consensus_epoch"), lasting(4), lasting(4)),
            (other("consilium_consensus_epoch"), lasting(3), lasting(4)),
        ),
        20,
        "Between the first and the last member lie 1 epochs: who is behind has not seen the handover.",
        home="",
    ),
    case(
        "ConsiliumCommitteeCapturable",
        ((own("consilium_election_capture_ratio", 'cap="stratum"'), lasting(1.5), lasting(1)),),
        20,
        "The most seats of one stratum are 1.5 times what may be faulty: together they could stop or break the alliance.",
        home="",
        cap="stratum",
    ),
    case(
        "ConsiliumQuorumUnlikely",
        ((own("consilium_election_quorum_chance"), lasting(0.5), lasting(0.995)),),
        20,
        "A quorum is there with 50%, below 99%: see whose score falls.",
        home="",
    ),
    case(
        "ConsiliumMixedVersions",
        (
            (own("consilium_build_info", 'version="1",commit="a"'), lasting(1, 2 * DAY), lasting(1, 2 * DAY)),
            (other("consilium_build_info", 'version="2",commit="b"'), lasting(1, 2 * DAY), lasting(1, 10)),
        ),
        DAY + HOUR,
        "2 builds run side by side: an upgrade has not come to its end.",
        home="",
    ),
]

CASES = [*BUDGETS, *CONSENSUS, *LEDGER, *SHARING, *PLATFORM, *ALLIANCE]
