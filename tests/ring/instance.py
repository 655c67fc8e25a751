"""One Cassandra on this machine, started from its jars: the real thing, with the settings a hospital's would have.

Mutual TLS for clients, passwords and permissions, `commitlog_sync: group`, default segments; a small heap, one token, and no
waiting for a gossip that has nobody else to hear. The kernel ends the process with the one that started it (`setpriv`).
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from ruamel.yaml import YAML

from tests.runtime.authority import Authority

ROOT = Path(__file__).resolve().parents[2]
JARS = ROOT / "build" / "cassandra.path"
"""Holds the folder of the jars; `make cassandra` writes it."""
JAVA = os.environ.get("JAVA", "java")  # noqa: TID251  the Makefile's, which has looked at its version
CQL_PORT = 9042
START_S_MAX = 280
HEAP_MIB = 320
DATACENTER = "datacenter1"
"""The only one of a ring."""
RACK = f"dc={DATACENTER}\nrack=rack1\n"
"""Where an instance stands, for its snitch."""
OPENED = (
    "sun.nio.ch", "java.io", "java.lang", "java.lang.module", "java.lang.ref", "java.lang.reflect", "java.math",
    "java.net", "java.nio", "java.nio.charset", "java.util", "java.util.concurrent", "java.util.concurrent.atomic",
    "jdk.internal.loader", "jdk.internal.math", "jdk.internal.misc", "jdk.internal.module", "jdk.internal.ref",
    "jdk.internal.reflect", "jdk.internal.util.jar",
)  # fmt: skip
"""Packages of java.base that Cassandra reaches into."""
JVM = (
    *(f"--add-opens=java.base/{each}=ALL-UNNAMED" for each in OPENED),
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.management.rmi/com.sun.jmx.remote.internal.rmi=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.server=ALL-UNNAMED",
    "--add-exports=java.sql/java.sql=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
    "-Djdk.attach.allowAttachSelf=true",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=1",
    "-Dcassandra.disk_usage.monitor_interval_ms=500",
    f"-Xms{HEAP_MIB}m",
    f"-Xmx{HEAP_MIB}m",
    "-XX:ActiveProcessorCount=2",
)
CLOCKED = "-Dcassandra.clock=JumpingClock"
"""Gives it a wall clock that a test sets; compiled by the compiler that comes with Cassandra."""
QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Starts for two thirds of the processor time, and runs slower ever after: for tests, not for benches."""
LOGBACK = """<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender"><file>{file}</file>
    <encoder><pattern>%d %-5level %logger{{1}}: %msg%n</pattern></encoder></appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
"""


def jars() -> Path:
    """The folder of the jars. Fails with what to do when they were never fetched."""
    assert JARS.exists(), f"{JARS} is missing: run `make cassandra` first, which needs Maven and Java 17."
    found = Path(JARS.read_text().strip())
    assert found.is_dir(), f"{found} is gone: run `make cassandra` again."
    return found


