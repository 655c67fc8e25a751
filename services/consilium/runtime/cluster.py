"""The Kubernetes API, as identity keeps things there and the doctor looks at them (design section 9).

Nowhere near the safety path: the API server may be away for as long as it likes, and nothing that runs depends on an answer.
So a call has a short limit and is not repeated here; whoever looks after something looks again at its next turn. Objects are
made when missing and patched when they differ, in the fields that are ours alone. Calls block: use a thread.

Only who is told to work with Kubernetes imports this module: the library takes a second and 35 MB to load.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from consilium.kernel.errors import Conflict, ConsiliumError, InvalidArgument, PermissionDenied, Unavailable

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its own credential; elsewhere the kubeconfig file counts."""
LIMIT_S = (2.0, 5.0)
"""How long the API server may take to take a connection, and to answer, in seconds."""
OURS = {"app.kubernetes.io/managed-by": "consilium-identity"}
"""The label of everything that is made here."""
FORBIDDEN, GONE, CONFLICT = (401, 403), 404, 409
PODS = "app.kubernetes.io/name=consilium"
"""The label of all the member's pods, as the chart gives it."""
Found = TypeVar("Found")
NOTE_MAX = 1_024
"""The longest note of an event, in characters."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the API server knows it; `reason` tells why a container of it is not running, where one is not."""

    name: str
    uid: str
    component: str
    phase: str
    is_ready: bool
    is_leaving: bool
    restarts: int
    reason: str
    address: str = ""
    """Where it is reached; "" while it has no address."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a lease, until when in milliseconds since 1970-01-01 UTC, and how often it changed hands."""

    holder: str
    until_ms: int
    transitions: int
    version: str = ""


