"""What t holders and the recipient can compute together: the delegating secret key itself (promise 4).

Umbral hides the delegating key a behind f(0) = a / d, where d is known to the recipient alone: it is a hash of the
Diffie-Hellman point between the recipient's key and the fragments' precursor. A holder's fragment is f(x) for an x that
again the recipient alone can compute. So t fragments and the recipient's key give f by Lagrange, and a = f(0) d.
Plain integers modulo the order of secp256k1, after the published scheme; nothing here is part of the product.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

FIELD = 2**256 - 2**32 - 977
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
GENERATOR = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)

Point = tuple[int, int] | None


class Share(NamedTuple):
    """A key fragment's parts that matter here, as they lie in its 310 bytes."""

    kfrag_id: bytes
    value: int
    precursor: bytes


def read_share(kfrag: bytes) -> Share:
    """Takes a key fragment apart."""
    return Share(kfrag[39:71], int.from_bytes(kfrag[73:105]), kfrag[107:140])


def recover_delegating_key(kfrags: Sequence[bytes], receiving_sk: bytes) -> bytes:
    """Returns what the colluders compute: the delegating secret key when they hold at least t fragments."""
    shares = [read_share(each) for each in kfrags]
    secret = int.from_bytes(receiving_sk)
    precursor = shares[0].precursor
    exchange = precursor + compress(multiply(GENERATOR, secret)) + compress(multiply(decompress(precursor), secret))
    points = [(hash_to_scalar(b"POLYNOMIAL_ARG", exchange + each.kfrag_id), each.value) for each in shares]
    recovered = at_zero(points) * hash_to_scalar(b"SHARED_SECRET", exchange) % ORDER
    return recovered.to_bytes(32)


def at_zero(points: Sequence[tuple[int, int]]) -> int:
    """Returns the value at 0 of the polynomial through these points (Lagrange)."""
    total = 0
    for x, y in points:
        for other, _ in points:
            if other != x:
                y = y * other % ORDER * pow(other - x, -1, ORDER) % ORDER  # noqa: PLW2901
        total += y
    return total % ORDER


def hash_to_scalar(tag: bytes, data: bytes) -> int:
    """Returns Umbral's hash to a scalar that is never zero."""
    digest = sha256(len(tag).to_bytes(4) + tag + data).digest()
    return int.from_bytes(digest) % (ORDER - 1) + 1


def add(one: Point, other: Point) -> Point:
    """Returns the sum of two points of secp256k1."""
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if (one[1] + other[1]) % FIELD == 0:
            return None
        slope = 3 * one[0] ** 2 * pow(2 * one[1], -1, FIELD)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, FIELD)
    x = (slope**2 - one[0] - other[0]) % FIELD
    return x, (slope * (one[0] - x) - one[1]) % FIELD


def multiply(point: Point, scalar: int) -> Point:
    """Returns the point added to itself `scalar` times."""
    result = None
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def compress(point: Point) -> bytes:
    """Returns a point's 33 bytes."""
    assert point is not None
    return bytes([2 + (point[1] & 1)]) + point[0].to_bytes(32)


def decompress(data: bytes) -> Point:
    """Returns the point that 33 bytes stand for."""
    x = int.from_bytes(data[1:])
    y = pow(x**3 + 7, (FIELD + 1) // 4, FIELD)
    return x, y if y & 1 == data[0] & 1 else FIELD - y
