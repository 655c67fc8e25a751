"""Whom each method of the identity service admits (design section 8); what a method demands besides is in its own core call.

Reading the alliance is for every member's people and services, suspended members' too. Credentials can be looked up by other
members, who judge keys by them. Enrolling and governing is for this member's own staff and applications, and there for the
roles that `credentials` names.
"""

from consilium.kernel.membership import Admits, CallerRole

_HOME = tuple(Admits(role) for role in CallerRole)
_HOME_WORKING = (Admits(CallerRole.STAFF), Admits(CallerRole.APPLICATION))
_ALL = tuple(Admits(role, foreign=True, suspended=True) for role in CallerRole)
_ALL_WORKING = tuple(Admits(role, foreign=True) for role in CallerRole if role is not CallerRole.PATIENT)

ADMITTED = {
    "IssueCredential": _HOME_WORKING,
    # A holder may look up, and end, its own credential.
    "GetCredential": (*_ALL_WORKING, Admits(CallerRole.PATIENT)),
    "ListCredentials": _HOME_WORKING,
    "RevokeCredential": _HOME,
    "GetAuthority": _ALL,
    "AddAuthority": _HOME_WORKING,
    "SignInvitation": _HOME_WORKING,
    "GetMember": _ALL,
    "ListMembers": _ALL,
    "AddRankEvidence": _HOME_WORKING,
    "GetRankEvidence": _ALL_WORKING,
    "ListRankEvidence": _ALL_WORKING,
    "ProposeChange": _HOME_WORKING,
    "CastBallot": _HOME_WORKING,
    "GetProposal": _ALL,
    "ListProposals": _ALL,
    "StopEpoch": _HOME_WORKING,
    "GetRecoveryDraft": _HOME_WORKING,
    "SignRecovery": _HOME_WORKING,
    # Carried by anyone who works for a member: the electors' signatures are what counts.
    "GetRecovery": _ALL_WORKING,
    "ApplyRecovery": _ALL_WORKING,
}
"""By the method's name."""
OTHERS = _HOME_WORKING
"""Methods of other contracts on this port, such as reflection's."""


def admitted(method: str) -> tuple[Admits, ...]:
    """Whom the method at `/package.Service/Method` admits."""
    return ADMITTED.get(method.rpartition("/")[2], OTHERS)
