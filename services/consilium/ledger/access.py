"""Whom each method of the ledger service admits, judged against the state itself on every call (design section 8).

What proves something can be read by everybody in the alliance, suspended members' people too: anyone can check (promise 8).
Blocks and events in bulk are for those who work for a member. Executing is for the member's own consensus alone, drafting a
recovery and putting authorities for its own identity service.
"""

from consilium.kernel.membership import Admits, CallerRole, judge_caller
from consilium.ledger.keeper import Keeper
from consilium.runtime.clock import wall_ms
from consilium.runtime.names import PeerIdentity
from consilium.runtime.revocations import Revocations

_WORKING = (CallerRole.SERVICE, CallerRole.APPLICATION, CallerRole.STAFF)
_ALL = tuple(Admits(role, foreign=True, suspended=True) for role in CallerRole)
_ALL_WORKING = tuple(Admits(role, foreign=True, suspended=True) for role in _WORKING)
_HOME_WORKING = tuple(Admits(role) for role in _WORKING)
_OWN_IDENTITY = (Admits(CallerRole.SERVICE, names=("identity",)),)
_OWN_CONSENSUS = (Admits(CallerRole.SERVICE, names=("consensus",)),)

ADMITTED = {
    "GetTip": _ALL,
    "StreamTips": _ALL_WORKING,
    "GetBlock": _ALL_WORKING,
    "StreamBlocks": _ALL_WORKING,
    "StreamEvents": _HOME_WORKING,
    "GetRecord": _ALL,
    "GetTransactionProof": _ALL,
    "GetStateProof": _ALL,
    "GetConsistencyProof": _ALL,
    "GetEpochHop": _ALL,
    # The owner's own signature is what counts.
    "ListGrantHistory": _ALL,
    "GetAuthorities": (Admits(CallerRole.SERVICE, foreign=True, suspended=True),),
    "PutAuthorities": _OWN_IDENTITY,
    "GetRecoveryComposition": _OWN_IDENTITY,
    "ExecuteBlock": _OWN_CONSENSUS,
    "StreamExecutions": _OWN_CONSENSUS,
}
"""By the method's name."""


class Access:
    """The rule as the server asks it (`runtime.interceptors.Authorise`)."""

    def __init__(self, home: str, keeper: Keeper, revoked: Revocations) -> None:
        self._home, self._keeper, self._revoked = home, keeper, revoked

    def authorise(self, method: str, peer: PeerIdentity) -> None:
        """Raise PermissionDenied unless the caller may call the method now."""
        admitted = ADMITTED.get(method.rpartition("/")[2], _HOME_WORKING)
        member = self._keeper.chain.member(peer.member_id)
        judge_caller(peer, admitted, self._home, member, self._revoked, wall_ms())
