"""The acts where something breaks: a damaged byte, a killed primary, and an epoch that ends (S2, C2, C5, C6, C7)."""

import asyncio
import hashlib
import time
from pathlib import Path

from rich.table import Table

from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.api.storage.v1 import storage_pb2
from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceStub
from consilium.kernel.encoding import decode
from consilium.kernel.light_client import Hop, StateProof, TrustedHistory
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import grant_entry
from consilium.runtime.channels import Channel, typed
from consilium.sandbox.acts_sharing import open_file
from consilium.sandbox.stage import HOME, RECIPIENT, Stage
from consilium.sandbox.teller import Act, StoryFailed

BLOCKS_ON = 6
"""How many blocks must follow while a delegate is down."""
EPOCHS_MAX = 20
"""How many epochs to wait for what chance decides: another primary, other members. Every draw is independent."""
LOOK_S = 0.1
"""How often the state of a scrub is asked for."""


async def heal_damage(stage: Stage, act: Act) -> None:
    """One bit of the large object flips on the home hospital's disk; the scrub finds and mends it (S2)."""
    large = stage.files[-1]
    path = stage.file_of(HOME, large.reference.record_id)
    before, place = _file_hash(path), path.stat().st_size // 3
    async with stage.alliance.member(HOME).channel("storage") as channel:
        clean = await _scrub_state(channel)
        act.check(clean.chunks_damaged == 0, f"the scrub of {HOME}'s storage has found nothing so far")
        started = time.monotonic()
        _flip_bit(path, place)
        act.say(f"One bit of byte {place:,} of {path.name[:16]}... is flipped on {HOME}'s disk.")
        healed = await stage.wait(_until_healed(channel, act), "the scrub to find and heal the damage")
        seconds = time.monotonic() - started
        copies = [each for each in stage.keepers(large.reference.record_id) if each != HOME]
        act.check(
            healed.chunks_damaged == healed.chunks_healed == 1,
            f"{seconds:.2f} s later the scrub has found exactly one chunk damaged, and healed it from the copy at"
            f" {', '.join(copies)}",
        )
        act.check(_file_hash(path) == before, "the file is what it was, to the last bit")
        again = await stage.wait(_until_next_round(channel), "the scrub's next round")
        act.check(again.chunks_damaged == 1, f"the next round reads {again.chunks_read} chunks and finds nothing")
    stage.facts.append(("flipped bit found and healed", f"{seconds:.2f} s"))


async def _scrub_state(channel: Channel) -> storage_pb2.GetScrubStateResponse:
    with typed():
        return await StorageServiceStub(channel).GetScrubState(storage_pb2.GetScrubStateRequest())


async def _until_healed(channel: Channel, act: Act) -> storage_pb2.GetScrubStateResponse:
    """Watch the scrub read until it has healed something."""
    state = await _scrub_state(channel)
    with act.bar("scrub", state.chunks_total, "chunks read") as done:
        while state.chunks_healed == 0:
            await asyncio.sleep(LOOK_S)
            state = await _scrub_state(channel)
            done(state.chunks_read)
    return state


async def _until_next_round(channel: Channel) -> storage_pb2.GetScrubStateResponse:
    """Wait for two rounds to end, of which the second began after this."""
    state = await _scrub_state(channel)
    for _ in range(2):
        last = state.last_round_ms
        while state.last_round_ms == last:
            await asyncio.sleep(LOOK_S)
            state = await _scrub_state(channel)
    return state


