"""The executor's stand-in: what of config.toml reaches the pod, and what must not."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.jobs import pod, scripts, variables
from lab.jobs.model import Cache, Git, Job, Service, Variable
from lab.jobs.trace import Trace

GIT = Git("http://gitlab-ci-token:password@gitlab/demo.git", "a" * 40)
SECRET = Variable("DEPLOY_KEY", "s3cr3t-value", public=False, masked=True)


def runner(**kubernetes: Any) -> dict[str, Any]:
    table = {"namespace": "jobs", "image": "image", "helper_image": "helper", **kubernetes}
    return {"token": "glrt-abcdefghijkl", "kubernetes": table}


def job(**fields: Any) -> Job:
    return Job(1, "build", GIT, 42, "demo/app", ("true",), **fields)


def manifest(configured: dict[str, Any], made: Job | None = None) -> Any:
    made = made or job()
    return pod.manifest(configured, made, variables.all_of(configured, made), "name")


def containers(found: Any) -> dict[str, Any]:
    return {one["name"]: one for one in found["spec"]["containers"]}


@pytest.mark.parametrize(
    ("kind", "entry", "source"),
    [
        ("secret", {"name": "s"}, {"secret": {"secretName": "s"}}),
        (
            "config_map",
            {"name": "c", "items": {"k": "p"}},
            {"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}},
        ),
        ("pvc", {"name": "p"}, {"persistentVolumeClaim": {"claimName": "p"}}),
        ("empty_dir", {"name": "e", "medium": "Memory"}, {"emptyDir": {"medium": "Memory"}}),
        ("host_path", {"name": "h"}, {"hostPath": {"path": "/mount"}}),
        ("nfs", {"name": "n", "server": "x", "path": "/y"}, {"nfs": {"server": "x", "path": "/y"}}),
        ("csi", {"name": "d", "driver": "x"}, {"csi": {"driver": "x"}}),
    ],
)
def test_every_kind_of_volume_is_mounted_in_every_container(
    kind: str, entry: dict[str, Any], source: dict[str, Any]
) -> None:
    configured = runner(volumes={kind: [{**entry, "mount_path": "/mount"}]})
    found = manifest(configured, job(services=(Service("redis:7"),)))
    volumes = {volume.pop("name"): volume for volume in found["spec"]["volumes"]}
    assert volumes[entry["name"]] == source
    assert len(containers(found)) == 3
    for container in containers(found).values():
        assert "/mount" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_a_volume_on_the_builds_directory_takes_the_place_of_the_executors() -> None:
    found = manifest(runner(volumes={"pvc": [{"name": "builds", "mount_path": "/builds"}]}))
    assert "repo" not in {volume["name"] for volume in found["spec"]["volumes"]}


def test_what_nobody_can_mount_is_an_error() -> None:
    with pytest.raises(ValueError, match="a kind that there is not: tape"):
        manifest(runner(volumes={"tape": [{"name": "a", "mount_path": "/a"}]}))


def test_containers_lose_net_raw_unless_it_is_added() -> None:
    plain = containers(manifest(runner()))["build"]["securityContext"]
    assert plain["capabilities"] == {"drop": ["NET_RAW"]}
    added = containers(manifest(runner(cap_add=["NET_RAW"])))["build"]["securityContext"]
    assert added["capabilities"] == {"add": ["NET_RAW"]}


def test_services_alone_can_be_privileged() -> None:
    configured = runner(privileged=False, service_container_security_context={"privileged": True})
    found = containers(manifest(configured, job(services=(Service("docker:dind"),))))
    privileged = {name: one["securityContext"]["privileged"] for name, one in found.items()}
    assert privileged == {"build": False, "helper": False, "svc-0": True}


def test_services_are_reached_by_name_on_the_pods_own_address() -> None:
    configured = runner(
        services=[{"name": "registry.example.com/x/docker:dind", "alias": "docker"}],
        host_aliases=[{"ip": "10.0.0.1", "hostnames": ["extra"]}],
    )
    service = Service(
        "postgres:16@sha256:00", entrypoint=("run",), variables=(Variable("DB", "x"),)
    )
    found = manifest(configured, job(services=(service,)))
    assert found["spec"]["hostAliases"] == [
        {"ip": "127.0.0.1", "hostnames": ["docker", "registry.example.com-x-docker"]},
        {"ip": "127.0.0.1", "hostnames": ["postgres"]},
        {"ip": "10.0.0.1", "hostnames": ["extra"]},
    ]
    made = containers(found)["svc-1"]
    assert made["command"] == ["run"]
    assert {"name": "DB", "value": "x"} in made["env"]


def test_tolerations_and_pod_settings_are_passed_on() -> None:
    spec = manifest(
        runner(
            node_tolerations={"spot=true": "NoSchedule", "gpu": "NoExecute"},
            node_selector={"pool": "ci"},
            service_account="builder",
            image_pull_secrets=["registry"],
            pod_security_context={"run_as_user": 1000, "seccomp_profile": {"type": "Unconfined"}},
        )
    )["spec"]
    assert spec["tolerations"] == [
        {"key": "spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"},
        {"key": "gpu", "operator": "Exists", "effect": "NoExecute"},
    ]
    assert spec["nodeSelector"] == {"pool": "ci"}
    assert spec["serviceAccountName"] == "builder"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["securityContext"] == {
        "runAsUser": 1000,
        "seccompProfile": {"type": "Unconfined"},
    }


def test_what_the_stand_in_does_nothing_about_is_named() -> None:
    table = runner(helper_image_flavor="ubuntu", autoscaler={"a": 1}, poll_interval=0)
    assert pod.not_acted_on(table["kubernetes"]) == ["autoscaler", "helper_image_flavor"]


def test_no_secret_is_in_the_pods_spec() -> None:
    made = job(variables=(SECRET, Variable("CONFIG", "file-content", file=True)))
    text = repr(manifest(runner(), made))
    for secret in ("s3cr3t-value", "file-content", "password"):
        assert secret not in text
    assert "s3cr3t-value" not in repr(made)
    assert "password" not in repr(made)


def test_references_between_variables_are_expanded() -> None:
    known = {"A": "1"}
    assert variables.expand("$A-${A}-$B-$$A", known) == "1-1--$A"


def test_masked_values_never_reach_the_trace() -> None:
    shown: list[str] = []
    trace = Trace([SECRET, Variable("SHORT", "s3cr3t", masked=True)], shown.append)
    trace.write("a s3cr3t-va")
    trace.write("lue b s3cr3t\nrest")
    trace.say("own")
    assert shown == ["a [MASKED] b [MASKED]", "rest", "own"]


def run_script(tmp_path: Path, made: Job, script: str) -> subprocess.CompletedProcess[str]:
    directory = tmp_path / "project"
    directory.mkdir(exist_ok=True)
    texts = scripts.render(runner(), {}, made, variables.all_of(runner(), made), str(directory))
    return subprocess.run(
        ["bash", "-c", texts[script]],
        env={"PATH": "/usr/bin:/bin", "CI_PROJECT_DIR": str(directory)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_first_command_that_fails_ends_the_script(tmp_path: Path) -> None:
    made = Job(1, "a", GIT, 42, "demo/app", ("echo one | cat", "false | cat", "echo two"))
    done = run_script(tmp_path, made, "step_script")
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["$ echo one | cat", "one", "$ false | cat"]


def test_secrets_and_files_are_variables_of_the_script(tmp_path: Path) -> None:
    made = Job(
        1,
        "a",
        GIT,
        42,
        "demo/app",
        ('test "$DEPLOY_KEY" = s3cr3t-value', 'cat "$CONFIG"'),
        variables=(SECRET, Variable("CONFIG", "it's $HOME", file=True)),
    )
    done = run_script(tmp_path, made, "step_script")
    assert done.returncode == 0
    assert done.stdout.endswith("it's $HOME")


def test_a_cache_without_a_store_is_a_warning(tmp_path: Path) -> None:
    made = Job(1, "a", GIT, 42, "demo/app", (), cache=(Cache("key", ("vendor/",)),))
    done = run_script(tmp_path, made, "restore_cache_0")
    assert done.returncode == 1
    assert "No URL provided" in done.stdout
    assert "WARNING: Failed to extract cache" in done.stdout
    done = run_script(tmp_path, made, "archive_cache_0")
    assert done.returncode == 1
    assert "WARNING: vendor/: no matching files" in done.stdout
