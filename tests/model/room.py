"""The model's replicas as production replicas in one room, and the model's blocks as real ones.

r1 to r6 are six members, of whom the first four are the delegates of the first epoch; a term has just ended, so that a
handover may be ordered. The faulty ones keep their seats, but all they say is made by hand. Nothing arrives by itself.

A block of the model is the chain it ends. Here it is a header over one batch that nothing else holds, with a time that
follows from the chain; who proposes the same contents on the same parent makes the same block, as in the model.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from consilium.consensus.core.events import Timer
from consilium.consensus.core.forming import form_batch, own_transaction
from consilium.consensus.core.messages import AllianceVote, Commit, Message, PrePrepare
from consilium.consensus.core.proposals import Parent, make_header
from consilium.kernel.certificates import AllianceCertificate, AllianceStatement, MemberSignature, Phase
from consilium.kernel.chain import Outlook
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import OpenedBatch, open_batch
from consilium.kernel.transactions import HandoverBody
from tests.consensus.by_hand import make_batch, sign_vote
from tests.consensus.cluster import CHAIN_ID, PARAMETERS, Cluster, Seat, signer
from tests.model.behaviours import Block

M = TypeVar("M", bound=Message)
"""A kind of message."""

MEMBERS = {f"r{number}": f"member-{number - 1}" for number in range(1, 7)}
CONTENTS = ("x", "y", "z", "end", "next")
ORDERS = (("r1", "r2", "r3", "r4"), ("r1", "r3", "r5", "r6"))
"""The committees of Alliances.tla, in the order of their views."""
AUTHOR = "member-5"
"""Who makes all batches."""
OF_AUTHOR = next(name for name, member in MEMBERS.items() if member == AUTHOR)
TERM_BLOCKS = 10
"""The last of these blocks ends a term; the model's first comes some blocks later."""


class Room:
    """Six members of whom `bad` are faulty."""

    def __init__(self, bad: frozenset[str]) -> None:
        self.bad = bad
        successors = [[MEMBERS[each] for each in ORDERS[1]]]
        self.cluster = Cluster(6, 4, replace(PARAMETERS, term_blocks=TERM_BLOCKS), successors)
        self._end_a_term()
        self.cluster.arrives = lambda _sender, _to, _message: False
        self.base = self.seat("r1").state.tip
        self._base_commits = sum(1 << each.index for each in self.seat("r1").blocks[-1].commit.signatures)
        self.headers: dict[Block, bytes] = {}
        self._batches: dict[Block, OpenedBatch] = {}

    def _end_a_term(self) -> None:
        """Order a term's blocks; who was not there for the commits, or has no seat, takes the blocks of the first."""
        first, second, *_ = self.cluster.names
        self.cluster.arrives = lambda _sender, to, message: (
            not (isinstance(message, AllianceVote) or (isinstance(message, Commit) and to == second))
        )
        self.cluster.order(TERM_BLOCKS)
        while not self._is_settled():
            self.cluster.ring_all(Timer.BATCH)
            for name in self.cluster.names:
                self.cluster.catch_up(name, first)

    def _is_settled(self) -> bool:
        """Whether all stand at one height, and nothing the members say of themselves at a term's end still waits."""
        states = [seat.state for seat in self.cluster.seats.values()]
        idle = not any(each.pending or each.pool.waiting() for each in states)
        return idle and len(set(self.cluster.heights)) == 1

    def seat(self, name: str) -> Seat:
        """A replica by its name in the model."""
        return self.cluster.seats[MEMBERS[name]]

    def outlook(self, epoch: int) -> Outlook:
        """What an epoch's headers must carry, and who makes them."""
        ledgers = [seat.ledger for seat in self.cluster.seats.values()]
        return next(each.outlook for each in ledgers if each.outlook.epoch == epoch)

    def order(self, epoch: int) -> tuple[str, ...]:
        """An epoch's delegates in the order of its views."""
        return ORDERS[epoch]

    def good(self, epoch: int) -> list[str]:
        """An epoch's honest delegates."""
        return [each for each in ORDERS[epoch] if each not in self.bad]

    def primary(self, epoch: int, view: int) -> str:
        """The primary of a view, by its name in the model."""
        return ORDERS[epoch][view % len(ORDERS[epoch])]

    # --- blocks ---

    def height(self, block: Block) -> int:
        """The height of a block of the model."""
        return self.base.height + len(block)

    def parent(self, block: Block) -> Parent:
        """A block as the parent of another."""
        if not block:
            return self.base
        return Parent(self.height(block), self.digest(block), self.time_ms(block))

    def digest(self, block: Block) -> bytes:
        """The hash of a block that was proposed."""
        return sha256(self.headers[block])

    def time_ms(self, block: Block) -> int:
        """The time in a block's header."""
        return self.base.time_ms + 100 * len(block) + CONTENTS.index(block[-1]) + 1

    def batch(self, block: Block) -> OpenedBatch:
        """The one batch a block holds."""
        if block not in self._batches:
            number = 1_000 + len(self._batches)
            self._batches[block] = self._handover() if block[-1] == "end" else make_batch(AUTHOR, number)
        return self._batches[block]

    def _handover(self) -> OpenedBatch:
        result = self.seat("r1").ledger.results[TERM_BLOCKS - 1]
        statement = encode(AllianceStatement(result), CHAIN_ID)
        signatures = tuple(MemberSignature(name, signer(name).sign(statement)) for name in self.cluster.names)
        body = HandoverBody(AllianceCertificate(result, signatures))
        transaction = own_transaction(body, signer(AUTHOR), 1_000, CHAIN_ID)
        return open_batch(form_batch(AUTHOR, signer(AUTHOR), [transaction], CHAIN_ID), CHAIN_ID)

    def proposal(self, epoch: int, view: int, block: Block) -> PrePrepare:
        """A faulty primary's proposal."""
        if block not in self.headers:
            known = 0 if block[:-1] else self._base_commits
            parts = self.outlook(epoch), self.parent(block[:-1]), [self.batch(block)], self.time_ms(block)
            self.headers[block] = encode(make_header(*parts, known, CHAIN_ID), CHAIN_ID)
        primary = MEMBERS[self.primary(epoch, view)]
        signed = sign_vote(primary, Phase.PRE_PREPARE, view, self.height(block), self.digest(block), epoch)
        return PrePrepare(signed, self.headers[block], (self.batch(block).data,), ())

    # --- links ---

    def tell(self, to: str, sender: str, message: Message, now: Block = ()) -> None:
        """Let a message arrive, at the time of a block if one is given."""
        self.cluster.now_ms = self.time_ms(now) if now else self.cluster.now_ms
        self.cluster.deliver_message(MEMBERS[sender], MEMBERS[to], message)

    def said(self, name: str, kind: type[M], fits: Callable[[M], bool]) -> M | None:
        """The latest such message a replica has sent, to whomever."""
        found = [message for _, message in self.seat(name).sent if isinstance(message, kind) and fits(message)]
        return found[-1] if found else None
