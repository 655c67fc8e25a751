"""`consilium founding`: how an alliance begins, by its founders alone, over files (rules L5, C6; ADR 22).

Nothing has to run and nobody has to be trusted: whoever puts the cards together gets the same bytes, and every founder signs
them. What people do between the commands is to hand files on, and to compare one fingerprint.
"""

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilium.client.commands.desk import AsJson, Options, finish
from consilium.client.commands.telling import Told, day, examples, facts_table, table, verbs
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.parameters import Parameters
from consilium.kernel.signed_genesis import fingerprint
from consilium.kernel.transactions import Grade
from consilium.runtime.clock import wall_ms

if TYPE_CHECKING:
    from consilium.kernel.chain import Genesis

app = verbs("founding", "Found an alliance: every member draws its own keys, all sign one genesis.")
DraftFile = Annotated[Path, typer.Argument(help="The draft that `consilium founding draft` wrote.")]
Folder = Annotated[Path, typer.Argument(help="The member's folder, in which `prepare` drew its keys.")]


@app.command(epilog=examples("consilium founding prepare 1A --member 1A --grade A1 --owner community"))
def prepare(
    folder: Annotated[Path, typer.Argument(help="Where this member's keys are to lie; kept for good, by it alone.")],
    *,
    member: Annotated[str, typer.Option(help="The member's short name: letters, digits and inner dashes.")],
    grade: Annotated[str, typer.Option(help="Its grade: one of " + ", ".join(Grade.__members__) + ".")],
    owner: Annotated[str, typer.Option(help="The owner it belongs to; members of one owner count together.")],
    alliance: Annotated[str, typer.Option(help="The alliance's name in certificates, lower case.")] = "consilium",
    authority_days: Annotated[int, typer.Option(help="How long its first authority is valid.", min=120, max=3_650)] = 365,
    as_json: AsJson = False,
) -> None:
    """Draw your member's keys and its first authority, and write the card that the other founders need.

    FOLDER/keys is secret: six files of mode 0600, which are the Secret of a cluster; keep a sealed copy apart.
    FOLDER/NAME.founder is public: hand it to whoever drafts the genesis.
    """

    def work() -> Told:
        from consilium.ceremony.founding import CARD
        from consilium.ceremony.founding import prepare as draw
        from consilium.ceremony.keys import Founder

        draw(folder, Founder(member, grade_of(grade), owner), alliance, wall_ms(), authority_days)
        facts = {"member": member, "keys": str(folder / "keys"), "founder_file": str(folder / f"{member}{CARD}")}
        return Told(facts, (facts_table("Drawn", facts), "Next: hand the founder file to whoever runs `founding draft`."))

    finish(Options(None, as_json), work)


