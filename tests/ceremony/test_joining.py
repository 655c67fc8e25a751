"""An invitation and its answer, offline: what is refused before keys are drawn, and before anybody votes (G2, L5)."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from consilium.ceremony import joining
from consilium.ceremony.keys import FILES, read_keys
from consilium.client import cli
from consilium.client.commands import joins
from consilium.client.inviting import read_request
from consilium.client.session import Session
from consilium.identity.authority import create_authority
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import (
    BadSignature,
    Conflict,
    ConsiliumError,
    FailedPrecondition,
    InvalidArgument,
    Malformed,
    ResourceExhausted,
    Unavailable,
)
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.invitations import (
    LIFE_MS_MAX,
    Invitation,
    InvitationContent,
    InvitationFile,
    JoinRequest,
    ServiceAddress,
    SignedInvitation,
    checkpoint_of,
)
from consilium.kernel.membership import SERVICES
from consilium.kernel.parameters import PROTOCOL_VERSION
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import Grade, MemberAct, MemberAction
from consilium.ledger.keeper import Keeper
from consilium.ledger.settings import Checkpoint
from consilium.ledger.settings import checkpoint_of as setting_of
from consilium.ledger.store import MemoryBlockStore
from consilium.runtime.clock import wall_ms
from tests.alliance import Alliance, MemberKeys, Scribe
from tests.client.local_member import LocalAlliance
from tests.helm.rendering import CHART, LEAST, containers, helm, pods, rendered

if TYPE_CHECKING:
    from pathlib import Path

INVITER, NEWCOMER, OWNER = "anshan", "yingkou", "harbour"
ALLIANCE = "liaoning"
DAY_MS = 86_400_000
ADDRESSES = {each: f"consilium-{each}.hospital-9.svc:8443" for each in SERVICES}


def named(name: str) -> Alliance:
    """The tests' alliance under a name that certificates can hold."""
    alliance = Alliance.founded()
    genesis = replace(alliance.genesis, alliance=name)
    return Alliance(genesis, alliance.keys, genesis.chain_id)


class Desk:
    """The inviter's side, over a chain in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.local, self.now = folder, LocalAlliance(Scribe(named(ALLIANCE))), wall_ms()
        self.scribe = self.local.scribe
        self.chain_id = self.scribe.alliance.chain_id
        self.session = Session(self.scribe.alliance.genesis, INVITER, self.local.members, Ed25519Verifier())
        certificate = self.scribe.chain.result_certificate(1)
        assert certificate is not None
        member = self.scribe.alliance.keys[INVITER].member
        bound = create_authority(
            folder / "authority", ALLIANCE, INVITER, member, self.chain_id, self.now, 200 * DAY_MS
        ).bound
        addresses = tuple(ServiceAddress(INVITER, each, f"consilium-{each}.hospital-1.svc:8443") for each in SERVICES)
        self.content = InvitationContent(self.scribe.alliance.signed_genesis, certificate, 1, (bound,), addresses)

    def invitation(self, by: str = INVITER, **changed: Any) -> InvitationFile:
        """A file as `consilium invite create` writes it, but for what is changed; signed by a member."""
        content = changed.pop("content", self.content)
        key = self.scribe.alliance.keys[by].member
        usual = Invitation(
            by, key.public_key, NEWCOMER, OWNER, self.now, self.now + DAY_MS, sha256(encode(content, self.chain_id))
        )
        invitation = replace(usual, **changed)
        return InvitationFile(SignedInvitation(invitation, key.sign(encode(invitation, self.chain_id))), content)

    def written(self, file: InvitationFile) -> Path:
        path = self.folder / "invitation"
        path.write_bytes(encode(file, ZERO_DIGEST))
        return path

    def answered(self, file: InvitationFile | None = None, name: str = "new") -> JoinRequest:
        return joining.draw(file or self.invitation(), self.folder / name, ADDRESSES, self.now)

    def judge(self, request: JoinRequest, compared: str | None = None) -> JoinRequest:
        shown = request.fingerprint(self.chain_id) if compared is None else compared
        data = encode(request, self.chain_id)
        return asyncio.run(read_request(self.session, ALLIANCE, data, shown))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# --- the coming member's side ---


def test_what_an_invitation_gives_is_enough_to_start(desk: Desk) -> None:
    """Secrets for their owner alone; the rest for a process, a cluster, and the other members' values."""
    file, folder = desk.invitation(), desk.folder / "new"
    request = desk.answered(file)
    joining.write_all(file, request, folder)
    assert {each.name: stat.S_IMODE(each.stat().st_mode) for each in (folder / "keys").iterdir()} == dict.fromkeys(
        FILES, 0o600
    )
    assert stat.S_IMODE((folder / "manifests.yaml").stat().st_mode) == 0o600
    assert decode(JoinRequest, (folder / f"{NEWCOMER}.request").read_bytes(), desk.chain_id) == request
    yaml = YAML(typ="safe")
    values = yaml.load((folder / "values.yaml").read_text())
    peers = [
        {
            "member": INVITER,
            "namespace": "hospital-1",
            "addresses": {each.service: each.address for each in desk.content.addresses},
        }
    ]
    assert (values["member"]["id"], values["alliance"]["peers"]) == (NEWCOMER, peers)
    assert values["ledger"]["settings"]["checkpoint"] == checkpoint_of(desk.content.checkpoint, desk.chain_id)
    assert yaml.load((folder / "peers.yaml").read_text())["alliance"]["peers"][0]["namespace"] == "hospital-9"
    secret, config = yaml.load_all((folder / "manifests.yaml").read_text())
    assert (secret["kind"], config["kind"], len(config["binaryData"])) == ("Secret", "ConfigMap", 3)


