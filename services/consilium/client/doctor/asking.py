"""What the members' ledgers and replicas say: clocks, versions, the quorum and who is missing from it.

Their word proves nothing, and need not: this is for whoever looks for a fault.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from statistics import median_high

from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.ledger.v1 import ledger_pb2
from consilium.client.commands.absence import SAY_NOTHING, absences, outlook, own_seat
from consilium.client.doctor.findings import Finding, odd, well, wrong
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.parameters import Parameters

Tips = Mapping[str, ledger_pb2.GetTipResponse]
Heard = Mapping[str, tuple[ledger_pb2.GetTipResponse, int]]
"""Tips, and what this machine's clock showed when each came, in ms: another member may be long in answering."""
Replicas = Mapping[str, consensus_pb2.GetReplicaStateResponse]
HEARTBEATS = 3
"""A tip that is older than so many heartbeats tells no time."""
SKEW_PARTS = 4
"""A clock that is off by more than this part of what the alliance tolerates is told: a quarter."""
BEHIND_MAX = 5
"""How many blocks a ledger may be behind the highest without a word."""


def judge_clock(heard: Heard, chain_id: bytes, parameters: Parameters) -> Finding:
    """How far this machine's clock is from the time that blocks carry (L7); a header that is none tells no time."""
    oldest_ms = HEARTBEATS * parameters.heartbeat_ms
    young = [(at_ms, _time_ms(tip, chain_id)) for tip, at_ms in heard.values() if tip.header and tip.age_ms <= oldest_ms]
    off = [at_ms - told_ms for at_ms, told_ms in young if told_ms is not None]
    if not off:
        advice = "Look again once blocks go on; consilium status tells who is missing."
        return odd("clock", "this machine", "No member shows a block young enough to tell the time.", advice)
    off_ms = median_high(off)
    told = f"This machine's clock is {abs(off_ms) / 1_000:.1f} s {'ahead of' if off_ms > 0 else 'behind'} the blocks' time"
    advice = "Set it by NTP here and where the services run: a delegate whose clock is off by more has its blocks refused."
    if abs(off_ms) > parameters.clock_skew_max_ms:
        return wrong("clock", "this machine", f"{told}; {parameters.clock_skew_max_ms / 1_000:.0f} s are tolerated.", advice)
    if abs(off_ms) * SKEW_PARTS > parameters.clock_skew_max_ms:
        return odd("clock", "this machine", f"{told}.", advice)
    return well("clock", "this machine", "The clock agrees with the time that blocks carry.")


def _time_ms(tip: ledger_pb2.GetTipResponse, chain_id: bytes) -> int | None:
    """What time it is by a member's tip; None where that is no header of this chain."""
    try:
        return decode(Header, tip.header, chain_id).time_ms + tip.age_ms
    except ConsiliumError:
        return None


def judge_headers(tips: Tips, chain_id: bytes) -> list[Finding]:
    """Whose ledgers show what is no header of this chain."""
    advice = "It runs on another chain, or lies: ask its operators whose genesis it has."
    broken = [name for name, tip in tips.items() if tip.header and _time_ms(tip, chain_id) is None]
    return [odd("ledger", name, "What it shows as its newest block is no header of this chain.", advice) for name in broken]


def judge_versions(tips: Tips, home: str, own_build: str) -> list[Finding]:
    """What each member's build knows, and what the alliance goes over to (G5)."""
    findings = []
    upgrades = {(tip.upgrade_version, tip.upgrade_height) for tip in tips.values() if tip.HasField("upgrade_version")}
    version, height = max(upgrades, default=(0, 0))
    for name, tip in tips.items():
        if tip.known_version >= version:
            continue
        told = f"Its build knows version {tip.known_version}; the alliance goes by {version} from height {height} on."
        what = "Install a newer release before that height." if name == home else "Tell its operators."
        findings.append((wrong if name == home else odd)("version", name, told, what))
    if not findings and tips:
        newest = max(tip.known_version for tip in tips.values())
        told = f"This command is {own_build}; every build asked knows protocol version {version or newest}."
        findings.append(well("version", f"{len(tips)} members", told))
    return findings


def judge_heights(tips: Tips) -> list[Finding]:
    """Which ledgers are behind."""
    highest = max((tip.executed_height for tip in tips.values()), default=0)
    findings = [
        odd(
            "ledger",
            name,
            f"It stands at {tip.executed_height}, the highest asked at {highest}.",
            "Look again: the number must grow. If not, see its log for faults of block sync.",
        )
        for name, tip in tips.items()
        if highest - tip.executed_height > BEHIND_MAX
    ]
    return findings or (
        [well("ledger", f"{len(tips)} members", "Every ledger asked has the newest blocks.")] if tips else []
    )


def judge_quorum(
    home: str,
    replicas: Replicas,
    committee: consensus_pb2.GetCommitteeResponse | None,
    parameters: Parameters,
    now: datetime,
) -> list[Finding]:
    """Whether blocks go on, who of the committee is missing, and who of it does not vote, the home member included."""
    replica = replicas.get(home)
    if replica is None or committee is None:
        told = "The home member's consensus does not say how the committee stands."
        return [wrong("quorum", home, told, "See what stands above of it; ask another member's operators.")]
    missing = absences(replica, own_seat(replica, committee), parameters, now)
    found = [odd("quorum", each.member_id, each.sentence.partition(" Ask ")[0], _ask(each.sentence)) for each in missing]
    seated = {each.member_id for each in committee.delegates}
    for name, state in replicas.items():
        if state.state in SAY_NOTHING and name in seated:
            told = f"It is a delegate and does not vote: {SAY_NOTHING[state.state]}."
            found.append(odd("quorum", name, told, _SILENT_ADVICE))
    size, absent = len(committee.delegates), len({each.subject for each in found})
    told = outlook(absent, size, committee.quorum, is_stalled=False)
    if replica.stall_diagnosis:
        advice = "Bring back who is named; where that cannot be, docs/operations tells of a lost quorum."
        return [wrong("quorum", "the committee", replica.stall_diagnosis, advice), *found]
    if size - absent < committee.quorum:
        return [wrong("quorum", "the committee", told, "Bring back those named below."), *found]
    if absent:
        return [odd("quorum", "the committee", told, "Bring back those named below."), *found]
    return [well("quorum", "the committee", f"All {size} delegates are heard, and {committee.quorum} decide."), *found]


_SILENT_ADVICE = "Wait for the next epoch; if it stays so, ask its operators."


def _ask(sentence: str) -> str:
    """The advice that stands behind the facts."""
    return f"Ask {sentence.partition(' Ask ')[2]}"


def utc(now_ms: int) -> datetime:
    """The time in words of `absences`."""
    return datetime.fromtimestamp(now_ms / 1_000, UTC)
