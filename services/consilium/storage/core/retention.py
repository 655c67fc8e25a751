"""What an erased record or one under hold means for its object (rule S8). Pure."""

from consilium.kernel.errors import Conflict, FailedPrecondition, NotFound
from consilium.kernel.state_values import RetentionState, is_erased
from consilium.kernel.transactions import RetentionAct


def judge_act(retention: RetentionState | None, act: RetentionAct) -> None:
    """Raise what stands against the act, before anybody orders it in vain.

    Conflict: ERASED; FailedPrecondition: UNDER_HOLD, NOT_HELD.
    """
    if retention is not None and retention.erased_height is not None:
        raise Conflict("ERASED", f"The record was erased at height {retention.erased_height}, for ever.", "S8")
    if act is RetentionAct.LIFT:
        if retention is None:
            raise FailedPrecondition("NOT_HELD", "The record is under no hold.", "S8")
        return
    if retention is not None:
        sentence = f"The record is under a legal hold since height {retention.held_height}; lift it first."
        raise FailedPrecondition("UNDER_HOLD", sentence, "S8")


def erased_for_ever(retention: RetentionState | None) -> int:
    """The height a record was erased at. Raises FailedPrecondition: NOT_ERASED."""
    if retention is None or retention.erased_height is None:
        held = "" if retention is None else f"; it is under a legal hold since height {retention.held_height}"
        sentence = f"The ledger of this member has not erased the record{held}. Submit the signed erasure, or wait for it."
        raise FailedPrecondition("NOT_ERASED", sentence, "S8")
    return retention.erased_height


def refuse_erased(retention: RetentionState | None) -> None:
    """Raise NotFound (ERASED) for a record that is gone, whatever rows there still are or are again."""
    if is_erased(retention):
        assert retention is not None
        raise NotFound("ERASED", f"The record was erased at height {retention.erased_height}.", "S8")