def test_the_chart_takes_the_values_that_a_coming_member_is_given(desk: Desk) -> None:
    """By namespace in the cluster, by host outside; the ledger is told the height it has to pass."""
    outside = tuple(ServiceAddress("benxi", each, f"{each}.benxi.example:7443") for each in SERVICES)
    file = desk.invitation(content=replace(desk.content, addresses=(*desk.content.addresses, *outside)))
    objects = rendered(json.loads(json.dumps(joining.values_of(file))), namespace="hospital-9")
    (environment,) = [
        {each["name"]: each.get("value") for each in container["env"]}
        for _, pod in pods(objects)
        for container in containers(pod)
        if any(each["name"] == "CONSILIUM_LEDGER_CHECKPOINT" for each in container.get("env", []))
    ]
    assert environment["CONSILIUM_LEDGER_CHECKPOINT"] == checkpoint_of(desk.content.checkpoint, desk.chain_id)
    assert environment["CONSILIUM_LEDGER_PEERS"].split(",") == [
        "anshan=consilium-ledger.hospital-1.svc:8443",
        "benxi=ledger.benxi.example:7443",
    ]


TOOL = """#!/bin/sh
case "$*" in
  "get namespace gone") echo 'Error from server (NotFound): namespaces "gone" not found' >&2; exit 1;;
  "get storageclass"*) cat "$(dirname $0)/classes"; exit;;
  "get "*) exit;;
esac
echo "$(basename $0) $*" >> "$(dirname $0)/told"
[ "$(basename $0)" != helm ] || { echo "no such chart" >&2; exit 3; }
"""


