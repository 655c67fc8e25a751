"""Makes election.json with the independent recomputation, never with the product.

Run from the top of the checkout: `python -m tests.vectors.make_election > tests/vectors/election.json`.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from typing import Any

from tests.kernel.recomputed_election import GRADES, Person, recompute

SHARES = [39, 13, 36, 12]


def alliance(**counts: int) -> list[Person]:
    """Members of so many of each grade (`g3A=2`), each with an owner of its own."""
    return [
        Person(f"{grade[1:].lower()}-{i:02}", f"owner-{grade[1:]}-{i}", grade[1:])
        for grade, count in counts.items()
        for i in range(count)
    ]


DEMO = alliance(g3A=1, g3B=1, g2A=1, g2B=1, g1A=1)
HUNDRED = alliance(g3S=1, g3A=5, g3B=3, g3C=2, g2A=20, g2B=15, g2C=6, g1A=20, g1B=8, g1C=5, gU=15)
CONSORTIA = [
    Person(f"{owner}-{grade.lower()}-{i}", owner, grade)
    for owner in ("east", "west", "north")
    for i, grade in enumerate(("3A", "3B", "2A", "2B", "1A", "1A", "U"))
]
CONDUCT = [
    Person(f"m{i:02}", f"o{i % 9}", GRADES[i % 11], 150 + 50 * (i % 18), i % 5, (0, 0, 0, 6)[i % 4]) for i in range(36)
]

RESTING = [person._replace(running=i % 5, silent=i % 7 == 3) for i, person in enumerate(CONDUCT)]


def case(name: str, people: list[Person], target: int = 13, epoch: int = 1) -> dict[str, Any]:
    """One election and what it gives."""
    chain_id, mix = (sha256(f"{what} {name}".encode()).digest() for what in ("chain", "mix"))
    outcome = recompute(people, target, SHARES, chain_id, epoch, mix)
    assert outcome is not None
    return {
        "name": name,
        "chain_id": chain_id.hex(),
        "epoch": epoch,
        "mix": mix.hex(),
        "target": target,
        "shares": SHARES,
        "members": people,
        **outcome._asdict(),
    }


CASES = [
    case("demo, first epoch", DEMO),
    case("demo, second epoch", DEMO, epoch=2),
    case("ten members", alliance(g3A=2, g3B=1, g2A=2, g2B=1, g1A=3, gU=1)),
    case("lopsided 2-2-4-5", alliance(g3A=2, g3B=2, g2B=4, g1A=5)),
    case("a hundred members, thirteen seats", HUNDRED),
    case("a hundred members, nineteen seats", HUNDRED, target=19, epoch=2**40),
    case("three owners over all strata, thirteen seats", CONSORTIA),
    case("one owner", [Person(f"m{i}", "all", grade) for i, grade in enumerate(GRADES[1:])], target=7),
    case("scores, votes and jail", CONDUCT, epoch=5),
    case("the same after the jail", CONDUCT, epoch=6),
    case("rest after three terms, silence", RESTING, epoch=6),
]

if __name__ == "__main__":
    lines = ",\n".join(json.dumps(each) for each in CASES)
    sys.stdout.write(f"[\n{lines}\n]\n")
