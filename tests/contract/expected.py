"""What the contracts promise, written out apart from the code: whom each method is for, and what a second call does.

A method without a row here fails the suite, and so does a row whose method is gone.
"""

from __future__ import annotations

from typing import NamedTuple

SERVICES = "identity consensus ledger storage reencryption"
KINDS = (*SERVICES.split(), "application", "staff", "patient")
WORKING = f"{SERVICES} application staff"
ALL = f"{WORKING} patient"
PEOPLE = "application staff patient"
DESK = "application staff"
"""Those who work for a member with their own hands: enrolling, governing, looking after its services."""


class Admitted(NamedTuple):
    """Whom a method is for: of the member that is called, of other active members, of suspended members."""

    own: str
    other: str = ""
    suspended: str = ""


EVERYBODY = Admitted(ALL, ALL, ALL)

ADMITTED = {
    # Who is who.
    "IssueCredential": Admitted(DESK),
    "GetCredential": Admitted(ALL, WORKING),
    "ListCredentials": Admitted(DESK),
    "RevokeCredential": Admitted(ALL),
    "GetAuthority": EVERYBODY,
    "AddAuthority": Admitted(DESK),
    "SignInvitation": Admitted(DESK),
    "GetMember": EVERYBODY,
    "ListMembers": EVERYBODY,
    "AddRankEvidence": Admitted(DESK),
    "GetRankEvidence": Admitted(WORKING, WORKING),
    "ListRankEvidence": Admitted(WORKING, WORKING),
    "ProposeChange": Admitted(DESK),
    "CastBallot": Admitted(DESK),
    "GetProposal": EVERYBODY,
    "ListProposals": EVERYBODY,
    # Recovering a lost quorum: at home by one's own hands, what was signed may be read and carried by anybody who works.
    "StopEpoch": Admitted(DESK),
    "GetRecoveryDraft": Admitted(DESK),
    "SignRecovery": Admitted(DESK),
    "GetRecovery": Admitted(WORKING, WORKING),
    "ApplyRecovery": Admitted(WORKING, WORKING),
    # Leaving by permission: asked at home, by people or by the services that are about to stop; answered between consensus.
    "AskLeave": Admitted("consensus identity ledger staff"),
    "MayLeave": Admitted("consensus", "consensus"),
    "StopReplica": Admitted("identity"),
    "EndEpoch": Admitted("identity"),
    "GetRecoveryComposition": Admitted("identity"),
    # Ordering. A person's transaction goes in through the person's own member.
    "SubmitTransaction": Admitted(ALL),
    # A patient's own device shows the receipts of what it registers (S2).
    "SubmitRegistrations": Admitted(ALL),
    "GetCommittee": EVERYBODY,
    "GetReplicaState": Admitted(WORKING, WORKING),
    "Exchange": Admitted("consensus", "consensus"),
    # The chain: what proves is for all (promise 8), bulk for those who work, execution for the own consensus.
    "GetTip": EVERYBODY,
    "StreamTips": Admitted(WORKING, WORKING, WORKING),
    "GetBlock": Admitted(WORKING, WORKING, WORKING),
    "StreamBlocks": Admitted(WORKING, WORKING, WORKING),
    "StreamEvents": Admitted(WORKING),
    "GetRecord": EVERYBODY,
    "GetTransactionProof": EVERYBODY,
    "GetStateProof": EVERYBODY,
    "GetConsistencyProof": EVERYBODY,
    "GetEpochHop": EVERYBODY,
    "ListGrantHistory": EVERYBODY,
    # Authorities go from ledger to ledger, and from there to identity.
    "GetAuthorities": Admitted(SERVICES, SERVICES, SERVICES),
    "PutAuthorities": Admitted("identity"),
    "ExecuteBlock": Admitted("consensus"),
    "StreamExecutions": Admitted("consensus"),
    # Objects: writers at home, readers with a grant, and other members' storage for copies.
    "PutObject": Admitted(PEOPLE),
    "GetPutState": Admitted(f"{PEOPLE} storage", "storage"),
    "GetObject": Admitted(f"{DESK} storage", f"{DESK} storage"),
    "GetManifest": Admitted(DESK, DESK),
    "ReplicateObject": Admitted("storage", "storage"),
    "ListCopies": Admitted("storage", "storage"),
    "ListObjects": Admitted("staff"),
    "GetCopy": Admitted("storage staff", "storage"),
    "HealStorage": Admitted(DESK),
    "SignRetention": Admitted(PEOPLE),
    "EraseObject": Admitted(f"{PEOPLE} storage", "storage"),
    "GetScrubState": Admitted(DESK),
    "NoteBackup": Admitted("staff"),
    # Re-encryption: owners and recipients are at other members.
    "GrantAccess": Admitted(PEOPLE, PEOPLE),
    "RevokeAccess": Admitted(PEOPLE, PEOPLE),
    "ReencryptCapsule": Admitted(DESK, DESK),
    "ListReceipts": Admitted(DESK),
}

WRITES = frozenset(
    [
        "IssueCredential",
        "RevokeCredential",
        "AddAuthority",
        "AddRankEvidence",
        "SignInvitation",
        "ProposeChange",
        "CastBallot",
        "StopEpoch",
        "SignRecovery",
        "ApplyRecovery",
        "AskLeave",
        "MayLeave",
        "StopReplica",
        "EndEpoch",
        "SubmitTransaction",
        "SubmitRegistrations",
        "ExecuteBlock",
        "PutAuthorities",
        "PutObject",
        "ReplicateObject",
        "HealStorage",
        "SignRetention",
        "EraseObject",
        "NoteBackup",
        "GrantAccess",
        "RevokeAccess",
        "ReencryptCapsule",
    ]
)
"""What changes something, and therefore needs a deadline."""

FIRST_FRAMES = frozenset(("PutObject", "ReplicateObject", "Exchange"))
"""Streams of requests: what comes later depends on what came first."""
FOR_OTHERS = frozenset(
    ["Exchange", "MayLeave", "GetObject", "GetManifest", "ReplicateObject", "ListCopies", "GetCopy", "ReencryptCapsule"]
)
"""Methods that are useful to other members' callers only."""

REPEATED = {
    "IssueCredential": "same",
    "RevokeCredential": "same",
    "AddAuthority": "same",
    "AddRankEvidence": "same",
    "SignInvitation": "same",
    "ProposeChange": "same",
    "CastBallot": "same",
    "StopEpoch": "same",
    "SignRecovery": "same",
    "ApplyRecovery": "same",
    # The time of a permission runs anew.
    "AskLeave": "done",
    "MayLeave": "done",
    "StopReplica": "same",
    "EndEpoch": "same",
    "SubmitTransaction": "same",
    "SubmitRegistrations": "same",
    "ExecuteBlock": "same",
    "PutAuthorities": "same",
    "PutObject": "same",
    "ReplicateObject": "same",
    # Looks at everything again.
    "HealStorage": "done",
    # Signed anew; the ledger takes one.
    "SignRetention": "done",
    "EraseObject": "done",
    "NoteBackup": "same",
    "GrantAccess": "same",
    "RevokeAccess": "same",
    # Transformed anew; the receipt on the ledger is one.
    "ReencryptCapsule": "done",
    "ListGrantHistory": "REPLAYED",
    # A later stream of a session takes the place of the earlier one (C5).
    "Exchange": "same",
}
"""What the same call gives a second time: the same answer, an answer of its own for what is done, or a refusal."""
