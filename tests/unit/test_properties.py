"""Whatever valid settings a user has: the TOML says the same, and no secret can be read."""

import contextlib
import io
import json
from typing import Any

import pulumi
from gitlab_runner_k8s import RunnerPlatform
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import lint
from tests.harness import deploy, without_secrets

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
lines = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1)
names = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
labels = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9]{0,10}", fullmatch=True),
    max_size=3,
)
variables = st.dictionaries(st.from_regex(r"APP_[A-Z]{1,6}", fullmatch=True), texts, max_size=4)
flags = st.dictionaries(st.from_regex(r"FF_[A-Z]{3,8}", fullmatch=True), st.booleans(), max_size=3)
options = st.fixed_dictionaries(
    {},
    optional={
        "concurrent": st.integers(4, 500),
        "environment": variables,
        "feature_flags": flags,
        "job_pod_labels": labels,
        "job_pod_annotations": st.dictionaries(names, texts, max_size=3),
        "job_node_selector": labels,
        "allowed_images": st.lists(lines, max_size=3),
        "poll_timeout_seconds": st.integers(30, 3600),
        "spot": st.sampled_from(["eks", "karpenter", "gke", "aks"]),
        "enable_job_disruption_budget": st.booleans(),
        "job_resources": st.fixed_dictionaries(
            {}, optional={"cpu_request": st.sampled_from(["1", "500m"])}
        ),
    },
)
CANARIES = {
    "runner_token": "glrt-canary0runner0token0aaaa",
    "access_key": "canary0access0key0aaaaaaaa",
    "secret_key": "canary0secret0key0aaaaaaaa",
}
caches = st.sampled_from(
    [
        {"backend": "minio"},
        {"backend": "none"},
        {
            "backend": "external",
            "external": {
                "s3": {
                    "bucket": "there",
                    "region": "eu-central-1",
                    "access_key": pulumi.Output.secret(CANARIES["access_key"]),
                    "secret_key": pulumi.Output.secret(CANARIES["secret_key"]),
                }
            },
        },
    ]
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(options, caches, st.booleans())
def test_settings_come_back_and_secrets_do_not(
    runner: dict[str, Any], cache: dict[str, Any], has_daemon: bool
) -> None:
    args: Any = {
        "gitlab_url": "https://gitlab.example.com",
        "runner_token": pulumi.Output.secret(CANARIES["runner_token"]),
        "runner": runner,
        "cache": cache,
        **({"docker_daemon": {"accept_shared_nodes": True}} if has_daemon else {}),
    }
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        recorder = deploy(lambda: RunnerPlatform("ci", args))
    release = recorder.one(":Release")
    values, table = release.values, release.runner
    kubernetes = table["kubernetes"]

    environment = dict(line.split("=", 1) for line in table["environment"])
    assert {**environment, **runner.get("environment", {})} == environment
    assert {**table["feature_flags"], **runner.get("feature_flags", {})} == table["feature_flags"]
    assert kubernetes.get("pod_labels", {}) == runner.get("job_pod_labels", {})
    assert kubernetes.get("pod_annotations", {}) == runner.get("job_pod_annotations", {})
    assert kubernetes.get("allowed_images", []) == runner.get("allowed_images", [])
    assert kubernetes["poll_timeout"] == runner.get("poll_timeout_seconds", 600)
    assert values["concurrent"] == runner.get("concurrent", 10)
    selector = runner.get("job_node_selector", {})
    assert {**kubernetes.get("node_selector", {}), **selector} == kubernetes.get(
        "node_selector", {}
    )

    seen = [
        recorder.readable(),
        json.dumps(values),
        lint.by_helm(values["runners"]["config"]),
        printed.getvalue(),
        json.dumps(without_secrets(recorder.outputs)),
        *(made.name for made in recorder.registrations),
        *(json.dumps(made.plain.get("metadata", {})) for made in recorder.registrations),
    ]
    for text in seen:
        for canary in CANARIES.values():
            assert canary not in text
    # The check can fail: the token is where it belongs.
    assert CANARIES["runner_token"] in json.dumps([made.plain for made in recorder.registrations])
