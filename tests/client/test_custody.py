"""The keystore file: opens for its passphrase alone, and says which is wrong, the passphrase or the file (S1)."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from consilium.client.custody import (
    FILE_BYTES_MAX,
    MAGIC,
    Custody,
    Seed,
    create_keystore,
    open_keystore,
    replace_keystore,
    seal_custody,
    unseal_custody,
)
from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, NotFound, PermissionDenied

if TYPE_CHECKING:
    from pathlib import Path

CUSTODY = Custody((Seed("patient 17", bytes(range(32))), Seed("radiology", bytes(32))))
SEALED = seal_custody(CUSTODY, "correct horse", bytes(16), bytes(12))


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    create_keystore(path, "correct horse", CUSTODY)
    assert open_keystore(path, "correct horse") == CUSTODY
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["keystore"]


def test_file_shows_neither_seed_nor_name(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    create_keystore(path, "correct horse", CUSTODY)
    assert bytes(range(32)) not in path.read_bytes()
    assert b"patient 17" not in path.read_bytes()


def test_two_files_of_one_custody_differ(tmp_path: Path) -> None:
    create_keystore(tmp_path / "a", "correct horse", CUSTODY)
    create_keystore(tmp_path / "b", "correct horse", CUSTODY)
    assert (tmp_path / "a").read_bytes()[len(MAGIC) :] != (tmp_path / "b").read_bytes()[len(MAGIC) :]


def test_wrong_passphrase_is_named() -> None:
    with pytest.raises(PermissionDenied, match="WRONG_PASSPHRASE"):
        unseal_custody(SEALED, "correct horsf")


@pytest.mark.parametrize("position", [0, 7, 8, 24, 36, len(SEALED) // 2, len(SEALED) - 33, len(SEALED) - 1])
def test_flipped_byte_is_damage(position: int) -> None:
    damaged = bytearray(SEALED)
    damaged[position] ^= 1
    with pytest.raises(DataLoss, match="DAMAGED_KEYSTORE"):
        unseal_custody(bytes(damaged), "correct horse")


@pytest.mark.parametrize("length", [0, 1, 31, 32, 40, 67, len(SEALED) - 1])
def test_cut_file_is_damage(length: int) -> None:
    with pytest.raises(DataLoss, match="DAMAGED_KEYSTORE"):
        unseal_custody(SEALED[:length], "correct horse")


def test_oversized_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    path.touch(0o600)
    with path.open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 10)
    with pytest.raises(DataLoss, match="DAMAGED_KEYSTORE"):
        open_keystore(path, "correct horse")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can lay a file before another user")
def test_a_secrets_mount_is_read_and_nothing_wider(tmp_path: Path) -> None:
    """Root's own file, readable by the pod's group alone: so the kubelet mounts a Secret."""
    path = tmp_path / "key"
    path.write_bytes(bytes(32))
    path.parent.chmod(0o711)
    for mode, group, said in (
        (0o440, 10_001, b"read"),
        (0o440, 10_002, b"OPEN_TO_OTHERS"),
        (0o444, 10_001, b"OPEN_TO_OTHERS"),
        (0o460, 10_001, b"OPEN_TO_OTHERS"),
        (0o640, 10_001, b"OPEN_TO_OTHERS"),
    ):
        os.chown(path, 0, group)
        path.chmod(mode)
        script = "import sys; from consilium.client.private_files import read_private as read; from pathlib import Path\n"
        script += (
            "import os; os.chdir(os.open(sys.argv[1], os.O_PATH)); os.setgroups([]); os.setgid(10001); os.setuid(10001)\n"
        )
        script += "assert read(Path('key'), 32) == bytes(32); print('read')"
        done = subprocess.run(  # noqa: S603  our own words
            [sys.executable, "-c", script, path.parent], capture_output=True, check=False
        )
        assert said in done.stdout + done.stderr, (oct(mode), done.stderr)


def test_file_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    create_keystore(path, "correct horse", CUSTODY)
    path.chmod(0o640)
    with pytest.raises(FailedPrecondition, match="OPEN_TO_OTHERS"):
        open_keystore(path, "correct horse")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="NO_KEYSTORE"):
        open_keystore(tmp_path / "nothing", "correct horse")


def test_creating_never_overwrites_and_replacing_does(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    create_keystore(path, "correct horse", CUSTODY)
    with pytest.raises(Conflict, match="KEYSTORE_EXISTS"):
        create_keystore(path, "other", Custody(()))
    replace_keystore(path, "other", Custody((Seed("new", b"n" * 32),)))
    assert open_keystore(path, "other").seed_of("new") == b"n" * 32


def test_unknown_seed_is_named() -> None:
    with pytest.raises(NotFound, match="UNKNOWN_SEED"):
        CUSTODY.seed_of("patient 18")


def test_seed_never_prints_itself() -> None:
    """S1: a seed in a log line is a seed lost."""
    assert "\\x" not in repr(CUSTODY)
    assert "patient 17" in repr(CUSTODY)
