"""`consilium keys`: a member goes over to new keys, on its own machine (rule G3)."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_desk, finish
from consilium.client.commands.telling import Told, examples, facts_table, verbs
from consilium.runtime.clock import wall_ms

app = verbs("keys", "New keys for your member: drawn, decided by the alliance, put in place.")
Folder = Annotated[Path, typer.Argument(help="The member's folder, in which `founding` or `join` drew its keys.")]


@app.command(epilog=examples("consilium keys draw 3A", "consilium member propose keys 3A --keys 3A/new-keys.json"))
def draw(folder: Folder, *, as_json: AsJson = False) -> None:
    """Draw the next keys and first authority beside those in force, and write the file for the proposal."""

    def work() -> Told:
        from consilium.ceremony.rotating import draw_next

        facts = {"proposal": str(draw_next(folder, wall_ms()))}
        following = (
            "Next: start consensus, identity, storage and re-encryption again, so that they hold both; then"
            f" consilium member propose keys MEMBER --keys {facts['proposal']}"
        )
        return Told(facts, (facts_table("Drawn", facts), following))

    finish(Options(None, as_json), work)


@app.command(epilog=examples("consilium keys adopt 3A"))
def adopt(folder: Folder, *, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Put the next keys in the place of the old ones, once the ledger names them; the old ones are put aside.

    Then start all of the member's services again. Safe to repeat.
    """

    async def work(desk: Desk) -> Told:
        from consilium.ceremony.rotating import adopt_next

        session = desk.alliance.session
        old = adopt_next(folder, (await session.member(session.home_id)).profile)
        facts = {"member": session.home_id, "old": str(old)}
        return Told(facts, (facts_table("In place", facts), "Next: start all services of the member again."))

    at_desk(Options(settings, as_json), work)


@app.command(
    epilog=examples(
        "consilium keys kubernetes 3A | kubectl apply -n hospital-3a -f -",
        "consilium keys kubernetes 3A --current --secret consilium-keys-2 | kubectl apply -n hospital-3a -f -",
    )
)
def kubernetes(
    folder: Folder,
    *,
    current: Annotated[
        bool, typer.Option("--current", help="The keys in force (consilium-keys), not the next ones.")
    ] = False,
    secret: Annotated[
        str | None, typer.Option(help="Another name, as member.keys.nextSecret or existingSecret says.")
    ] = None,
) -> None:
    """Print the Secret with the next keys, or with those in force, for kubectl. Keep it out of files."""

    def work() -> Told:
        from consilium.ceremony import manifests
        from consilium.ceremony.keys import KEYS
        from consilium.ceremony.rotating import NEXT_KEYS, ROTATED

        if current:
            manifest = manifests.keys_secret(folder / KEYS, secret or manifests.KEYS_SECRET)
        else:
            manifest = manifests.keys_secret(folder / NEXT_KEYS, secret or manifests.NEXT_SECRET, ROTATED)
        sys.stdout.write(manifests.as_yaml(manifest))
        return Told({}, ())

    finish(Options(None, as_json=False), work)
