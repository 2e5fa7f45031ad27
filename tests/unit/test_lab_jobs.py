"""The executor's stand-in, as far as it needs no cluster."""

import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lab.jobs import cache, ci, pod, scripts, variables
from lab.jobs.model import Cache, Git, Job, Variable

RUNNER: dict[str, Any] = {
    "token": "glrt-abcdefghijklmnopqrstuvwx",
    "environment": ["DOCKER_HOST=tcp://docker:2376", "OWN=runner"],
    "kubernetes": {
        "namespace": "jobs",
        "image": "image",
        "helper_image": "helper",
        "pull_policy": ["if-not-present"],
        "cpu_request": "500m",
        "helper_cpu_request": "50m",
        "automount_service_account_token": False,
        "volumes": {
            "secret": [
                {
                    "name": "docker-client",
                    "mount_path": "/docker-certs",
                    "read_only": True,
                    "items": {"ca.pem": "ca.pem"},
                }
            ]
        },
    },
    "cache": {
        "Type": "s3",
        "Path": "ci",
        "Shared": True,
        "s3": {
            "ServerAddress": "minio.cache.svc.cluster.local:9000",
            "BucketName": "runner",
            "BucketLocation": "us-east-1",
            "Insecure": True,
            "AuthenticationType": "access-key",
            "AccessKey": "access",
            "SecretKey": "secret",
            "PathStyle": True,
        },
    },
}
CI = """
variables: {WHERE: file, OWN: job}
build:
  before_script: [first]
  script:
    - second
  cache:
    key: $CI_COMMIT_REF_SLUG
    paths: [vendor/]
"""


def job() -> Job:
    git = Git("http://gitlab/demo.git", "0" * 40)
    return ci.job(CI, "build", git, identity=7, project_id=42, project_path="demo/app")


def test_a_job_is_what_its_pipeline_file_says() -> None:
    made = job()
    assert made.script == ("first", "second")
    assert made.cache == (Cache("main-non_protected", ("vendor/",)),)


def test_an_unknown_keyword_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not know: \\['trigger'\\]"):
        ci.job(
            "build: {trigger: x}", "build", job().git, identity=1, project_id=1, project_path="a"
        )


def test_a_job_has_what_it_extends() -> None:
    text = """
    .base: {image: one, variables: {A: base, B: base}, script: [base]}
    build: {extends: .base, variables: {B: own}, script: [own]}
    """
    git = Git("http://gitlab/demo.git", "0" * 40, "Feature/--x_")
    made = ci.job(text, "build", git, identity=1, project_id=1, project_path="a/b")
    known = {one.key: one.value for one in made.variables}
    assert (made.image, made.script) == ("one", ("own",))
    assert (known["A"], known["B"]) == ("base", "own")
    # As GitLab has it: each character is one dash.
    assert known["CI_COMMIT_REF_SLUG"] == "feature---x"


def test_the_jobs_variables_override_the_runners() -> None:
    known = {one.key: one.value for one in variables.all_of(RUNNER, job())}
    assert known["OWN"] == "job"
    assert known["DOCKER_HOST"] == "tcp://docker:2376"


def test_the_objects_key_is_the_runners() -> None:
    assert cache.object_key(RUNNER, 42, "key") == "ci/project/42/key"
    own = {**RUNNER, "cache": {**RUNNER["cache"], "Shared": False}}
    token = cache.short_token(RUNNER["token"])
    assert cache.object_key(own, 42, "key") == f"ci/runner/{token}/project/42/key"


def test_urls_are_for_one_object_of_the_store_and_carry_no_secret() -> None:
    urls = cache.urls(RUNNER, {}, 42, "key", 60)
    assert urls is not None
    for url in (urls.get, urls.put, urls.head):
        parts = urlsplit(url)
        assert parts.netloc == "minio.cache.svc.cluster.local:9000"
        assert parts.path == "/runner/ci/project/42/key"
        assert "secret" not in url


def test_no_store_means_no_url() -> None:
    assert cache.urls({**RUNNER, "cache": {}}, {}, 42, "key", 60) is None


def test_the_pod_is_made_of_the_configuration() -> None:
    made: Any = pod.manifest(RUNNER, job(), [Variable("A", "b")], "name")
    containers = {one["name"]: one for one in made["spec"]["containers"]}
    assert made["metadata"]["namespace"] == "jobs"
    assert made["spec"]["automountServiceAccountToken"] is False
    assert containers["build"]["image"] == "image"
    assert containers["build"]["resources"]["requests"] == {"cpu": "500m"}
    assert containers["helper"]["resources"]["requests"] == {"cpu": "50m"}
    for container in containers.values():
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert mounts["/docker-certs"]["readOnly"] is True
        assert container["imagePullPolicy"] == "IfNotPresent"


def test_the_runners_own_commands_are_in_the_shell_of_the_jobs_script() -> None:
    around = {"pre_build_script": "# Before\nexport A=1\n", "post_build_script": "last"}
    texts = scripts.render({**RUNNER, **around}, {}, job(), [], "/builds/demo/app")
    lines = texts["step_script"].splitlines()
    start = lines.index("echo '$ # Before # collapsed multi-line command'")
    assert lines[start + 1 :] == [
        *("# Before", "export A=1"),
        *("echo '$ first'", "first", "echo '$ second'", "second", "echo '$ last'", "last"),
    ]
    assert "export A=1" not in texts["after_script"]
    plain = scripts.render(RUNNER, {}, job(), [], "/builds/demo/app")["step_script"]
    assert plain.endswith("echo '$ first'\nfirst\necho '$ second'\nsecond\n")


def test_what_a_stage_keeps_is_read_and_never_run(tmp_path: Path) -> None:
    kept = tmp_path / "app.tmp/gitlab_runner_env"
    kept.parent.mkdir()
    kept.write_text("A=first\nA=one $(two) 'three'\nB=\n")
    text = scripts._kept_environment(str(tmp_path / "app"))
    ended = subprocess.run(
        ["sh", "-c", f"set -e\n{text}printenv A\nprintenv GITLAB_ENV"],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert ended.stdout.splitlines() == ["one $(two) 'three'", str(kept)]
