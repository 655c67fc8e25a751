"""Where a backup lies: a folder, or a bucket of an S3-compatible store. Names and bytes, nothing else.

A place is not trusted: everything in it is sealed and named by `vault`. A put replaces in one step, so that whoever reads
finds the old bytes or the new ones, whole.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from consilium.kernel.errors import ConsiliumError, DataLoss, InvalidArgument, NotFound, PermissionDenied, Unavailable
from consilium.runtime.whole_files import write_atomically

if TYPE_CHECKING:
    from minio import Minio

S3_SCHEMES = {"s3": True, "s3+http": False}
"""How a URL names an S3 store, and whether it is spoken to under TLS; plain HTTP is for tests on one machine."""

FILE_BYTES_MAX = 96 * 1024 * 1024
"""More than any file of a backup has; the largest is a segment, of 8 MiB of blocks and one more block of up to 64 MiB."""


class Place(Protocol):
    """A backup's files by name; names have slashes. Every method raises Unavailable while the place cannot be reached."""

    def put(self, name: str, data: bytes) -> None:
        """Keep a file; it is there, whole, on return. Raises ResourceExhausted or OSError where there is no room."""

    def get(self, name: str) -> bytes:
        """A file's bytes. Raises NotFound: NOT_IN_BACKUP; DataLoss: BACKUP_DAMAGED for more than any file of ours has."""

    def has(self, name: str) -> bool:
        """Whether the file is there."""

    def names(self, prefix: str) -> list[str]:
        """The names that begin so, sorted."""


class Folder:
    """A folder of files."""

    def __init__(self, path: Path) -> None:
        """The folder is made with the first file."""
        self._path = path

    def put(self, name: str, data: bytes) -> None:
        """Write, sync, rename."""
        path = self._path / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, data)

    def get(self, name: str) -> bytes:
        """Read it whole."""
        try:
            with (self._path / name).open("rb") as file:
                return _within(name, file.read(FILE_BYTES_MAX + 1))
        except FileNotFoundError as error:
            raise not_in_backup(name) from error

    def has(self, name: str) -> bool:
        """Whether it is there."""
        return (self._path / name).is_file()

    def names(self, prefix: str) -> list[str]:
        """Those below the prefix's folder, but for what a put that was broken off has left: its name begins with a dot."""
        found = (self._path / prefix).rglob("*")
        return sorted(
            str(each.relative_to(self._path)) for each in found if each.is_file() and not each.name.startswith(".")
        )


class Bucket:
    """A bucket of an S3-compatible store, below a prefix; the credentials are those of AWS's usual environment variables."""

    def __init__(self, client: "Minio", bucket: str, prefix: str) -> None:
        """Raises as `_translated`; NotFound: NO_BUCKET."""
        self._client, self._bucket, self._prefix = client, bucket, f"{prefix}/" if prefix else ""
        with _translated():
            try:
                is_there = client.bucket_exists(bucket)
            except ValueError as error:
                raise InvalidArgument("BAD_PLACE", f"{bucket!r} is no name of a bucket: {error}.", "S10") from error
            if not is_there:
                raise NotFound("NO_BUCKET", f"There is no bucket {bucket!r}; make it, or name another.", "S10")

    def put(self, name: str, data: bytes) -> None:
        """One object."""
        with _translated():
            self._client.put_object(self._bucket, self._prefix + name, io.BytesIO(data), len(data))

    def get(self, name: str) -> bytes:
        """One object, whole."""
        with _translated():
            response = self._client.get_object(self._bucket, self._prefix + name)
            try:
                return _within(name, response.read(FILE_BYTES_MAX + 1))
            finally:
                response.close()
                response.release_conn()

    def has(self, name: str) -> bool:
        """Whether it is there."""
        try:
            with _translated():
                self._client.stat_object(self._bucket, self._prefix + name)
        except NotFound:
            return False
        return True

    def names(self, prefix: str) -> list[str]:
        """Those that begin so."""
        with _translated():
            found = list(self._client.list_objects(self._bucket, self._prefix + prefix, recursive=True))
        return sorted(str(each.object_name).removeprefix(self._prefix) for each in found)


def open_place(where: str) -> Place:
    """The place of a path, or of s3://host:port/bucket/prefix (s3+http:// without TLS).

    Raises InvalidArgument: BAD_PLACE, S3_NOT_INSTALLED, NO_S3_CREDENTIALS; and as `Bucket`.
    """
    try:
        parts = urlsplit(where)
    except ValueError as error:
        raise _bad_place(where, error) from error
    if parts.scheme not in S3_SCHEMES:
        if "://" in where:
            raise InvalidArgument("BAD_PLACE", f"{where!r} is neither a folder nor s3://host:port/bucket/prefix.", "S10")
        return Folder(Path(where))
    bucket, _, prefix = parts.path.strip("/").partition("/")
    if not parts.netloc or not bucket:
        raise InvalidArgument("BAD_PLACE", f"{where!r} names no bucket: s3://host:port/bucket/prefix.", "S10")
    try:
        from minio import Minio  # noqa: PLC0415  an extra
        from minio.credentials.providers import EnvAWSProvider  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise InvalidArgument("S3_NOT_INSTALLED", "A backup to S3 needs consilium[s3] installed.", "S10") from missing
    provider = EnvAWSProvider()
    try:
        provider.retrieve()
    except ValueError as error:
        sentence = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to what the store gave you for this bucket."
        raise InvalidArgument("NO_S3_CREDENTIALS", sentence, "S10") from error
    try:
        client = Minio(parts.netloc, credentials=provider, secure=S3_SCHEMES[parts.scheme])
    except ValueError as error:  # a port that is none, or a password where it would be logged
        raise _bad_place(parts.netloc.rpartition("@")[2], error) from error
    return Bucket(client, bucket, prefix)


def _bad_place(where: str, error: ValueError) -> InvalidArgument:
    sentence = f"{where!r} is no place, but a folder or s3://host:port/bucket/prefix is: {error}."
    return InvalidArgument("BAD_PLACE", sentence, "S10")


def damaged(name: str) -> DataLoss:
    """The refusal for a file that does not open."""
    return DataLoss("BACKUP_DAMAGED", f"{name} is damaged, of another backup, or the key is another.", "S10")


def _within(name: str, data: bytes) -> bytes:
    """A place is not trusted with our memory either."""
    if len(data) > FILE_BYTES_MAX:
        raise damaged(name)
    return data


def not_in_backup(name: str) -> NotFound:
    """The refusal for a file that is not there."""
    return NotFound("NOT_IN_BACKUP", f"The backup has no {name}: it is cut, or it is another's.", "S10")


@contextmanager
def _translated() -> Iterator[None]:
    """The store's errors as ours."""
    import urllib3  # noqa: PLC0415  comes with the extra
    from minio.error import MinioException, S3Error  # noqa: PLC0415

    try:
        yield
    except ConsiliumError:
        raise
    except S3Error as error:
        if error.code in ("NoSuchKey", "NoSuchBucket"):
            raise not_in_backup(str(error.object_name)) from error
        if error.code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            raise PermissionDenied("S3_REFUSED", f"The store refuses these credentials: {error.code}.", "S10") from error
        raise Unavailable("S3_FAILED", f"The store says {error.code}: {error.message}.", "S10") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise Unavailable("S3_UNREACHABLE", f"The store cannot be reached: {_cause(error)}.", "S10") from error


def _cause(error: Exception) -> object:
    """What was behind it: that it was tried several times, and where, is known."""
    return getattr(error, "reason", None) or error
