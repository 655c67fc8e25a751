"""An alliance founded over files by members who trust nobody: what comes out, and what is refused before it does."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from consilium.ceremony import founding
from consilium.ceremony.keys import FILES, Founder, card_of, draw_first_authority, read_keys
from consilium.client import cli
from consilium.identity import founding as identity
from consilium.identity.settings import IdentitySettings
from consilium.kernel.encoding import encode
from consilium.kernel.errors import (
    BadSignature,
    Conflict,
    ConsiliumError,
    FailedPrecondition,
    InvalidArgument,
    Malformed,
    NotFound,
)
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.parameters import Parameters
from consilium.kernel.signed_genesis import SignedGenesis, fingerprint, sign_card
from consilium.kernel.transactions import Grade
from consilium.runtime.clock import wall_ms
from consilium.runtime.genesis_file import read_genesis, read_signed_genesis
from consilium.runtime.tls import Tls

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consilium.kernel.signed_genesis import FounderConsent, FoundingDraft, SignedCard

FOUR = {"1A": Grade.A1, "2A": Grade.A2, "3A": Grade.A3, "3B": Grade.B3}
DAY_MS = 86_400_000


def founder(name: str) -> Founder:
    return Founder(name, FOUR[name], f"owner-{name}")


class Ceremony:
    """Four founders, their cards drawn now."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, wall_ms()
        self.cards = [founding.prepare(folder / each, founder(each), "consilium", self.now) for each in FOUR]

    def draft(self, cards: Sequence[SignedCard] | None = None) -> FoundingDraft:
        return founding.draft(self.cards if cards is None else cards, Parameters(), self.now)

    def sign(self, name: str, drafted: FoundingDraft) -> FounderConsent:
        return founding.sign(self.folder / name, drafted, fingerprint(drafted.genesis.chain_id), self.now)

    def consents(self, drafted: FoundingDraft) -> list[FounderConsent]:
        return [self.sign(each, drafted) for each in FOUR]


@pytest.fixture
def ceremony(tmp_path: Path) -> Ceremony:
    return Ceremony(tmp_path)


def test_what_is_sealed_is_signed_by_all_and_verifies(ceremony: Ceremony) -> None:
    """L5: a genesis file, and every founder's authority bound to the chain that it names."""
    drafted = ceremony.draft()
    sealed = founding.seal(ceremony.folder / "alliance", drafted, ceremony.consents(drafted), ceremony.now)
    assert founding.verify(ceremony.folder / "alliance", ceremony.now) == sealed
    assert read_genesis(ceremony.folder / "alliance" / "genesis") == drafted.genesis
    assert sorted(each.binding.member_id for each in sealed.authorities) == list(FOUR)


def test_the_same_cards_give_the_same_genesis_in_any_order(ceremony: Ceremony) -> None:
    assert ceremony.draft(ceremony.cards[::-1]) == ceremony.draft()
    later = replace(Parameters(), term_blocks=500)
    assert founding.draft(ceremony.cards, later, ceremony.now).genesis.chain_id != ceremony.draft().genesis.chain_id


def test_secrets_are_for_their_owner_alone_and_nothing_else_lies_beside_them(ceremony: Ceremony) -> None:
    keys = ceremony.folder / "1A" / "keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {each.name: stat.S_IMODE(each.stat().st_mode) for each in keys.iterdir()} == dict.fromkeys(FILES, 0o600)
    with pytest.raises(Conflict, match="KEYS_EXIST"):
        founding.prepare(ceremony.folder / "1A", founder("1A"), "consilium", ceremony.now)


def test_an_identity_takes_up_the_authority_that_was_drawn_with_the_keys(ceremony: Ceremony) -> None:
    """What all others carry is what its services are certified by; without a file handed over after the start."""
    drafted, folder = ceremony.draft(), ceremony.folder
    founding.seal(folder / "alliance", drafted, ceremony.consents(drafted), ceremony.now)
    home = folder / "2A"
    settings = IdentitySettings(
        member_id="2A",
        genesis=folder / "alliance" / "genesis",
        member_key=home / "keys" / "member",
        state_directory=home / "identity",
        services_directory=home / "tls",
        authorities_directory=folder / "alliance" / "authorities",
    )
    before = sorted(each.name for each in settings.authorities_directory.iterdir())
    identity.found(settings)
    assert sorted(each.name for each in settings.authorities_directory.iterdir()) == before
    assert sorted(Tls(home / "tls" / "ledger", "consilium").material.authorities) == list(FOUR)
    (home / "keys" / "authority.crt").write_bytes((folder / "3A" / "keys" / "authority.crt").read_bytes())
    with pytest.raises(ConsiliumError, match="BAD_AUTHORITY"):
        identity.found(replace(settings, state_directory=home / "again"))


# --- refused before there is a draft ---


