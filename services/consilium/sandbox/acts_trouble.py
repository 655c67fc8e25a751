"""The acts where something breaks: a damaged byte, a stopped delegate, and an epoch that ends (S2, C2, C6, C7)."""

import hashlib
import time
from pathlib import Path

from rich.table import Table

from consilium.kernel.light_client import EpochHop, TrustedHistory
from consilium.kernel.signing import Ed25519Verifier
from consilium.sandbox.acts_sharing import open_file
from consilium.sandbox.stage import HOME, RECIPIENT, Stage
from consilium.sandbox.teller import Act

BLOCKS_ON = 6
"""How many blocks must follow while a delegate is down."""
EPOCHS_MAX = 8
"""How many epochs to wait for a committee of other members; a draw may give the same ones again."""


async def heal_damage(stage: Stage, act: Act) -> None:
    """One bit of the large object flips on the home hospital's disk; the scrub finds and mends it (S2)."""
    storage, large = stage.alliance.member(HOME).storage, stage.files[-1]
    path = storage.where(large.reference.record_id)
    before, place = _file_hash(path), path.stat().st_size // 3
    _flip_bit(path, place)
    act.check(_file_hash(path) != before, f"one bit of byte {place:,} of {path.name[:16]}... at {HOME} is flipped on disk")
    started = time.monotonic()
    report = await stage.wait(storage.scrub(), "the scrub")
    seconds = time.monotonic() - started
    found = [(index, source) for record_id, index, source in report.healed if record_id == large.reference.record_id]
    act.check(
        len(found) == len(report.healed) == 1,
        f"the scrub read {report.chunks} chunks of {report.objects} objects in {seconds:.2f} s and found exactly one"
        f" damaged: chunk {found[0][0]}, healed from {found[0][1]}",
    )
    act.check(_file_hash(path) == before, "the file is what it was, to the last bit")
    again = await storage.scrub()
    act.check(again.healed == (), "a second scrub finds nothing")
    stage.facts.append(("scrub of all objects at one member", f"{seconds:.2f} s"))


def _file_hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _flip_bit(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


async def stop_delegate(stage: Stage, act: Act) -> None:
    """A delegate is stopped; blocks go on, records open, and it catches up when it is back (C2, C5)."""
    ledger, primary = stage.ledger, _primary(stage)
    name = next(each for each in (primary, *stage.committee()) if each not in (HOME, RECIPIENT))
    member, height = stage.alliance.member(name), ledger.chain.height
    await member.stop()
    act.say(f"{name} is stopped at height {height}, {'the primary' if name == primary else 'a backup'} just now.")
    started = time.monotonic()
    with act.bar("blocks meanwhile", BLOCKS_ON, "blocks") as done:
        for each in range(1, BLOCKS_ON + 1):
            await stage.wait(ledger.until_certified(height + each), "a block")
            done(each)
    last = ledger.chain.block(height + BLOCKS_ON).commit
    act.check(
        ledger.chain.certified_height >= height + BLOCKS_ON,
        f"without it {BLOCKS_ON} blocks became final in {time.monotonic() - started:.2f} s, the last in view"
        f" {last.view} of epoch {last.epoch}",
    )
    data, holders = await open_file(stage, act, stage.files[0])
    act.check(
        data == stage.files[0].data and name not in holders,
        f"and {RECIPIENT} opened the {stage.files[0].name} with the fragments of {', '.join(holders)}",
    )
    started, tip = time.monotonic(), ledger.chain.certified_height
    await member.start()
    await stage.wait(member.ledger.until_certified(tip), f"{name} to catch up")
    seconds = time.monotonic() - started
    act.check(
        member.ledger.chain.outcome(tip).result == ledger.chain.outcome(tip).result,
        f"{name} is back after {seconds:.2f} s, as incarnation {member.replica.identity.incarnation} of its vote log, with"
        f" the same block and state at height {tip}",
    )
    stage.facts.append(("stopped delegate restarted and caught up", f"{seconds:.2f} s"))


def _primary(stage: Stage) -> str:
    """Who proposes now, as far as the chain tells: the primary of the view in which this epoch's last block was."""
    chain = stage.ledger.chain
    outlook, commit = chain.tip.outlook, chain.block(chain.height).commit
    return outlook.committee.primary(commit.view if commit.epoch == outlook.epoch else 0)


async def change_epoch(stage: Stage, act: Act) -> None:
    """A term ends, the alliance signs, another committee takes over, and a light client follows (C6, C7, L5)."""
    ledger, history, hops = stage.ledger, TrustedHistory(stage.genesis), list[EpochHop]()
    changed: int | None = None
    for _ in range(EPOCHS_MAX):
        await _next_epoch(stage, act)
        while history.epoch < ledger.chain.tip.outlook.epoch:
            hops.append(await stage.gateways[HOME].epoch_hop(history.epoch))
            history.hop(hops[-1], Ed25519Verifier())
        changed = next((each for each in range(history.epoch, 0, -1) if _differ(history, each)), None)
        if changed is not None:
            break
    act.show(_committees(stage, history, hops))
    act.check(
        changed is not None,
        f"with epoch {changed} other members sit: {', '.join(_members(history, (changed or 1) - 1))} before,"
        f" {', '.join(_members(history, changed or 1))} then",
    )
    act.check(
        history.committee_of(history.epoch) == ledger.chain.committee_of(history.epoch),
        f"a light client crossed {len(hops)} epochs from the genesis file, each by a certificate of more than two"
        " thirds of the members",
    )


def _members(history: TrustedHistory, epoch: int) -> list[str]:
    """Who sits in an epoch, sorted."""
    return sorted(each.member_id for each in history.committee_of(epoch).delegates)


def _differ(history: TrustedHistory, epoch: int) -> bool:
    """Whether an epoch's delegates are others than those of the epoch before, whatever their order."""
    return _members(history, epoch) != _members(history, epoch - 1)


async def _next_epoch(stage: Stage, act: Act) -> None:
    """Watch the blocks go by until the next epoch has begun and its hop can be proven."""
    ledger, outlook = stage.ledger, stage.ledger.chain.tip.outlook
    with act.bar(f"term of epoch {outlook.epoch}", outlook.term_blocks, "blocks") as done:
        while ledger.chain.tip.outlook.epoch == outlook.epoch:
            done(min(ledger.chain.height - outlook.epoch_start + 1, outlook.term_blocks))
            await stage.wait(ledger.until_certified(ledger.chain.certified_height + 1), "a block")
        done(outlook.term_blocks)
    boundary = ledger.chain.tip.outlook.epoch_start - 1
    await stage.wait(ledger.until_certified(boundary), "the epoch's last block to be final")


def _committees(stage: Stage, history: TrustedHistory, hops: list[EpochHop]) -> Table:
    table = Table(show_edge=False)
    for heading in ("epoch", "delegates, in the order they are primary", "signed into office by"):
        table.add_column(heading)
    for epoch in range(history.epoch + 1):
        delegates = " ".join(each.member_id for each in history.committee_of(epoch).delegates)
        signers = "the genesis file"
        if epoch > 0:
            names = [each.member_id for each in hops[epoch - 1].alliance.signatures]
            signers = f"{', '.join(names)} ({len(names)} of {len(stage.genesis.members)})"
        table.add_row(str(epoch), delegates, signers)
    return table
