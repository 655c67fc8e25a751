"""The member's authority over the years: a new one before the old one ends, both trusted while certificates of both live.

Each generation is a folder, `1`, `2`, ...; a half-made one is made again. A fresh authority is announced first and issues
only once the other members have had time to take up its file, so that nobody meets a certificate of an authority unheard of.
"""

from collections.abc import Sequence
from pathlib import Path

from consilium.identity.authority import BOUND, Authority, create_authority, keep_authority, open_authority, read_drawn
from consilium.identity.core.credentials import needs_renewal
from consilium.identity.files import write_changed
from consilium.identity.trust import SUFFIX
from consilium.kernel.attestations import BoundAuthority, bind_authority
from consilium.kernel.encoding import encode
from consilium.kernel.errors import DataLoss
from consilium.kernel.signing import Signer

ANNOUNCED_MS = 7 * 86_400_000
"""How long a fresh authority is announced before it issues, in milliseconds."""


def authority_file(bound: BoundAuthority, kept: str = "") -> str:
    """The name of the file in which members exchange a bound authority."""
    return f"{bound.binding.member_id}-{bound.binding.certificate_digest.hex()[:16]}{kept}{SUFFIX}"


class Generations:
    """The authorities of one member, oldest first."""

    def __init__(self, folder: Path, alliance: str, member_id: str, members: Sequence[Signer], chain_id: bytes) -> None:
        """Read what the folder holds; `members` are the member's keys at hand. Raises DataLoss: BAD_AUTHORITY."""
        self._folder, self._alliance, self._member_id = folder, alliance, member_id
        self.signers, self._chain_id = tuple(members), chain_id
        made = sorted(int(each.parent.name) for each in folder.glob(f"*/{BOUND}") if each.parent.name.isdecimal())
        self._authorities = [open_authority(folder / str(each), alliance, member_id, chain_id) for each in made]
        self._last = made[-1] if made else 0

    def valid(self, now_ms: int) -> list[Authority]:
        """Those that have not ended, oldest first."""
        return [each for each in self._authorities if now_ms <= each.not_after_ms]

    def issuing(self, now_ms: int) -> Authority:
        """The newest that was announced long enough, or else the oldest that is valid. Raises DataLoss: NO_AUTHORITY."""
        valid = self.valid(now_ms)
        if not valid:
            raise DataLoss("NO_AUTHORITY", f"{self._folder} holds no valid authority of {self._member_id}; restore it.")
        announced = [each for each in valid if now_ms - each.not_before_ms >= ANNOUNCED_MS]
        return announced[-1] if announced else valid[0]

    def renew(self, now_ms: int, validity_ms: int) -> None:
        """Make the next authority when there is none, or less than a third of the newest's time is left."""
        newest = self._authorities[-1] if self._authorities else None
        if newest is None or needs_renewal(newest.not_before_ms, newest.not_after_ms, now_ms):
            made = create_authority(
                self._folder / str(self._last + 1), self._alliance, self._member_id, self.signers[0], self._chain_id,
                now_ms, validity_ms,
            )  # fmt: skip
            self._last += 1
            self._authorities.append(made)

    def begin(self, key: Path, certificate: Path) -> None:
        """Take up the first authority, drawn before there was a chain, if it lies there and none was made yet.

        Raises DataLoss: BAD_AUTHORITY.
        """
        if self._last == 0 and key.exists():
            drawn = read_drawn(key, certificate, self._alliance, self._member_id)
            folder = self._folder / "1"
            self._authorities.append(
                keep_authority(folder, self._alliance, self._member_id, drawn, self.signers[0], self._chain_id)
            )
            self._last = 1

    def announce(self, exchange: Path, now_ms: int) -> None:
        """Put the bound authorities where the members exchange them."""
        exchange.mkdir(parents=True, exist_ok=True)
        for each in self.valid(now_ms):
            for bound in self._bound(each):
                kept = "" if bound == each.bound else f"-{bound.signature.hex()[:8]}"
                write_changed(exchange / authority_file(bound, kept), encode(bound, self._chain_id), mode=0o644)

    def _bound(self, authority: Authority) -> list[BoundAuthority]:
        """As it was bound, and under every key at hand: so whichever the ledger names stands behind one of them (G3)."""
        binding = authority.bound.binding
        fresh = [
            bind_authority(self._member_id, authority.bound.certificate, binding.not_after_ms, each, self._chain_id)
            for each in self.signers
        ]
        return [authority.bound, *[each for each in fresh if each != authority.bound]]
