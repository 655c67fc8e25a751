"""Whom each method of the consensus service admits, judged on every call by what the own ledger says (design section 8).

Transactions come in through their author's own member, which can look after its people's certificates; so do registrations,
for which the member answers: a patient's device has to show its home's receipt for each (`servicer`). Between members speak
their consensus services alone. A recovery comes through the member's own identity service, where its people have signed it.
"""

from consilium.kernel.errors import Unavailable
from consilium.kernel.executions import Standings
from consilium.kernel.membership import Admits, CallerRole, judge_caller
from consilium.kernel.state_values import MemberState
from consilium.runtime.clock import wall_ms
from consilium.runtime.names import PeerIdentity
from consilium.runtime.revocations import Revocations

_WORKING = (CallerRole.SERVICE, CallerRole.APPLICATION, CallerRole.STAFF)
_HOME = tuple(Admits(role) for role in CallerRole)
_HOME_WORKING = tuple(Admits(role) for role in _WORKING)

_OWN_IDENTITY = (Admits(CallerRole.SERVICE, names=("identity",)),)

ADMITTED = {
    "SubmitTransaction": _HOME,
    "SubmitRegistrations": _HOME,
    "GetCommittee": tuple(Admits(role, foreign=True, suspended=True) for role in CallerRole),
    "GetReplicaState": tuple(Admits(role, foreign=True) for role in _WORKING),
    "AskLeave": (Admits(CallerRole.SERVICE, names=("consensus", "identity", "ledger")), Admits(CallerRole.STAFF)),
    "MayLeave": (Admits(CallerRole.SERVICE, foreign=True, names=("consensus",)),),
    "StopReplica": _OWN_IDENTITY,
    "EndEpoch": _OWN_IDENTITY,
    "Exchange": (Admits(CallerRole.SERVICE, foreign=True, names=("consensus",)),),
}
"""By the method's name."""


class Access:
    """The rule as the server asks it (`runtime.interceptors.Authorise`)."""

    def __init__(self, home: str, revoked: Revocations) -> None:
        self._home, self._revoked = home, revoked
        self._members: dict[str, MemberState] | None = None

    def learn(self, standings: Standings) -> None:
        """Take over what the ledger says of the members."""
        self._members = {each.profile.member_id: each for each in standings.members}

    def authorise(self, method: str, peer: PeerIdentity) -> None:
        """Raise PermissionDenied unless the caller may call now; Unavailable until the ledger has told who is a member."""
        if self._members is None and peer.member_id != self._home:
            raise Unavailable("STANDING_UNKNOWN", "The ledger has not been read since this service started; call again.")
        admitted = ADMITTED.get(method.rpartition("/")[2], _HOME_WORKING)
        member = (self._members or {}).get(peer.member_id)
        judge_caller(peer, admitted, self._home, member, self._revoked, wall_ms())
