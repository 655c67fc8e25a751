"""`consilium join`: the coming member's side of an invitation (rules G2, L5; ADR 22)."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilium.client.commands.desk import AsJson, Options, finish
from consilium.client.commands.telling import Told, complain, examples, facts_table, verbs
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.membership import SERVICES
from consilium.runtime.addresses import is_address
from consilium.runtime.clock import wall_ms

if TYPE_CHECKING:
    from consilium.ceremony.joining import Prepared

app = verbs("join", "Join an alliance with one invitation file.")
PORT = 8_443
"""Where the chart's services answer."""
FULLNAME_MAX = 39
"""Where the chart cuts the name of a release."""


@app.command(
    epilog=examples(
        "consilium join prepare 4A.invitation 4A --fingerprint 5f0c-21ab-93de-0c4e-77f1 --namespace hospital-4a",
        "consilium join prepare 4A.invitation 4A --fingerprint 5f0c-... --namespace hospital-4a --install ./consilium",
        "consilium join prepare 4A.invitation 4A --fingerprint 5f0c-... --address ledger=ledger.4a.example:8443",
    )
)
def prepare(  # noqa: PLR0913  what one command is told
    invitation: Annotated[Path, typer.Argument(help="The invitation.")],
    folder: Annotated[Path, typer.Argument(help="Where this member's keys and files are to lie; kept for good.")],
    *,
    compared: Annotated[str, typer.Option("--fingerprint", help="What the inviter has read to you.")],
    namespace: Annotated[str, typer.Option(help="The namespace that the chart is installed in.")] = "",
    release: Annotated[str, typer.Option(help="With --namespace: the release's name.")] = "consilium",
    address: Annotated[list[str] | None, typer.Option(help="Where a service will answer, SERVICE=HOST:PORT.")] = None,
    install: Annotated[
        Path | None, typer.Option(help="Also install: the chart. Calls kubectl and helm for --namespace.")
    ] = None,
    values: Annotated[list[Path] | None, typer.Option(help="With --install: more files of values, for helm.")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not try whether the members can be reached; this machine is elsewhere.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check an invitation, draw this member's keys, and write all it takes to start: keys, request, values and manifests.

    Looks first: signature and expiry, clock, version, free space, which members' services take a connection from here, and
    with --install whether the cluster has the namespace and a class of volumes.
    Afterwards give FOLDER/NAME.request to the inviter and compare the fingerprint shown; the members vote on it.
    """

    def work() -> Told:
        from consilium.ceremony import joining

        file = joining.read_invitation(invitation, wall_ms())
        joining.check_here(file, compared, folder)
        own = addresses_of(namespace, release, address or [])
        missing = () if offline else asyncio.run(joining.unreached(file))
        if install is not None:
            _check_tools(namespace)
            _check_cluster(namespace, values or [])
        request = joining.draw(file, folder, own, wall_ms())
        joining.write_all(file, request, folder)
        if install is not None:
            _install(folder, namespace, release, install, values or [])
        return _told(joining.Prepared(file, request, missing), folder)

    finish(Options(None, as_json), work)


def addresses_of(namespace: str, release: str, written: list[str]) -> dict[str, str]:
    """Where the member's services will answer. Raises InvalidArgument: BAD_ADDRESS."""
    fullname = (release if "consilium" in release else f"{release}-consilium")[:FULLNAME_MAX].removesuffix("-")
    found = {each: f"{fullname}-{each}.{namespace}.svc:{PORT}" for each in SERVICES} if namespace else {}
    for each in written:
        service, _, address = each.partition("=")
        if service not in SERVICES or not is_address(address):
            raise InvalidArgument("BAD_ADDRESS", f"{each!r} is no SERVICE=HOST:PORT, of {', '.join(SERVICES)}.")
        found[service] = address
    if sorted(found) != sorted(SERVICES):
        missing = ", ".join(each for each in SERVICES if each not in found)
        raise InvalidArgument("BAD_ADDRESS", f"Say where {missing} will answer: --namespace, or --address for each.")
    return found


def _check_tools(namespace: str) -> None:
    """Raises InvalidArgument: BAD_ADDRESS; FailedPrecondition: NOT_INSTALLED."""
    if not namespace:
        raise InvalidArgument("BAD_ADDRESS", "--install takes --namespace.")
    for each in ("kubectl", "helm"):
        if shutil.which(each) is None:
            raise FailedPrecondition("NOT_INSTALLED", f"{each} is not on the PATH; install it, or leave --install away.")


def _check_cluster(namespace: str, more: list[Path]) -> None:
    """Look whether pods could start there; what the operator may not ask the cluster is passed over.

    Raises FailedPrecondition: NO_NAMESPACE or NO_STORAGE_CLASS.
    """
    found = _ended("kubectl", "get", "namespace", namespace)
    if found.returncode and "NotFound" in found.stderr:
        raise FailedPrecondition("NO_NAMESPACE", f"There is no namespace {namespace}: kubectl create namespace {namespace}.")
    classes = _ended("kubectl", "get", "storageclass", "--output", "jsonpath={.items[*].metadata.annotations}")
    is_named = any(_NAMES_CLASS.search(each.read_text()) for each in more)
    if not classes.returncode and not is_named and not _DEFAULT_CLASS.search(classes.stdout):
        told = "The cluster has no class of volumes that is taken by default, so pods would wait for ever"
        advice = "name one in a file of --values: defaults: {persistence: {storageClass: NAME}}"
        raise FailedPrecondition("NO_STORAGE_CLASS", f"{told}: {advice}.")


_DEFAULT_CLASS = re.compile(r'storageclass(\.beta)?\.kubernetes\.io/is-default-class"?:"?true')
_NAMES_CLASS = re.compile(r"""storageClass"?:\s*["']?[a-z0-9]""")


def _install(folder: Path, namespace: str, release: str, chart: Path, more: list[Path]) -> None:
    """Hand the manifests to the cluster and install the chart. Raises FailedPrecondition: INSTALL_FAILED."""
    from consilium.ceremony.joining import MANIFESTS, VALUES

    files = [part for each in (folder / VALUES, *more) for part in ("--values", str(each))]
    _run("kubectl", "apply", "--namespace", namespace, "--filename", str(folder / MANIFESTS))
    _run("helm", "upgrade", "--install", release, str(chart), "--namespace", namespace, *files)


def _ended(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True)  # noqa: S603  the operator's own tools


def _run(*words: str) -> None:
    ended = _ended(*words)
    if ended.returncode:
        said = " ".join(ended.stderr.split())
        raise FailedPrecondition(
            "INSTALL_FAILED",
            f"{' '.join(words[:2])} ended with {ended.returncode}: {said} The keys are drawn; mend it and install.",
        )
    complain(ended.stdout)


def _told(prepared: "Prepared", folder: Path) -> Told:
    from consilium.ceremony.joining import REQUEST

    invitation, shown = prepared.file.signed.invitation, prepared.request.fingerprint(prepared.chain_id)
    path = folder / f"{invitation.member_id}{REQUEST}"
    facts: dict[str, Any] = {
        "member": invitation.member_id,
        "inviter": invitation.inviter,
        "request": str(path),
        "fingerprint": shown,
        "unreached": [f"{each.member_id}/{each.service} {each.address}" for each in prepared.unreached],
    }
    drawn = facts_table(
        "Ready to join", {**{name: str(value) for name, value in facts.items()}, "unreached": ", ".join(facts["unreached"])}
    )
    following = (
        f"Next, at {invitation.inviter}, once you have compared the fingerprint: consilium member propose admit"
        f" --request {path.name} --fingerprint {shown}"
    )
    return Told(facts, (drawn, following))
