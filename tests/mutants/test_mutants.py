"""The runner itself: what is out of form or does not fit is refused, a bug is noticed, and what harms nothing is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.__main__ import OWN, ROOT, main, try_mutant
from tests.mutants.mutant import BadMutant, Change, Mutant, apply_mutant, copy_services, read_mutant, read_mutants
from tests.mutants.score import Row, verdict
from tests.mutants.trial import Trial
from tests.mutants.units import UNIT_TESTS, unit_tests_of

FILE = "consilium/consensus/core/view_changing.py"
GOOD = f"""
stands_for = "C2"
checkers = ["S6"]
[[change]]
file = "{FILE}"
before = "state.attempts += 1"
after = "state.attempts += 2"
"""
HIDES = Change(FILE, "if height > floor)\n", "if height > floor + 10**6)\n")
HARMLESS = Change(FILE, "    state.attempts += 1\n", "    state.attempts = state.attempts + 1\n")
RAISES = Change(FILE, "    state.attempts += 1\n", "    assert state.attempts < 0\n")
STARTS_NOT = Change("consilium/kernel/chain.py", "GENESIS_HEIGHT = 0\n", "GENESIS_HEIGHT = 1 // 0\n")


def mutant(*changes: Change, name: str = "planted") -> Mutant:
    return Mutant(name, "C2", ("S6",), changes)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ('"C2"', "C2", "is not TOML"),
        ("stands_for", "stand_for", "lacks"),
        ('["S6"]', '["S6"]\nspeed = 1', "too many"),
        ('["S6"]', "[]", "at least one checker"),
        ('["S6"]', '["S6"]\nseeds = 0', "caps itself at 0 seeds"),
        ('["S6"]', '["S6"]\nseeds = "1"', "takes int"),
        ("[[change]]", "[change]", "takes list"),
        ("state.attempts += 2", "state.attempts += 1", "another text after"),
    ],
)
def test_what_is_out_of_form_is_refused_in_a_sentence(tmp_path: Path, before: str, after: str, sentence: str) -> None:
    (tmp_path / "odd.toml").write_text(GOOD.replace(before, after, 1))
    with pytest.raises(BadMutant, match="odd.*" + sentence):
        read_mutants(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadMutant, match="holds no mutants"):
        read_mutants(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (Change(FILE, "no such text", ""), "stands 0 times"),
        (Change(FILE, "state.view", "state.sight"), "times in .*, not once"),
        (Change("consilium/nowhere.py", "a", "b"), "there is no file"),
        (Change("../pyproject.toml", "[project]", ""), "there is no file"),
        (Change(FILE, "    state.attempts += 1\n", "    state.attempts +=\n"), "is no Python"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: Change, sentence: str) -> None:
    services = tmp_path / "services"
    (services / FILE).parent.mkdir(parents=True)
    (services / FILE).write_bytes((ROOT / "services" / FILE).read_bytes())
    with pytest.raises(BadMutant, match="planted: .*" + sentence):
        apply_mutant(mutant(change), services)


def test_one_that_does_not_fit_stops_all_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "odd.toml").write_text(GOOD.replace("attempts += 1", "no such text"))
    assert main(["--folder", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("odd: its text before stands 0 times")


def test_the_change_is_made_in_the_copy_alone(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    services = copy_services(ROOT / "services", tmp_path)
    apply_mutant(read_mutant(tmp_path / "good.toml"), services)
    assert "state.attempts += 2" in (services / FILE).read_text()
    assert "state.attempts += 2" not in (ROOT / "services" / FILE).read_text()


def test_own_mutants_fit_the_code_as_it_is(tmp_path: Path) -> None:
    """At least 40, of them 15 from bugs that were published (issue numbers, CVEs, papers, R1 to R15)."""
    mutants = read_mutants(OWN)
    services = copy_services(ROOT / "services", tmp_path)
    untouched = {each.file: (services / each.file).read_text() for one in mutants for each in one.changes}
    for one in mutants:
        apply_mutant(one, services)
        for each in one.changes:
            (services / each.file).write_text(untouched[each.file])
    assert len(mutants) >= 40
    assert sum(not one.stands_for.startswith(tuple("abcdefghijklmnopqrstuvwxyz")) for one in mutants) >= 15


@pytest.mark.slow
def test_a_planted_bug_is_killed_by_a_checker() -> None:
    row = try_mutant(mutant(HIDES), 20)
    assert row.is_killed
    assert row.is_expected
    assert row.trial.checker == "S6 no amnesia"


@pytest.mark.slow
def test_a_harmless_change_survives() -> None:
    row = try_mutant(mutant(HARMLESS), 3)
    assert not row.is_killed
    assert (row.trial.seeds, row.trial.raised) == (3, 0)


@pytest.mark.slow
def test_an_exception_is_no_kill() -> None:
    row = try_mutant(mutant(RAISES), 3)
    assert not row.is_killed
    assert row.trial.raised > 0
    assert "raised, which is no kill: AssertionError" in str(row)


@pytest.mark.slow
def test_what_does_not_start_is_no_kill() -> None:
    row = try_mutant(mutant(STARTS_NOT), 1)
    assert not row.is_killed
    assert row.trouble.startswith("It does not run: ZeroDivisionError")


@pytest.mark.slow
def test_a_survivor_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harmless = GOOD.replace("attempts += 2", "attempts = state.attempts + 1")
    (tmp_path / "harmless.toml").write_text(harmless)
    assert main(["--folder", str(tmp_path), "--seeds", "1"]) == 1
    printed = capsys.readouterr().out
    assert "1 mutants, at most 1 seeds each" in printed
    assert "left alive: harmless" in printed


def test_the_verdict_counts_kills_by_name_only() -> None:
    rows = [
        Row(mutant(HIDES, name="a"), Trial("S6 no amnesia", "", 3), 9),
        Row(mutant(HIDES, name="b"), Trial("S1 agreement", "", 6, 2), 9, noticed="kernel/test_x.py::test_y"),
        Row(mutant(HIDES, name="c"), Trial(seeds=9, raised=9, last_words="AssertionError"), 9),
    ]
    score = "score: 2/3 killed by a checker, 1 of them passed by all unit tests"
    assert verdict(rows) == [score, "seeds to kill: median 4.5, most 6", "left alive: c"]
    assert "expected: S6" not in str(rows[0])
    assert "expected: S6" in str(rows[1])
    assert "unit tests notice it: kernel/test_x.py::test_y" in str(rows[1])
    assert "only raised" in str(rows[2])


def test_a_unit_test_is_asked_only_where_it_loads_what_was_changed() -> None:
    """Else most of a run went into tests that cannot notice: half a minute for each mutant."""
    assert unit_tests_of(["consilium/kernel/merkle.py", "consilium/consensus/core/pool.py"], ROOT) == list(UNIT_TESTS)
    assert {Path(each).parent.name for each in unit_tests_of(["consilium/consensus/core/pool.py"], ROOT)} == {"consensus"}
    assert {Path(each).name for each in unit_tests_of(["consilium/ledger/core/sync.py"], ROOT)} >= {
        "test_registration.py",
        "test_opening.py",
    }
    assert unit_tests_of(["consilium/reencryption/core/release.py"], ROOT) == []
