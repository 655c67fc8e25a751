"""What can be refused without looking at a signature (rules C1, C4).

A signature costs a hundred times what these questions cost, so a flood is asked them first. They go by what the replica
knows at this moment, which may be an input or two behind: what is refused for being early is said again by whoever meant it.
"""

from consilium.consensus.core.messages import BatchOffer, Checkpoint, Commit, Message, Prepare
from consilium.consensus.core.normal_case import missing_batches
from consilium.consensus.core.state import State
from consilium.kernel.certificates import Result, Vote
from consilium.kernel.chain import TRANSACTION_BYTES_MAX
from consilium.kernel.errors import FailedPrecondition, InvalidArgument


def screen(state: State, message: Message) -> None:
    """Raise what the replica would refuse the message for anyway.

    Raises FailedPrecondition: LATE_VOTE, FUTURE_VOTE, LATE_RESULT, FUTURE_RESULT; InvalidArgument: BATCH_TOO_LARGE.
    """
    match message:
        case Prepare() | Commit():
            screen_vote(state, message.signed.vote)
        case Checkpoint(result=result):
            screen_result(state, result)
        case BatchOffer(batch=data):
            screen_size(state, data)
        case _:
            pass


def screen_vote(state: State, vote: Vote) -> None:
    """A vote counts between the watermarks of its epoch only (paper, section 4.2), so that what is kept is bounded.

    For two windows below it still shows that its delegate was there (C6); what is older is refused.
    """
    if vote.epoch != state.outlook.epoch:
        return
    if vote.height < state.outlook.epoch_start or vote.height <= state.low - 2 * state.parameters.window_blocks:
        raise FailedPrecondition("LATE_VOTE", f"Height {vote.height} is long stable; nobody votes on it any more.", "C1")
    if vote.height > state.high:
        raise FailedPrecondition("FUTURE_VOTE", f"Height {vote.height} is above the high watermark {state.high}.", "C1")


def screen_result(state: State, result: Result) -> None:
    """A result counts up to two windows above the tip, for the same reason.

    Below the stable checkpoint it makes no certificate any more, but shows that its delegate was there, as a vote does.
    """
    windows = 2 * state.parameters.window_blocks
    bound = state.tip.height + windows
    if result.height <= state.stable_height - windows:
        raise FailedPrecondition("LATE_RESULT", f"Height {result.height} is long stable.", "L3")
    if result.height > bound:
        raise FailedPrecondition("FUTURE_RESULT", f"Height {result.height} is above {bound}; results are kept so far.", "L3")


def screen_size(state: State, batch: bytes) -> None:
    """No larger than a member may make it, unless a batch is missing here that a proposal names: 2f+1 took that in."""
    bytes_max = state.parameters.batch_bytes_max + TRANSACTION_BYTES_MAX
    if len(batch) > bytes_max and missing_batches(state) is None:
        raise InvalidArgument("BATCH_TOO_LARGE", f"{len(batch)} bytes are over the {bytes_max} of one batch.", "C4")
