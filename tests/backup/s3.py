"""A real S3-compatible store for tests: SeaweedFS, on loopback, in a folder of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minio import Minio
from minio.error import S3Error
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError

from consilium.sandbox.ports import drawn_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCESS, SECRET = "backup", "the backup's secret"
START_S_MAX = 60
PORTS = 8
"""Of its four parts, each for HTTP and for gRPC."""


@dataclass
class S3:
    """The store, up or down; what was put into it stays in its folder."""

    folder: Path
    first_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Its host:port."""
        return f"127.0.0.1:{self.first_port}"

    def start(self) -> None:
        """Start it, where it was before, and wait until its bucket `backups` is there."""
        identity = {
            "name": "operator",
            "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        self.folder.mkdir(exist_ok=True)
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        parts = enumerate(("s3", "master", "volume", "filer"))
        ports = [f"-{part}.port{kind}={self.first_port + 2 * place + own}" for place, part in parts
                 for own, kind in enumerate(("", ".grpc"))]  # fmt: skip
        words = [
            "server", f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *ports, "-s3",
            f"-s3.config={self.folder / 's3.json'}", "-volume.max=20", "-master.volumeSizeLimitMB=64",
            "-s3.port.iceberg=0", "-s3.port.lance=0",  # else on ports that another store has
            "-master.electionTimeout=1s",  # alone it has nobody to wait for; else it does for 20 seconds when started again
            "-master.telemetry=false",
        ]  # fmt: skip
        command = [str(Path(sys.executable).with_name("weed")), *words]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)  # noqa: S603  our own words
        _until_ready(self.address, self.process)

    def kill(self) -> None:
        """End it at once; gone on return."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """The store, up. Ended with the block."""
    with drawn_ports(PORTS) as first_port:
        store = S3(folder, first_port)
        try:
            store.start()
            yield store
        finally:
            store.kill()


def impatient(address: str) -> Minio:
    """A client that asks once: the usual one asks again and again, for six seconds, a store that is not there."""
    once = PoolManager(retries=Retry(0))
    return Minio(address, ACCESS, SECRET, secure=False, http_client=once)


def _until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    """Make the bucket, as soon as that can be done."""
    client, over_s = impatient(address), time.monotonic() + START_S_MAX
    while True:
        assert process.poll() is None, "the store has ended; its log says why"
        try:
            if not client.bucket_exists("backups"):
                client.make_bucket("backups")
            client.put_object("backups", "ready", io.BytesIO(b"?"), 1)  # its volumes are there too
        except (S3Error, HTTPError, OSError):
            assert time.monotonic() < over_s, "the store does not answer"
            time.sleep(0.2)
        else:
            return