def test_an_install_that_fails_says_so_and_keeps_the_keys(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kubectl and helm are the operator's own; what they refuse is told."""
    path, folder = desk.written(desk.invitation()), desk.folder / "new"
    words = ["join", "prepare", str(path), str(folder), "--offline", "--json", "--namespace", "n", "--install", "chart"]
    words += ["--fingerprint", desk.invitation().fingerprint]
    tools = desk.folder / "bin"
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(SystemExit):
        cli.app(words, standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == "NOT_INSTALLED"
    assert not folder.exists()
    tools.mkdir()
    for name in ("kubectl", "helm"):
        (tools / name).write_text(TOOL)
        (tools / name).chmod(0o755)
    (tools / "classes").write_text(DEFAULT_CLASS)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(SystemExit):
        cli.app(words, standalone_mode=False)
    refused = json.loads(capsys.readouterr().out)["error"]
    assert (refused["reason"], "no such chart" in refused["sentence"]) == ("INSTALL_FAILED", True)
    assert (tools / "told").read_text().splitlines() == [
        f"kubectl apply --namespace n --filename {folder / 'manifests.yaml'}",
        f"helm upgrade --install consilium chart --namespace n --values {folder / 'values.yaml'}",
    ]
    assert sorted(each.name for each in (folder / "keys").iterdir()) == sorted(FILES)


DEFAULT_CLASS = '{"storageclass.kubernetes.io/is-default-class":"true"}'


@pytest.mark.parametrize(
    ("namespace", "classes", "values", "reason"),
    [
        ("gone", DEFAULT_CLASS, "", "NO_NAMESPACE"),
        ("n", "", "", "NO_STORAGE_CLASS"),
        ("n", DEFAULT_CLASS.replace("true", "false"), "defaults: {persistence: {storageClass: ''}}", "NO_STORAGE_CLASS"),
        ("n", "", "defaults: {persistence: {storageClass: fast}}", "INSTALL_FAILED"),
        ("n", "", '{"ledger": {"persistence": {"storageClass": "fast"}}}', "INSTALL_FAILED"),
    ],
)
def test_a_cluster_where_nothing_could_start_is_told_before_keys_are_drawn(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], namespace: str, classes: str,
    values: str, reason: str,
) -> None:  # fmt: skip
    path, folder, tools = desk.written(desk.invitation()), desk.folder / "new", desk.folder / "bin"
    tools.mkdir()
    for name in ("kubectl", "helm"):
        (tools / name).write_text(TOOL)
        (tools / name).chmod(0o755)
    (tools / "classes").write_text(classes)
    (desk.folder / "mine.yaml").write_text(values)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    words = [
        "join",
        "prepare",
        str(path),
        str(folder),
        "--offline",
        "--json",
        "--namespace",
        namespace,
        "--install",
        "chart",
    ]
    words += ["--fingerprint", desk.invitation().fingerprint, "--values", str(desk.folder / "mine.yaml")]
    with pytest.raises(SystemExit):
        cli.app(words, standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == reason
    assert folder.exists() == (reason == "INSTALL_FAILED")


def test_a_preparation_that_was_cut_short_goes_on_with_its_keys(desk: Desk) -> None:
    file = desk.invitation()
    first = desk.answered(file)
    again = desk.answered(file)
    assert again.card.card.profile == first.card.card.profile
    joining.write_all(file, again, desk.folder / "new")
    with pytest.raises(Conflict, match="KEYS_EXIST"):
        desk.answered(file)


@pytest.mark.parametrize("release", ["consilium", "east", "a" * 28 + "-b", "c" * 53])
def test_services_answer_where_the_chart_puts_them(release: str) -> None:
    """The names of Services, as Helm renders them: cut where a label of their pods would be too long."""
    run = helm("template", release, str(CHART), "--namespace", "hospital-9", values=LEAST)
    services = re.findall(r"^kind: Service\nmetadata:\n  name: (\S+)$", run.out, re.MULTILINE)
    told = joins.addresses_of("hospital-9", release, [])
    assert {each.partition(".")[0] for each in told.values()} == {each for each in services if not each.endswith("-pods")}


def test_members_outside_the_cluster_are_named_by_host() -> None:
    addresses = [ServiceAddress("2A", each, f"{each}.2a.example:7443") for each in SERVICES]
    (peer,) = joining.peers_of(addresses)
    assert (peer["member"], peer["host"], "namespace" in peer) == ("2A", "consensus.2a.example", False)


def test_members_without_ipv4_are_named_as_the_chart_takes_them() -> None:
    addresses = [ServiceAddress("2A", each, f"[2001:db8::7]:{port}") for port, each in enumerate(SERVICES, 7_443)]
    peers = joining.peers_of(addresses)
    run = helm("template", "consilium", str(CHART), values={**LEAST, "alliance": {"peers": peers}})
    assert run.code == 0, run.error
    assert [each for each in addresses if f"2A/{each.service}={each.address}" not in run.out] == []


def test_what_nobody_signed_is_no_invitation(desk: Desk) -> None:
    good = desk.invitation()
    thief = replace(good.signed.invitation, member_id="fuxin")
    for file, reason in {
        replace(good, signed=replace(good.signed, invitation=thief)): "FOREIGN_INVITATION",
        replace(good, content=replace(desk.content, known_version=0)): "OTHER_CONTENT",
        desk.invitation(member_id=""): "BAD_INVITATION",
        desk.invitation(expires_ms=desk.now + LIFE_MS_MAX + DAY_MS): "BAD_INVITATION",
    }.items():
        with pytest.raises(InvalidArgument, match=reason):
            joining.read_invitation(desk.written(file), desk.now)
    path = desk.folder / "broken"
    path.write_bytes(b"\x80")
    with pytest.raises(Malformed, match="BAD_INVITATION_FILE"):
        joining.read_invitation(path, desk.now)


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", "-a"])
def test_names_that_are_no_members_become_no_files(desk: Desk, name: str) -> None:
    """The inviter signs what it likes; what it signs may not lie anywhere but in the member's folder."""
    (bound,) = desk.content.authorities
    odd = replace(bound, binding=replace(bound.binding, member_id=name))
    for file in (
        desk.invitation(member_id=name),
        desk.invitation(content=replace(desk.content, authorities=(bound, odd))),
        desk.invitation(content=replace(desk.content, addresses=(ServiceAddress(name, "ledger", "a.example:1"),))),
    ):
        with pytest.raises(InvalidArgument, match="BAD_NAME"):
            joining.read_invitation(desk.written(file), desk.now)


def test_an_invitation_counts_for_its_time(desk: Desk) -> None:
    path = desk.written(desk.invitation())
    with pytest.raises(FailedPrecondition, match="INVITATION_OVER"):
        joining.read_invitation(path, desk.now + DAY_MS + 1)
    with pytest.raises(FailedPrecondition, match="CLOCK_BEHIND"):
        joining.read_invitation(path, desk.now - DAY_MS)


def test_what_does_not_fit_here_is_said_before_keys_are_drawn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    file = desk.invitation()
    with pytest.raises(BadSignature, match="OTHER_FINGERPRINT"):
        joining.check_here(file, "0000-0000-0000-0000-0000", desk.folder)
    newer = desk.invitation(content=replace(desk.content, known_version=PROTOCOL_VERSION + 1))
    with pytest.raises(FailedPrecondition, match="OLD_BUILD"):
        joining.check_here(newer, newer.fingerprint, desk.folder)
    nowhere = replace(desk.content, addresses=(ServiceAddress(INVITER, "ledger", "127.0.0.1:1"),))
    with pytest.raises(Unavailable, match="NO_PEER"):
        asyncio.run(joining.unreached(desk.invitation(content=nowhere)))
    monkeypatch.setattr(joining, "ROOM_MIN", 1 << 60)
    with pytest.raises(ResourceExhausted, match="NO_ROOM"):
        joining.check_here(file, file.fingerprint.replace("-", " ").upper(), desk.folder / "not" / "there")


def test_the_command_refuses_and_draws_nothing(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder = desk.written(desk.invitation()), desk.folder / "new"
    words = ["join", "prepare", str(path), str(folder), "--offline", "--json", "--fingerprint"]
    good = desk.invitation().fingerprint
    for more, reason in (
        (["0000", "--namespace", "n"], "OTHER_FINGERPRINT"),
        ([good], "BAD_ADDRESS"),
        ([good, "--address", "ledger=nowhere"], "BAD_ADDRESS"),
        ([good, "--install", "chart", "--address", "x=y:1"], "BAD_ADDRESS"),
    ):
        with pytest.raises(SystemExit):
            cli.app([*words, *more], standalone_mode=False)
        assert json.loads(capsys.readouterr().out)["error"]["reason"] == reason
    assert not folder.exists()
    cli.app([*words, good, "--namespace", "hospital-9"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert (told["member"], told["inviter"], told["unreached"]) == (NEWCOMER, INVITER, [])
    with pytest.raises(SystemExit):
        cli.app([*words, good, "--namespace", "hospital-9"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == "KEYS_EXIST"


# --- the members' side ---


def test_a_request_is_judged_by_the_ledger(desk: Desk) -> None:
    request = desk.answered()
    with pytest.raises(BadSignature, match="OTHER_FINGERPRINT"):
        desk.judge(request, "0000")
    assert desk.judge(request) == request
    theirs = replace(request, authority=replace(request.authority, signature=desk.content.authorities[0].signature))
    with pytest.raises(BadSignature, match="BAD_SIGNATURE"):
        desk.judge(theirs)
    with pytest.raises(Malformed, match="FOREIGN_REQUEST"):
        asyncio.run(read_request(desk.session, ALLIANCE, b"\x80", ""))


def test_a_request_to_another_invitation_is_refused(desk: Desk) -> None:
    request = desk.answered()
    other = desk.invitation(member_id="fuxin").signed
    with pytest.raises(InvalidArgument, match="OTHER_INVITATION"):
        desk.judge(replace(request, invitation=other))
    forged = replace(request.card, card=replace(request.card.card, drawn_ms=1))
    with pytest.raises(BadSignature, match="BAD_CARD"):
        desk.judge(replace(request, card=forged))


def test_only_an_active_members_invitation_counts_and_only_in_its_time(desk: Desk) -> None:
    stranger = MemberKeys.of("nobody", Grade.UNGRADED)
    request = desk.answered()
    made = replace(request.invitation.invitation, inviter="nobody", inviter_key=stranger.member.public_key)
    posing = replace(request.invitation.invitation, inviter_key=stranger.member.public_key)
    for each in (made, posing):
        signed = SignedInvitation(each, stranger.member.sign(encode(each, desk.chain_id)))
        with pytest.raises(BadSignature, match="FOREIGN_INVITATION"):
            desk.judge(replace(request, invitation=signed))
    late = desk.invitation(created_ms=desk.now - 2 * DAY_MS, expires_ms=desk.now - DAY_MS)
    with pytest.raises(FailedPrecondition, match="INVITATION_OVER"):
        desk.judge(replace(request, invitation=late.signed))


def test_names_and_keys_in_use_are_refused(desk: Desk) -> None:
    """G2; C5: a key that another member runs with runs in one place."""
    request = desk.answered()
    keys = desk.scribe.alliance.keys["benxi"]
    card = replace(request.card.card, profile=replace(request.card.card.profile, consensus_key=keys.consensus.public_key))
    says, folder = encode(card, desk.chain_id), desk.folder / "new" / "keys"
    member = read_keys(folder).member
    stolen = replace(
        request.card, card=card, member_signature=member.sign(says), consensus_signature=keys.consensus.sign(says)
    )
    with pytest.raises(Conflict, match=r"benxi.*KEY_IN_USE"):
        desk.judge(replace(request, card=stolen))
    desk.scribe.govern(MemberAct(MemberAction.ADMIT, request.card.card.profile))
    with pytest.raises(Conflict, match=r"yingkou.*MEMBER_EXISTS"):
        desk.judge(request)


# --- the height that a chain must pass ---


def test_a_ledger_stops_at_another_chain_than_the_invitations(desk: Desk) -> None:
    """L5: blocks that an old committee signed twice would fit the genesis; the height that was vouched for tells."""
    desk.scribe.write()
    good = setting_of(checkpoint_of(desk.content.checkpoint, desk.chain_id))
    assert good is not None

    async def grown(checkpoint: Checkpoint) -> int:
        keeper = Keeper(desk.scribe.alliance.genesis, MemoryBlockStore(), desk.scribe.verifier, checkpoint)
        for block in desk.scribe.blocks:
            await keeper.execute(block)
        return keeper.chain.height

    assert asyncio.run(grown(good)) == len(desk.scribe.blocks)
    with pytest.raises(ConsiliumError, match="OTHER_CHECKPOINT"):
        asyncio.run(grown(replace(good, digest=bytes(32))))


@pytest.mark.parametrize("written", ["7", "7:", "x:" + "0" * 64, "7:" + "0" * 63, "7:" + "G" * 64, "-7:" + "0" * 64])
def test_a_checkpoint_out_of_form_is_no_setting(written: str) -> None:
    with pytest.raises(InvalidArgument, match="BAD_SETTING"):
        setting_of(written)
