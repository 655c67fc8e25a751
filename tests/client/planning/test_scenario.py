"""Scenario files: what is read, and that whatever is wrong is named by line, member and field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consilium.client.planning.scenario import GRADES, SCENARIO_BYTES_MAX, parse_scenario, read_scenario
from consilium.kernel.certificates import MEMBERS_MAX
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.transactions import Grade

GOOD = """\
# who is who
source: counted by hand
shares: {S1: 39, S2: 13, S3: 36, S4: 12}
members:
  - {id: a, grade: 3S, beds: 900, visits_per_year: 700000, region: NO, owner: 7, p_malicious: 0, p_unreachable: 1e-2}
  - id: d
    grade: U
    beds: 20
    visits_per_year: 9000
    region: west
    owner: d
    p_malicious: 0.5
    p_unreachable: 1
  - {id: b, grade: 3B, beds: 700, visits_per_year: 500000, region: 西, owner: b, p_malicious: .1, p_unreachable: .2}
  - {id: c, grade: 2C, beds: 200, visits_per_year: 90000, region: e, owner: b, p_malicious: 0.1, p_unreachable: 0.2}
"""


def refusal(text: str) -> str:
    with pytest.raises(InvalidArgument) as caught:
        parse_scenario(text, "f.yaml")
    assert (caught.value.reason, caught.value.rule) == ("BAD_SCENARIO", "C6")
    assert "\n" not in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    return caught.value.sentence


def test_good_file() -> None:
    scenario = parse_scenario(GOOD, "f.yaml")
    assert (scenario.name, scenario.shares, scenario.source) == ("f.yaml", (39, 13, 36, 12), "counted by hand")
    assert [each.member_id for each in scenario.members] == ["a", "b", "c", "d"]
    first, second, _, last = scenario.members
    assert (first.grade, first.region, first.owner, first.p_unreachable) == (Grade.SPECIAL3, "NO", "7", 0.01)
    assert (second.region, second.p_malicious) == ("西", 0.1)
    assert (last.grade, last.beds, last.p_bad) == (Grade.UNGRADED, 20, 1.0)
    assert [each.stratum for each in scenario.members] == [0, 1, 2, 3]


def test_every_grade_has_a_name() -> None:
    assert sorted(GRADES.values()) == sorted(Grade)


@pytest.mark.parametrize(
    ("was", "becomes", "sentence"),
    [
        ("grade: U", "grade: 4A", "f.yaml, line 7: member 'd': grade is '4A', and must be one of 3S, 3A"),
        ("beds: 20", "beds: -1", "line 8: member 'd': beds is -1, and must be a whole number"),
        ("beds: 20", "beds: many", "line 8: member 'd': beds is 'many'"),
        ("beds: 20", "beds: 2.5", "line 8: member 'd': beds is 2.5"),
        ("    beds: 20\n", "", "line 6: member 'd': beds is missing"),
        (
            "p_malicious: 0.5",
            "p_malicious: 1.5",
            "line 12: member 'd': p_malicious is 1.5, and must be a chance from 0 to 1",
        ),
        ("p_malicious: 0.5", "p_malicious: 5%", "line 12: member 'd': p_malicious is '5%'"),
        ("p_malicious: 0.5", "p_malicious: .nan", "line 12: member 'd': p_malicious is nan"),
        ("p_malicious: 0.5", "p_malicious: true", "line 12: member 'd': p_malicious is True"),
        ("p_malicious: 0.5", "p_malicous: 0.5", "line 12: member 'd': p_malicous is no field here; there are id, grade"),
        ("p_malicious: 0.5", "p_malicious:", "line 12: member 'd': p_malicious is missing"),
        ("owner: d", "owner: [d]", "line 11: member 'd': owner must be a text"),
        ("region: west", 'region: "\\e[2J"', "line 10: member 'd': region must be a text"),
        ("id: d", "id: c", "line 15: member 'c': id 'c' stands there twice"),
        ("  - id: d", "  - name: d", "line 6: member number 2: id is missing"),
        ("S4: 12", "S5: 12", "line 3: shares: S5 is no field here; there are S1, S2, S3, S4"),
        (", S4: 12", "", "line 3: shares: S4 is missing"),
        ("S4: 12", "S4: 12.5", "line 3: shares: S4 is 12.5"),
        ("{S1: 39, S2: 13, S3: 36, S4: 12}", "{S1: 0, S2: 0, S3: 0, S4: 0}", "line 3: shares: S1 must be more than 0"),
        ("{S1: 39, S2: 13, S3: 36, S4: 12}", "[39, 13]", "line 3: shares must be a mapping"),
        ("shares:", "share:", "line 3: share is no field here; there are shares, members, source"),
        ("members:", "members: 5\nsource2:", "no field here"),
        ("region: west", "region: west\n    region: east", "line 11: found duplicate key"),
        ("grade: U", "grade: [U", "line 8: "),
    ],
)
def test_what_is_wrong_is_named(was: str, becomes: str, sentence: str) -> None:
    assert sentence in refusal(GOOD.replace(was, becomes, 1))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: the file must be a mapping"),
        ("- 1\n", "line 1: the file must be a mapping"),
        ("a: \x01", "no YAML"),
        (GOOD + "---\na: 1\n", "another document"),
        (re.sub(r"members:.*", "members: []\n", GOOD, flags=re.DOTALL), "line 4: members must be a list of 4 to 512"),
        (GOOD.replace("  - {id: c", "  - c\n  - {id: c"), "line 4: members number 4 must be a mapping"),
        (re.sub(r"members:.*", "", GOOD, flags=re.DOTALL), "members is missing"),
        ("[" * 1_200, "nesting"),
    ],
)
def test_files_of_another_kind(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


def test_too_many_members() -> None:
    one = "\n  - {id: m"
    assert f"4 to {MEMBERS_MAX} members" in refusal(
        "shares: {S1: 1, S2: 1, S3: 1, S4: 1}\nmembers:" + "}".join(one + str(n) for n in range(MEMBERS_MAX + 1)) + "}\n"
    )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"a: 1\nb: \xff\n", "line 2: the file must be UTF-8"), (b"#" * (SCENARIO_BYTES_MAX + 1), "longer than")],
)
def test_bytes_that_are_no_text(tmp_path: Path, data: bytes, sentence: str) -> None:
    (tmp_path / "f.yaml").write_bytes(data)
    with pytest.raises(InvalidArgument, match=sentence):
        read_scenario(tmp_path / "f.yaml")
