"""The member's own key as a file (L2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consilium.client.keys import read_member_key
from consilium.kernel.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("length", [0, 31, 33])
def test_member_key_has_32_bytes(tmp_path: Path, length: int) -> None:
    (tmp_path / "member").write_bytes(bytes(length))
    (tmp_path / "member").chmod(0o600)
    with pytest.raises(InvalidArgument, match="BAD_MEMBER_KEY"):
        read_member_key(tmp_path / "member")


def test_member_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "member").write_bytes(bytes(32))
    (tmp_path / "member").chmod(0o640)
    with pytest.raises(FailedPrecondition, match="OPEN_TO_OTHERS"):
        read_member_key(tmp_path / "member")
