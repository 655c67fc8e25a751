"""The dashboards: one for the alliance, one for each service. Every panel answers one question, said in its sentence."""

from observability.panels import Board, Row, graph, number
from observability.service_rows import calls, process

RATE = "$__rate_interval"
PEER = "{{peer}}"
MEMBER = "{{member}}"


def _rate(metric: str, *by: str) -> str:
    """A counter's growth a second, by labels."""
    return f"sum by ({', '.join(by)}) (rate({metric}{{@}}[{RATE}]))"


def _quantile(quantile: float, metric: str, *by: str) -> str:
    """A quantile of a histogram, by labels."""
    return f"histogram_quantile({quantile}, {_rate(f'{metric}_bucket', *by, 'le')})"


_STANDING = Row(
    "Does it go on?",
    (
        number(
            "Blocks a minute",
            "How fast the alliance makes blocks; an idle chain makes one every few seconds.",
            f"60 * max(deriv(consilium_consensus_height{{@}}[{RATE}]))",
        ),
        number(
            "Age of the newest block",
            "Since the time in the newest executed block anywhere.",
            "time() - max(consilium_consensus_block_timestamp_seconds{@})",
            unit="s",
            alarming=60,
        ),
        number(
            "Delegates to spare",
            "How many more may fail before no block is made, as the member sees it that hears fewest.",
            "min(consilium_consensus_delegates_heard{@} - consilium_consensus_quorum{@})",
        ),
        number(
            "P(quorum) now",
            "How likely the sitting delegates make a quorum, by what the chain says of their conduct (C9).",
            "min(consilium_election_quorum_chance{@})",
            unit="percentunit",
        ),
        number(
            "Delegates missing",
            "How many delegates somebody misses; who they are is below.",
            "sum(max by (peer) (consilium_consensus_delegate_missing{@}))",
            alarming=1,
        ),
        number(
            "Stalled for",
            "The longest any member has waited for a block that should have come.",
            "max(consilium_consensus_stalled_seconds{@})",
            unit="s",
            alarming=1,
        ),
    ),
)

_MISSING = Row(
    "Who is missing, and since when",
    (
        graph(
            "Missing, by how many members",
            "A delegate missed by one member has a bad link; missed by several it is gone: ask its operators.",
            ("sum by (peer) (consilium_consensus_delegate_missing{@})", PEER),
        ),
        graph(
            "Not heard of for",
            "Since anybody last heard of a delegate.",
            ("time() - max by (peer) (consilium_consensus_delegate_heard_timestamp_seconds{@})", PEER),
            unit="s",
        ),
        graph(
            "Heights",
            "The last block executed, by member; whose line lags is behind.",
            ("max by (member) (consilium_ledger_height{@})", MEMBER),
        ),
    ),
)

_ELECTION = Row(
    "Election",
    (
        graph("Scores", "Conduct, 0 to 1000, as the ledger has it.", ("max by (peer) (consilium_election_score{@})", PEER)),
        graph(
            "Ranks",
            "The grade that counts now, 0 for none; it makes the stratum.",
            ("max by (peer) (consilium_election_grade{@})", PEER),
        ),
        graph("Seats", "1 for the delegates of the term.", ("max by (peer) (consilium_election_seat{@})", PEER)),
        graph(
            "Capture",
            "The most seats of one owner group or stratum over f: above 1 it could stop the alliance alone.",
            ("max by (cap) (consilium_election_capture_ratio{@})", "{{cap}}"),
        ),
        graph(
            "Caps relaxed", "Seats above the rule's caps.", ("max by (cap) (consilium_election_relaxed_seats{@})", "{{cap}}")
        ),
        graph(
            "Kept out",
            "Active members that draws pass over.",
            ("max by (reason) (consilium_election_kept_out{@})", "{{reason}}"),
        ),
    ),
)

