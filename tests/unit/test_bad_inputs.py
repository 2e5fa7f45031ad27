"""Every kind of bad input, as constructor arguments and in a stack's file.

Each is refused with its path, the rule and a fix, together with whatever else is wrong, and
nothing is registered. The kinds are numbered B1 to B33.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from gitlab_runner_k8s import ArgsError, RunnerPlatform
from gitlab_runner_k8s._validation import camel

from stacks import settings
from tests.harness import deploy, token

DIGEST = "@sha256:" + "0" * 64
PROVIDER = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1"
GOOD: dict[str, Any] = {
    "gitlab_url": "https://gitlab.example.com",
    "token_secret_name": "token",
}
S3: dict[str, Any] = {"region": "eu-central-1", "oidc_provider_arn": PROVIDER}
DAEMON: dict[str, Any] = {"accept_shared_nodes": True}


def runner(**options: Any) -> dict[str, Any]:
    return {"runner": options}


def minio(**options: Any) -> dict[str, Any]:
    return {"cache": {"minio": options}}


def s3(**options: Any) -> dict[str, Any]:
    return {"cache": {"backend": "s3", "s3": {**S3, **options}}}


def daemon(**options: Any) -> dict[str, Any]:
    return {"docker_daemon": {**DAEMON, **options}}


def extra(text: str) -> dict[str, Any]:
    return runner(extra_config=text)


NONE = object()
# Kind, what is wrong, the path in the message (snake_case), and a word of the rule or the fix.
BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("B1", {"token_secret_name": NONE}, "exactly one of runner_token", "got none"),
    ("B2", {"runner_token": token()}, "exactly one of runner_token", "and token_secret_name"),
    *[
        (kind, {"token_secret_name": NONE, "runner_token": text}, "runner_token:", word)
        for kind, text, word in (
            ("B3", "GR1348941abcdefghijklmnopqrst", "use its glrt- token"),
            ("B4", "glpat-abcdefghijklmnopqrstuvwx", "personal access token"),
            ("B4", "glcbt-abcdefghijklmnopqrstuvwx", "job token"),
            ("B4", "gldt-abcdefghijklmnopqrstuvwxyz", "deploy token"),
            ("B4", "glptt-abcdefghijklmnopqrstuvwxy", "trigger token"),
            ("B4", "glagent-abcdefghijklmnopqrstuv", "agent token"),
            ("B5", "glrtr-abcdefghijklmnopqrstuvwxyz", "registration token"),
            ("B6", "glrt-abcdefghijklmnopqrstuvwxyz\n", "line break"),
            ("B6", "glrt-abcdefghijkl mnopqrstuvwxyz", "at least 20 characters"),
            ("B6", "glrt-short", "at least 20 characters"),
        )
    ],
    *[
        ("B8", {"gitlab_url": text}, "gitlab_url", word)
        for text, word in (
            ("gitlab.example.com", "https"),
            ("https://user:pass@gitlab.example.com", "remove 'user:password@'"),
            ("https://gitlab.example.com/ci", "remove '/ci'"),
            ("https://gitlab.example.com?x=1", "remove what follows"),
            ("https://gitlab .example.com", "https"),
            ("http://gitlab.example.com", "allow_insecure_gitlab_url"),
        )
    ],
    *[
        ("B9", runner(concurrent=value), "runner.concurrent:", "must be")
        for value in (0, -1, True, "10", 100_000)
    ],
    ("B9", runner(request_concurrency=11), "runner: request_concurrency (11)", "lower it"),
    *[
        ("B10", s3(bucket_name=text), "cache.s3.bucket_name:", word)
        for text, word in (
            ("ab", "3 to 63"),
            ("a" * 64, "3 to 63"),
            ("Upper", "3 to 63"),
            ("a..b", "3 to 63"),
            ("10.0.0.1", "IP address"),
            ("xn--bucket", "reserves"),
            ("sthree-bucket", "reserves"),
            ("amzn-s3-demo-bucket", "reserves"),
            ("bucket-s3alias", "reserves"),
            ("bucket--ol-s3", "reserves"),
            ("bucket.mrap", "dots"),
            ("bucket--x-s3", "reserves"),
            ("with.dots", "dots"),
        )
    ],
    ("B11", s3(region="Frankfurt"), "cache.s3.region:", "AWS region"),
    (
        "B11",
        {"cache": {"backend": "s3", "s3": {"oidc_provider_arn": PROVIDER}}},
        "cache.s3.region:",
        "is required",
    ),
    (
        "B12",
        {
            "cache": {
                "backend": "external",
                "external": {"s3": {"bucket": "there", "access_key": "12345678"}},
            }
        },
        "cache.external.s3: access_key and secret_key",
        "set both",
    ),
    (
        "B12",
        {
            "cache": {
                "backend": "external",
                "external": {
                    "s3": {
                        "bucket": "there",
                        "credentials_secret_name": "keys",
                        "identity_role_arn": "arn:aws:iam::123456789012:role/r",
                    }
                },
            }
        },
        "cache.external.s3: only one of",
        "remove all but one",
    ),
    ("B13", s3(kms_key_arn="alias/mine"), "cache.s3.kms_key_arn:", "must be an ARN"),
    ("B13", s3(oidc_provider_arn="arn:aws:s3:::x"), "cache.s3.oidc_provider_arn:", "ARN"),
    (
        "B14",
        {"cache": {"backend": "s3", "s3": S3, "minio": {}}},
        "cache: minio is set and backend is 's3'",
        "remove minio",
    ),
    ("B14", {"cache": {"backend": "minio", "s3": S3}}, "cache: s3 is set", "remove s3"),
    ("B14", {"cache": {"backend": "nfs"}}, "cache.backend:", "'minio', 's3'"),
    *[
        ("B15", minio(volume_size=text), "cache.minio.volume_size:", word)
        for text, word in (
            ("10G i", "quantity"),
            ("-1Gi", "quantity"),
            ("1e", "quantity"),
            ("0", "at least"),
            ("500", "a unit such as"),
        )
    ],
    (
        "B15",
        runner(job_resources={"cpu_request": "100Mb"}),
        "runner.job_resources.cpu_request:",
        "quantity",
    ),
    *[
        (
            "B16",
            runner(job_resources={f"{kind}_request": "2Gi", f"{kind}_limit": "1Gi"}),
            f"runner.job_resources: {kind}_request (2Gi)",
            "lower it",
        )
        for kind in ("memory", "ephemeral_storage")
    ],
    (
        "B16",
        runner(job_resources={"cpu_request": "2", "cpu_limit": "1"}),
        "runner.job_resources: cpu_request (2)",
        "lower it",
    ),
    ("B18", minio(access_mode="ReadWriteMany"), "cache.minio.access_mode:", "unknown key"),
    ("B18", minio(storage_class_name="Not A Class"), "cache.minio.storage_class_name:", "DNS"),
    ("B19", daemon(tls=False), "docker_daemon.tls:", "unknown key"),
    ("B19", daemon(port=2375), "docker_daemon.port:", "unknown key"),
    (
        "B19",
        runner(environment={"DOCKER_TLS_CERTDIR": ""}),
        "runner: environment.DOCKER_TLS_CERTDIR",
        "must not be set",
    ),
    (
        "B21",
        {**daemon(), **runner(enable_privileged_jobs=True)},
        "runner.enable_privileged_jobs must be off",
        "remove it",
    ),
    *[
        (
            "B21",
            {
                **daemon(),
                **extra(f'[[runners]]\n[runners.kubernetes]\n{key}_overwrite_allowed = ".*"'),
            },
            f"runner.extra_config must not set {key}_overwrite_allowed",
            "remove it",
        )
        for key in ("pod_labels", "service_account", "bearer_token")
    ],
    *[
        ("B20", daemon(isolation="rootless", **options), f"docker_daemon{path}", word)
        for options, path, word in (
            ({"data_root": "/var/lib/docker"}, ".data_root:", "unknown key"),
            ({"userns_remap": "default"}, ".userns_remap:", "unknown key"),
            ({"host_users": False}, ".host_users:", "unknown key"),
            (
                {"node_selector": {"kubernetes.io/arch": "s390x"}},
                ": node_selector.kubernetes.io/arch (s390x)",
                "amd64 or arm64",
            ),
            (
                {"image": f"docker.io/library/docker:29.8.1-dind{DIGEST}"},
                ": image (29.8.1-dind)",
                "use docker.io/library/docker:29.8.1-dind-rootless",
            ),
        )
    ],
    (
        "B20",
        daemon(image=f"docker.io/library/docker:29.8.1-dind-rootless{DIGEST}"),
        "docker_daemon: image (29.8.1-dind-rootless)",
        "isolation 'privileged'",
    ),
    ("B20", daemon(isolation="none"), "docker_daemon.isolation:", "must be"),
    (
        "B22",
        {"docker_daemon": {"isolation": "rootless"}},
        "docker_daemon: node_selector",
        "though the daemon is not root",
    ),
    ("B22", {"docker_daemon": {}}, "docker_daemon: node_selector", "accept_shared_nodes"),
    *[
        ("B31", daemon(**{field: value}), f"docker_daemon.{field}:", word)
        for field, value, word in (
            ("prune_keep_hours", 0, "must be"),
            ("prune_keep_hours", 87601, "must be"),
            ("prune_keep_hours", "3d", "whole"),
            ("prune_above_percent", 9, "must be"),
            ("prune_above_percent", 100, "must be"),
            ("prune_above_percent", 80.5, "whole"),
            ("enable_pruning", "no", "must be"),
        )
    ],
    *[
        ("B31", daemon(**options), "docker_daemon: prune_above_percent", "build_cache_percent (")
        for options in (
            {"build_cache_percent": 80},
            {"prune_above_percent": 70},
            {"prune_above_percent": 50, "build_cache_percent": 60},
        )
    ],
    (
        "B23",
        {"zones": {"a": {"docker_namespace": "x"}, "b": {"docker_namespace": "x"}}},
        "zones.b.docker_namespace must differ from zones.a.docker_namespace",
        "rename it",
    ),
    ("B23", {"zones": {"Prod": {}}}, "zones.Prod:", "DNS-1123 label"),
    (
        "B24",
        daemon(certificate_validity_hours=48, certificate_renewal_hours=48),
        "docker_daemon: certificate_renewal_hours (48)",
        "lower it",
    ),
    (
        "B24",
        daemon(certificate_validity_hours=20000),
        "docker_daemon: certificate_validity_hours",
        "825 days",
    ),
    (
        "B24",
        daemon(certificate_validity_hours=12, certificate_renewal_hours=1),
        "docker_daemon: certificate_validity_hours",
        "from 24",
    ),
    (
        "B24",
        daemon(certificate_validity_hours=2160, ca_validity_hours=2000),
        "docker_daemon: certificate_validity_hours must be less",
        "ca_validity_hours",
    ),
    ("B26", {"namespaces": {"jobs": "Jobs_1"}}, "namespaces.jobs:", "DNS-1123"),
    ("B26", {"namespaces": {"jobs": "default"}}, "namespaces: 'default'", "own namespaces"),
    ("B26", {"namespaces": {"jobs": "kube-system"}}, "namespaces: 'kube-system'", "own"),
    (
        "B26",
        {"namespaces": {"docker": "same", "jobs": "same"}},
        "namespaces: the namespaces must differ",
        "rename",
    ),
    ("B27", runner(concurent=1), "runner.concurent: unknown key", "did you mean 'concurrent'?"),
    ("B27", {"docker_deamon": {}}, "docker_deamon: unknown key", "did you mean"),
    *[
        ("B28", extra(text), f"runner.extra_config: {path}", word)
        for text, path, word in (
            ("[[runners]", "must be TOML", "correct the syntax"),
            ("[[runners]]\n[[runners]]", "must be exactly one", "takes one"),
            ("concurrent = 3\n[[runners]]", "must be exactly one", "found concurrent"),
            ('[[runners]]\ntoken = "x"', "token: is made by this package", "runner_token"),
            (
                '[[runners]]\n[runners.kubernetes]\nimage = "x"',
                "kubernetes.image: is made by this package",
                "default_image",
            ),
            ('[[runners]]\nshell = "{{ .x }}"', "must not contain '{{'", "write the value"),
            (
                '[[runners]]\n[runners.cache.s3]\nSecretKey = "x"',
                "cache.s3.SecretKey: must not be here",
                "use a Secret",
            ),
            (
                "[[runners]]\n[runners.kubernetes]\npol_interval = 3",
                "kubernetes.pol_interval: unknown key",
                "did you mean 'poll_interval'?",
            ),
            (
                '[[runners]]\n[runners.kubernetes]\nhost = "https://x"',
                "kubernetes.host: is not for this",
                "remove it",
            ),
        )
    ],
    *[
        ("B29", runner(default_image=text), "runner.default_image:", word)
        for text, word in (
            ("docker.io/library/docker", "by digest"),
            ("docker.io/library/docker:29", "by digest"),
            (f"docker.io/library/docker:latest{DIGEST}", "must not be ':latest'"),
            ("docker.io/library/docker:29@sha256:12", "full reference"),
            ("docker:29", "full reference"),
        )
    ],
    (
        "B29",
        runner(
            helper_image="registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper"
            f":x86_64-v18.0.0{DIGEST}"
        ),
        "runner: helper_image (18.0.0)",
        "remove helper_image",
    ),
    (
        "B29",
        daemon(image=f"docker.io/library/docker:28.5.2-dind{DIGEST}"),
        "docker_daemon.image:",
        "29.3.1",
    ),
    (
        "B29",
        minio(image=f"docker.io/minio/minio:RELEASE.2025-09-07T16-13-09Z{DIGEST}"),
        "cache.minio.image:",
        "cannot be pulled",
    ),
    ("B30", runner(chart={"version": "^0.92"}), "runner.chart.version:", "exact version"),
    ("B30", runner(chart={"version": "0.80.0"}), "runner.chart.version:", "or newer"),
    (
        "B31",
        runner(poll_timeout_seconds=7200),
        "runner: poll_timeout_seconds (7200)",
        "lower it",
    ),
    (
        "B31",
        runner(maximum_job_timeout_seconds="1hr"),
        "runner.maximum_job_timeout_seconds:",
        "whole",
    ),
    ("B31", runner(check_interval_seconds=-1), "runner.check_interval_seconds:", "must be"),
    ("B31", runner(daemon_wait_seconds=3601), "runner.daemon_wait_seconds:", "must be"),
    *[
        (
            "B31",
            daemon(termination_grace_period_seconds=seconds),
            "docker_daemon: termination_grace_period_seconds must be from 30 to 86400",
            "20 of them are left",
        )
        for seconds in (0, 29, 86401)
    ],
    *[
        (
            "B32",
            extra(
                "[[runners]]\n[[runners.kubernetes.volumes.host_path]]\n"
                f'name = "v"\nmount_path = "/v"\nhost_path = "{path}"'
            ),
            "runner.extra_config: kubernetes.volumes.host_path[0]: must not be",
            "shared docker daemon",
        )
        for path in ("/var/run/docker.sock", "/")
    ],
    ("B33", runner(tags=True), "runner.tags:", "must be a list"),
    ("B33", runner(tags=[True]), "runner.tags[0]:", "must be a string"),
    ("B33", runner(job_node_selector=["a"]), "runner.job_node_selector:", "must be a map"),
    ("B33", {"runner": None}, "runner:", "must be a map"),
    ("B33", runner(concurrent=10**30), "runner.concurrent:", "must be"),
    ("B33", {"namespaces": {"jobs": "jоbs"}}, "namespaces.jobs:", "DNS-1123"),
]


def arguments(wrong: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**GOOD, **wrong}.items() if value is not NONE}


def as_file(value: Any, name: str = "") -> Any:
    """Return arguments as a stack's file has them."""
    if isinstance(value, Mapping):
        own = name in settings._FREE or name in settings._NAMED
        return {(key if own else camel(key)): as_file(item, key) for key, item in value.items()}
    return value


