"""Makes the frozen vectors of the kernel, and reads them back for the tests.

Run from the top of the checkout: `python -m tests.vectors.make`, after a change of format that an ADR decides. What is
made here must stay as it is otherwise: a difference means that old blocks, keys or objects could no longer be read.
`umbral.json` is made by `python -m tests.vectors.make umbral` alone, because the library draws its own randomness, and
`published.json` holds other people's vectors with their sources, written by hand.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar

from consilium.kernel import hashing, sealing, umbral
from consilium.kernel.encoding import AtMost, Digest, encode
from consilium.kernel.merkle import InclusionProof, MerkleLog, leaf_hash
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.state_map import MapLeaf, MapProof, StateMap

HERE = Path(__file__).parent
CHAIN_ID = bytes(range(32))


class Colour(IntEnum):
    """A sample enumeration."""

    RED = 1
    BLUE = 2


@dataclass(frozen=True, slots=True)
class Circle:
    """A sample of one kind."""

    KIND: ClassVar[int] = 1
    radius: int


@dataclass(frozen=True, slots=True)
class Label:
    """A sample of another kind."""

    KIND: ClassVar[int] = 2
    text: Annotated[str, AtMost(8)]


@dataclass(frozen=True, slots=True)
class Sample:
    """A value with a field of every form there is."""

    DOMAIN: ClassVar[str] = "consilium.sample"
    number: int
    data: Annotated[bytes, AtMost(64)]
    digest: Digest
    name: Annotated[str, AtMost(16)]
    colour: Colour
    inner: Circle
    shape: Circle | Label
    maybe: Circle | None
    many: Annotated[tuple[Digest, ...], AtMost(4)]
    flag: bool


def pattern(length: int) -> bytes:
    """Bytes that repeat nowhere, for data that must be told apart."""
    blocks = (sha256(index.to_bytes(8)).digest() for index in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def samples() -> list[Any]:
    """Values of every form and size the encoding has."""
    circle, zeros = Circle(2**63 - 1), bytes(32)
    empty = Sample(0, b"", zeros, "", Colour.RED, Circle(23), Label(""), None, (), flag=False)
    many = (zeros, pattern(32), zeros, zeros)
    full = Sample(24, pattern(64), pattern(32), "Zoë ☤", Colour.BLUE, Circle(256), circle, circle, many, flag=True)
    context = sealing.RecordContext(bytes(16), 1, pattern(32), "north", 3, 17)
    return [
        empty,
        full,
        context,
        sealing.SealHeader(pattern(24), pattern(32)),
        InclusionProof(5, 8, (bytes(32), pattern(32))),
        MapProof((pattern(32),), MapLeaf(bytes(32), pattern(32))),
    ]


def encoding() -> list[dict[str, str]]:
    """The bytes of the samples on a sample chain."""
    return [{"value": repr(each), "bytes": encode(each, CHAIN_ID).hex()} for each in samples()]


def domain_hashes() -> list[dict[str, Any]]:
    """Domain hashes whose parts must not run into one another."""
    cases = [("a", []), ("a", [b""]), ("a", [b"bc"]), ("ab", [b"c"]), ("a", [b"b", b"c"]), ("a", [b"", b"bc"])]
    return [
        {"domain": domain, "parts": [each.hex() for each in parts], "hash": hashing.domain_hash(domain, *parts).hex()}
        for domain, parts in cases
    ]


def merkle() -> list[dict[str, Any]]:
    """Logs of growing size: their root, one inclusion proof and one consistency proof each."""
    log, cases = MerkleLog(), []
    for size in (1, 2, 3, 7, 8, 100, 255):
        while log.size < size:
            log.append(leaf_hash(log.size.to_bytes(4)))
        inclusion, consistency = log.inclusion_proof(size // 2, size), log.consistency_proof((size + 1) // 2, size)
        paths = {"inclusion": inclusion.path, "consistency": consistency.path}
        cases.append({"size": size, "root": log.root().hex()} | {k: [h.hex() for h in v] for k, v in paths.items()})
    return cases


def state_map() -> list[dict[str, Any]]:
    """Maps of growing size: their root, and a proof that one key is there and another is not."""
    cases: list[dict[str, Any]] = []
    for size in (0, 1, 2, 3, 50):
        held = StateMap().updated({b"key/%d" % index: b"value %d" % index for index in range(size)})
        proofs = {name: encode(held.prove(key), CHAIN_ID).hex() for name, key in (("of_0", b"key/0"), ("of_x", b"x"))}
        cases.append({"size": size, "root": held.root.hex(), **proofs})
    return cases


def signing() -> dict[str, str]:
    """One signature of ours."""
    signer = Ed25519Signer.from_seed(pattern(32))
    return {"public_key": signer.public_key.hex(), "signature": signer.sign(b"consilium").hex()}


def sealed_object(length: int) -> dict[str, Any]:
    """One object sealed under fixed secrets; chunks by their hashes, the last in full when it is short."""
    size_class = sealing.size_class_of(length)
    context = sealing.RecordContext(bytes(16), 1, pattern(32), "north", 3, size_class).digest(CHAIN_ID)
    key = sealing.data_key(pattern(32), pattern(64)[32:], context)
    sealer = sealing.ObjectSealer(key, pattern(24), context, length)
    chunks = [*sealer.update(pattern(length)), *sealer.finish()]
    return {
        "length": length,
        "size_class": sealer.size_class,
        "context": context.hex(),
        "key": key.hex(),
        "commitment": sealer.header.commitment.hex(),
        "chunks": [sha256(each).hexdigest() for each in chunks],
    }


def sealed_objects() -> list[dict[str, Any]]:
    """Objects around the edges of a chunk."""
    full = sealing.CHUNK_DATA_BYTES - sealing.LENGTH_BYTES
    return [sealed_object(length) for length in (0, 1, 5000, full - 1, full, full + 1, 700_000)]


def umbral_story() -> dict[str, Any]:
    """A secret sealed, two of three fragments, their work: bytes that must verify and open for ever."""
    seed, secret = pattern(32), pattern(64)
    owner, signer = (make(seed, "cardiology", 7) for make in (umbral.derive_delegating_key, umbral.derive_signing_key))
    assert isinstance(owner, umbral.DelegatingKey)
    assert isinstance(signer, umbral.FragmentSigningKey)
    recipient = umbral.ReceivingKey.from_secret_bytes(sha256(b"recipient").digest())
    sealed = umbral.seal(owner.public_key, secret)
    kfrags = umbral.generate_kfrags(owner, recipient.public_key, signer, 2, 3)
    return {
        "seed": seed.hex(),
        "scope": "cardiology",
        "epoch": 7,
        "delegating_sk": owner.to_secret_bytes().hex(),
        "delegating_pk": owner.public_key.hex(),
        "verifying_pk": signer.public_key.hex(),
        "receiving_sk": recipient.to_secret_bytes().hex(),
        "receiving_pk": recipient.public_key.hex(),
        "secret": secret.hex(),
        "capsule": sealed.capsule.hex(),
        "ciphertext": sealed.ciphertext.hex(),
        "digest": sealed.digest.hex(),
        "kfrags": [each.to_secret_bytes().hex() for each in kfrags],
        "commitments": [each.commitment.hex() for each in kfrags],
        "cfrags": [umbral.reencrypt(sealed, each).to_bytes().hex() for each in kfrags],
        "ownership": umbral.prove_ownership(owner, b"these terms").hex(),
    }


REMADE = {
    "encoding": encoding,
    "hashing": domain_hashes,
    "merkle": merkle,
    "state_map": state_map,
    "signing": signing,
    "sealing": sealed_objects,
}


def read(name: str) -> Any:
    """The vectors in `name`.json."""
    return json.loads((HERE / f"{name}.json").read_text())


def write(name: str, vectors: object) -> None:
    """Freeze vectors."""
    (HERE / f"{name}.json").write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["umbral"]:
        write("umbral", umbral_story())
    else:
        for each, made in REMADE.items():
            write(each, made())
