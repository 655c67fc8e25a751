from __future__ import annotations

from consilium.kernel.codes import RULES, Code, is_refusal, outcome_leaf, outcome_leaves
from consilium.kernel.merkle import leaf_hash
from tests.alliance import seed_of


def test_every_code_names_its_rule() -> None:
    """L8: whoever is refused can look the rule up."""
    assert list(RULES) == list(Code)
    assert all(rule[0] in "LGCS" and rule[1:].isdigit() for rule in RULES.values())


def test_only_applied_and_granted_take_effect() -> None:
    assert [code for code in Code if not is_refusal(code)] == [Code.APPLIED, Code.GRANTED]


def test_numbers_are_frozen() -> None:
    """L8: a code's number stands under results roots for good."""
    picked = (Code.APPLIED, Code.GRANTED, Code.EXPIRED, Code.DUPLICATE, Code.CAPSULE_EXISTS, Code.FOREIGN_SALT)
    assert [int(code) for code in picked] == [0, 1, 16, 18, 66, 98]
    assert max(Code).name == "BAD_DEPARTURES"
    assert max(int(code) for code in Code) == 121


def test_an_outcome_leaf_binds_transaction_and_code() -> None:
    """L4: prefix, the transaction's leaf hash, two bytes of code."""
    name = seed_of("a transaction")
    assert outcome_leaf(name, Code.FOREIGN_SALT) == leaf_hash(b"consilium.outcome" + name + b"\x00\x62")
    assert len({outcome_leaf(name, code) for code in Code}) == len(Code)


def test_a_block_of_outcomes_is_each_outcome() -> None:
    names = [seed_of(code.name) for code in Code]
    assert outcome_leaves(names, list(Code)) == [outcome_leaf(*pair) for pair in zip(names, Code, strict=True)]