_ORDERING = Row(
    "How fast",
    (
        graph(
            "From waiting to executed",
            "Half of the blocks, and all but one in a hundred, ordered their oldest batch in so long.",
            (_quantile(0.5, "consilium_consensus_ordering_seconds"), "half"),
            (_quantile(0.99, "consilium_consensus_ordering_seconds"), "99 in 100"),
            unit="s",
        ),
        graph(
            "Round trip by phase",
            "How long half of the blocks take from one phase to the next.",
            (_quantile(0.5, "consilium_consensus_phase_seconds", "phase"), "{{phase}}"),
            unit="s",
        ),
        graph(
            "Views left",
            "View changes a minute, by why.",
            (f"60 * {_rate('consilium_consensus_view_changes_total', 'reason')}", "{{reason}}"),
        ),
    ),
)

_SHARING = Row(
    "Sharing",
    (
        graph(
            "From revocation to deletion",
            "In how many seconds half of the grants were dead, and deleted by the last holder (S6).",
            (_quantile(0.5, "consilium_ledger_revocation_seconds", "until"), "{{until}}"),
            unit="s",
        ),
        graph(
            "Revocations open",
            "Revoked grants that not all holders have deleted.",
            ("max by (member) (consilium_ledger_revocations_open{@})", MEMBER),
        ),
        graph(
            "Fragments",
            "Released, deleted and wrong ones offered, a minute.",
            ("60 * sum(rate(consilium_reencryption_released_total{@}[$__rate_interval]))", "released"),
            ("60 * sum(rate(consilium_reencryption_deleted_total{@}[$__rate_interval]))", "deleted"),
            ("60 * sum(rate(consilium_reencryption_wrong_fragments_total{@}[$__rate_interval]))", "wrong"),
        ),
    ),
)

_MEMBERS = Row(
    "Members and their papers",
    (
        graph(
            "Members", "Members as the ledger knows them.", ("max by (state) (consilium_identity_members{@})", "{{state}}")
        ),
        graph(
            "Certificates end in",
            "The time left to the first certificate of a member that ends.",
            ("min by (member) (consilium_certificate_expiry_timestamp_seconds{@}) - time()", MEMBER),
            unit="s",
        ),
        graph(
            "Authorities end in",
            "The time left to the newest authority of each member, as the worst informed member knows it.",
            ("min by (peer) (consilium_authority_expiry_timestamp_seconds{@}) - time()", PEER),
            unit="s",
        ),
        graph(
            "Builds",
            "How many services run which build.",
            ("count by (version, commit) (consilium_build_info{@})", "{{version}} {{commit}}"),
        ),
        graph(
            "Recoveries", "Epochs that a recovery has ended (C10).", ("max(consilium_ledger_recoveries{@})", "recoveries")
        ),
        graph(
            "Calls failed",
            "The share of calls that failed by a service's fault.",
            ("max by (component) (alliance_namespace_component:grpc_server_handled:error_ratio_5m{@})", "{{component}}"),
            unit="percentunit",
        ),
    ),
)

ALLIANCE = Board(
    "alliance",
    "Consilium: the alliance",
    "Whether blocks go on, who is missing since when, how seats are spread, how fast things are.",
    (_STANDING, _MISSING, _ORDERING, _ELECTION, _SHARING, _MEMBERS),
)