def forged(card: SignedCard) -> SignedCard:
    return replace(card, card=replace(card.card, drawn_ms=card.card.drawn_ms + 1))


def test_a_card_that_its_keys_have_not_signed_is_refused(ceremony: Ceremony) -> None:
    first, *others = ceremony.cards
    theirs = replace(first, consensus_signature=others[0].consensus_signature)
    for each in (forged(first), theirs):
        with pytest.raises(BadSignature, match=r"1A.*BAD_CARD"):
            ceremony.draft([each, *others])


def test_names_and_keys_stand_once(ceremony: Ceremony) -> None:
    """L5: also a key of the one use in the place of the other, which its holder may sign with."""
    again = founding.prepare(ceremony.folder / "again", founder("1A"), "consilium", ceremony.now)
    with pytest.raises(Conflict, match="DUPLICATE_MEMBER"):
        ceremony.draft([*ceremony.cards, again])
    twin = card_of(ceremony.folder / "1A" / "keys", Founder("9Z", Grade.A1, "x"), "consilium", ceremony.now)
    with pytest.raises(Conflict, match=r"1A and 9Z.*DUPLICATE_KEY"):
        ceremony.draft([*ceremony.cards, twin])
    keys = ceremony.folder / "2A" / "keys"
    (keys / "consensus").write_bytes((keys / "member").read_bytes())
    with pytest.raises(Conflict, match="DUPLICATE_KEY"):
        ceremony.draft([card_of(keys, founder("2A"), "consilium", ceremony.now), *ceremony.cards[2:], ceremony.cards[0]])


def test_fewer_than_four_can_bear_no_fault(ceremony: Ceremony) -> None:
    """C6: f is 0 below four."""
    for count in (0, 3):
        with pytest.raises(FailedPrecondition, match="TOO_FEW_MEMBERS"):
            ceremony.draft(ceremony.cards[:count])


def test_founders_of_two_alliances_do_not_mix(ceremony: Ceremony) -> None:
    other = founding.prepare(ceremony.folder / "other", Founder("4A", Grade.A1, "x"), "elsewhere", ceremony.now)
    with pytest.raises(InvalidArgument, match="OTHER_ALLIANCE"):
        ceremony.draft([*ceremony.cards, other])


def test_a_clock_ahead_is_named(ceremony: Ceremony) -> None:
    """L7: the first time of the chain is the latest card's; a clock that is ahead would let nobody propose."""
    late = ceremony.now + Parameters().clock_skew_max_ms + 1
    card = founding.prepare(ceremony.folder / "late", Founder("4A", Grade.A1, "x"), "consilium", late)
    with pytest.raises(FailedPrecondition, match=r"4A.*CLOCK_AHEAD"):
        ceremony.draft([*ceremony.cards, card])


def test_an_authority_that_has_ended_is_named(ceremony: Ceremony) -> None:
    with pytest.raises(FailedPrecondition, match=r"1A.*AUTHORITY_OVER"):
        founding.draft(ceremony.cards, Parameters(), ceremony.now + 366 * DAY_MS)


def test_a_card_with_a_strange_certificate_is_named(ceremony: Ceremony) -> None:
    """A version of X.509 that there is not, well signed: a refusal, not the end of the program."""
    first, *others = ceremony.cards
    strange = first.card.certificate.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020105"))
    keys = read_keys(ceremony.folder / "1A" / "keys")
    card = sign_card(replace(first.card, certificate=strange), keys.member, keys.consensus)
    with pytest.raises(InvalidArgument, match=r"1A.*BAD_AUTHORITY"):
        ceremony.draft([card, *others])


@pytest.mark.parametrize("name", ["", "-1A", "ein Haus", "x" * 64])
def test_a_name_that_no_certificate_can_hold_is_refused_before_keys_are_drawn(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="BAD_NAME"):
        founding.prepare(tmp_path / "new", Founder(name, Grade.A1, "x"), "consilium", wall_ms())
    assert not (tmp_path / "new").exists()


def test_numbers_that_no_alliance_can_live_by_are_refused(ceremony: Ceremony) -> None:
    with pytest.raises(InvalidArgument, match="BAD_PARAMETERS"):
        founding.draft(ceremony.cards, replace(Parameters(), term_blocks=1), ceremony.now)


def test_a_card_with_no_authority_of_its_founder_is_named_before_anybody_signs(ceremony: Ceremony) -> None:
    """L5: found by the seal alone it would be found when all have signed."""
    first, second, *others = ceremony.cards
    keys = read_keys(ceremony.folder / "1A" / "keys")
    for der in (second.card.certificate, b"0"):
        card = sign_card(replace(first.card, certificate=der), keys.member, keys.consensus, ZERO_DIGEST)
        with pytest.raises(InvalidArgument, match=r"1A.*BAD_AUTHORITY"):
            ceremony.draft([card, second, *others])