def parse(args: Mapping[str, Any]) -> Any:
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in as_file(args).items()
    }
    return settings.parse(texts, ["runnerToken"], "bad")


def spelled(text: str) -> str:
    """Return a text with every name in camelCase, as a stack's file has them."""
    return re.sub(r"[a-z0-9]+(_[a-z0-9]+)+", lambda name: camel(name[0]), text)


def assert_told(error: ArgsError, path: str, word: str) -> None:
    told = [problem for problem in error.problems if spelled(problem).startswith(spelled(path))]
    assert told, error
    assert any(spelled(word) in spelled(problem) for problem in told), error
    # Where it is, in the spelling of whoever wrote it.
    is_file = str(error).startswith("stacks/")
    for problem in told:
        place, wanted = re.split(r"[: ]", problem)[0], re.split(r"[: ]", path)[0]
        assert place == (spelled(wanted) if is_file else wanted), problem


IDS = [f"{kind}-{n}" for n, (kind, *_) in enumerate(BAD)]


@pytest.mark.parametrize(("kind", "wrong", "path", "word"), BAD, ids=IDS)
def test_bad_arguments(kind: str, wrong: dict[str, Any], path: str, word: str) -> None:
    caught: list[ArgsError] = []

    def program() -> None:
        try:
            RunnerPlatform("bad", arguments(wrong))  # type: ignore[arg-type]
        except ArgsError as error:
            caught.append(error)

    recorder = deploy(program)
    assert len(caught) == 1, kind
    assert_told(caught[0], path, word)
    assert {made.type for made in recorder.registrations} <= {"pulumi:pulumi:Stack"}


