"""A small Kubernetes API server: the objects identity keeps, with versions, conflicts, merge patches and refusals.

It stores what it is given and answers as the real one does in what the contract tests ask of both; it runs no controllers.
"""

from __future__ import annotations

import base64
import json
import threading
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes import client

from consilium.runtime import cluster
from consilium.runtime.cluster import Cluster
from consilium.sandbox.ports import drawn_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMESPACE = "hospital-1a"
KINDS = {"secrets": "Secret", "configmaps": "ConfigMap", "leases": "Lease", "pods": "Pod", "events": "Event"}
Body = dict[str, Any]


class Refused(Exception):
    """An answer that is no object."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


@dataclass
class ApiServer:
    """The server's state; `forbidden` are (verb, plural) that it refuses, `asked` every request's verb, plural and name."""

    port: int
    objects: dict[tuple[str, str], Body] = field(default_factory=dict)
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    _version: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None

    # --- running ---

    def start(self) -> None:
        """Answer, on the port of before too."""

        class Handler(_Handler):
            api = self

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Go away, with what is stored kept."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def cluster(self, namespace: str = NAMESPACE) -> Cluster:
        """A client of it."""
        return Cluster(namespace, client.Configuration(host=f"http://127.0.0.1:{self.port}"))

    def kubeconfig(self, path: Path) -> Path:
        """The file that names it."""
        name = "test"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": name,
                    "clusters": [{"name": name, "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
                    "users": [{"name": name, "user": {"token": "none"}}],
                    "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": NAMESPACE}}],
                }
            )
        )
        return path

    # --- what tests look at ---

    def data(self, name: str) -> dict[str, bytes]:
        """What a Secret holds."""
        return {key: base64.b64decode(each) for key, each in self.objects["secrets", name]["data"].items()}

    def names(self, plural: str) -> list[str]:
        """The objects of a kind."""
        return sorted(name for kind, name in self.objects if kind == plural)

    def events(self) -> list[tuple[str, str, str]]:
        """Type, reason and message of the events, in their order."""
        return [
            (each["type"], each["reason"], each["message"]) for (kind, _), each in self.objects.items() if kind == "events"
        ]

    def put_pod(self, name: str, component: str, uid: str = "", **status: Any) -> str:
        """A running and ready pod of a component; its uid."""
        uid = uid or str(uuid.uuid4())
        labels = {"app.kubernetes.io/name": "consilium", "app.kubernetes.io/component": component}
        usual = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": []}
        self.objects["pods", name] = {
            "metadata": {"name": name, "uid": uid, "labels": labels, "namespace": NAMESPACE},
            "spec": {"containers": [{"name": component}]},
            "status": usual | status,
        }
        return uid

    # --- the contract ---

    def answer(self, verb: str, path: str, query: dict[str, list[str]], body: Body | None) -> Body:
        """One request."""
        plural, name = self._named(path)
        with self._lock:
            self.asked.append((verb, plural, name))
            if (verb, plural) in self.forbidden:
                raise Refused(403, "Forbidden")
            if verb == "list":
                return self._list(plural, query)
            return getattr(self, f"_{verb}")(plural, name, body)  # type: ignore[no-any-return]

    def _named(self, path: str) -> tuple[str, str]:
        parts = path.strip("/").split("/")
        place = parts.index("namespaces")
        if parts[place + 1] != NAMESPACE or parts[place + 2] not in KINDS:
            raise Refused(404, "NotFound")
        return parts[place + 2], "/".join(parts[place + 3 :])

    def _list(self, plural: str, query: dict[str, list[str]]) -> Body:
        wanted = dict(each.split("=") for each in query.get("labelSelector", [""])[0].split(",") if each)
        fields = dict(each.split("=") for each in query.get("fieldSelector", [""])[0].split(",") if each)
        items = [
            each
            for (kind, _), each in self.objects.items()
            if kind == plural
            and wanted.items() <= each["metadata"].get("labels", {}).items()
            and all(_field(each, path) == value for path, value in fields.items())
        ]
        return {"kind": f"{KINDS[plural]}List", "apiVersion": "v1", "metadata": {}, "items": items}

    def _get(self, plural: str, name: str, _: Body | None) -> Body:
        if (plural, name) not in self.objects:
            raise Refused(404, "NotFound")
        return self.objects[plural, name]

    def _create(self, plural: str, _: str, body: Body | None) -> Body:
        assert body is not None
        name = body["metadata"].get("name") or f"{body['metadata']['generateName']}{uuid.uuid4().hex[:5]}"
        if (plural, name) in self.objects:
            raise Refused(409, "AlreadyExists")
        body["metadata"]["name"] = name
        return self._store(plural, name, body)

    def _update(self, plural: str, name: str, body: Body | None) -> Body:
        assert body is not None
        held = self._get(plural, name, None)
        if body["metadata"].get("resourceVersion", "") not in ("", held["metadata"]["resourceVersion"]):
            raise Refused(409, "Conflict")
        return self._store(plural, name, body)

    def _patch(self, plural: str, name: str, body: Body | None) -> Body:
        assert body is not None
        return self._store(plural, name, _merged(self._get(plural, name, None), body))

    def _store(self, plural: str, name: str, body: Body) -> Body:
        if plural == "leases" and "." not in body["spec"]["renewTime"]:
            raise Refused(400, "BadRequest")  # a MicroTime has microseconds
        self._version += 1
        body["metadata"] |= {"resourceVersion": str(self._version), "namespace": NAMESPACE}
        body["metadata"].setdefault("uid", str(uuid.uuid4()))
        self.objects[plural, name] = body
        return body


class _Handler(BaseHTTPRequestHandler):
    api: ApiServer

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        is_list = self.command == "GET" and parts.path.rsplit("/", 1)[-1] in KINDS
        verbs = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}
        try:
            code, answer = (
                200,
                self.api.answer("list" if is_list else verbs[self.command], parts.path, parse_qs(parts.query), body),
            )
        except Refused as refused:
            code, answer = refused.code, {"kind": "Status", "reason": refused.reason, "code": refused.code}
        said = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815  as the base calls them

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base
        """Nothing."""


def _field(body: Any, path: str) -> Any:
    """The field at a path of names."""
    for name in path.split("."):
        body = body[name]
    return body


def _merged(held: Any, patch: Any) -> Any:
    """RFC 7396, which is what a strategic merge is for maps of texts."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(held) if isinstance(held, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def serving_api() -> Iterator[ApiServer]:
    """A server for the time of a fixture, asked without hurry: no test is about how long an answer may take."""
    with drawn_ports(1) as port, pytest.MonkeyPatch.context() as patched:
        patched.setattr(cluster, "LIMIT_S", (60.0, 60.0))
        api = ApiServer(port)
        api.start()
        try:
            yield api
        finally:
            api.stop()
