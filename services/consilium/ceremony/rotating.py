"""A member's next keys, on its own machine: drawn beside those in force, and put in their place (rule G3).

The alliance decides; the services hold both until no committee needs the old ones. What storage has sealed under an old
member key opens with that one alone, so old keys are put aside and never deleted here. A first authority is drawn with them:
the one in its place may be stolen with the old keys, and an identity that begins anew would bind it under the new one.
"""

import json
import shutil
from pathlib import Path

from consilium.ceremony.keys import (
    KEYS,
    anchor_of,
    draw_first_authority,
    draw_secrets,
    new_folder,
    read_first_names,
    read_keys,
    write_secret,
)
from consilium.consensus.keys import read_keys as read_signing_keys
from consilium.identity.founding import FIRST_CERTIFICATE, FIRST_KEY
from consilium.kernel.errors import DataLoss, FailedPrecondition
from consilium.kernel.signed_genesis import fingerprint
from consilium.kernel.signing import PUBLIC_KEY_BYTES
from consilium.kernel.transactions import MemberProfile
from consilium.runtime.member_key import NEXT
from consilium.runtime.whole_files import sync_directory, write_atomically

ROTATED = ("member", "consensus", "reveals")
"""What changes; the key that key fragments are sealed under stays with them."""
DRAWN = (FIRST_KEY, FIRST_CERTIFICATE, "reveals", "consensus", "member")
"""All that is drawn anew, in the order in which it is put in place."""
NEXT_KEYS = Path(KEYS) / NEXT
"""Where they lie below the member's folder."""
PROPOSAL, PUBLIC = "new-keys.json", 0o644
REPLACES = "replaces"
"""The file beside them with the public member key that was in force when they were drawn: whose place they take."""


def draw_next(folder: Path, now_ms: int, days: int = 365) -> Path:
    """Draw the next keys into `folder`/keys/next, and write what `member propose keys` takes; where that lies.

    Keys that are there without it are taken. Raises Conflict: KEYS_EXIST; DataLoss: BAD_KEYS where none are in force.
    """
    in_force, following, path = read_keys(folder / KEYS), folder / KEYS / NEXT, folder / PROPOSAL
    if following.exists() and not (path.exists() and path.read_bytes() == _proposal(following)):
        write_atomically(path, _proposal(following), PUBLIC)
        return path
    with new_folder(following) as drawing:
        draw_secrets(drawing, ROTATED)
        draw_first_authority(drawing, *read_first_names(folder / KEYS), now_ms, days)
        write_secret(drawing / REPLACES, in_force.member.public_key)
    write_atomically(path, _proposal(following), PUBLIC)
    return path


def _proposal(folder: Path) -> bytes:
    following = read_signing_keys(folder)
    facts = {
        "member_key": following.member.public_key.hex(),
        "consensus_key": following.consensus.public_key.hex(),
        "reveal_anchor": anchor_of(following.reveals).hex(),
    }
    return json.dumps(facts, indent=2).encode() + b"\n"


def adopt_next(folder: Path, in_force: MemberProfile) -> Path:
    """Put the next keys in the place of those in force, once the ledger names them; where the old ones lie now.

    Again after an interruption goes on: services start from what it leaves at any moment. Raises FailedPrecondition:
    NOT_IN_FORCE; DataLoss: BAD_KEYS.
    """
    keys, following = folder / KEYS, folder / KEYS / NEXT
    for put_away in [] if following.exists() else folder.glob(f"keys-*/{NEXT}"):
        shutil.rmtree(put_away)
        return put_away.parent
    if read_signing_keys(following).member.public_key != in_force.member_key:
        raise FailedPrecondition(
            "NOT_IN_FORCE",
            f"The ledger does not name the keys in {following} yet; they come into force with an epoch: member show tells.",
            "G3",
        )
    # Named by what was drawn with them: the member key in its place may be the next one already.
    old = folder / f"keys-{fingerprint(_replaced(following))[:9]}"
    old.mkdir(mode=0o700, exist_ok=True)
    for name in DRAWN:
        if not (old / name).exists():
            write_atomically(old / name, (keys / name).read_bytes())
    for name in DRAWN:
        write_atomically(keys / name, (following / name).read_bytes())
    _put_away(following, old)
    return old


def _replaced(following: Path) -> bytes:
    """The public member key whose place the next keys take. Raises DataLoss: BAD_KEYS."""
    path = following / REPLACES
    key = path.read_bytes() if path.is_file() else b""
    if len(key) != PUBLIC_KEY_BYTES:
        told = (
            f"{path} has to hold the public member key that these keys replace; put it back from your copy of {following}."
        )
        raise DataLoss("BAD_KEYS", told, "G3")
    return key


def _put_away(following: Path, old: Path) -> None:
    """Take the next keys from where they lie in one step: half of them would let no service start."""
    following.rename(old / NEXT)
    for each in (following.parent, old):
        sync_directory(each)
    shutil.rmtree(old / NEXT)
