"""The mirror of a registry: what it registers, and the configuration that it renders."""

import json
from collections.abc import Callable
from typing import Any

import pulumi
import pytest
import yaml
from gitlab_runner_k8s import ArgsError, RegistryMirror
from gitlab_runner_k8s.mirror.config import config_yml, job_daemon_json
from gitlab_runner_k8s.mirror.settings import MirrorSettings

from tests.harness import Recorder, deploy, token, without_secrets
from tests.unit.test_renderers import golden

HUB = "https://registry-1.docker.io"
URL = "http://mirror.gitlab-runner-mirror.svc.cluster.local:5000"


def mirror(args: dict[str, Any] | None = None, *, preview: bool = False) -> Recorder:
    given: Any = args or {}
    return deploy(lambda: RegistryMirror("mirror", given), preview=preview)


def container(recorder: Recorder) -> Any:
    (only,) = recorder.one(":StatefulSet").pod["containers"]
    return only


def pod_annotations(recorder: Recorder) -> Any:
    return recorder.one(":StatefulSet").plain["spec"]["template"]["metadata"]["annotations"]


def environment(recorder: Recorder) -> dict[str, Any]:
    return {entry["name"]: entry for entry in container(recorder)["env"]}


def from_secret(secret: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": secret, "key": key}}


def allowed(recorder: Recorder) -> dict[int, list[str]]:
    """Return the namespaces that reach each port."""
    rules = recorder.one(":NetworkPolicy").plain["spec"]["ingress"]
    return {
        int(rule["ports"][0]["port"]): [
            peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            for peer in rule["from"]
        ]
        for rule in rules
    }


def test_the_mirror_runs_on_the_nodes_that_are_asked_for() -> None:
    nodes: Any = {"node_selector": {"pool": "ci"}, "tolerations": [{"key": "ci"}]}
    pod = mirror(nodes).one(":StatefulSet").pod
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"pool": "ci"}, [{"key": "ci"}])
    assert "tolerations" not in mirror().one(":StatefulSet").pod


def test_the_configuration_is_the_golden_one() -> None:
    golden("registry-mirror.yml", config_yml(MirrorSettings(), HUB))


def test_options_reach_the_configuration() -> None:
    spec = MirrorSettings(ttl_hours=24, log_level="debug", metrics_namespaces=["monitoring"])
    settings = yaml.safe_load(config_yml(spec, "https://registry.example.com"))
    assert settings["proxy"] == {"remoteurl": "https://registry.example.com", "ttl": "24h"}
    assert settings["log"]["level"] == "debug"
    assert settings["http"]["debug"] == {
        "addr": ":5001",
        "prometheus": {"enabled": True, "path": "/metrics"},
    }
    assert "debug" not in yaml.safe_load(config_yml(MirrorSettings(), HUB))["http"]


def test_what_expires_can_be_removed() -> None:
    # Without `delete` the scheduler forgets what has expired and leaves it on the volume.
    settings = yaml.safe_load(config_yml(MirrorSettings(), HUB))
    assert settings["storage"]["delete"] == {"enabled": True}
    assert "cache" not in settings["storage"]


def test_a_stopped_pod_has_the_time_that_the_registry_drains() -> None:
    settings = yaml.safe_load(config_yml(MirrorSettings(), HUB))
    pod = mirror().one(":StatefulSet").pod
    drain = int(settings["http"]["draintimeout"].removesuffix("s"))
    assert drain < pod["terminationGracePeriodSeconds"]


def test_the_registry_reads_what_was_rendered() -> None:
    recorder = mirror()
    config_map = recorder.one(":ConfigMap", "mirror-config").plain
    assert config_map["data"]["config.yml"] == config_yml(MirrorSettings(), HUB)
    main = container(recorder)
    assert main["args"] == ["serve", "/config/config.yml"]
    mounts = {mount["name"]: mount["mountPath"] for mount in main["volumeMounts"]}
    assert mounts == {"data": "/var/lib/registry", "config": "/config"}
    (volume,) = recorder.one(":StatefulSet").pod["volumes"]
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]


