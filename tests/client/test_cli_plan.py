"""`consilium plan` as people and machines call it: the facts, the exit codes, and one sentence for whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.terminal import Terminal

SCENARIOS = Path(__file__).parents[2] / "scenarios"
CHINA, TEN, COUNTY = (SCENARIOS / f"{name}.yaml" for name in ("china-2019", "ten-hospitals", "county-not-met"))


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A machine without an alliance: no settings, no keystore."""
    return Terminal(tmp_path / "machine", tmp_path / "none.toml")


def test_facts_of_the_usual_committee(terminal: Terminal) -> None:
    facts = terminal.run("plan", CHINA, "--json").facts
    assert (facts["committee"], facts["f"], facts["quorum"], facts["messages_per_block"]) == (13, 4, 9, 312)
    assert facts["seats"] == {"S1": 4, "S2": 3, "S3": 4, "S4": 2}
    assert (round(facts["p_unsafe"], 6), round(facts["p_no_quorum"], 5)) == (2.4e-5, 1.7e-4)
    assert facts["target"] is facts["target_met"] is None
    assert (len(facts["weights"]), sum(each["p_seated"] for each in facts["weights"])) == (100, pytest.approx(13))
    assert len(facts["p_commit_within_views"]) == 5
    assert facts["worst_stratum_outage"]["where"] == "S1"
    assert "simulation" not in facts


def test_target_picks_the_smallest(terminal: Terminal) -> None:
    met = terminal.run("plan", CHINA, "--target", ".999", "--json")
    assert (met.code, met.facts["committee"], met.facts["target_met"]) == (0, 10, True)
    named = terminal.run("plan", CHINA, "--target", ".999", "--committee", "7", "--json")
    assert (named.code, named.facts["committee"], named.facts["target_met"]) == (1, 7, False)


def test_target_not_met_is_said_and_ends_with_1(terminal: Terminal) -> None:
    said = terminal.run("plan", COUNTY, "--target", ".99")
    assert said.code == 1
    assert "0.99 is NOT met" in said.out
    assert "Beware: No quorum with probability" in said.out
    assert terminal.run("plan", COUNTY).code == 0


def test_people_see_every_part(terminal: Terminal) -> None:
    out = terminal.run("plan", TEN, "--target", ".99", "--simulate", "100").out
    for words in ("Strata", "Weights", "smallest coalition to fork", "coalition of 15 %", "a quorum in every one", "share"):
        assert words in out
    assert "0.99 is met: 7 delegates" in out
    assert "Calculation and production election agree." in out


@pytest.mark.parametrize("words", [("--simulate", "50"), ("--simulate=50",)])
def test_simulate_takes_a_number(terminal: Terminal, words: tuple[str, ...]) -> None:
    simulation = terminal.run("plan", *words, TEN, "--committee", "4", "--json").facts["simulation"]
    assert simulation["no_quorum"]["terms"] == 50
    assert simulation["agrees"] is (simulation["unsafe"]["agrees"] and simulation["no_quorum"]["agrees"])


def test_simulate_takes_none(terminal: Terminal) -> None:
    simulation = terminal.run("plan", "--simulate", TEN, "--committee", "4", "--json").facts["simulation"]
    assert simulation["unsafe"]["terms"] == 1_000


def test_seats_may_be_given(terminal: Terminal) -> None:
    facts = terminal.run("plan", CHINA, "--seats", "6/4/6/3", "--json").facts
    assert (facts["committee"], round(facts["p_no_quorum"], 6)) == (19, 1.2e-5)


def test_plot_is_written(terminal: Terminal, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert terminal.run("plan", TEN, "--committee", "4", "--plot", tmp_path / "odds.svg").code == 0
    assert "<svg" in (tmp_path / "odds.svg").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("nowhere.yaml",), "FILE_ERROR"),
        ((CHINA, "--committee", "3"), "BAD_COMMITTEE"),
        ((TEN, "--committee", "13"), "TOO_FEW_MEMBERS"),
        ((TEN, "--target", "1.5"), "BAD_TARGET"),
        ((TEN, "--target", "nan"), "BAD_TARGET"),
        ((TEN, "--simulate", "0"), "BAD_TERMS"),
        ((TEN, "--simulate", "-3"), "BAD_TERMS"),
        ((TEN, "--seats", "all"), "BAD_SEATS"),
        ((CHINA, "--seats", "4/3/4/2", "--committee", "7"), "BAD_SEATS"),
        ((CHINA, "--seats", "6/4/6/3", "--simulate", "5"), "NOT_ELECTED"),
        ((TEN, "--plot", "odds.pdf"), "BAD_PLOT"),
    ],
)
def test_refusals(terminal: Terminal, words: tuple[str | Path, ...], reason: str) -> None:
    said = terminal.run("plan", *words, "--json")
    assert (said.code, said.facts["error"]["reason"]) == (2, reason)
    assert said.err.count("\n") == 1


def test_bad_file_is_named_by_line_and_member(terminal: Terminal, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(TEN.read_text().replace("grade: 3B", "grade: 3D"))
    said = terminal.run("plan", bad)
    assert (said.code, said.out) == (2, "")
    assert "bad.yaml, line 14: member 'maternity': grade is '3D'" in said.err
