"""The end of a term: collecting the alliance's signatures (rule C7)."""

from consilium.consensus.core.messages import AllianceVote
from consilium.kernel.certificates import AllianceCertificate, Electorate, MemberSignature, Result


class Turnover:
    """The electors' signatures on a term's last result, until more than two thirds agree with ours."""

    def __init__(self, electorate: Electorate) -> None:
        self._electorate = electorate
        self._votes: dict[str, AllianceVote] = {}
        self.own: Result | None = None

    def add(self, vote: AllianceVote) -> None:
        """Keep an elector's vote, its latest."""
        self._votes[vote.signed.member_id] = vote

    def certificate(self) -> AllianceCertificate | None:
        """The alliance certificate for our own result, once enough electors signed the same."""
        if self.own is None:
            return None
        names = [name for name in sorted(self._votes) if self._votes[name].result == self.own]
        if len(names) < self._electorate.quorum:
            return None
        signatures: tuple[MemberSignature, ...] = tuple(self._votes[name].signed for name in names)
        return AllianceCertificate(self.own, signatures)
