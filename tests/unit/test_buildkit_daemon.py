"""buildkitd without root: its pod, its configuration, and how jobs find it."""

import json
import tomllib
from typing import Any

import pytest
from gitlab_runner_k8s import ArgsError, BuildKitDaemon, RunnerPlatform

from tests import builders
from tests.harness import Recorder, deploy


def made(**options: Any) -> Recorder:
    return deploy(lambda: BuildKitDaemon("build", options))  # type: ignore[arg-type]


def settings(recorder: Recorder) -> Any:
    return tomllib.loads(recorder.one(":ConfigMap").plain["data"]["buildkitd.toml"])


def test_the_pod_has_no_privilege() -> None:
    (container,) = made().one(":StatefulSet").pod["containers"]
    context = container["securityContext"]
    assert "privileged" not in context
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == 1000
    assert "add" not in context.get("capabilities", {})


def test_it_listens_with_mutual_tls_alone() -> None:
    recorder = made()
    (container,) = recorder.one(":StatefulSet").pod["containers"]
    addresses = [text for text in container["args"] if text.startswith("--addr=tcp")]
    assert addresses == ["--addr=tcp://0.0.0.0:1234"]
    assert "--tlscacert=/buildkit-server/ca.pem" in container["args"]
    uses = {
        made.name: made.plain["allowedUses"][1] for made in recorder.of_type(":LocallySignedCert")
    }
    assert uses == {"build-server": "server_auth", "build-client": "client_auth"}
    probe = container["readinessProbe"]["exec"]["command"]
    assert "--addr=tcp://localhost:1234" in probe
    assert "--tlscert=/buildkit-client/cert.pem" in probe


def test_the_authority_key_never_enters_the_cluster() -> None:
    objects = [made for made in made().registrations if made.type.startswith("kubernetes:")]
    assert "key-build-ca" not in json.dumps([made.plain for made in objects])


def test_the_cache_has_a_limit_by_age_and_by_size() -> None:
    worker = settings(made(volume_size="10Gi", build_cache_keep_hours=24))["worker"]
    by_age, by_size, _ = worker["oci"]["gcpolicy"]
    assert by_age == {"keepDuration": "24h"}
    assert by_size["maxUsedSpace"] == 7 * 2**30
    assert worker["containerd"] == {"enabled": False}


def test_mirrors_and_plain_registries() -> None:
    options: dict[str, Any] = {
        "registry_mirrors": ["http://mirror.mirror.svc.cluster.local:5000"],
        "insecure_registries": ["registry.example.com:5000"],
    }
    recorder = made(**options)
    assert settings(recorder)["registry"] == {
        "docker.io": {"mirrors": ["mirror.mirror.svc.cluster.local:5000"]},
        "mirror.mirror.svc.cluster.local:5000": {"http": True},
        "registry.example.com:5000": {"http": True},
    }
    egress = json.dumps(recorder.one(":NetworkPolicy").plain["spec"]["egress"])
    assert '"kubernetes.io/metadata.name": "mirror"' in egress
    assert "registry" not in settings(made())


def test_jobs_find_it() -> None:
    args: Any = {**builders.GITLAB, "buildkit_daemon": {}}
    recorder = deploy(lambda: RunnerPlatform("ci", args))
    runner = recorder.one(":Release").runner
    assert runner["environment"] == [
        "BUILDKIT_CERT_PATH=/buildkit-certs",
        "BUILDKIT_HOST=tcp://ci-buildkit.gitlab-runner-docker.svc.cluster.local:1234",
    ]
    (volume,) = runner["kubernetes"]["volumes"]["secret"]
    assert volume["name"] == "ci-buildkit-client"
    assert recorder.of_type("SharedDockerDaemon") == []
    jobs = json.dumps(recorder.one(":NetworkPolicy", "ci-runner-jobs").plain["spec"]["egress"])
    assert "1234" in jobs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"job_namespace": "same", "namespace": "same"}, "namespace must differ"),
        ({"mtu": 1400}, "mtu: unknown key"),
        ({"certificate_validity_hours": 48}, "certificate_renewal_hours (720) must be less"),
        ({"image": "moby/buildkit:latest"}, "image: must be a full reference"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgsError) as caught:
        made(**options)
    assert any(problem.startswith(message) for problem in caught.value.problems), caught.value


def test_a_zone_has_one_daemon() -> None:
    both = {"docker_daemon": {"accept_shared_nodes": True}, "buildkit_daemon": {}}
    args: Any = {**builders.GITLAB, **both}
    with pytest.raises(
        ArgsError, match="buildkit_daemon must not be set together with docker_daemon"
    ):
        deploy(lambda: RunnerPlatform("ci", args))