CONSENSUS = Board(
    "consensus",
    "Consilium: consensus",
    "A member's replica: what it does, whom it misses, what waits, what its links carry.",
    (
        Row(
            "The replica",
            (
                graph("View", "The present view, by member.", ("consilium_consensus_view{@}", MEMBER)),
                graph("Height", "The last block executed, by member.", ("consilium_consensus_height{@}", MEMBER)),
                graph(
                    "State",
                    "What the replica is doing.",
                    ("max by (member, state) (consilium_consensus_state{@}) == 1", "{{member}} {{state}}"),
                ),
                graph(
                    "Primary",
                    "Whom members take for the primary.",
                    ("count by (peer) (consilium_consensus_primary{@})", PEER),
                ),
                graph(
                    "Missing delegates",
                    "1 where a member misses a delegate.",
                    ("consilium_consensus_delegate_missing{@}", "{{peer}}, seen from {{member}}"),
                ),
                graph("Links", "Streams that are open.", ("consilium_consensus_links_connected{@}", MEMBER)),
            ),
        ),
        Row(
            "Backlog and pace",
            (
                *_ORDERING.panels,
                graph("Waiting", "Transactions not ordered yet.", ("consilium_consensus_waiting_transactions{@}", MEMBER)),
                graph(
                    "Oldest waiting",
                    "How long the oldest batch has waited.",
                    ("consilium_consensus_waiting_oldest_seconds{@}", MEMBER),
                    unit="s",
                ),
                graph(
                    "Slow primary",
                    "Complaints of the present primary, and views left for it in this epoch (C2).",
                    ("max by (member) (consilium_consensus_slow_primary_complaints{@})", "complaints, {{member}}"),
                    ("max by (member) (consilium_consensus_slow_primary_views_left{@})", "views left, {{member}}"),
                ),
            ),
        ),
        Row(
            "Messages and syncs",
            (
                graph(
                    "Messages",
                    "On links, a second.",
                    (_rate("consilium_consensus_messages_total", "direction"), "{{direction}}"),
                ),
                graph("Said", "Messages by kind, a second.", (_rate("consilium_consensus_said_total", "kind"), "{{kind}}")),
                graph(
                    "Refused messages",
                    "What was dropped, by the member it came from and why.",
                    (f"{_rate('consilium_consensus_refused_total', 'peer', 'reason')}", "{{peer}} {{reason}}"),
                ),
                graph(
                    "Dropped",
                    "Lost to full links, a second.",
                    (_rate("consilium_consensus_envelopes_dropped_total", "member"), MEMBER),
                ),
                graph("Syncs", "Of the vote log, a second.", (_rate("consilium_consensus_syncs_total", "member"), MEMBER)),
                graph(
                    "Reveals left",
                    "For how many terms the chain of reveals lasts.",
                    ("consilium_consensus_reveals_left{@}", MEMBER),
                ),
            ),
        ),
        calls("consensus"),
        process("consensus"),
    ),
)

LEDGER = Board(
    "ledger",
    "Consilium: ledger",
    "A member's chain: how high, how fresh, what was decided, and how revocations go.",
    (
        Row(
            "The chain",
            (
                graph(
                    "Heights",
                    "Executed and final, by member.",
                    ("consilium_ledger_height{@}", "executed, {{member}}"),
                    ("consilium_ledger_certified_height{@}", "final, {{member}}"),
                ),
                graph("Behind", "Blocks to what other ledgers show.", ("consilium_ledger_behind_blocks{@}", MEMBER)),
                graph(
                    "Age of the tip",
                    "Since the newest certificate came; past T_fresh nothing is released (S5).",
                    ("consilium_ledger_tip_age_seconds{@}", MEMBER),
                    unit="s",
                ),
                graph(
                    "Outcomes",
                    "Transactions a second, by how they ended: the eight most frequent.",
                    (f"topk(8, {_rate('consilium_ledger_transactions_total', 'code')})", "{{code}}"),
                ),
                graph("Blocks", "Kept, a second.", (_rate("consilium_ledger_blocks_total", "member"), MEMBER)),
                graph("Syncs", "Of the block store, a second.", (_rate("consilium_ledger_syncs_total", "member"), MEMBER)),
            ),
        ),
        Row(
            "Revocations and upgrades",
            (
                *_SHARING.panels[:2],
                graph(
                    "Oldest revocation open",
                    "How old the oldest revocation is that not all holders have deleted.",
                    ("max by (member) (consilium_ledger_revocation_oldest_seconds{@})", MEMBER),
                    unit="s",
                ),
                graph("Banned", "Members whose blocks did not hold.", ("sum by (peer) (consilium_ledger_banned{@})", PEER)),
                graph(
                    "Upgrade at",
                    "Where the next version begins, 0 for none.",
                    ("max by (member) (consilium_ledger_upgrade_height{@})", MEMBER),
                ),
            ),
        ),
        calls("ledger"),
        process("ledger"),
    ),
)