def test_the_pod_meets_the_level_restricted() -> None:
    recorder = mirror()
    pod = recorder.one(":StatefulSet").pod
    assert pod["securityContext"]["runAsUser"] == 10002
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    # Variables of a Service named `registry` would be read as settings.
    assert pod["enableServiceLinks"] is False
    assert container(recorder)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_an_anonymous_mirror_has_no_credentials() -> None:
    recorder = mirror()
    assert set(environment(recorder)) == {"OTEL_TRACES_EXPORTER", "REGISTRY_HTTP_SECRET"}
    assert list(recorder.one(":Secret").plain["stringData"]) == ["http-secret"]


def test_credentials_come_from_the_secret_and_are_nowhere_else() -> None:
    password = token("dckr_pat")
    recorder = mirror({"username": "ci", "password": pulumi.Output.secret(password)})
    entries = environment(recorder)
    for key in ("username", "password"):
        variable = key.upper()
        source = entries[f"REMOTE_{variable}"]["valueFrom"]
        assert source == from_secret("mirror-registry", key)
        assert entries[f"REGISTRY_PROXY_{variable}"]["value"] == f"'$(REMOTE_{variable})'"
    # A variable can only stand for one that is above it.
    names = list(entries)
    assert names.index("REMOTE_PASSWORD") < names.index("REGISTRY_PROXY_PASSWORD")
    secret = recorder.one(":Secret").plain
    assert secret["stringData"]["password"] == password
    assert secret["metadata"]["namespace"] == "gitlab-runner-mirror"
    assert password not in recorder.readable() + json.dumps(without_secrets(recorder.outputs))
    others = [made.plain for made in recorder.registrations if not made.type.endswith(":Secret")]
    assert password not in json.dumps(others)


@pytest.mark.parametrize(
    "password", ["12345", "null", "a'b''c", 'a"b', "*a", "&a", "{a: b}", "a: b #c", "\\n", "$(A)"]
)
def test_the_registry_gets_any_password_as_it_was_given(password: str) -> None:
    recorder = mirror({"username": "ci", "password": password})
    stored = recorder.one(":Secret").plain["stringData"]["password"]
    value = environment(recorder)["REGISTRY_PROXY_PASSWORD"]["value"]
    # Kubernetes puts the variable's value in, the registry reads the result as YAML.
    assert yaml.safe_load(value.replace("$(REMOTE_PASSWORD)", stored)) == password


def test_a_password_that_is_plain_becomes_a_secret() -> None:
    password = token("dckr_pat")
    recorder = mirror({"username": "ci", "password": password})
    assert recorder.one(":Secret").plain["stringData"]["password"] == password
    assert password not in recorder.readable()


def test_credentials_of_an_existing_secret() -> None:
    recorder = mirror({"credentials_secret_name": "hub"})
    entries = environment(recorder)
    for key in ("username", "password"):
        source = entries[f"REMOTE_{key.upper()}"]["valueFrom"]
        assert source == from_secret("hub", key)
    assert list(recorder.one(":Secret").plain["stringData"]) == ["http-secret"]


def test_a_change_of_configuration_or_credentials_rolls_the_pod() -> None:
    def annotations(**args: Any) -> Any:
        return pod_annotations(mirror({"username": "ci", "password": "one", **args}))

    before = annotations()
    assert annotations() == before
    assert annotations(ttl_hours=24)["checksum/config"] != before["checksum/config"]
    rotated = annotations(password="other")
    assert rotated["checksum/config"] == before["checksum/config"]
    assert rotated["checksum/credentials"] != before["checksum/credentials"]
    assert "checksum/credentials" not in pod_annotations(mirror())


@pytest.mark.parametrize("wrong", [lambda text: text + "\n", lambda text: [text]])
def test_a_message_does_not_show_the_password(wrong: Callable[[str], Any]) -> None:
    password = token("dckr_pat")
    with pytest.raises(ArgsError, match="password") as caught:
        mirror({"username": "ci", "password": wrong(password)})
    assert password not in str(caught.value)


