"""Whatever is rendered lints, runs in a namespace of Pod Security level restricted, and holds no secret."""

from __future__ import annotations

import pytest

from consilium.runtime.names import server_name
from tests.helm.matrix import BACKUP, CASSANDRA, EVERYTHING, MATRIX
from tests.helm.rendering import CHART, SERVICES, Object, containers, helm, least, of_kind, pods, rendered

VOLUMES = {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}
"""What level restricted lets a pod mount, and a pod of ours does."""


@pytest.fixture(params=MATRIX, name="objects")
def rendered_objects(request: pytest.FixtureRequest) -> list[Object]:
    values, files = MATRIX[request.param]
    return rendered(values, *files)


@pytest.mark.parametrize("name", MATRIX)
def test_it_lints(name: str) -> None:
    values, files = MATRIX[name]
    named = [each for file in files for each in ("--values", str(CHART / file))]
    run = helm("lint", "--strict", str(CHART), *named, values=values)
    assert run.code == 0, run.out


def test_the_longest_names_fit() -> None:
    """Services and labels have 63 characters; a StatefulSet's pods and a CronJob's Jobs bear theirs and eleven more."""
    objects = rendered(least(CASSANDRA, BACKUP, {"fullnameOverride": "a" * 39}))
    most = {"StatefulSet": 52, "CronJob": 52}
    too_long = [
        f"{kind} {name}"
        for kind in ("StatefulSet", "CronJob", "Job", "Service", "Deployment")
        for name in of_kind(objects, kind)
        if len(name) > most.get(kind, 63)
    ]
    assert too_long == []


def test_every_pod_is_restricted(objects: list[Object]) -> None:
    found = dict(pods(objects))
    assert found
    assert [f"{name}: {fault}" for name, pod in found.items() for fault in faults(pod["spec"])] == []


def faults(spec: Object) -> list[str]:
    """What level restricted would refuse, and what the house asks besides."""
    found = [] if spec["securityContext"].get("runAsNonRoot") is True else ["may run as root"]
    found += [] if spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"} else ["seccomp"]
    found += [each for each in ("hostNetwork", "hostPID", "hostIPC") if spec.get(each)]
    found += [f"volume {each}" for each in spec["volumes"] if not VOLUMES & each.keys()]
    found += [] if spec.get("enableServiceLinks") is False else ["service links look like settings"]
    for each in [*spec.get("initContainers", []), *spec["containers"]]:
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        found += [] if each["securityContext"] == wanted else [f"{each['name']} is not held"]
    return found


def test_a_fault_is_seen() -> None:
    """The check above can fail: a pod without its fences has every fault."""
    spec: Object = {
        "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "Unconfined"}},
        "hostNetwork": True,
        "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
        "containers": [{"name": "bare", "securityContext": {"privileged": True}}],
    }
    assert len(faults(spec)) == 6


def test_only_identity_and_the_doctor_have_a_token(objects: list[Object]) -> None:
    with_token = [name for name, pod in pods(objects) if pod["spec"]["automountServiceAccountToken"] is not False]
    doctor = {"Pod consilium-test-doctor"} & dict(pods(objects)).keys()
    assert set(with_token) == {"StatefulSet consilium-identity"} | doctor
    assert all(each["automountServiceAccountToken"] is False for each in of_kind(objects, "ServiceAccount").values())


def test_roles_name_what_they_are_about(objects: list[Object]) -> None:
    """Nobody may list Secrets, or read one that identity does not issue; `create` cannot be held to names."""
    roles = of_kind(objects, "Role")
    assert set(roles) <= {"consilium-identity", "consilium-doctor"}
    for name, role in roles.items():
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert rule["verbs"] == ["create"] or rule["verbs"] == ["list"] or rule["resourceNames"], name
            assert "list" not in rule["verbs"] or not {"secrets", "configmaps"} & set(rule["resources"])
            assert all(each.startswith("consilium-") for each in rule.get("resourceNames", []))
    assert not [rule for rule in roles.get("consilium-doctor", {"rules": []})["rules"] if "secrets" in rule["resources"]]


def test_no_object_holds_a_secret(objects: list[Object]) -> None:
    """Secrets are named and mounted; the chart makes none, and puts none into a variable."""
    assert of_kind(objects, "Secret") == {}
    for _, pod in pods(objects):
        for each in containers(pod):
            words = [one["name"] for one in each.get("env", []) if "value" in one]
            assert not [one for one in words if one.endswith(("_PASSWORD", "_SECRET", "ACCESS_KEY", "_TOKEN"))]


