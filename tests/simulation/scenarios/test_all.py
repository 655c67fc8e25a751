"""R1 to R15, failures that have happened to others: each has a deterministic schedule here, by its number, and none is lost.

Where the subject is not ordering the test stands beside what it is about; its docstring says the number. This is the list.
"""

from __future__ import annotations

import ast

import pytest

from tests.house.source import ROOT

SCENARIOS = {
    "R1": [
        ("consensus/test_dbft_deadlock.py", "test_the_schedule_that_locks_dbft_completes_here"),
        ("consensus/test_replica_rules.py", "test_a_committed_block_survives_every_view_change"),
    ],
    "R2": [("consensus/test_view_change.py", "test_lagging_low_watermarks_do_not_matter")],
    "R3": [
        ("consensus/test_slow_primary.py", "test_a_primary_that_stays_below_the_time_out_is_replaced"),
        ("simulation/scenarios/test_runs.py", "test_a_slow_primary_costs_less_than_half_the_rate"),
    ],
    "R4": [("consensus/test_batches.py", "test_an_offer_must_be_its_members_own")],
    "R5": [
        ("consensus/test_paper_views.py", "test_time_out_doubles_up_to_a_cap"),
        ("consensus/test_paper_views.py", "test_f_plus_1_calls_for_later_views_are_joined_at_the_smallest"),
    ],
    "R6": [
        ("consensus/test_evidence.py", "test_votes_outside_the_watermarks_are_not_kept"),
        ("simulation/scenarios/test_runs.py", "test_floods_of_far_views_and_heights_cost_nothing"),
    ],
    "R7": [
        ("ledger/test_sync.py", "test_a_liar_is_banned_for_good"),
        ("ledger/test_sync.py", "test_a_tip_that_was_shown_earlier_and_comes_later_changes_nothing"),
        ("simulation/scenarios/test_runs.py", "test_a_member_without_a_ledger_syncs_past_a_liar"),
    ],
    "R8": [("simulation/test_later_checkers.py", "test_reads")],
    "R9": [
        ("consensus/test_replica_rules.py", "test_a_primary_that_censors_one_batch_is_replaced"),
        ("consensus/test_replica_rules.py", "test_an_idle_chain_beats_once_an_interval"),
    ],
    "R10": [("ledger/test_offences.py", "test_nobody_is_framed")],
    "R11": [
        ("consensus/test_kept_word.py", "test_a_lower_incarnation_is_refused"),
        ("simulation/scenarios/test_runs.py", "test_a_restored_backup_is_refused_and_then_silent"),
    ],
    "R12": [
        ("kernel/test_apportionment.py", "test_c6_an_owner_group_at_its_cap_takes_no_seat"),
        ("ledger/test_capture.py", "test_a_coalition_that_votes_for_itself_wins_hardly_a_seat"),
    ],
    "R13": [("kernel/test_opening.py", "test_a_block_holds_exactly_the_batches_its_header_orders")],
    "R14": [("kernel/test_light_client.py", "test_a_retired_committees_keys_say_nothing_after_its_handover")],
    "R15": [("kernel/test_umbral.py", "test_verification_is_never_skipped")],
}
"""Where each stands: file below tests/, and test."""


def test_none_is_missing() -> None:
    assert list(SCENARIOS) == [f"R{number}" for number in range(1, 16)]


@pytest.mark.parametrize(("number", "path", "name"), [(key, *each) for key, where in SCENARIOS.items() for each in where])
def test_each_stands_where_the_list_says_and_bears_its_number(number: str, path: str, name: str) -> None:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    found = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == name]
    assert [number in (ast.get_docstring(each) or "").replace(":", " ").replace(",", " ").split() for each in found] == [
        True
    ]