@pytest.mark.parametrize(("kind", "wrong", "path", "word"), BAD, ids=IDS)
def test_bad_stack_files(kind: str, wrong: dict[str, Any], path: str, word: str) -> None:
    with pytest.raises(ArgsError) as caught:
        parse(arguments(wrong))
    assert str(caught.value).startswith("stacks/Pulumi.bad.yaml"), kind
    assert_told(caught.value, path, word)


def test_a_token_in_plain_text_is_refused() -> None:  # B7: a file's alone
    args = {**arguments({"token_secret_name": NONE}), "runner_token": token()}
    with pytest.raises(ArgsError) as caught:
        settings.parse({camel(key): str(value) for key, value in args.items()}, [], "bad")
    assert_told(caught.value, "runnerToken:", "pulumi config set --secret runnerToken")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong: dict[str, Any] = {
        "gitlab_url": "ftp://gitlab.example.com",
        "runner_token": "glpat-abcdefghijklmnopqrstuvwx",
        "runner": {"concurrent": 0, "request_concurrency": 5, "concurent": 1},
        "cache": {"backend": "s3", "minio": {"volume_size": "0"}},
        "docker_daemon": {"mtu": 1, "certificate_validity_hours": 12},
        "namespaces": {"jobs": "default"},
    }
    with pytest.raises(ArgsError) as caught:
        deploy(lambda: RunnerPlatform("Bad_Name", arguments(wrong)))  # type: ignore[arg-type]
    for path in (
        "the name 'Bad_Name' must be",
        "gitlab_url: must be",
        "runner_token: must be a runner authentication token",
        "exactly one of runner_token",
        "runner.concurrent: must be",
        "runner.concurent: unknown key",
        "cache: minio is set and backend is 's3'",
        "cache: s3 must be set",
        "cache.minio.volume_size: must be",
        "docker_daemon.mtu: must be",
        "docker_daemon: node_selector must name",
        "docker_daemon: certificate_validity_hours must be",
        "namespaces: 'default' is not for this",
    ):
        assert any(problem.startswith(path) for problem in caught.value.problems), (path, caught)
    assert "glpat-abc" not in str(caught.value)


def test_every_kind_is_here() -> None:
    here = {int(kind[1:]) for kind, *_ in BAD} | {7}
    # A smaller volume (B17) is seen by the cluster, the options of B25 do not exist.
    assert set(range(1, 34)) - here <= {17, 25}
