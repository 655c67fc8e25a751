"""A scenario file: who the members are, how likely each is to fail, what shares the seats follow (election.md section 3).

YAML, because people write it by hand with comments on where their numbers come from; read by ruamel.yaml, which keeps the
line of every entry, refuses a key given twice, and takes `NO` for text. Whatever is wrong is refused in one sentence that
names the line, the member and the field: a typing error in a chance would else be a wrong answer that looks right.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from consilium.kernel.apportionment import STRATA
from consilium.kernel.certificates import MEMBERS_MAX
from consilium.kernel.election import COMMITTEE_MIN, Candidate, stratum_of
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.hashing import sha256
from consilium.kernel.transactions import Grade

SCENARIO_BYTES_MAX = 4 * 1024 * 1024
TEXT_MAX = 200
COUNT_MAX = 10**12
SHARE_MAX = 1_000_000
STRATUM_NAMES = tuple(f"S{number}" for number in range(1, STRATA + 1))
GRADES: Mapping[str, Grade] = {
    "3S": Grade.SPECIAL3,
    "3A": Grade.A3,
    "3B": Grade.B3,
    "3C": Grade.C3,
    "2A": Grade.A2,
    "2B": Grade.B2,
    "2C": Grade.C2,
    "1A": Grade.A1,
    "1B": Grade.B1,
    "1C": Grade.C1,
    "U": Grade.UNGRADED,
}
"""The grades as scenario files write them."""
GRADE_NAMES = {grade: name for name, grade in GRADES.items()}

_FILE_KEYS = ("shares", "members", "source")
_MEMBER_KEYS = ("id", "grade", "beds", "visits_per_year", "region", "owner", "p_malicious", "p_unreachable")


@dataclass(frozen=True, slots=True)
class PlannedMember:
    """A hospital as the scenario has it; `p_malicious` for a whole term, `p_unreachable` at any moment of it."""

    member_id: str
    grade: Grade
    beds: int
    visits_per_year: int
    region: str
    owner: str
    p_malicious: float
    p_unreachable: float

    @property
    def stratum(self) -> int:
        """The stratum's index, 0 to 3."""
        return stratum_of(self.grade) - 1

    @property
    def p_bad(self) -> float:
        """The chance that it does not help: malicious, or good and unreachable."""
        return self.p_malicious + (1 - self.p_malicious) * self.p_unreachable

    @property
    def candidate(self) -> Candidate:
        """The member as the production election sees one that has just joined: no votes, the score it starts with."""
        return Candidate(self.member_id, self.owner, self.grade, sha256(self.member_id.encode()))


@dataclass(frozen=True, slots=True)
class Scenario:
    """Members sorted by id, the strata's resource shares in any unit, and where those come from."""

    name: str
    shares: tuple[int, ...]
    source: str
    members: tuple[PlannedMember, ...]

    def in_stratum(self, stratum: int) -> list[PlannedMember]:
        """The members of one stratum, by its index."""
        return [member for member in self.members if member.stratum == stratum]


def read_scenario(path: Path) -> Scenario:
    """A scenario out of its file. Raises InvalidArgument: BAD_SCENARIO; may raise OSError."""
    with path.open("rb") as file:
        data = file.read(SCENARIO_BYTES_MAX + 1)
    if len(data) > SCENARIO_BYTES_MAX:
        raise InvalidArgument("BAD_SCENARIO", f"{path} is longer than {SCENARIO_BYTES_MAX} bytes; split the members.", "C6")
    return parse_scenario(_text(data, path.name), path.name)


def parse_scenario(text: str, name: str) -> Scenario:
    """A scenario out of its text; `name` is what refusals call it. Raises InvalidArgument: BAD_SCENARIO."""
    entry = _Entry(name, _loaded(text, name), "")
    entry.only(_FILE_KEYS)
    shares = _Entry(name, entry.mapping("shares"), "shares")
    shares.only(STRATUM_NAMES)
    parts = tuple(shares.count(each, SHARE_MAX) for each in STRATUM_NAMES)
    if not any(parts):
        raise shares.wrong("S1", "must be more than 0 in one stratum at least")
    return Scenario(name, parts, entry.text("source", ""), _members(entry))