@dataclass
class Instance:
    """A Cassandra at an address of loopback, up or down."""

    address: str
    folder: Path
    seeds: tuple[str, ...]
    token: int
    authority: Authority
    data: Path | None = None
    """Where its data and commit log lie, when not in `folder`."""
    told: Mapping[str, object] = field(default_factory=dict)
    """What stands in its cassandra.yaml instead of the usual; None leaves a line out."""
    jvm: tuple[str, ...] = QUICK
    patience: str = "5s"
    """How long it waits for the others to write or read."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def write_files(self) -> None:
        """Its configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = [x509.IPAddress(ipaddress.ip_address(self.address))]
        issued = self.authority.issue(names, self.authority.ends_in)
        (self.folder / "keystore.pem").write_bytes(issued.key + issued.certificate + self.authority.pem)
        (self.folder / "truststore.pem").write_bytes(self.authority.pem)
        (self.folder / "cassandra-rackdc.properties").write_text(RACK)
        (self.folder / "logback.xml").write_text(LOGBACK.format(file=self.log))
        with (self.folder / "cassandra.yaml").open("w") as file:
            chosen = self.settings() | dict(self.told)
            YAML().dump({name: value for name, value in chosen.items() if value is not None}, file)

    def settings(self) -> dict[str, object]:
        """What stands in cassandra.yaml."""
        data = self.data or self.folder
        stores = {"keystore": str(self.folder / "keystore.pem"), "truststore": str(self.folder / "truststore.pem")}
        factory = {"class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory"}
        provider = {
            "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
            "parameters": [{"seeds": ",".join(self.seeds)}],
        }
        return {
            "cluster_name": "consilium",
            "num_tokens": 1,
            "initial_token": str(self.token),
            "auto_bootstrap": False,
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "listen_address": self.address,
            "rpc_address": self.address,
            "native_transport_port": CQL_PORT,
            "endpoint_snitch": "GossipingPropertyFileSnitch",  # with the simple one an instance does not ask itself first
            "seed_provider": [provider],
            "authenticator": "PasswordAuthenticator",
            "authorizer": "CassandraAuthorizer",
            "client_encryption_options": {
                "enabled": True, "require_client_auth": True, "ssl_context_factory": factory, **stores,
            },
            "commitlog_sync": "group",
            "commitlog_sync_group_window": "5ms",
            "commitlog_directory": str(data / "commitlog"),
            "data_file_directories": [str(data / "data")],
            "hints_directory": str(data / "hints"),
            "saved_caches_directory": str(data / "saved_caches"),
            "disk_failure_policy": "die",
            "commit_failure_policy": "die",
            "commitlog_total_space": "256MiB",
            "memtable_heap_space": "64MiB",
            "memtable_offheap_space": "64MiB",
            "memtable_allocation_type": "offheap_buffers",
            "concurrent_compactors": 1,
            "key_cache_size": "8MiB",
            "write_request_timeout": self.patience,
            "read_request_timeout": self.patience,
        }  # fmt: skip

    @property
    def log(self) -> Path:
        """Where it says what it does."""
        return self.folder / "system.log"

    @property
    def clock(self) -> Path:
        """Says how far its wall clock is ahead, where that can be set."""
        return self.folder / "clock"

    def set_clock(self, ahead_ms: int) -> None:
        """Have its wall clock jump; behind when negative. Only with `CLOCKED` among its `jvm`."""
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(str(ahead_ms))
        fresh.replace(self.clock)

    def spawn(self) -> None:
        """Start the process; it does not answer yet. A start from before is told apart by nothing: look at the port."""
        out = (self.folder / "stdout").open("ab")
        command = [
            "setpriv", "--pdeathsig", "KILL", JAVA, *JVM, *self.jvm,
            f"-XX:ErrorFile={self.folder}/hs_err_pid%p.log",
            f"-Dcassandra.config=file://{self.folder}/cassandra.yaml",
            f"-Dcassandra.storagedir={self.data or self.folder}",
            f"-Dlogback.configurationFile={self.folder}/logback.xml",
            f"-Dconsilium.clock={self.clock}",
            "-cp", f"{jars()}/*:{self.folder}", "org.apache.cassandra.service.CassandraDaemon",
        ]  # fmt: skip
        self.process = subprocess.Popen(  # noqa: S603
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        out.close()

    def until_listening(self) -> None:
        """Wait until clients can connect. Fails with the end of its log when it ends, or takes too long."""
        deadline = time.monotonic() + START_S_MAX
        while not listens(self.address, CQL_PORT):
            ended = self.process is None or self.process.poll() is not None
            assert not ended, f"Cassandra at {self.address} ended while starting:\n{self.last_words()}"
            assert time.monotonic() < deadline, f"Cassandra at {self.address} is not ready:\n{self.last_words()}"
            time.sleep(0.05)

    def last_words(self) -> str:
        """The end of its log and of what it printed."""
        texts = [path.read_text(errors="replace") for path in (self.folder / "stdout", self.log) if path.exists()]
        return "\n".join(text[-3_000:] for text in texts)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is up: SIGSTOP pauses it, SIGCONT lets it go on."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut does; gone on return."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


def compile_clock(into: Path) -> None:
    """The class of the wall clock that jumps, beside an instance's settings."""
    [compiler] = jars().glob("ecj-*.jar")
    [cassandra] = jars().glob("cassandra-all-*.jar")
    words = ["-17", "-cp", str(cassandra), "-d", str(into), str(Path(__file__).with_name("JumpingClock.java"))]
    subprocess.run([JAVA, "-jar", str(compiler), *words], check=True)  # noqa: S603


def listens(address: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