def test_no_variable_is_set_twice(objects: list[Object]) -> None:
    for name, pod in pods(objects):
        for each in containers(pod):
            names = [one["name"] for one in each.get("env", [])]
            assert len(names) == len(set(names)), name


def test_every_service_is_one_pod_with_a_volume(objects: list[Object]) -> None:
    found = of_kind(objects, "StatefulSet")
    assert list(found) == [f"consilium-{each}" for each in SERVICES]
    for each in found.values():
        assert (each["spec"]["replicas"], each["spec"]["podManagementPolicy"]) == (1, "Parallel")
        assert [claim["metadata"]["name"] for claim in each["spec"]["volumeClaimTemplates"]] == ["state"]


def test_every_service_is_probed_on_its_health_port(objects: list[Object]) -> None:
    for each in of_kind(objects, "StatefulSet").values():
        [container] = each["spec"]["template"]["spec"]["containers"]
        asked = {name: container[f"{name}Probe"]["grpc"] for name in ("startup", "liveness", "readiness")}
        live, ready = {"port": 8080, "service": "liveness"}, {"port": 8080, "service": "readiness"}
        assert asked == {"startup": live, "liveness": live, "readiness": ready}


def test_g3_whoever_signs_under_the_member_key_holds_the_next_one_too() -> None:
    for name, each in of_kind(rendered(EVERYTHING), "StatefulSet").items():
        volumes = each["spec"]["template"]["spec"]["volumes"]
        sources = [
            source["secret"] for volume in volumes if volume["name"] == "keys" for source in volume["projected"]["sources"]
        ]
        paths = {one["path"]: source["name"] for source in sources for one in source["items"]}
        wanted = None if name == "consilium-ledger" else "next-keys"
        assert (paths.get("next/member"), "member" in paths) == (wanted, wanted is not None)


def test_a_namespace_with_a_quota_takes_every_pod(objects: list[Object]) -> None:
    """A quota refuses a container that does not say what it asks for, one before the others too; CPU is not limited."""
    for name, pod in pods(objects):
        for each in containers(pod):
            assert set(each["resources"]["requests"]) == {"cpu", "memory"}, f"{name}: {each['name']}"
            assert set(each["resources"]["limits"]) == {"memory"}, f"{name}: {each['name']}"


def test_names_are_unique_and_everything_says_whose_it_is(objects: list[Object]) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))
    for each in objects:
        assert each["metadata"]["labels"]["consilium.io/member"] == "1A"


def test_volumes_that_are_mounted_are_there(objects: list[Object]) -> None:
    for name, pod in pods(objects):
        there = {each["name"] for each in pod["spec"]["volumes"]} | ({"state"} if name.startswith("StatefulSet") else set())
        mounted = {mount["name"] for each in containers(pod) for mount in each["volumeMounts"]}
        assert mounted == there, name


def test_rules_are_about_the_releases_namespace_alone() -> None:
    values, files = MATRIX["everything"]
    rule = of_kind(rendered(values, *files), "PrometheusRule")["consilium"]
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    found = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    alerts = [each for each in found if "alert" in each]
    assert alerts
    assert "@" not in str(rule)
    assert all('namespace="hospital-1a"' in each["expr"] for each in alerts)
    assert {each["annotations"]["runbook_url"] for each in alerts} == {
        f"https://runbooks.example/{each['alert']}.md" for each in alerts
    }


def test_metrics_are_read_under_the_name_of_each_service() -> None:
    values, files = MATRIX["everything"]
    objects = rendered(values, *files)
    for service, monitor in zip(SERVICES, of_kind(objects, "ServiceMonitor").values(), strict=True):
        [endpoint] = monitor["spec"]["endpoints"]
        assert endpoint["tlsConfig"]["serverName"] == server_name("consilium", "1A", service)
        [named] = [each["replacement"] for each in endpoint["relabelings"] if each["targetLabel"] == "alliance"]
        assert named == values["alliance"].get("name", "consilium")
        wanted = monitor["spec"]["selector"]["matchLabels"]
        chosen = [
            name
            for name, each in of_kind(objects, "Service").items()
            if wanted.items() <= each["metadata"]["labels"].items()
            and endpoint["port"] in [port["name"] for port in each["spec"]["ports"]]
        ]
        assert chosen == [f"consilium-{service}-pods"]
