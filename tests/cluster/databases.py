"""A Cassandra of one instance in a member's namespace, as that member's operator would have it beside the release.

It is configured as the tests' rings are (`tests/ring`): mutual TLS, passwords, roles. Whatever it needs comes in one Secret.
Its certificate names no address, because a pod's is not known beforehand; so the storage service is told not to look.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from consilium.runtime.names import Role
from tests.cluster.images import CASSANDRA, PRODUCT
from tests.ring.instance import JVM, QUICK, RACK, Instance
from tests.runtime.authority import Authority

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

PLACE, DATA, HOST = Path("/etc/cassandra"), Path("/var/lib/cassandra"), "cassandra-0"
SECRET, CLIENT = "cassandra", "cassandra-client"
SECURITY = {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
CONFINED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
LOGBACK = """<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d %-5level %logger{1}: %msg%n</pattern></encoder></appender>
  <root level="WARN"><appender-ref ref="OUT"/></root>
</configuration>
"""
ROLES = """
from consilium.runtime.settings import load
from consilium.storage.cassandra.session import Database
from consilium.storage.settings import StorageSettings
database = Database.open(load(StorageSettings))
database.say("CREATE ROLE IF NOT EXISTS consilium WITH PASSWORD = 'consilium' AND LOGIN = true")
for each in ("CREATE", "ALTER", "SELECT", "MODIFY"):
    database.say(f"GRANT {each} ON ALL KEYSPACES TO consilium")
database.say("GRANT SELECT ON KEYSPACE system_views TO consilium")
"""
"""What an operator types once, run in the product's image because the driver is in it."""


def install(cluster: Cluster, namespace: str) -> None:
    """Create all of it; the roles follow when it is up."""
    cluster.apply([*_secrets(namespace), _service(namespace), _stateful_set(namespace), _roles(namespace)])


def values() -> dict[str, Any]:
    """What the chart is told of it."""
    tls = {"existingSecret": CLIENT, "caKey": "authorities.pem"}
    cassandra = {
        "hosts": ["cassandra"],
        "replication": 1,
        "checkNames": False,
        "auth": {"existingSecret": CLIENT},
        "tls": tls,
    }
    return {"storage": {"objects": "cassandra", "cassandra": cassandra}}


def _secrets(namespace: str) -> list[dict[str, Any]]:
    authority = Authority("database", ends_in=dt.timedelta(days=30))
    with tempfile.TemporaryDirectory() as scratch:
        instance = Instance(HOST, PLACE, (HOST,), 0, authority, DATA)
        issued = authority.person(Role.SERVICE, "storage")
        issued.write(Path(scratch), authority)
        client = {each.name: each.read_bytes() for each in Path(scratch).iterdir() if each.is_file()}
    server = {
        "cassandra.yaml": _yaml(instance.settings()),
        "keystore.pem": client["tls.key"] + client["tls.crt"] + authority.pem,
        "truststore.pem": authority.pem,
        "logback.xml": LOGBACK.encode(),
        "cassandra-rackdc.properties": RACK.encode(),
    }
    both = {**client, "password": b"consilium", "superuser": b"cassandra"}
    return [secret(namespace, SECRET, server), secret(namespace, CLIENT, both)]


def _yaml(settings: dict[str, object]) -> bytes:
    """The settings without addresses: Cassandra then takes those of the pod's name."""
    text = io.BytesIO()
    YAML().dump({key: value for key, value in settings.items() if key not in ("listen_address", "rpc_address")}, text)
    return text.getvalue()


def secret(namespace: str, name: str, files: dict[str, bytes]) -> dict[str, Any]:
    """A Secret of files."""
    data = {key: base64.b64encode(value).decode() for key, value in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}


def _service(namespace: str) -> dict[str, Any]:
    spec = {"clusterIP": "None", "selector": {"app": "cassandra"}, "ports": [{"name": "cql", "port": 9042}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cassandra", "namespace": namespace}, "spec": spec}


def _stateful_set(namespace: str) -> dict[str, Any]:
    container = {
        "name": "cassandra",
        "image": CASSANDRA,
        "imagePullPolicy": "Never",
        "command": ["java", *JVM, *QUICK, "-Dcassandra.system_auth.default_rf=1",
                    f"-Dcassandra.config=file://{PLACE}/cassandra.yaml", f"-Dcassandra.storagedir={DATA}",
                    f"-Dlogback.configurationFile={PLACE}/logback.xml", "-Djava.io.tmpdir=/tmp",
                    "-cp", f"/jars/*:{PLACE}", "org.apache.cassandra.service.CassandraDaemon"],
        "securityContext": CONFINED,
        "readinessProbe": {"tcpSocket": {"port": 9042}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "700Mi"}},
        "volumeMounts": [
            {"name": "files", "mountPath": str(PLACE), "readOnly": True},
            {"name": "data", "mountPath": str(DATA)},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }  # fmt: skip
    pod = {
        "securityContext": SECURITY,
        "containers": [container],
        "volumes": [{"name": "files", "secret": {"secretName": SECRET}}, {"name": "tmp", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = {
        "serviceName": "cassandra",
        "selector": {"matchLabels": {"app": "cassandra"}},
        "template": {"metadata": {"labels": {"app": "cassandra"}}, "spec": pod},
        "volumeClaimTemplates": [claim],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "cassandra", "namespace": namespace},
        "spec": spec,
    }


def _roles(namespace: str) -> dict[str, Any]:
    """A Job that makes the role of the storage service, tried until the database is up."""
    given = {
        "HOSTS": "cassandra", "USER": "cassandra", "PASSWORD_FILE": "/client/superuser", "TLS_DIRECTORY": "/client",
        "CHECK_NAMES": "false", "REPLICATION": "1", "WAIT_MS": "120000",
    }  # fmt: skip
    container = {
        "name": "roles",
        "image": PRODUCT,
        "imagePullPolicy": "Never",
        "command": ["python", "-c", ROLES],
        "env": [{"name": f"CONSILIUM_STORAGE_CASSANDRA_{key}", "value": value} for key, value in given.items()],
        "securityContext": CONFINED,
        "volumeMounts": [{"name": "client", "mountPath": "/client", "readOnly": True}],
    }
    pod = {
        "restartPolicy": "OnFailure",
        "securityContext": SECURITY,
        "containers": [container],
        "volumes": [{"name": "client", "secret": {"secretName": CLIENT, "defaultMode": 0o440}}],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
    }
    spec = {"backoffLimit": 20, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "roles", "namespace": namespace}, "spec": spec}