def test_only_clients_reach_the_mirror_and_nobody_the_profiler() -> None:
    assert allowed(mirror()) == {5000: ["gitlab-runner-jobs", "gitlab-runner-docker"]}
    opened = mirror({"client_namespaces": ["zone-a"], "metrics_namespaces": ["monitoring"]})
    assert allowed(opened) == {5000: ["zone-a"], 5001: ["monitoring"]}
    ports = opened.one(":Service").plain["spec"]["ports"]
    assert {port["name"]: port["port"] for port in ports} == {"registry": 5000, "metrics": 5001}
    assert mirror({"enable_network_policies": False}).of_type(":NetworkPolicy") == []


def test_the_mirror_reaches_the_internet_and_what_was_allowed() -> None:
    policy = mirror({"egress_cidrs": ["10.1.0.0/16"]}).one(":NetworkPolicy").plain["spec"]
    _, internet = policy["egress"]
    blocks = [peer["ipBlock"] for peer in internet["to"]]
    assert "10.0.0.0/8" in blocks[0]["except"]
    assert blocks[2:] == [{"cidr": "10.1.0.0/16"}]
    assert (
        policy["podSelector"]["matchLabels"]
        == (mirror().one(":StatefulSet").plain["spec"]["selector"]["matchLabels"])
    )


def test_a_registry_of_the_cluster_can_be_mirrored() -> None:
    remote = "http://registry.images.svc.cluster.local:5000"
    recorder = mirror({"remote_url": remote, "allow_insecure_remote": True})
    rule = recorder.one(":NetworkPolicy").plain["spec"]["egress"][-1]
    labels = rule["to"][0]["namespaceSelector"]["matchLabels"]
    assert labels == {"kubernetes.io/metadata.name": "images"}
    assert rule["ports"] == [{"port": 5000, "protocol": "TCP"}]


def test_daemons_of_jobs_get_the_mirror_by_a_config_map() -> None:
    recorder = mirror({"job_namespace": "jobs"})
    config_map = recorder.one(":ConfigMap", "mirror-daemon").plain
    assert config_map["metadata"] == {"name": "mirror-daemon", "namespace": "jobs"}
    assert config_map["data"] == {"daemon.json": job_daemon_json(URL)}
    assert json.loads(job_daemon_json(URL)) == {"registry-mirrors": [URL]}
    (outputs,) = recorder.outputs.values()
    assert outputs == {
        "url": URL,
        "host": URL.removeprefix("http://"),
        "namespace": "gitlab-runner-mirror",
        "daemon_config_map_name": "mirror-daemon",
    }


def test_values_that_are_not_known_yet_pass() -> None:
    def program() -> None:
        def unknown(text: str) -> pulumi.Output[str]:
            return pulumi.Output.from_input(text).apply(lambda known: known)

        RegistryMirror(
            "mirror", {"remote_url": unknown(HUB), "namespace": unknown("gitlab-runner-mirror")}
        )

    def inputs(recorder: Recorder) -> dict[tuple[str, str], Any]:
        return {(made.type, made.name): made.plain for made in recorder.registrations}

    assert inputs(deploy(program)) == inputs(mirror())


def test_a_preview_registers_the_same_resources() -> None:
    def names(recorder: Recorder) -> list[tuple[str, str]]:
        return sorted((made.type, made.name) for made in recorder.registrations)

    args = {"username": "ci", "password": "one"}
    assert names(mirror(args, preview=True)) == names(mirror(args))
    children = [made for made in mirror(args).registrations if "RegistryMirror" in made.parent]
    assert len(children) == len(mirror(args).registrations) - 1
    assert all(made.name.startswith("mirror-") or made.name == "mirror" for made in children)


def test_the_volume_outlives_the_mirror() -> None:
    spec = mirror({"volume_size": "10Gi"}).one(":StatefulSet").plain["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "10Gi"