def _members(entry: "_Entry") -> tuple[PlannedMember, ...]:
    listed = entry.required("members")
    if not isinstance(listed, list) or not COMMITTEE_MIN <= len(listed) <= MEMBERS_MAX:
        raise entry.wrong("members", f"must be a list of {COMMITTEE_MIN} to {MEMBERS_MAX} members")
    members: dict[str, PlannedMember] = {}
    for place, each in enumerate(listed, start=1):
        if not isinstance(each, CommentedMap):
            raise entry.wrong("members", f"number {place} must be a mapping: {{id: ..., grade: ..., ...}}")
        one = _Entry(entry.file, each, f"member number {place}")
        member = _member(one)
        if member.member_id in members:
            raise one.wrong("id", f"{member.member_id!r} stands there twice")
        members[member.member_id] = member
    return tuple(sorted(members.values(), key=lambda member: member.member_id))


def _member(entry: "_Entry") -> PlannedMember:
    member_id = entry.text("id")
    entry.whom = f"member {member_id!r}"
    entry.only(_MEMBER_KEYS)
    grade = entry.text("grade")
    if grade not in GRADES:
        raise entry.wrong("grade", f"is {grade!r}, and must be one of {', '.join(GRADES)}")
    return PlannedMember(
        member_id,
        GRADES[grade],
        entry.count("beds", COUNT_MAX),
        entry.count("visits_per_year", COUNT_MAX),
        entry.text("region"),
        entry.text("owner"),
        entry.chance("p_malicious"),
        entry.chance("p_unreachable"),
    )


class _Entry:
    """One mapping of the file, which knows where it stands and whom it is about."""

    def __init__(self, file: str, values: CommentedMap, whom: str) -> None:
        self.file, self.whom = file, whom
        self._values = values

    def only(self, keys: tuple[str, ...]) -> None:
        """Refuse a key that is not among these."""
        for key in self._values:
            if key not in keys:
                raise self.wrong(str(key), f"is no field here; there are {', '.join(keys)}", self._line(key))

    def required(self, key: str) -> object:
        """What stands under the key."""
        if self._values.get(key) is None:
            raise self.wrong(key, "is missing")
        value: object = self._values[key]
        return value

    def mapping(self, key: str) -> CommentedMap:
        """A mapping."""
        value = self.required(key)
        if not isinstance(value, CommentedMap):
            raise self.wrong(key, f"must be a mapping: {{{', '.join(f'{each}: ...' for each in STRATUM_NAMES)}}}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A short text; a number will do, as ids and regions often are. Printable, because it is shown."""
        if default is not None and key not in self._values:
            return default
        value = self.required(key)
        words = " ".join(str(value).split())
        if isinstance(value, bool | list | dict) or not 0 < len(words) <= TEXT_MAX or not words.isprintable():
            raise self.wrong(key, f"must be a text of 1 to {TEXT_MAX} printable characters")
        return words

    def count(self, key: str, most: int) -> int:
        """A whole number from 0."""
        value = self.required(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise self.wrong(key, f"is {_shown(value)}, and must be a whole number from 0 to {most}")
        return int(value)

    def chance(self, key: str) -> float:
        """A number from 0 to 1."""
        value = self.required(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self.wrong(key, f"is {_shown(value)}, and must be a chance from 0 to 1, as 0.05")
        return float(value)

    def wrong(self, key: str, what: str, line: int | None = None) -> InvalidArgument:
        """The refusal: file, line, whom it is about, the field, and what it must be."""
        at = self._line(key) if line is None else line
        whom = f"{self.whom}: " if self.whom else ""
        return InvalidArgument("BAD_SCENARIO", f"{self.file}, line {at}: {whom}{key} {what}.", "C6")

    def _line(self, key: object) -> int:
        """The key's line, or the mapping's where the key is not there."""
        places: Callable[[object], tuple[int, int]] = self._values.lc.key
        return 1 + (places(key)[0] if key in self._values else self._values.lc.line)


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) and len(value) <= TEXT_MAX else str(value)[:TEXT_MAX]


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data[: error.start].count(b"\n")
        raise InvalidArgument("BAD_SCENARIO", f"{name}, line {line}: the file must be UTF-8 text.", "C6") from error


def _loaded(text: str, name: str) -> CommentedMap:
    try:
        loaded = YAML().load(text)
    except YAMLError as error:
        raise InvalidArgument("BAD_SCENARIO", f"{name}, {_yaml_fault(error)}", "C6") from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("BAD_SCENARIO", f"{name}: a value or its nesting is not what YAML allows.", "C6") from error
    if not isinstance(loaded, CommentedMap):
        raise InvalidArgument("BAD_SCENARIO", f"{name}, line 1: the file must be a mapping with shares and members.", "C6")
    return loaded


def _yaml_fault(error: YAMLError) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or error.context}."
    return f"which is no YAML: {' '.join(str(error).split())[:TEXT_MAX]}."