def _file_hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _flip_bit(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


async def kill_primary(stage: Stage, act: Act) -> None:
    """All processes of the primary are killed; blocks go on, records open, and it catches up (C2, C5)."""
    leading = await _primary(stage, act)
    name, chain, processes = leading.primary_member_id, stage.chain, stage.alliance.services(leading.primary_member_id)
    numbers = ", ".join(str(each.pid) for each in processes)
    stage.alliance.kill(name)
    height = chain.height
    act.say(f"{name}, the primary of view {leading.view} of epoch {leading.epoch}, is killed: kill -9 {numbers}.")
    act.check(not any(each.is_up for each in processes), f"nothing of {name} runs, at height {height}")
    started = time.monotonic()
    height = await stage.wait(_until_led_by_another(stage, leading), "a block of another primary")
    with act.bar("blocks meanwhile", BLOCKS_ON, "blocks") as done:
        for each in range(1, BLOCKS_ON + 1):
            await stage.wait(chain.until_final(height + each), "a block")
            done(each)
    last = chain.block(height + BLOCKS_ON)
    act.check(
        (last.header.epoch, last.view) > (leading.epoch, leading.view),
        f"without it {BLOCKS_ON} blocks became final in {time.monotonic() - started:.2f} s, the last in view"
        f" {last.view} of epoch {last.header.epoch}",
    )
    await _open_without(stage, act, name)
    await _bring_back(stage, act, name)


async def _primary(stage: Stage, act: Act) -> consensus_pb2.GetReplicaStateResponse:
    """How the replica at home stands, once the primary is a member the story can do without for a while."""
    term, asked = stage.alliance.genesis.parameters.term_blocks, consensus_pb2.GetReplicaStateRequest()
    for _ in range(EPOCHS_MAX):
        async with stage.alliance.member(HOME).channel("consensus") as channel:
            with typed():
                state = await ConsensusServiceStub(channel).GetReplicaState(asked)
        left = stage.chain.epoch_start + term - stage.chain.height
        if state.primary_member_id not in (HOME, RECIPIENT) and left > BLOCKS_ON:
            return state
        act.say(
            f"Epoch {state.epoch} {'is led by ' + state.primary_member_id if left > BLOCKS_ON else 'ends'}; the next one."
        )
        await _next_epoch(stage, act)
    raise StoryFailed(f"In {EPOCHS_MAX} epochs only {HOME} and {RECIPIENT} led.")


async def _until_led_by_another(stage: Stage, leading: consensus_pb2.GetReplicaStateResponse) -> int:
    """The first height ordered in a later view: what was under way at the kill may still become final in the old one."""
    height = stage.chain.height
    while (stage.chain.block(height).header.epoch, stage.chain.block(height).view) <= (leading.epoch, leading.view):
        height += 1
        await stage.chain.until_final(height)
    return height


async def _open_without(stage: Stage, act: Act, name: str) -> None:
    data, holders = await open_file(stage, act, stage.files[0])
    act.check(
        data == stage.files[0].data and name not in holders,
        f"and {RECIPIENT} opened the {stage.files[0].name} with the fragments of {', '.join(holders)}",
    )


async def _bring_back(stage: Stage, act: Act, name: str) -> None:
    """Start it again; its own ledger has to prove that it holds what the others hold (L4)."""
    started, tip = time.monotonic(), stage.chain.height
    await stage.alliance.start(name)
    up_s = time.monotonic() - started
    await stage.wait(stage.alliance.until_final(tip, name), f"{name} to catch up")
    seconds = time.monotonic() - started
    entry = grant_entry(stage.grant.terms.grant_id)
    proof = await stage.wait(stage.gateway(name).prove_state(entry, tip), "a proof")
    height = proof.certificate.result.height
    await stage.wait(stage.chain.until_final(height), f"height {height} at {HOME}")
    asking = stage.chain.settled(lambda: _proof_at_home(stage, entry, height))
    at_home = await stage.wait(asking, f"{HOME}'s proof of height {height}")
    await stage.chain.committee()
    verified = stage.chain.history.verify_state(proof, Ed25519Verifier())
    act.check(
        verified.value is not None and proof.certificate.result == at_home.certificate.result,
        f"{name} is back: its services answer after {up_s:.2f} s, and after {seconds:.2f} s its own ledger proves the grant"
        f" by the state of block {height}, whose roots are those of {HOME}",
    )
    stage.facts.append(("killed delegate restarted and caught up", f"{seconds:.2f} s"))


async def _proof_at_home(stage: Stage, key: bytes, height: int) -> StateProof:
    """What the ledger of the patient's hospital proves at this very height."""
    request = ledger_pb2.GetStateProofRequest(key=key, height=height)
    with typed():
        async with stage.alliance.member(HOME).channel("ledger") as channel:
            response = await LedgerServiceStub(channel).GetStateProof(request)
    return decode(StateProof, response.proof.encoded, stage.alliance.genesis.chain_id)


async def change_epoch(stage: Stage, act: Act) -> None:
    """A term ends, the alliance signs, another committee takes over, and a light client follows (C6, C7, L5)."""
    history, changed = stage.chain.history, None
    for _ in range(EPOCHS_MAX):
        await _next_epoch(stage, act)
        await stage.chain.committee()
        changed = next((each for each in range(history.epoch, 0, -1) if _differ(history, each)), None)
        if changed is not None:
            break
    act.show(_committees(stage, history, stage.chain.hops))
    act.check(
        changed is not None,
        f"with epoch {changed} other members sit: {', '.join(_members(history, (changed or 1) - 1))} before,"
        f" {', '.join(_members(history, changed or 1))} then",
    )
    began_at = stage.chain.epoch_start  # yet another epoch may begin while the answer is on its way
    session = stage.device.new_session()
    proven = await session.grant(stage.grant.terms.grant_id)
    act.check(
        proven.terms == stage.grant.terms and session.height >= began_at,
        f"a client that starts from the genesis file now crosses {len(stage.chain.hops)} epochs, each by a certificate of"
        " more than two thirds of the members, and believes the state of the new committee alone",
    )


def _members(history: TrustedHistory, epoch: int) -> list[str]:
    """Who sits in an epoch, sorted."""
    return sorted(each.member_id for each in history.committee_of(epoch).delegates)


def _differ(history: TrustedHistory, epoch: int) -> bool:
    """Whether an epoch's delegates are others than those of the epoch before, whatever their order."""
    return _members(history, epoch) != _members(history, epoch - 1)


async def _next_epoch(stage: Stage, act: Act) -> None:
    """Watch the blocks go by until the next epoch has begun."""
    chain, epoch, term = stage.chain, stage.chain.epoch, stage.alliance.genesis.parameters.term_blocks
    with act.bar(f"term of epoch {epoch}", term, "blocks") as done:
        while chain.epoch == epoch:
            done(min(chain.height - chain.epoch_start + 1, term))
            await stage.wait(chain.until_final(chain.height + 1), "a block")
        done(term)


def _committees(stage: Stage, history: TrustedHistory, hops: list[Hop]) -> Table:
    table = Table(show_edge=False)
    for heading in ("epoch", "delegates, in the order they are primary", "signed into office by"):
        table.add_column(heading)
    for epoch in range(history.epoch + 1):
        delegates = " ".join(each.member_id for each in history.committee_of(epoch).delegates)
        signers = "the genesis file"
        if epoch > 0:
            names = [each.member_id for each in hops[epoch - 1].signatures]
            signers = f"{', '.join(names)} ({len(names)} of {len(stage.alliance.members)})"
        table.add_row(str(epoch), delegates, signers)
    return table