STORAGE = Board(
    "storage",
    "Consilium: storage",
    "A member's ciphertext: what is kept, what is damaged and healed, whether the copies are there.",
    (
        Row(
            "What is kept",
            (
                graph("Objects", "Complete ones, by member.", ("consilium_storage_objects{@}", MEMBER)),
                graph("Unfinished", "Puts that are under way.", ("consilium_storage_staged_puts{@}", MEMBER)),
                graph("Orphans", "Objects that no record names.", ("consilium_storage_orphans{@}", MEMBER)),
                graph(
                    "Erased",
                    "Objects destroyed, a minute.",
                    (f"60 * {_rate('consilium_storage_erased_objects_total', 'member')}", MEMBER),
                ),
            ),
        ),
        Row(
            "Whether it is whole",
            (
                graph("Read back", "Chunks a second.", (_rate("consilium_storage_scrubbed_chunks_total", "member"), MEMBER)),
                graph(
                    "Damaged and not healed",
                    "Chunks that the last round found damaged and could not have again.",
                    ("consilium_storage_unhealed_chunks{@}", MEMBER),
                ),
                graph("Copies missing", "Due at others and not there.", ("consilium_storage_copies_missing{@}", MEMBER)),
                graph(
                    "Copies restored",
                    "Brought to others anew, a minute.",
                    (f"60 * {_rate('consilium_storage_copies_restored_total', 'member')}", MEMBER),
                ),
                graph(
                    "Last backup",
                    "When the last backup began; 1970 for none yet.",
                    ("1000 * consilium_storage_backup_timestamp_seconds{@}", MEMBER),
                    unit="dateTimeFromNow",
                ),
                graph(
                    "Last scrub",
                    "Since the last whole round ended.",
                    ("time() - consilium_storage_scrub_timestamp_seconds{@}", MEMBER),
                    unit="s",
                ),
            ),
        ),
        calls("storage"),
        process("storage"),
    ),
)

REENCRYPTION = Board(
    "reencryption",
    "Consilium: re-encryption",
    "A member as a holder: what it holds, releases, refuses and deletes, and whether its receipts become final.",
    (
        Row(
            "Fragments",
            (
                graph("Held", "Key fragments, by member.", ("consilium_reencryption_fragments{@}", MEMBER)),
                _SHARING.panels[2],
                graph(
                    "Releases refused",
                    "A minute, by why.",
                    (
                        (
                            '60 * sum by (reason) (rate(consilium_rpc_refused_total{@, grpc_method="ReencryptCapsule"}'
                            f"[{RATE}]))"
                        ),
                        "{{reason}}",
                    ),
                ),
                graph(
                    "Receipts not final",
                    "Signed, and not on the ledger yet.",
                    ("consilium_reencryption_receipts_unsettled{@}", MEMBER),
                ),
                graph("Jobs", "With the workers.", ("consilium_reencryption_jobs{@}", MEMBER)),
            ),
        ),
        calls("reencryption"),
        process("reencryption"),
    ),
)

IDENTITY = Board(
    "identity",
    "Consilium: identity",
    "A member's papers: whom it trusts, what it refuses, and when its authority ends.",
    (
        Row(
            "Papers",
            (
                graph("Trusted", "Members with an authority.", ("consilium_identity_trusted_members{@}", MEMBER)),
                graph("Refused", "Certificates revoked that have not ended.", ("consilium_identity_revoked{@}", MEMBER)),
                graph(
                    "Own authority ends in",
                    "The time left to the newest.",
                    ("consilium_identity_authority_expiry_timestamp_seconds{@} - time()", MEMBER),
                    unit="s",
                ),
                graph(
                    "Credentials end in",
                    "The time left to the first credential of a kind that was not renewed; a patient's rings nobody.",
                    (
                        "consilium_identity_credential_expiry_timestamp_seconds{@} - time()",
                        "{{kind}} of {{member}}",
                    ),
                    unit="s",
                ),
                graph(
                    "Members",
                    "By state, as identity knows them.",
                    ("max by (state) (consilium_identity_members{@})", "{{state}}"),
                ),
            ),
        ),
        calls("identity"),
        process("identity"),
    ),
)

BOARDS = (ALLIANCE, CONSENSUS, LEDGER, STORAGE, REENCRYPTION, IDENTITY)