# --- refused at the signing and the sealing ---


def test_only_what_people_compared_is_signed(ceremony: Ceremony) -> None:
    with pytest.raises(BadSignature, match="OTHER_FINGERPRINT"):
        founding.sign(ceremony.folder / "1A", ceremony.draft(), "0000-0000-0000-0000-0000", ceremony.now)


def test_who_is_no_founder_signs_nothing(ceremony: Ceremony) -> None:
    founding.prepare(ceremony.folder / "9Z", Founder("9Z", Grade.A1, "x"), "consilium", ceremony.now)
    drafted = ceremony.draft()
    with pytest.raises(FailedPrecondition, match="NOT_A_FOUNDER"):
        ceremony.sign("9Z", drafted)


def test_all_must_sign_and_nobody_for_another(ceremony: Ceremony) -> None:
    drafted, folder = ceremony.draft(), ceremony.folder / "alliance"
    first, second, *others = ceremony.consents(drafted)
    with pytest.raises(FailedPrecondition, match=r"Still to sign: 1A, 2A.*MISSING_CONSENT"):
        founding.seal(folder, drafted, others, ceremony.now)
    with pytest.raises(InvalidArgument, match=r"9Z.*FOREIGN_CONSENT"):
        founding.seal(folder, drafted, [replace(first, member_id="9Z"), second, *others], ceremony.now)
    with pytest.raises(BadSignature, match=r"1A.*NOT_FOUNDED"):
        founding.seal(folder, drafted, [replace(first, signature=second.signature), second, *others], ceremony.now)
    stolen = replace(first, authority=replace(first.authority, signature=second.signature))
    with pytest.raises(BadSignature, match="BAD_SIGNATURE"):
        founding.seal(folder, drafted, [stolen, second, *others], ceremony.now)
    with pytest.raises(NotFound, match=r"1A.*NO_AUTHORITY"):
        founding.seal(folder, drafted, [replace(first, authority=second.authority), second, *others], ceremony.now)
    (ceremony.folder / "1A" / "keys" / "authority.crt").unlink()
    (ceremony.folder / "1A" / "keys" / "authority.key").unlink()
    draw_first_authority(ceremony.folder / "1A" / "keys", "consilium", "1A", ceremony.now, 365)
    with pytest.raises(InvalidArgument, match=r"1A.*another authority.*BAD_AUTHORITY"):
        founding.seal(folder, drafted, [ceremony.sign("1A", drafted), second, *others], ceremony.now)
    assert not folder.exists()


def test_a_consent_to_another_draft_is_no_consent(ceremony: Ceremony) -> None:
    drafted = ceremony.draft()
    other = founding.draft(ceremony.cards, replace(Parameters(), term_blocks=500), ceremony.now).genesis.chain_id
    path = founding.write_consent(ceremony.folder, ceremony.sign("1A", drafted), drafted.genesis.chain_id)
    with pytest.raises(Malformed, match="FOREIGN_CONSENT"):
        founding.read_consent(path, other)


def test_a_folder_of_another_alliance_is_left_alone(ceremony: Ceremony, tmp_path: Path) -> None:
    drafted = ceremony.draft()
    other = founding.draft(ceremony.cards, replace(Parameters(), term_blocks=500), ceremony.now)
    founding.seal(tmp_path / "alliance", drafted, ceremony.consents(drafted), ceremony.now)
    with pytest.raises(Conflict, match="FOUNDED_ALREADY"):
        founding.seal(tmp_path / "alliance", other, ceremony.consents(other), ceremony.now)


# --- refused at every start ---


def test_a_genesis_that_somebody_has_not_signed_is_none(ceremony: Ceremony) -> None:
    """L5: every service and every client reads the signatures; a number changed afterwards takes all of them away."""
    drafted, path = ceremony.draft(), ceremony.folder / "alliance" / "genesis"
    founding.seal(path.parent, drafted, ceremony.consents(drafted), ceremony.now)
    signed = read_signed_genesis(path)
    changed = replace(drafted.genesis, parameters=replace(Parameters(), term_blocks=500))
    for each in (
        replace(signed, signatures=signed.signatures[:-1]),
        replace(signed, signatures=signed.signatures[::-1]),
        SignedGenesis(changed, signed.signatures),
    ):
        path.write_bytes(encode(each, ZERO_DIGEST))
        with pytest.raises(InvalidArgument, match="BAD_GENESIS"):
            read_genesis(path)
    path.write_bytes(encode(drafted.genesis, ZERO_DIGEST))
    with pytest.raises(InvalidArgument, match="BAD_GENESIS"):
        read_genesis(path)