@app.command(epilog=examples("consilium founding draft 1A.founder 2A.founder 3A.founder 3B.founder -o genesis-draft"))
def draft(
    founders: Annotated[list[Path], typer.Argument(help="The founder files of all members, in any order.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the draft.")] = Path("genesis-draft"),
    parameters: Annotated[
        Path | None, typer.Option(help="TOML with numbers that differ from the usual ones, as `term_blocks = 2000`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put the founder files together. The same files and numbers give the same draft, whoever does it."""

    def work() -> Told:
        from consilium.ceremony import founding

        cards = [founding.read_card(each) for each in founders]
        drafted = founding.draft(cards, parameters_in(parameters), wall_ms())
        founding.write_draft(output, drafted)
        return _told(drafted.genesis, "Drafted", {"draft": str(output)}, _TO_SIGN)

    finish(Options(None, as_json), work)


@app.command(epilog=examples("consilium founding show genesis-draft"))
def show(draft_file: DraftFile, *, as_json: AsJson = False) -> None:
    """Show what you are asked to sign: members, numbers, and the fingerprint that all founders must see alike."""

    def work() -> Told:
        from consilium.ceremony import founding

        drafted = founding.read_draft(draft_file)
        founding.check_draft(drafted, wall_ms())
        return _told(drafted.genesis, "To be founded", {}, _TO_SIGN)

    finish(Options(None, as_json), work)


@app.command(epilog=examples("consilium founding sign genesis-draft 1A --fingerprint 5f0c-21ab-93de-0c4e-77f1"))
def sign(
    draft_file: DraftFile,
    folder: Folder,
    *,
    compared: Annotated[str, typer.Option("--fingerprint", help="What you and the others have read to one another.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The folder for the consent; else yours.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sign the draft with your member key, once its fingerprint is the one you compared. Writes NAME.consent."""

    def work() -> Told:
        from consilium.ceremony import founding

        drafted = founding.read_draft(draft_file)
        consent = founding.sign(folder, drafted, compared, wall_ms())
        path = founding.write_consent(output or folder, consent, drafted.genesis.chain_id)
        facts = {"member": consent.member_id, "consent": str(path), "chain": drafted.genesis.chain_id.hex()}
        return Told(facts, (facts_table("Signed", facts), "Next: hand the consent to whoever runs `founding seal`."))

    finish(Options(None, as_json), work)


@app.command(epilog=examples("consilium founding seal genesis-draft *.consent -o alliance"))
def seal(
    draft_file: DraftFile,
    consents: Annotated[list[Path], typer.Argument(help="The consents of all founders.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the genesis and the authorities.")],
    as_json: AsJson = False,
) -> None:
    """Put all signatures under the draft: `genesis`, and the founders' authorities. All of it is public."""

    def work() -> Told:
        from consilium.ceremony import founding

        drafted = founding.read_draft(draft_file)
        signed = [founding.read_consent(each, drafted.genesis.chain_id) for each in consents]
        sealed = founding.seal(output, drafted, signed, wall_ms())
        return _told(sealed.genesis, "Founded", {"folder": str(output)}, "Next: every member starts its services with it.")

    finish(Options(None, as_json), work)


@app.command(epilog=examples("consilium founding verify alliance"))
def verify(
    folder: Annotated[Path, typer.Argument(help="The sealed folder, or a ConfigMap mounted.")], *, as_json: AsJson = False
) -> None:
    """Check a founding: signed by every founder, and every founder's authority bound to it."""

    def work() -> Told:
        from consilium.ceremony import founding

        return _told(founding.verify(folder, wall_ms()).genesis, "Founded by all of its members", {}, "")

    finish(Options(None, as_json), work)


@app.command(epilog=examples("consilium founding kubernetes alliance 1A | kubectl apply -n hospital-1a -f -"))
def kubernetes(
    folder: Annotated[Path, typer.Argument(help="The sealed folder.")],
    member: Folder,
    *,
    secret: Annotated[str, typer.Option(help="The Secret's name (value member.keys.existingSecret).")] = "consilium-keys",  # noqa: S107
    config_map: Annotated[
        str, typer.Option(help="The ConfigMap's name (value genesis.existingConfigMap).")
    ] = "consilium-genesis",
) -> None:
    """Print the Secret with your member's keys and the ConfigMap with the genesis, for kubectl. Keep it out of files."""

    def work() -> Told:
        from consilium.ceremony import founding, manifests
        from consilium.ceremony.keys import KEYS

        files = founding.public_files(folder, wall_ms())
        text = manifests.as_yaml(manifests.keys_secret(member / KEYS, secret), manifests.genesis_map(files, config_map))
        sys.stdout.write(text)
        return Told({}, ())

    finish(Options(None, as_json=False), work)


def grade_of(text: str) -> Grade:
    """A grade by its name. Raises InvalidArgument: BAD_GRADE."""
    if text.upper() not in Grade.__members__:
        raise InvalidArgument("BAD_GRADE", f"{text} is no grade; it is one of {', '.join(Grade.__members__)}.", "C6")
    return Grade[text.upper()]


def parameters_in(path: Path | None) -> Parameters:
    """The usual numbers, with those of a TOML file in their place. Raises InvalidArgument: BAD_PARAMETERS."""
    if path is None:
        return Parameters()
    try:
        told: dict[str, Any] = tomllib.loads(path.read_text())
    except (ValueError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgument("BAD_PARAMETERS", f"{path} is no TOML: {error}.", "L5") from error
    known = {name: getattr(Parameters(), name) for name in Parameters.__dataclass_fields__}
    for name, value in told.items():
        if name not in known:
            raise InvalidArgument("BAD_PARAMETERS", f"{name} in {path} is none of {', '.join(known)}.", "L5")
        whole = value if isinstance(known[name], tuple) and isinstance(value, list) else [value]
        if not all(type(each) is int and each >= 0 for each in whole) or isinstance(known[name], tuple) != (whole is value):
            raise InvalidArgument("BAD_PARAMETERS", f"{name} in {path} is not of whole numbers as {known[name]} is.", "L5")
    numbers: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in told.items()}
    return Parameters(**numbers)


_TO_SIGN = (
    "Next: every founder runs `consilium founding show`, two people compare the fingerprint, not by the way the files came, "
    "and each runs `consilium founding sign`."
)


def _told(genesis: "Genesis", title: str, more: dict[str, str], following: str) -> Told:
    facts: dict[str, Any] = {
        "alliance": genesis.alliance,
        "chain": genesis.chain_id.hex(),
        "fingerprint": fingerprint(genesis.chain_id),
        "time_ms": genesis.time_ms,
        **more,
    }
    drawn = table("Founders", "member", "grade", "owner", "=member key")
    for each in genesis.members:
        drawn.add_row(each.member_id, each.grade.name, each.owner_group, fingerprint(each.member_key))
    usual = Parameters()
    numbers = {
        name: getattr(genesis.parameters, name)
        for name in Parameters.__dataclass_fields__
        if getattr(genesis.parameters, name) != getattr(usual, name)
    }
    shown = {**facts, "time": day(genesis.time_ms)} | {f"{name} (not as usual)": value for name, value in numbers.items()}
    del shown["time_ms"]
    facts |= {"members": [each.member_id for each in genesis.members], "parameters": numbers}
    parts = (facts_table(title, {name: str(value) for name, value in shown.items()}), drawn)
    return Told(facts, (*parts, following) if following else parts)
