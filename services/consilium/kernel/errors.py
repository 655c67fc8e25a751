"""The one error tree (design section 3; reference: AIP-193's canonical codes).

Every refusal carries a `reason` a machine can match (UPPER_SNAKE, never reworded), a sentence a person can act on and,
where a numbered rule refused, that rule. The shell maps the class to a status code in one place; servicers hold no `try`.
A peer's fault and our own are different things: what a peer can cause is one of these classes; what only we can cause is an
`assert`.
"""


class ConsiliumError(Exception):
    """A refusal with a machine-readable reason, a sentence, and the rule that refused ("" where none did)."""

    def __init__(self, reason: str, sentence: str, rule: str = "") -> None:
        """Keep the parts apart, so that a status, a log line and a table can each show their own."""
        super().__init__(reason, sentence, rule)
        self.reason = reason
        self.sentence = sentence
        self.rule = rule

    def __str__(self) -> str:
        """The sentence first, then how to look it up."""
        return f"{self.sentence} [{self.reason}{', rule ' + self.rule if self.rule else ''}]"


class InvalidArgument(ConsiliumError):
    """What was handed in can never be right, whatever the state."""


class Malformed(InvalidArgument):
    """Bytes that are not the one deterministic form of the value they claim to be (L1)."""


class BadSignature(InvalidArgument):
    """A signature that does not fit its bytes and key, or a certificate short of its quorum."""


class NotFound(ConsiliumError):
    """What was asked for is not there."""


class FailedPrecondition(ConsiliumError):
    """Right in itself, but not in this state; it may be right later."""


class PermissionDenied(ConsiliumError):
    """The asker may not: consent, membership or role says no."""


class Conflict(ConsiliumError):
    """It contradicts something already fixed: a second name for one thing, a used request id, another history."""


class ResourceExhausted(ConsiliumError):
    """A stated limit was reached; the sentence names the limit and its setting."""


class DataLoss(ConsiliumError):
    """Stored bytes no longer match what was acknowledged or what the ledger says."""


class Unauthenticated(ConsiliumError):
    """The asker has not shown who it is: no certificate, an expired one, or one its member's authority did not issue."""


class Unavailable(ConsiliumError):
    """The other side cannot be reached or is going away; the same call may succeed later (AIP-194: retry this one only)."""


class DeadlineExceeded(ConsiliumError):
    """The caller's time ran out; whether the act took effect is unknown until asked."""


class Internal(ConsiliumError):
    """The other side failed and does not say how; its log does, under the request id."""