class Cluster:
    """One namespace of a Kubernetes, over one connection pool.

    Every method raises PermissionDenied: KUBERNETES_FORBIDDEN; Unavailable: KUBERNETES_UNREACHABLE, KUBERNETES_REFUSED
    or KUBERNETES_UNREADABLE; those that write Conflict: KUBERNETES_CONFLICT when another was quicker.
    """

    def __init__(self, namespace: str, configuration: client.Configuration) -> None:
        # One answer or none: whoever asked asks again at its own pace.
        configuration.retries = False
        self.namespace = namespace
        self._client = client.ApiClient(configuration)
        self._core, self._leases = client.CoreV1Api(self._client), client.CoordinationV1Api(self._client)

    @classmethod
    def found(cls, namespace: str = "") -> Self:
        """The one this process runs in, or that the kubeconfig file names; `namespace` is "" for its own there.

        Raises InvalidArgument: NO_KUBERNETES.
        """
        configuration = client.Configuration()
        try:
            if (ACCOUNT / "token").exists():
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
                return cls(namespace or (ACCOUNT / "namespace").read_text().strip(), configuration)
            config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            current = config.list_kube_config_contexts()[1]["context"]  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            told = "No Kubernetes is to be found: this is no pod with a service account, and KUBECONFIG names no usable file"
            raise InvalidArgument("NO_KUBERNETES", f"{told} ({error}).") from error
        return cls(namespace or current.get("namespace", "default"), configuration)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()  # type: ignore[no-untyped-call]

    # --- secrets and configuration ---

    def secret(self, name: str) -> dict[str, bytes] | None:
        """What a Secret holds, None where there is none."""
        with _asking(f"read Secret {name}"):
            found = _there(lambda: self._core.read_namespaced_secret(name, self.namespace, _request_timeout=LIMIT_S))
            return None if found is None else {key: b64decode(value) for key, value in (found.data or {}).items()}

    def put_secret(self, name: str, data: Mapping[str, bytes]) -> bool:
        """Have a Secret hold just this; whether something had to be written."""
        wanted = {key: b64encode(value).decode() for key, value in data.items()}
        held = self.secret(name)
        if held == data:
            return False
        with _asking(f"write Secret {name}"):
            if held is None:
                body = client.V1Secret(metadata=_named(name), type="Opaque", data=dict(wanted))
                self._core.create_namespaced_secret(self.namespace, body, _request_timeout=LIMIT_S)
            else:
                patch = {"data": {**dict.fromkeys(held), **wanted}}
                self._core.patch_namespaced_secret(name, self.namespace, patch, _request_timeout=LIMIT_S)
        return True

    def config_map(self, name: str) -> dict[str, str] | None:
        """What a ConfigMap holds, None where there is none."""
        with _asking(f"read ConfigMap {name}"):
            found = _there(lambda: self._core.read_namespaced_config_map(name, self.namespace, _request_timeout=LIMIT_S))
        return None if found is None else dict(found.data or {})

    def put_config_map(self, name: str, data: Mapping[str, str]) -> bool:
        """Have a ConfigMap hold just this; whether something had to be written."""
        held = self.config_map(name)
        if held == data:
            return False
        with _asking(f"write ConfigMap {name}"):
            if held is None:
                body = client.V1ConfigMap(metadata=_named(name), data=dict(data))
                self._core.create_namespaced_config_map(self.namespace, body, _request_timeout=LIMIT_S)
            else:
                patch = {"data": {**dict.fromkeys(held), **data}}
                self._core.patch_namespaced_config_map(name, self.namespace, patch, _request_timeout=LIMIT_S)
        return True

    # --- pods, the lease, events ---

    def pods(self, selector: str) -> list[Pod]:
        """The pods with these labels."""
        with _asking("list Pods"):
            found = self._core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=LIMIT_S)
            return [_pod(each) for each in found.items]

    def last_warning(self, name: str) -> str:
        """What the newest Warning event about an object says, "" for none: why a volume is not there, for instance."""
        selector = f"involvedObject.name={name},type=Warning"
        with _asking("list Events"):
            found = self._core.list_namespaced_event(self.namespace, field_selector=selector, _request_timeout=LIMIT_S)
            newest = max(found.items, key=lambda each: int(each.metadata.resource_version or 0), default=None)
        return (newest.message or "") if newest is not None else ""

    def lease(self, name: str) -> Lease | None:
        """How a Lease stands, None where there is none."""
        with _asking(f"read Lease {name}"):
            found = _there(lambda: self._leases.read_namespaced_lease(name, self.namespace, _request_timeout=LIMIT_S))
        if found is None or found.spec is None:
            return None
        spec, version = found.spec, found.metadata.resource_version if found.metadata else ""
        until_ms = 0
        if spec.renew_time is not None:
            until_ms = int((spec.renew_time.timestamp() + (spec.lease_duration_seconds or 0)) * 1_000)
        return Lease(spec.holder_identity or "", until_ms, spec.lease_transitions or 0, version or "")

    def put_lease(self, name: str, lease: Lease, now_ms: int) -> None:
        """Write a Lease from now until its end; over one that was read only if it is still as it was read."""
        # Never without microseconds: the library leaves a zero out, and the API server then takes no time for one.
        now = datetime.fromtimestamp(now_ms / 1_000, UTC) + timedelta(microseconds=1)
        spec = client.V1LeaseSpec(
            holder_identity=lease.holder,
            lease_duration_seconds=max(1, (lease.until_ms - now_ms) // 1_000),
            lease_transitions=lease.transitions,
            renew_time=now,
        )
        body = client.V1Lease(metadata=_named(name, lease.version), spec=spec)
        with _asking(f"write Lease {name}"):
            if lease.version:
                self._leases.replace_namespaced_lease(name, self.namespace, body, _request_timeout=LIMIT_S)
            else:
                self._leases.create_namespaced_lease(self.namespace, body, _request_timeout=LIMIT_S)

    def tell(self, about: client.V1ObjectReference, reason: str, note: str, *, is_warning: bool) -> None:
        """Write an Event about an object of the namespace."""
        now = datetime.now(UTC)
        body = client.CoreV1Event(
            metadata=client.V1ObjectMeta(generate_name="consilium-", labels=OURS),
            involved_object=about,
            type="Warning" if is_warning else "Normal",
            reason=reason,
            message=note[:NOTE_MAX],
            first_timestamp=now,
            last_timestamp=now,
            count=1,
            source=client.V1EventSource(component="consilium-identity"),
        )
        with _asking("write an Event"):
            self._core.create_namespaced_event(self.namespace, body, _request_timeout=LIMIT_S)

    def about(self, kind: str, name: str) -> client.V1ObjectReference:
        """What an event is about; it need not exist."""
        version = "coordination.k8s.io/v1" if kind == "Lease" else "v1"
        return client.V1ObjectReference(api_version=version, kind=kind, name=name, namespace=self.namespace)


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Tell a failed call in the house's own words."""
    try:
        yield
    except ApiException as error:
        raise _refusal(what, error) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        told = f"The Kubernetes API did not answer (to {what}); what runs goes on without it."
        raise Unavailable("KUBERNETES_UNREACHABLE", told) from error
    except ValueError as error:  # what the library's models say to an answer that is no JSON, or no such object
        told = f"The Kubernetes API, or what stands before it, answered with what cannot be read (to {what})."
        raise Unavailable("KUBERNETES_UNREADABLE", told) from error


def _refusal(what: str, error: ApiException) -> ConsiliumError:
    if error.status in FORBIDDEN:
        told = f"The service account may not {what}; give it the Role that the chart has (docs/operations/kubernetes.md)."
        return PermissionDenied("KUBERNETES_FORBIDDEN", told)
    if error.status == CONFLICT:
        return Conflict("KUBERNETES_CONFLICT", f"Another was quicker to {what}; looked at again at the next turn.")
    return Unavailable("KUBERNETES_REFUSED", f"The Kubernetes API refused to {what}: {error.status} {error.reason}.")


def _there(read: Callable[[], Found]) -> Found | None:
    try:
        return read()
    except ApiException as error:
        if error.status == GONE:
            return None
        raise


def _named(name: str, version: str = "") -> client.V1ObjectMeta:
    return client.V1ObjectMeta(name=name, labels=OURS, resource_version=version or None)


def _pod(found: client.V1Pod) -> Pod:
    meta, status = found.metadata, found.status
    if meta is None or status is None:
        raise ValueError("A pod without a name, or without a status.")
    containers = [*(status.init_container_statuses or []), *(status.container_statuses or [])]
    conditions = {each.type: each.status == "True" for each in status.conditions or []}
    return Pod(
        meta.name or "",
        meta.uid or "",
        (meta.labels or {}).get("app.kubernetes.io/component", ""),
        status.phase or "",
        conditions.get("Ready", False),
        meta.deletion_timestamp is not None,
        sum(each.restart_count or 0 for each in containers),
        next(filter(None, map(_why_not_running, containers)), status.reason or ""),
        status.pod_ip or "",
    )


def _why_not_running(container: client.V1ContainerStatus) -> str:
    state = container.state
    if state is None or state.waiting is None:
        return ""
    return ": ".join(filter(None, (state.waiting.reason, state.waiting.message)))
