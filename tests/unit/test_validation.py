"""Bad arguments: each is refused with its path, the rule and a fix, and nothing is registered."""

from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import (
    ArgsError,
    GitLabRunner,
    MinioCache,
    RegistryMirror,
    RunnerPlatform,
    S3Cache,
    SharedDockerDaemon,
)

from tests.harness import deploy, token

DIGEST = "@sha256:" + "0" * 64
URL = "https://gitlab.example.com"
RUNNER: dict[str, Any] = {"gitlab_url": URL, "token_secret_name": "token"}
PROVIDER = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1"
S3: dict[str, Any] = {"region": "eu-central-1", "oidc_provider_arn": PROVIDER}
DAEMON: dict[str, Any] = {"accept_shared_nodes": True}

# What is wrong, and how the message must begin.
BAD: list[tuple[Any, dict[str, Any], str]] = [
    (GitLabRunner, {"gitlab_url": URL}, "exactly one of runner_token, token_secret_name and"),
    (
        GitLabRunner,
        {**RUNNER, "runner_token": token()},
        "exactly one of runner_token, token_secret_name and",
    ),
    (
        GitLabRunner,
        {"gitlab_url": URL, "runner_token": "GR1348941abcdefghijklmnop"},
        "runner_token: must be a runner authentication token, this is a registration token",
    ),
    *[
        (
            GitLabRunner,
            {"gitlab_url": URL, "runner_token": f"{prefix}abcdefghijklmnopqrstuvwx"},
            "runner_token: must be a runner authentication token, this is",
        )
        for prefix in ("glpat-", "glcbt-", "gldt-", "glptt-", "glagent-", "glrtr-")
    ],
    (
        GitLabRunner,
        {"gitlab_url": URL, "runner_token": token() + "\n"},
        "runner_token: must not begin or end with white space",
    ),
    (
        GitLabRunner,
        {"gitlab_url": URL, "runner_token": "glrt-short"},
        "runner_token: must be 'glrt-' and at least 20 characters",
    ),
    *[
        (GitLabRunner, {**RUNNER, "gitlab_url": url}, f"gitlab_url: {problem}")
        for url, problem in (
            ("gitlab.example.com", "must be an https:// URL"),
            ("ftp://gitlab.example.com", "must be an https:// URL"),
            ("https://user:word@gitlab.example.com", "must not carry credentials"),
            ("https://gitlab.example.com/ci", "must be the address of GitLab itself"),
            ("https://gitlab.example.com?a=b", "must not have a query"),
        )
    ],
    (
        GitLabRunner,
        {**RUNNER, "gitlab_url": "http://gitlab.example.com"},
        "gitlab_url must be https",
    ),
    *[
        (GitLabRunner, {**RUNNER, "concurrent": value}, "concurrent: must be")
        for value in (0, -1, True, "10", 10**9, 1.5, None, float("nan"))
    ],
    (
        GitLabRunner,
        {**RUNNER, "concurrent": 2, "request_concurrency": 3},
        "request_concurrency (3) must not exceed concurrent (2)",
    ),
    (
        GitLabRunner,
        {**RUNNER, "concurent": 2},
        "concurent: unknown key; did you mean 'concurrent'?",
    ),
    (
        GitLabRunner,
        {**RUNNER, "namespace": "same", "job_namespace": "same"},
        "job_namespace must differ from namespace",
    ),
    (GitLabRunner, {**RUNNER, "namespace": "Not_A_Name"}, "namespace: must be a DNS-1123 label"),
    *[
        (GitLabRunner, {**RUNNER, "image": image}, f"image: {problem}")
        for image, problem in (
            ("gitlab/gitlab-runner:latest", "must be a full reference"),
            ("docker.io/gitlab/gitlab-runner", "must be pinned by digest"),
            ("docker.io/gitlab/gitlab-runner:19", "must be pinned by digest"),
            (f"docker.io/gitlab/gitlab-runner:latest{DIGEST}", "must not be ':latest'"),
            ("docker.io/gitlab/gitlab-runner:19@sha256:00", "must be a full reference"),
        )
    ],
    *[
        (GitLabRunner, {**RUNNER, "chart": {"version": version}}, f"chart.version: {problem}")
        for version, problem in (
            ("~0.92", "must be one exact version"),
            ("0.80.0", "must be 0.88.2 or newer"),
        )
    ],
    (
        GitLabRunner,
        {**RUNNER, "job_resources": {"cpu_request": "100Mb"}},
        "job_resources.cpu_request: must be a Kubernetes quantity",
    ),
    (
        GitLabRunner,
        {**RUNNER, "job_resources": {"memory_limit": "500"}},
        "job_resources.memory_limit: must be at least 1Mi",
    ),
    (
        GitLabRunner,
        {**RUNNER, "job_resources": {"cpu_request": "2", "cpu_limit": "1"}},
        "job_resources: cpu_request (2) must not exceed cpu_limit (1)",
    ),
    (
        GitLabRunner,
        {**RUNNER, "environment": {"DOCKER_HOST": "tcp://other:2375"}},
        "environment.DOCKER_HOST must not be set here",
    ),
    (
        GitLabRunner,
        {
            **RUNNER,
            "enable_privileged_jobs": True,
            "docker": {"host": "tcp://d:2376", "client_secret_name": "c"},
        },
        "enable_privileged_jobs must be off",
    ),
    (
        MinioCache,
        {"image": f"docker.io/minio/minio:RELEASE.2025-09-07T16-13-09Z{DIGEST}"},
        "image: cannot be pulled: deleted from Docker Hub",
    ),
    (
        MinioCache,
        {"image": f"quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z{DIGEST}"},
        "image: cannot be pulled: refuses anonymous pulls",
    ),
    (MinioCache, {"engine": "minio"}, "image must be set for the engine 'minio'"),
    (MinioCache, {"engine": "ceph"}, "engine: must be 'silo', 'minio' or"),
    (
        MinioCache,
        {"engine": "seaweedfs", "enable_console": True},
        "enable_console must be off for the engine 'seaweedfs'",
    ),
    (
        MinioCache,
        {"engine": "seaweedfs", "enable_network_policies": False},
        "enable_network_policies must be on for the engine 'seaweedfs'",
    ),
    (
        MinioCache,
        {"enable_tls": True, "runner_namespace": "same", "job_namespace": "same"},
        "job_namespace must differ from runner_namespace",
    ),
    (MinioCache, {"enable_tls": "yes"}, "enable_tls: must be"),
    (
        MinioCache,
        {"enable_metrics": True, "metrics_namespace": "Not_A_Name"},
        "metrics_namespace: must be a DNS-1123 label",
    ),
    *[
        (MinioCache, {"bucket": bucket}, f"bucket: {problem}")
        for bucket, problem in (
            ("ab", "must be 3 to 63"),
            ("UPPER", "must be 3 to 63"),
            ("a..b", "must be 3 to 63"),
            ("10.0.0.1", "must not look like an IP"),
            ("with.dots", "must not have dots"),
            ("xn--bucket", "uses a prefix or suffix that S3 reserves"),
            ("bucket--x-s3", "uses a prefix or suffix that S3 reserves"),
        )
    ],
    *[
        (MinioCache, {"volume_size": size}, f"volume_size: {problem}")
        for size, problem in (
            ("10G i", "must be a Kubernetes quantity"),
            ("-1Gi", "must be a Kubernetes quantity"),
            ("1e", "must be a Kubernetes quantity"),
            ("0", "must be at least 1Gi"),
        )
    ],
    (S3Cache, {"oidc_provider_arn": PROVIDER}, "region: is required"),
    (S3Cache, {**S3, "region": "Frankfurt"}, "region: must be an AWS region"),
    (S3Cache, {"region": "eu-central-1"}, "oidc_provider_arn must be set for the identity 'irsa'"),
    (
        S3Cache,
        {**S3, "identity": "access-key"},
        "oidc_provider_arn is only for the identity 'irsa'",
    ),
    (S3Cache, {**S3, "kms_key_arn": "alias/mine"}, "kms_key_arn: must be an ARN"),
    (S3Cache, {**S3, "oidc_provider_arn": "arn:aws:iam:x"}, "oidc_provider_arn: must be an ARN"),
    *[
        (S3Cache, {**S3, "bucket_name": bucket}, f"bucket_name: {problem}")
        for bucket, problem in (
            ("ab", "must be 3 to 63"),
            ("-start", "must be 3 to 63"),
            ("192.168.5.4", "must not look like an IP"),
            ("with.dots", "must not have dots"),
            ("sthree-cache", "uses a prefix or suffix that S3 reserves"),
            ("cache-s3alias", "uses a prefix or suffix that S3 reserves"),
            ("cache-123456789012-eu-central-1-an", "uses a prefix or suffix that S3 reserves"),
        )
    ],
    *[
        (S3Cache, {**S3, field: arn}, f"{field}: must be an ARN such as 'arn:aws:iam::")
        for field, arn in (
            ("oidc_provider_arn", "arn:aws:iam::123456789012:role/name"),
            ("oidc_provider_arn", "arn:aws:iam::1234:oidc-provider/oidc.example.com/id/1"),
            ("permissions_boundary_arn", "arn:aws:iam::123456789012:role/name"),
            ("existing_role_arn", "arn:aws:iam::123456789012:user/name"),
            ("existing_role_arn", "arn:aws:sts::123456789012:assumed-role/name/session"),
        )
    ],
    (
        S3Cache,
        {**S3, "kms_key_arn": "arn:aws:kms:eu-central-1:123456789012:grant/1"},
        "kms_key_arn: must be an ARN such as 'arn:aws:kms:",
    ),
    (
        S3Cache,
        {**S3, "kms_key_arn": "arn:aws:kms:eu-central-1:123456789012:alias/mine"},
        "kms_key_arn must name the key itself, not an alias",
    ),
    (
        S3Cache,
        {**S3, "kms_key_arn": "arn:aws:kms:eu-west-1:123456789012:key/1"},
        "kms_key_arn must be of the bucket's region (eu-central-1), got 'eu-west-1'",
    ),
    *[
        (S3Cache, {**S3, **change}, f"{field} must be of the partition '{wanted}' as region")
        for field, wanted, change in (
            ("oidc_provider_arn", "aws-cn", {"region": "cn-north-1"}),
            ("oidc_provider_arn", "aws-us-gov", {"region": "us-gov-west-1"}),
            (
                "kms_key_arn",
                "aws",
                {"kms_key_arn": "arn:aws-cn:kms:eu-central-1:123456789012:key/1"},
            ),
            (
                "permissions_boundary_arn",
                "aws",
                {"permissions_boundary_arn": "arn:aws-us-gov:iam::123456789012:policy/b"},
            ),
        )
    ],
    (
        S3Cache,
        {**S3, "permissions_boundary_arn": "arn:aws:iam::210987654321:policy/b"},
        "permissions_boundary_arn must be of the account of oidc_provider_arn (123456789012), "
        "got '210987654321'",
    ),
    *[
        (
            S3Cache,
            {**S3, "existing_bucket_name": "there-already", **change},
            f"{next(iter(change))} must not be set with existing_bucket_name",
        )
        for change in (
            {"bucket_name": "mine"},
            {"kms_key_arn": "arn:aws:kms:eu-central-1:123456789012:key/1"},
            {"expiration_days": 7},
            {"enable_versioning": True},
            {"access_log_bucket": "logs"},
            {"access_log_prefix": "cache/"},
            {"allow_destroy": True},
        )
    ],
    *[
        (S3Cache, {**S3, "prefix": prefix}, "prefix: must be folders of")
        for prefix in ("ci", "/ci/", "ci//", "*/", "ci/${aws:username}/", "../", "ci/./", "")
    ],
    (S3Cache, {**S3, "access_log_prefix": "cache/"}, "access_log_prefix needs access_log_bucket"),
    (
        S3Cache,
        {**S3, "bucket_name": "same-name", "access_log_bucket": "same-name"},
        "access_log_bucket must differ from bucket_name",
    ),
    (
        S3Cache,
        {**S3, "existing_role_arn": "arn:aws:iam::123456789012:role/name"},
        "existing_role_arn is only for the identity 'existing'",
    ),
    (
        S3Cache,
        {
            "region": "eu-central-1",
            "identity": "existing",
            "permissions_boundary_arn": "arn:aws:iam::123456789012:policy/b",
        },
        "permissions_boundary_arn must not be set for the identity 'existing'",
    ),
    (
        S3Cache,
        {**S3, "identity": "existing"},
        "oidc_provider_arn is only for the identity 'irsa', and identity is 'existing'",
    ),
    *[
        (
            S3Cache,
            {"region": "eu-central-1", "identity": identity, "enable_large_objects": True},
            "enable_large_objects needs a role",
        )
        for identity in ("access-key", "existing")
    ],
    (SharedDockerDaemon, {}, "node_selector must name nodes of the daemon's own"),
    (
        SharedDockerDaemon,
        {**DAEMON, "image": f"docker.io/library/docker:28.5.1-dind{DIGEST}"},
        "image: must be Docker 29.3.1 or newer",
    ),
    (SharedDockerDaemon, {**DAEMON, "tls": False}, "tls: unknown key"),
    (
        SharedDockerDaemon,
        {**DAEMON, "certificate_validity_hours": 100, "certificate_renewal_hours": 100},
        "certificate_renewal_hours (100) must be less than certificate_validity_hours (100)",
    ),
    (
        SharedDockerDaemon,
        {**DAEMON, "certificate_validity_hours": 20000},
        "certificate_validity_hours must be from 24 to 19800",
    ),
    (
        SharedDockerDaemon,
        {**DAEMON, "namespace": "same", "job_namespace": "same"},
        "namespace must differ from job_namespace",
    ),
    (SharedDockerDaemon, {**DAEMON, "mtu": 70000}, "mtu: must be less than or equal to 9216"),
    (
        SharedDockerDaemon,
        {**DAEMON, "insecure_registries": ["http://registry:5000"]},
        "insecure_registries[0]: must be host or host:port",
    ),
    (
        RunnerPlatform,
        {**RUNNER, "cache": {"backend": "none", "minio": {}}},
        "cache: minio is set and backend is 'none'",
    ),
    (RunnerPlatform, {**RUNNER, "cache": {"backend": "s3"}}, "cache: s3 must be set"),
    (RunnerPlatform, {**RUNNER, "cache": {"backend": "nfs"}}, "cache.backend: must be"),
    (
        RunnerPlatform,
        {**RUNNER, "namespaces": {"jobs": "gitlab-runner"}},
        "namespaces: the namespaces must differ",
    ),
    (
        RunnerPlatform,
        {**RUNNER, "namespaces": {"runner": "kube-system"}},
        "namespaces: 'kube-system' is not for this",
    ),
    (
        RunnerPlatform,
        {**RUNNER, "docker_daemon": DAEMON, "runner": {"enable_privileged_jobs": True}},
        "runner.enable_privileged_jobs must be off",
    ),
    *[
        (RegistryMirror, {"remote_url": url}, problem)
        for url, problem in (
            ("registry-1.docker.io", "remote_url: must be an https:// URL"),
            ("https://user:word@registry.example.com", "remote_url: must not carry credentials"),
            ("http://registry.example.com", "remote_url must be https"),
            ("https://registry.example.com/v2", "remote_url must be the root of a registry"),
            ("https://registry.example.com/", "remote_url must be the root of a registry"),
        )
    ],
    (RegistryMirror, {"username": "u"}, "username and password must be set together; set password"),
    (RegistryMirror, {"password": "p"}, "username and password must be set together; set username"),
    (
        RegistryMirror,
        {"username": "u", "password": "p", "credentials_secret_name": "s"},
        "credentials_secret_name must not be set beside username and password",
    ),
    (RegistryMirror, {"username": "u", "password": "p\n"}, "password must be one line"),
    (RegistryMirror, {"username": "u", "password": ""}, "password: String should have at least 1"),
    (RegistryMirror, {"ttl_hours": 0}, "ttl_hours: must be greater than or equal to 1"),
    (RegistryMirror, {"volume_size": "50"}, "volume_size: must be at least 1Gi"),
    (RegistryMirror, {"log_level": "trace"}, "log_level: must be"),
    (RegistryMirror, {"image": "docker.io/library/registry:3"}, "image: must be pinned by digest"),
    (RegistryMirror, {"client_namespaces": []}, "client_namespaces must name at least one"),
    (
        RegistryMirror,
        {"namespace": "same", "job_namespace": "same"},
        "namespace must differ from job_namespace",
    ),
    (RegistryMirror, {"egress_cidrs": ["10.0.0.0"]}, "egress_cidrs[0]: must be an IPv4 CIDR block"),
]


