"""A real S3-compatible store for tests: SeaweedFS, on loopback, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from minio import Minio
from minio.error import S3Error
from urllib3.exceptions import HTTPError

from consilium.sandbox.ports import is_free

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCESS, SECRET = "backup", "the backup's secret"
START_S_MAX = 60
OWN_PORTS_ABOVE = 10_000
"""SeaweedFS takes each port's own number and one so much higher."""


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """The store, with a bucket `backups`; its host:port. Ended with the block."""
    identity = {
        "name": "operator",
        "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    folder.mkdir(exist_ok=True)
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3 = _ports(4)
    words = [
        "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}",
        f"-volume.port={volume}", f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}",
        "-volume.max=20", "-master.volumeSizeLimitMB=64",
    ]  # fmt: skip
    command = [str(Path(sys.executable).with_name("weed")), *words]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)  # noqa: S603  our own words
    try:
        _until_ready(f"127.0.0.1:{s3}", process)
        yield f"127.0.0.1:{s3}"
    finally:
        process.kill()
        process.wait()


def _until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    """Make the bucket, as soon as that can be done."""
    client, over_s = Minio(address, ACCESS, SECRET, secure=False), time.monotonic() + START_S_MAX
    while True:
        assert process.poll() is None, "the store has ended; its log says why"
        try:
            client.make_bucket("backups")
        except (S3Error, HTTPError, OSError):
            assert time.monotonic() < over_s, "the store does not answer"
            time.sleep(0.2)
        else:
            return


def _ports(count: int) -> list[int]:
    """Free ports whose higher ones are free too; another process of these tests begins elsewhere."""
    first = 20_000 + os.getpid() % 1_000 * 20
    return [each for each in range(first, 40_000) if is_free(each) and is_free(each + OWN_PORTS_ABOVE)][:count]