def test_a_sealed_folder_without_an_authority_does_not_verify(ceremony: Ceremony) -> None:
    drafted, folder = ceremony.draft(), ceremony.folder / "alliance"
    founding.seal(folder, drafted, ceremony.consents(drafted), ceremony.now)
    next((folder / "authorities").glob("2A-*")).unlink()
    with pytest.raises(NotFound, match=r"2A.*NO_AUTHORITY"):
        founding.verify(folder, ceremony.now)
    with pytest.raises(FailedPrecondition, match="CLOCK_AHEAD"):
        founding.verify(folder, ceremony.now - DAY_MS)


def test_a_founding_is_whole_still_when_its_first_authorities_have_ended(ceremony: Ceremony) -> None:
    """They are a year's; the genesis is for good, and a member is given it again whenever it needs it."""
    drafted, folder = ceremony.draft(), ceremony.folder / "alliance"
    sealed = founding.seal(folder, drafted, ceremony.consents(drafted), ceremony.now)
    assert founding.verify(folder, ceremony.now + 3_000 * DAY_MS) == sealed
    assert "genesis" in founding.public_files(folder, ceremony.now + 3_000 * DAY_MS)


# --- by command ---


class Terminal:
    """The commands, as people type them, and what they say as JSON."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> Any:
        cli.app(["founding", *map(str, words), "--json"], standalone_mode=False)
        return json.loads(self._capsys.readouterr().out)

    def refused(self, *words: object) -> Any:
        with pytest.raises(SystemExit):
            cli.app(["founding", *map(str, words), "--json"], standalone_mode=False)
        return json.loads(self._capsys.readouterr().out)["error"]["reason"]


def test_the_whole_ceremony_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, draft, sealed = Terminal(capsys), tmp_path / "genesis-draft", tmp_path / "alliance"
    for name, grade in FOUR.items():
        words = ("--member", name, "--grade", grade.name, "--owner", f"owner-{name}")
        run("prepare", tmp_path / name, *words)
    files = [tmp_path / name / f"{name}.founder" for name in FOUR]
    numbers = tmp_path / "numbers.toml"
    numbers.write_text("term_blocks = 200\nseat_shares = [4, 3, 2, 1]\n")
    told = run("draft", *files, "-o", draft, "--parameters", numbers)
    assert (told["members"], told["parameters"]) == (list(FOUR), {"term_blocks": 200, "seat_shares": [4, 3, 2, 1]})
    assert run("show", draft)["fingerprint"] == told["fingerprint"]
    assert run.refused("sign", draft, tmp_path / "1A", "--fingerprint", "abcd") == "OTHER_FINGERPRINT"
    consents = [
        run("sign", draft, tmp_path / name, "--fingerprint", told["fingerprint"], "-o", tmp_path)["consent"] for name in FOUR
    ]
    assert run.refused("seal", draft, *consents[1:], "-o", sealed) == "MISSING_CONSENT"
    run("seal", draft, *consents, "-o", sealed)
    assert run("verify", sealed)["chain"] == told["chain"]
    assert run.refused("verify", tmp_path) == "BAD_GENESIS"
    assert run.refused("draft", *files[:3], draft, "-o", draft) == "BAD_FOUNDER_FILE"


@pytest.mark.parametrize(
    "text", ["term = 3", 'term_blocks = "many"', "seat_shares = 4", "term_blocks = [4]", "term_blocks = -1", "="]
)
def test_a_file_of_numbers_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    ceremony = Ceremony(tmp_path)
    files = [tmp_path / name / f"{name}.founder" for name in FOUR]
    (tmp_path / "numbers.toml").write_text(text)
    refused = Terminal(capsys).refused("draft", *files, "--parameters", tmp_path / "numbers.toml")
    assert (refused, len(ceremony.cards)) == ("BAD_PARAMETERS", 4)


def test_what_a_cluster_is_given(ceremony: Ceremony, capsys: pytest.CaptureFixture[str]) -> None:
    """One Secret of the six files, one ConfigMap of the public ones, by the names that the chart takes."""
    drafted, folder = ceremony.draft(), ceremony.folder / "alliance"
    founding.seal(folder, drafted, ceremony.consents(drafted), ceremony.now)
    cli.app(["founding", "kubernetes", str(folder), str(ceremony.folder / "1A")], standalone_mode=False)
    secret, config = list(YAML(typ="safe").load_all(capsys.readouterr().out))
    assert (secret["kind"], secret["metadata"]["name"], sorted(secret["data"])) == (
        "Secret",
        "consilium-keys",
        sorted(FILES),
    )
    names = ["genesis", *sorted(each.name for each in (folder / "authorities").iterdir())]
    assert (config["kind"], config["metadata"]["name"], list(config["binaryData"])) == (
        "ConfigMap",
        "consilium-genesis",
        names,
    )
    assert read_keys(ceremony.folder / "1A" / "keys").member.public_key == drafted.genesis.members[0].member_key