@pytest.mark.parametrize(("component", "args", "message"), BAD)
def test_bad_arguments_are_refused(component: Any, args: dict[str, Any], message: str) -> None:
    caught: list[ArgsError] = []

    def program() -> None:
        try:
            component("bad", args)
        except ArgsError as error:
            caught.append(error)

    recorder = deploy(program)
    assert len(caught) == 1
    assert any(problem.startswith(message) for problem in caught[0].problems), caught[0]
    assert {made.type for made in recorder.registrations} <= {"pulumi:pulumi:Stack"}


def test_all_problems_come_together_and_secrets_stay_hidden() -> None:
    bad = {"gitlab_url": "nowhere", "runner_token": "glpat-verysecretverysecret", "concurrent": 0}
    with pytest.raises(ArgsError) as caught:
        deploy(lambda: GitLabRunner("bad", bad))  # type: ignore[arg-type]
    assert len(caught.value.problems) == 3
    assert "verysecret" not in str(caught.value)
    assert str(caught.value).startswith("GitLabRunner 'bad': 3 problems, nothing was registered")


def test_values_that_are_not_known_yet_pass() -> None:
    def program() -> None:
        unknown = pulumi.Output.from_input("https://gitlab.example.com").apply(lambda url: url)
        GitLabRunner("ok", {"gitlab_url": unknown, "token_secret_name": unknown})

    assert deploy(program).one(":Release").plain["values"]["gitlabUrl"] == URL
