"""Where backups lie and how they are sealed, on a folder and on a real S3-compatible store (S10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consilium.backup.places import Folder, Place, open_place
from consilium.backup.vault import Segment, Snapshot, Vault, read_backup_key
from consilium.kernel.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unavailable
from consilium.kernel.hashing import sha256
from tests.backup.s3 import ACCESS, SECRET, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = b"k" * 32
DATA = b"bytes of a scan, sealed before they came here" * 1_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")) as store:
        yield store.address


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return open_place(str(tmp_path / "backup"))
    request.getfixturevalue("credentials")
    return open_place(f"s3+http://{request.getfixturevalue('server')}/backups/{tmp_path.name}")


def snapshot(taken_ms: int, height: int) -> Snapshot:
    return Snapshot("3A", bytes(32), taken_ms, height, b"certificate", (Segment(1, height, bytes(32)),), ())


def test_a_place_keeps_names_and_bytes(place: Place) -> None:
    assert place.names("blobs/") == []
    for name, data in (("blobs/1/b", DATA), ("blobs/1/a", b""), ("other", b"x")):
        place.put(name, data)
        place.put(name, data)
    assert place.names("blobs/") == ["blobs/1/a", "blobs/1/b"]
    assert (place.get("blobs/1/b"), place.get("blobs/1/a")) == (DATA, b"")
    assert (place.has("other"), place.has("another")) == (True, False)
    with pytest.raises(NotFound, match="NOT_IN_BACKUP"):
        place.get("another")


def test_what_a_put_that_was_broken_off_left_is_no_file(tmp_path: Path) -> None:
    """Power that fails leaves it; it is no snapshot, so the next backup goes on from the last whole one, or from none."""
    place = Folder(tmp_path)
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / ".x.0123abcd").write_bytes(b"half")
    assert place.names("") == []
    vault = Vault(place, KEY)
    assert vault.snapshots() == []
    name = vault.put_snapshot(snapshot(900, 7))
    assert (vault.snapshots(), vault.snapshot().height) == ([name], 7)


def test_a_place_is_not_trusted_with_our_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consilium.backup.places.FILE_BYTES_MAX", len(DATA))
    place.put("blobs/1/a", DATA)
    place.put("blobs/1/b", DATA + b"x")
    assert place.get("blobs/1/a") == DATA
    with pytest.raises(DataLoss, match="BACKUP_DAMAGED"):
        place.get("blobs/1/b")


def test_a_vault_keeps_sealed_what_it_is_given_once(place: Place) -> None:
    vault, leaf = Vault(place, KEY), sha256(DATA)
    name = vault.put_blob(DATA)
    vault.put_chunk(leaf, DATA)
    assert (vault.get_blob(name), vault.get_chunk(leaf), vault.has_chunk(leaf)) == (DATA, DATA, True)
    assert vault.files_put == 2
    again = Vault(place, KEY)
    assert again.put_blob(DATA) == name
    again.put_chunk(leaf, DATA)
    assert (again.files_put, again.bytes_put) == (0, 0)
    everything = b"".join(place.get(each) for each in place.names(""))
    assert DATA[:16] not in everything
    assert not any(leaf.hex() in each or sha256(DATA).hex() in each for each in place.names(""))


def test_the_newest_snapshot_is_found_and_an_older_one_by_name(place: Place) -> None:
    vault = Vault(place, KEY)
    with pytest.raises(NotFound, match="NO_SNAPSHOT"):
        vault.snapshot()
    older = vault.put_snapshot(snapshot(900, 7))
    vault.put_snapshot(snapshot(1_000, 8))
    assert (vault.snapshot().height, vault.snapshot(older).height) == (8, 7)
    with pytest.raises(NotFound, match="NO_SNAPSHOT"):
        vault.snapshot("2")


@pytest.mark.parametrize("edit", [lambda data: data[:-1], lambda data: bytes([data[0] ^ 1]) + data[1:], lambda _: b""])
def test_a_changed_moved_or_foreign_file_does_not_open(place: Place, edit: object) -> None:
    vault = Vault(place, KEY)
    first, second = vault.put_blob(b"one"), vault.put_blob(b"two")
    [one, two] = sorted(place.names("blobs/"), key=lambda each: first.hex() not in each)
    kept = place.get(two)
    place.put(one, kept)
    with pytest.raises(DataLoss, match="BACKUP_DAMAGED"):
        vault.get_blob(first)
    place.put(two, edit(kept))  # type: ignore[operator]
    with pytest.raises(DataLoss, match="BACKUP_DAMAGED"):
        vault.get_blob(second)
    name = vault.put_snapshot(snapshot(1, 1))
    with pytest.raises(DataLoss, match="BACKUP_DAMAGED"):
        Vault(place, b"l" * 32).snapshot(name)


@pytest.mark.slow
@pytest.mark.usefixtures("credentials")
def test_a_place_that_cannot_be_is_refused(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("ftp://a/b", "s3://host", "s3+http:///bucket", "s3://user:pw@host/b", "s3://host:99999/b", "s3://[x/b"):
        with pytest.raises(InvalidArgument, match="BAD_PLACE"):
            open_place(where)
    with pytest.raises(NotFound, match="NO_BUCKET"):
        open_place(f"s3+http://{server}/nothing-here")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(PermissionDenied, match="S3_REFUSED"):
        open_place(f"s3+http://{server}/backups").names("")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InvalidArgument, match=r"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.*NO_S3_CREDENTIALS"):
        open_place(f"s3+http://{server}/backups")


@pytest.mark.slow
@pytest.mark.usefixtures("credentials")
def test_a_store_out_of_reach_is_said() -> None:
    with pytest.raises(Unavailable, match="S3_UNREACHABLE"):
        open_place("s3+http://127.0.0.1:1/backups")


def test_a_backup_key_is_a_private_file_of_32_bytes(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(0o644)
    with pytest.raises(FailedPrecondition, match="OPEN_TO_OTHERS"):
        read_backup_key(path)
    path.chmod(0o600)
    assert read_backup_key(path) == KEY
    path.write_bytes(KEY + b"x")
    with pytest.raises(InvalidArgument, match="BAD_BACKUP_KEY"):
        Vault(Folder(tmp_path), read_backup_key(path))
