"""Every kind of bad input, as constructor arguments and in a stack's file.

Each is refused with its path, the rule and a fix, together with whatever else is wrong, and
nothing is registered.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import (
    ArgsError,
    BuildKitDaemon,
    ExternalCache,
    GitLabRunner,
    MinioCache,
    RegistryMirror,
    RunnerPlatform,
    S3Cache,
    SharedDockerDaemon,
)
from gitlab_runner_k8s.validation.messages import camel
from pulumi.output import UNKNOWN
from pulumi.runtime.rpc import UNKNOWN as UNKNOWN_VALUE

from stacks import settings
from tests import builders, lint
from tests.harness import deploy, token

DIGEST = "@sha256:" + "0" * 64
PROVIDER = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1"
GOV = "arn:aws-us-gov:iam::123456789012:oidc-provider/oidc.example.com/id/1"
GOOD = builders.GITLAB
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


def kubernetes(text: str) -> dict[str, Any]:
    return extra(f"[[runners]]\n[runners.kubernetes]\n{text}")


NONE = object()
# Kind, what is wrong, the path in the message (snake_case), and a word of the rule or the fix.
BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("no token", {"token_secret_name": NONE}, "exactly one of runner_token", "got none"),
    (
        "several tokens",
        {"runner_token": token()},
        "exactly one of runner_token",
        "and token_secret_name",
    ),
    *[
        (kind, {"token_secret_name": NONE, "runner_token": text}, "runner_token:", word)
        for kind, text, word in (
            ("registration token", "GR1348941abcdefghijklmnopqrst", "use its glrt- token"),
            ("token of another kind", "glpat-abcdefghijklmnopqrstuvwx", "personal access token"),
            ("token of another kind", "glcbt-abcdefghijklmnopqrstuvwx", "job token"),
            ("token of another kind", "gldt-abcdefghijklmnopqrstuvwxyz", "deploy token"),
            ("token of another kind", "glptt-abcdefghijklmnopqrstuvwxy", "trigger token"),
            ("token of another kind", "glagent-abcdefghijklmnopqrstuv", "agent token"),
            (
                "token of a registered runner",
                "glrtr-abcdefghijklmnopqrstuvwxyz",
                "registration token",
            ),
            ("malformed token", "glrt-abcdefghijklmnopqrstuvwxyz\n", "line break"),
            ("malformed token", "glrt-abcdefghijkl mnopqrstuvwxyz", "at least 20 characters"),
            ("malformed token", "glrt-short", "at least 20 characters"),
        )
    ],
    *[
        ("address of GitLab", {"gitlab_url": text}, "gitlab_url", word)
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
        ("request concurrency", runner(concurrent=value), "runner.concurrent:", "must be")
        for value in (0, -1, True, "10", 100_000)
    ],
    (
        "request concurrency",
        runner(request_concurrency=11),
        "runner: request_concurrency (11)",
        "lower it",
    ),
    *[
        ("bucket", s3(bucket_name=text), "cache.s3.bucket_name:", word)
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
    ("region", s3(region="Frankfurt"), "cache.s3.region:", "AWS region"),
    (
        "region",
        {"cache": {"backend": "s3", "s3": {"oidc_provider_arn": PROVIDER}}},
        "cache.s3.region:",
        "is required",
    ),
    (
        "identity",
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
        "identity",
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
    ("ARN", s3(kms_key_arn="alias/mine"), "cache.s3.kms_key_arn:", "must be an ARN"),
    ("ARN", s3(oidc_provider_arn="arn:aws:s3:::x"), "cache.s3.oidc_provider_arn:", "ARN"),
    (
        "cache backend",
        {"cache": {"backend": "s3", "s3": S3, "minio": {}}},
        "cache: minio is set, but backend is 's3'",
        "remove minio",
    ),
    ("cache backend", {"cache": {"backend": "minio", "s3": S3}}, "cache: s3 is set", "remove s3"),
    ("cache backend", {"cache": {"backend": "nfs"}}, "cache.backend:", "'minio', 's3'"),
    *[
        ("quantity", minio(volume_size=text), "cache.minio.volume_size:", word)
        for text, word in (
            ("10G i", "quantity"),
            ("-1Gi", "quantity"),
            ("1e", "quantity"),
            ("0", "at least"),
            ("500", "a unit such as"),
        )
    ],
    (
        "quantity",
        runner(job_resources={"cpu_request": "100Mb"}),
        "runner.job_resources.cpu_request:",
        "quantity",
    ),
    *[
        (
            "limit below request",
            runner(job_resources={f"{kind}_request": "2Gi", f"{kind}_limit": "1Gi"}),
            f"runner.job_resources: {kind}_request (2Gi)",
            "lower it",
        )
        for kind in ("memory", "ephemeral_storage")
    ],
    (
        "limit below request",
        runner(job_resources={"cpu_request": "2", "cpu_limit": "1"}),
        "runner.job_resources: cpu_request (2)",
        "lower it",
    ),
    ("volume", minio(access_mode="ReadWriteMany"), "cache.minio.access_mode:", "unknown key"),
    ("volume", minio(storage_class_name="Not A Class"), "cache.minio.storage_class_name:", "DNS"),
    ("no TLS", daemon(tls=False), "docker_daemon.tls:", "unknown key"),
    ("no TLS", daemon(port=2375), "docker_daemon.port:", "unknown key"),
    (
        "no TLS",
        runner(environment={"DOCKER_TLS_CERTDIR": ""}),
        "runner: environment.DOCKER_TLS_CERTDIR",
        "must not be set",
    ),
    (
        "privileged jobs",
        {**daemon(), **runner(enable_privileged_jobs=True)},
        "runner.enable_privileged_jobs must be false",
        "remove it",
    ),
    *[
        (
            "privileged jobs",
            {
                **daemon(),
                **kubernetes(f"{key}_overwrite_allowed = {value}"),
            },
            f"runner.extra_config must not set {key}_overwrite_allowed",
            "remove it",
        )
        for key, value in (
            ("pod_labels", "'.*'"),
            ("service_account", "'.*'"),
            ("namespace", "'.*'"),
            ("node_selector", "'.*'"),
            ("node_tolerations", "'.*'"),
            ("bearer_token", "true"),
        )
    ],
    *[
        ("isolation", daemon(isolation="rootless", **options), f"docker_daemon{path}", word)
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
        "isolation",
        daemon(image=f"docker.io/library/docker:29.8.1-dind-rootless{DIGEST}"),
        "docker_daemon: image (29.8.1-dind-rootless)",
        "isolation 'privileged'",
    ),
    ("isolation", daemon(isolation="none"), "docker_daemon.isolation:", "must be"),
    (
        "node selector",
        {"docker_daemon": {"isolation": "rootless"}},
        "docker_daemon: node_selector",
        "though the daemon is not root",
    ),
    ("node selector", {"docker_daemon": {}}, "docker_daemon: node_selector", "accept_shared_nodes"),
    *[
        ("seconds and replicas", daemon(**{field: value}), f"docker_daemon.{field}:", word)
        for field, value, word in (
            ("prune_keep_hours", 0, "must be"),
            ("prune_keep_hours", 87601, "must be"),
            ("prune_keep_hours", "3d", "whole"),
            ("prune_above_percent", 9, "must be"),
            ("prune_above_percent", 100, "must be"),
            ("prune_above_percent", 80.5, "whole"),
            ("enable_pruning", "no", "must be"),
            ("protected_images", "python", "must be"),
            ("enable_image_protection", "no", "must be"),
        )
    ],
    *[
        (
            "isolation",
            daemon(protected_images=["alpine", pattern]),
            "docker_daemon.protected_images[1]:",
            "such as 'registry.example.com/base/*'",
        )
        for pattern in (
            *("", "two words", "a\nb", "$(id)", "name@sha256:1", "[a-z]", "-x", "a?"),
            *("*", "docker.io/*", "docker.io/library/*", "*/*:*"),
        )
    ],
    *[
        (
            "seconds and replicas",
            daemon(**options),
            "docker_daemon: prune_above_percent",
            "build_cache_percent (",
        )
        for options in (
            {"build_cache_percent": 80},
            {"prune_above_percent": 70},
            {"prune_above_percent": 50, "build_cache_percent": 60},
        )
    ],
    (
        "zones",
        {"zones": {"a": {"daemon_namespace": "x"}, "b": {"daemon_namespace": "x"}}},
        "zones.b.daemon_namespace must differ from zones.a.daemon_namespace",
        "rename it",
    ),
    ("zones", {"zones": {"Prod": {}}}, "zones.Prod:", "DNS-1123 label"),
    (
        "certificates",
        daemon(certificate_validity_hours=48, certificate_renewal_hours=48),
        "docker_daemon: certificate_renewal_hours (48)",
        "lower it",
    ),
    (
        "certificates",
        daemon(certificate_validity_hours=20000),
        "docker_daemon.certificate_validity_hours:",
        "less than or equal to 19800",
    ),
    (
        "certificates",
        daemon(certificate_validity_hours=12, certificate_renewal_hours=1),
        "docker_daemon.certificate_validity_hours:",
        "greater than or equal to 24",
    ),
    (
        "certificates",
        daemon(certificate_validity_hours=2160, ca_validity_hours=2000),
        "docker_daemon: certificate_validity_hours must be less",
        "ca_validity_hours",
    ),
    ("namespaces", {"namespaces": {"jobs": "Jobs_1"}}, "namespaces.jobs:", "DNS-1123"),
    *[
        ("namespaces", wrong, f"{path}:", "must be a dedicated namespace")
        for wrong, path in (
            ({"namespaces": {"jobs": "default"}}, "namespaces.jobs"),
            ({"namespaces": {"runner": "kube-system"}}, "namespaces.runner"),
            ({"zones": {"a": {"job_namespace": "kube-system"}}}, "zones.a.job_namespace"),
            ({"zones": {"a": {"daemon_namespace": "default"}}}, "zones.a.daemon_namespace"),
        )
    ],
    (
        "namespaces",
        {"namespaces": {"daemon": "same", "jobs": "same"}},
        "namespaces: the namespaces must differ",
        "rename",
    ),
    (
        "unknown key",
        runner(concurent=1),
        "runner.concurent: unknown key",
        "did you mean 'concurrent'?",
    ),
    ("unknown key", {"docker_deamon": {}}, "docker_deamon: unknown key", "did you mean"),
    *[
        ("extra config", extra(text), f"runner.extra_config: {path}", word)
        for text, path, word in (
            ("[[runners]", "must be TOML", "correct the syntax"),
            ("[[runners]]\n[[runners]]", "must be exactly one", "keep one table"),
            ("concurrent = 3\n[[runners]]", "must be exactly one", "found concurrent"),
            (
                '[[runners]]\ntoken = "x"',
                "token: must not be set, because this package sets it",
                "runner_token",
            ),
            (
                '[[runners]]\n[runners.kubernetes]\nimage = "x"',
                "kubernetes.image: must not be set, because this package sets it",
                "default_image",
            ),
            ('[[runners]]\nshell = "{{ .x }}"', "must not contain '{{'", "write the value"),
            (
                '[[runners]]\n[runners.cache.s3]\nSecretKey = "x"',
                "cache.s3.SecretKey: must not be set here",
                "use a Secret",
            ),
            (
                "[[runners]]\n[runners.kubernetes]\npol_interval = 3",
                "kubernetes.pol_interval: unknown key",
                "did you mean 'poll_interval'?",
            ),
            (
                '[[runners]]\n[runners.kubernetes]\nhost = "https://x"',
                "kubernetes.host: must not be set",
                "remove it",
            ),
        )
    ],
    *[
        ("image", runner(default_image=text), "runner.default_image:", word)
        for text, word in (
            ("docker.io/library/docker", "by digest"),
            ("docker.io/library/docker:29", "by digest"),
            (f"docker.io/library/docker:latest{DIGEST}", "must not be ':latest'"),
            ("docker.io/library/docker:29@sha256:12", "full reference"),
            ("docker:29", "full reference"),
        )
    ],
    (
        "image",
        runner(
            helper_image="registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper"
            f":x86_64-v18.0.0{DIGEST}"
        ),
        "runner: helper_image (18.0.0)",
        "remove helper_image",
    ),
    (
        "image",
        daemon(image=f"docker.io/library/docker:28.5.2-dind{DIGEST}"),
        "docker_daemon.image:",
        "29.3.1",
    ),
    (
        "image",
        minio(image=f"docker.io/minio/minio:RELEASE.2025-09-07T16-13-09Z{DIGEST}"),
        "cache.minio.image:",
        "cannot be pulled",
    ),
    ("chart", runner(chart={"version": "^0.92"}), "runner.chart.version:", "exact version"),
    ("chart", runner(chart={"version": "0.80.0"}), "runner.chart.version:", "or newer"),
    (
        "seconds and replicas",
        runner(poll_timeout_seconds=7200),
        "runner: poll_timeout_seconds (7200)",
        "lower it",
    ),
    (
        "seconds and replicas",
        runner(maximum_job_timeout_seconds="1hr"),
        "runner.maximum_job_timeout_seconds:",
        "whole",
    ),
    (
        "seconds and replicas",
        runner(check_interval_seconds=-1),
        "runner.check_interval_seconds:",
        "must be",
    ),
    (
        "seconds and replicas",
        runner(daemon_wait_seconds=3601),
        "runner.daemon_wait_seconds:",
        "must be",
    ),
    *[
        ("seconds and replicas", daemon(replicas=value), "docker_daemon.replicas:", "must be")
        for value in (0, 17, -1)
    ],
    (
        "seconds and replicas",
        daemon(replicas=2) | runner(extra_config='[[runners]]\nshell = "pwsh"\n'),
        "runner.extra_config must not set a shell other",
        "set replicas to 1",
    ),
    *[
        (
            "seconds and replicas",
            daemon(termination_grace_period_seconds=seconds),
            "docker_daemon.termination_grace_period_seconds:",
            bound,
        )
        for seconds, bound in (
            (0, "greater than or equal to 30"),
            (29, "greater than or equal to 30"),
            (86401, "less than or equal to 86400"),
        )
    ],
    *[
        (
            "path of the node",
            extra(
                "[[runners]]\n[[runners.kubernetes.volumes.host_path]]\n"
                f'name = "v"\nmount_path = "/v"\nhost_path = "{path}"'
            ),
            "runner.extra_config: kubernetes.volumes.host_path[0]: must not be",
            "shared Docker daemon",
        )
        for path in (
            *("/", "//", "/./", "/var", "/var/run", "/run", "/dev", "/etc", "/root", "/var/lib"),
            *("/var/lib/kubelet/pods", "/var/run/docker.sock/", "/var/run/../run/docker.sock"),
            *("/mnt/../etc", "/run/containerd/containerd.sock", "/proc/1/root", "relative"),
        )
    ],
    # Privilege by another name.
    *[
        (
            "privileged jobs",
            {**daemon(), **kubernetes(text)},
            f"runner.extra_config must not set {key}",
            "because they need no privileges then",
        )
        for key, text in (
            *(
                (
                    f"{role}_container_security_context.privileged",
                    f"[runners.kubernetes.{role}_container_security_context]\nprivileged = true",
                )
                for role in ("build", "helper", "service", "init_permissions")
            ),
            (
                "build_container_security_context.capabilities.add",
                "[runners.kubernetes.build_container_security_context.capabilities]\n"
                'add = ["SYS_ADMIN"]',
            ),
            (
                "pod_security_context.seccomp_profile",
                '[runners.kubernetes.pod_security_context.seccomp_profile]\ntype = "Unconfined"',
            ),
            ("cap_add", 'cap_add = ["SYS_ADMIN"]'),
            ("pod_spec", "pod_spec = [{name = 'a', patch = '{\"hostNetwork\": true}'}]"),
            (
                "volumes.host_path",
                '[[runners.kubernetes.volumes.host_path]]\nname = "v"\nmount_path = "/mnt/v"',
            ),
        )
    ],
    *[
        (
            "no TLS",
            kubernetes(f"[[runners.kubernetes.services]]\nname = 'docker:dind'\n{text}"),
            "runner.extra_config: kubernetes.services[0]: must not be a Docker daemon without TLS",
            "remove the port 2375",
        )
        for text in (
            "environment = ['DOCKER_TLS_CERTDIR=']",
            "command = ['dockerd', '-H', 'tcp://0.0.0.0:2375']",
            "command = ['--tls=false']",
        )
    ],
    # The types and tables of `extra_config`.
    *[
        ("extra config", extra(f"[[runners]]\n{text}"), f"runner.extra_config: {path}:", word)
        for text, path, word in (
            ('limit = "a"', "limit", "whole number"),
            ("limit = -1", "limit", "greater than or equal to 0"),
            ('kubernetes = "x"', "kubernetes", "must be a map"),
            ('unhealthy_interval = "soon"', "unhealthy_interval", "a duration"),
            ('clone_url = "https://user:pass@x"', "clone_url", "must not"),
            (f'pre_build_script = "login {token()}"', "pre_build_script", "use a Secret"),
        )
    ],
    *[
        ("extra config", kubernetes(text), f"runner.extra_config: kubernetes.{path}:", word)
        for text, path, word in (
            ('volumes = "x"', "volumes", "must be a map"),
            ("volumes = {host_path = 5}", "volumes.host_path", "must be a list"),
            ('volumes = {host_path = ["a"]}', "volumes.host_path[0]", "must be a map"),
            ("volumes = {pvc = [{nme = 'x'}]}", "volumes.pvc[0].nme", "did you mean 'name'?"),
            ("dns_config = {nameserverz = []}", "dns_config.nameserverz", "'nameservers'?"),
            ('retry_limit = "five"', "retry_limit", "whole number"),
            ("poll_interval = -5", "poll_interval", "greater than"),
            ("namespace_per_job = true", "namespace_per_job", "needs a ClusterRole"),
            ("autoscaler = {max_pods = 3}", "autoscaler.max_pods", "did you mean"),
            ("pod_labels_overwrite_allowed = '('", "pod_labels_overwrite_allowed", "regular"),
            ("pod_cpu_limit = 'lots'", "pod_cpu_limit", "quantity"),
            ("suspend_pvc_size = '10G i'", "suspend_pvc_size", "quantity"),
        )
    ],
    (
        "extra config",
        extra('runners = "x"'),
        "runner.extra_config: must be exactly one",
        "keep one table",
    ),
    (
        "extra config",
        extra('runners = ["x"]'),
        "runner.extra_config: must be exactly one",
        "keep one table",
    ),
    # Variables of jobs.
    *[
        (
            "extra config",
            runner(environment={key: "x"}),
            f"runner: environment.{key} must not be set here",
            "masked CI/CD variable",
        )
        for key in ("npm_token", "my_password", "AWS_ACCESS_KEY_ID", "docker_host")
    ],
    (
        "extra config",
        runner(environment={"A": token()}),
        "runner.environment.A:",
        "token or a password",
    ),
    (
        "extra config",
        runner(environment={"A": "https://u:p@x"}),
        "runner.environment.A:",
        "password",
    ),
    *[
        (
            "labels and types",
            runner(environment={"A": value}),
            "runner.environment.A:",
            "must be a string",
        )
        for value in (None, 5, True, ["x"], {"b": 1})
    ],
    *[
        (
            "seconds and replicas",
            runner(feature_flags={flag: False}),
            f"runner: feature_flags.{flag} must not be false",
            "remove it",
        )
        for flag in ("FF_DISABLE_AUTOMATIC_TOKEN_ROTATION", "FF_USE_POD_ACTIVE_DEADLINE_SECONDS")
    ],
    # Parts that contradict each other.
    (
        "cache backend",
        {**minio(engine="seaweedfs"), "network": {"enable_policies": False}},
        "network.enable_policies must be true",
        "another engine",
    ),
    *[
        (
            kind,
            {"cache": {"backend": "external", "external": {"s3": {"bucket": "there", **store}}}},
            f"cache.external.s3: {path}",
            word,
        )
        for kind, store, path, word in (
            ("region", {}, "region must be set for a bucket on AWS", "set it"),
            ("region", {"region": "Frankfurt"}, "region: must be an AWS region", "eu-central-1"),
            (
                "identity",
                {"region": "eu-west-1", "insecure": True},
                "insecure is only",
                "remove it",
            ),
            ("identity", {"server_address": "s:9000"}, "server_address needs an access key", "set"),
            (
                "identity",
                {
                    "server_address": "s:9000",
                    "credentials_secret_name": "keys",
                    "role_arn": "arn:aws:iam::123456789012:role/r",
                },
                "role_arn is only for AWS S3",
                "remove it",
            ),
        )
    ],
    (
        "several tokens",
        {
            "token_secret_name": NONE,
            "fleets": {"a": {"token_secret_name": "t"}, "b": {"token_secret_name": "t"}},
        },
        "fleets.b.token_secret_name must differ from fleets.a.token_secret_name",
        "create a runner in GitLab for each fleet",
    ),
    (
        "several tokens",
        {"token_secret_name": "glrt-abcdefghijklmnopqrstuv"},
        "token_secret_name:",
        "a token",
    ),
    (
        "unknown key",
        {"token_secret_name": NONE, "fleets": {"runner": {"token_secret_nam": "t"}}},
        "fleets.runner.token_secret_nam: unknown key",
        "did you mean 'token_secret_name'?",
    ),
    *[
        (
            "zones",
            {
                "token_secret_name": NONE,
                "fleets": {fleet: {"token_secret_name": "t"}},
                "zones": {"a": {}},
                "monitoring": {},
            },
            f"fleets.{fleet}: must not have the name of another part",
            "rename the fleet",
        )
        for fleet in ("store", "docker", "docker-a")
    ],
    # Text by its own grammar: ASCII, no patterns, no templates.
    *[
        ("address of GitLab", {"gitlab_url": text}, "gitlab_url:", "https")
        for text in (
            "https://{{.Values.x}}.com",
            "https://gitlab.example.com/{{x}}",
            'https://gitlab.example.com/"x',
            "https://gıtlab.example.com",
            "https://gitlab.example.com:0",
            "https://gitlab.example.com:99999",
            "https://..",
        )
    ],
    *[
        ("ARN", s3(**{field: arn}), f"cache.s3.{field}:", "without '*'")
        for field, arn in (
            ("kms_key_arn", "arn:aws:kms:eu-central-1:123456789012:key/*"),
            ("existing_role_arn", "arn:aws:iam::123456789012:role/*"),
            ("permissions_boundary_arn", "arn:aws:iam::123456789012:policy/a?"),
            ("oidc_provider_arn", "arn:aws:iam::123456789012:oidc-provider/ x"),
            ("oidc_provider_arn", "arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:oidc-provider/x"),
            ("oidc_provider_arn", "arn:aws-mars:iam::123456789012:oidc-provider/x"),
        )
    ],
    ("region", s3(region="xx-yy-zz-1"), "cache.s3.region:", "AWS region"),
    ("region", s3(region="eu-central-１"), "cache.s3.region:", "AWS region"),
    ("chart", runner(chart={"version": "０.９２.２"}), "runner.chart.version:", "exact version"),
    ("chart", runner(chart={"chart": " "}), "runner.chart.chart:", "a chart's name"),
    ("chart", runner(chart={"chart": "{{x}}"}), "runner.chart.chart:", "a chart's name"),
    ("chart", runner(chart={"repository": "http://x"}), "runner.chart.repository:", "https"),
    *[
        ("image", runner(image=f"{text}{DIGEST}"), "runner.image:", "full reference")
        for text in (
            "docker.io/gitlab/gitlab-runner:é1",
            "docker.io:99999999/gitlab/gitlab-runner:v1",
            "docker.io:99999/gitlab/gitlab-runner:v1",
            "docker.io/../..//:v1",
        )
    ],
    *[
        (
            "namespaces",
            {"network": {"cluster_domain": text}},
            "network.cluster_domain:",
            "DNS domain",
        )
        for text in ("cluster.local:53", "...", "Cluster.Local", "")
    ],
    *[
        ("namespaces", {"network": {"egress_cidrs": [text]}}, "network.egress_cidrs[0]:", word)
        for text, word in (
            ("10.0.0.0", "CIDR block"),
            ("999.1.1.1/99", "CIDR block"),
            ("１0.0.0.0/8", "CIDR block"),
            ("10.1.2.3/8", "write '10.0.0.0/8'"),
            ("0.0.0.0/0", "all addresses"),
            ("::/0", "all addresses"),
            ("169.254.169.254/32", "link-local"),
            ("128.0.0.0/1", "link-local"),
            ("fe80::/64", "link-local"),
            ("::ffff:169.254.0.0/112", "link-local"),
        )
    ],
    *[
        (
            "namespaces",
            daemon(insecure_registries=[text]),
            "docker_daemon.insecure_registries[0]:",
            "host or host:port",
        )
        for text in ("a:99999", "-", "http://registry:5000", "a:0")
    ],
    # Maps and lists by Kubernetes' and AWS's grammar.
    (
        "node selector",
        {"docker_daemon": {"node_selector": {"": ""}}},
        "docker_daemon.node_selector.:",
        "label",
    ),
    (
        "node selector",
        {"docker_daemon": {"node_selector": {"a b": "c"}}},
        "docker_daemon.node_selector.a b:",
        "label",
    ),
    (
        "labels and types",
        daemon(tolerations=[{"keyy": "a"}]),
        "docker_daemon.tolerations[0].keyy: unknown key",
        "did you mean 'key'?",
    ),
    (
        "labels and types",
        daemon(tolerations=[{}]),
        "docker_daemon.tolerations[0]: key must be",
        "Exists",
    ),
    (
        "labels and types",
        runner(manager_tolerations=[{"key": "a", "effect": "Never"}]),
        "runner.manager_tolerations[0].effect:",
        "'NoSchedule'",
    ),
    (
        "labels and types",
        runner(job_node_tolerations={"a b=c=d": "NoSchedule"}),
        "runner.job_node_tolerations.a b=c=d:",
        "must be a taint",
    ),
    (
        "labels and types",
        runner(job_node_selector={"a": "b c"}),
        "runner.job_node_selector.a:",
        "label",
    ),
    (
        "labels and types",
        runner(job_pod_annotations={"bad key": "x"}),
        "runner.job_pod_annotations.bad key:",
        "label's name",
    ),
    (
        "labels and types",
        {"monitoring": {"labels": {"bad!": "x"}}},
        "monitoring.labels.bad!:",
        "label's name",
    ),
    ("labels and types", s3(tags={"a": None}), "cache.s3.tags.a:", "must be a string"),
    (
        "labels and types",
        s3(tags={"aws:x": "y"}),
        "cache.s3.tags.aws:x:",
        "not beginning with 'aws:'",
    ),
    (
        "labels and types",
        runner(allowed_images=[" "]),
        "runner.allowed_images[0]:",
        "must not be empty",
    ),
    (
        "labels and types",
        {
            "cache": {
                "backend": "external",
                "external": {
                    "azure": {"account_name": "abc", "container": "abc", "client_id": " "}
                },
            }
        },
        "cache.external.azure.client_id:",
        "a client id",
    ),
    ("quantity", minio(volume_size="9" * 40 + "Gi"), "cache.minio.volume_size:", "at most 64Ti"),
    (
        "quantity",
        minio(volume_size="1073741824000m"),
        "cache.minio.volume_size:",
        "whole number of bytes",
    ),
    ("quantity", minio(volume_size="."), "cache.minio.volume_size:", "quantity"),
    (
        "limit below request",
        minio(resources={"memory_request": "8Gi"}),
        "cache.minio.resources: memory_request (8Gi) must not exceed memory_limit (1Gi)",
        "a higher memory_limit",
    ),
    # Shapes.
    *[
        ("labels and types", {key: value}, f"{key}:", "must be a map")
        for key in ("fleets", "zones", "cache", "network", "namespaces")
        for value in (None, 5, [], ["a"], True)
    ],
    ("labels and types", runner(tags=True), "runner.tags:", "must be a list"),
    ("labels and types", runner(tags=[True]), "runner.tags[0]:", "must be a string"),
    (
        "labels and types",
        runner(job_node_selector=["a"]),
        "runner.job_node_selector:",
        "must be a map",
    ),
    ("labels and types", {"runner": None}, "runner:", "must be a map"),
    ("labels and types", runner(concurrent=10**30), "runner.concurrent:", "must be"),
    ("labels and types", {"namespaces": {"jobs": "jоbs"}}, "namespaces.jobs:", "DNS-1123"),
]


RUNNER = GOOD
CACHE = {"bucket": "there", "server_address": "s:9000", "credentials_secret_name": "keys"}
# What is wrong with the arguments of one component, and how the message must begin.
PARTS: list[tuple[Any, dict[str, Any], str]] = [
    (
        GitLabRunner,
        {**RUNNER, "namespace": "same", "job_namespace": "same"},
        "job_namespace must differ from namespace",
    ),
    (
        GitLabRunner,
        {
            **RUNNER,
            "enable_privileged_jobs": True,
            "docker": {"host": "tcp://d:2376", "client_secret_name": "c"},
        },
        "enable_privileged_jobs must be false",
    ),
    *[
        (
            GitLabRunner,
            {**RUNNER, kind: {"host": host, "client_secret_name": "c", "replicas": 2}},
            f"{kind}: host must be a DNS name if there are 2 daemons",
        )
        for kind in ("docker", "buildkit")
        for host in ("tcp://10.0.0.1:2376", "tcp://[::1]:2376")
    ],
    (
        GitLabRunner,
        {
            **RUNNER,
            "docker": {"host": "tcp://d:2376", "client_secret_name": "c", "replicas": 2},
            "extra_config": '[[runners]]\nshell = "pwsh"\n',
        },
        "extra_config must not set a shell other",
    ),
    (
        MinioCache,
        {"image": f"quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z{DIGEST}"},
        "image: cannot be pulled: refuses anonymous pulls",
    ),
    (MinioCache, {"engine": "minio"}, "image must be set for the engine 'minio'"),
    (
        MinioCache,
        {"engine": "seaweedfs", "enable_console": True},
        "enable_console must be false for the engine 'seaweedfs'",
    ),
    (
        MinioCache,
        {"engine": "seaweedfs", "enable_network_policies": False},
        "enable_network_policies must be true for the engine 'seaweedfs'",
    ),
    (
        MinioCache,
        {"runner_namespace": "same", "job_namespace": "same"},
        "job_namespace must differ from runner_namespace",
    ),
    (MinioCache, {"enable_tls": "yes"}, "enable_tls: must be"),
    (
        MinioCache,
        {"enable_metrics": True, "metrics_namespace": "Not_A_Name"},
        "metrics_namespace: must be a DNS-1123 label",
    ),
    (S3Cache, {"region": "eu-central-1"}, "oidc_provider_arn must be set for the identity 'irsa'"),
    (
        S3Cache,
        {**S3, "identity": "access-key"},
        "oidc_provider_arn is only for the identity 'irsa'",
    ),
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
        "kms_key_arn must be the ARN of a key, not of an alias",
    ),
    (
        S3Cache,
        {**S3, "kms_key_arn": "arn:aws:kms:eu-west-1:123456789012:key/1"},
        "kms_key_arn must be in the bucket's region (eu-central-1), got 'arn:aws:kms:eu-west-1:",
    ),
    *[
        (S3Cache, {**S3, **change}, f"{field} must be in the partition '{wanted}' of region")
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
        "permissions_boundary_arn must be in the account of oidc_provider_arn, got 'arn:aws:iam::2",
    ),
    *[
        (
            S3Cache,
            {**S3, "existing_bucket_name": "there-already", **change},
            f"{next(iter(change))} must not be set together with existing_bucket_name",
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
        (S3Cache, {**S3, "prefix": prefix}, "prefix: must be folder names of")
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
        "oidc_provider_arn is only for the identity 'irsa', but identity is 'existing'",
    ),
    *[
        (
            S3Cache,
            {"region": "eu-central-1", "identity": identity, "enable_large_objects": True},
            "enable_large_objects needs a role",
        )
        for identity in ("access-key", "existing")
    ],
    (
        SharedDockerDaemon,
        {**DAEMON, "namespace": "same", "job_namespace": "same"},
        "namespace must differ from job_namespace",
    ),
    (SharedDockerDaemon, {**DAEMON, "mtu": 70000}, "mtu: must be less than or equal to 9216"),
    *[
        (SharedDockerDaemon, {**DAEMON, **settings}, problem)
        for settings, problem in (
            (
                {"address_pools": [{"base": "fd00::/8", "size": 24}]},
                "address_pools[0]: base (fd00::/8) must be an IPv4 range",
            ),
            (
                {"address_pools": [{"base": "10.0.0.0/25", "size": 24}]},
                "address_pools[0]: base (10.0.0.0/25) must be an IPv4 range that is larger",
            ),
            (
                {
                    "address_pools": [{"base": "10.1.0.0/16", "size": 24}],
                    "egress_cidrs": ["10.0.0.0/8"],
                },
                "address_pools[0].base (10.1.0.0/16) must not overlap egress_cidrs (10.0.0.0/8)",
            ),
            (
                {"egress_cidrs": ["198.18.7.0/24"]},
                "address_pools[0].base (198.18.0.0/16) must not overlap egress_cidrs",
            ),
        )
    ],
    (
        SharedDockerDaemon,
        {**DAEMON, "insecure_registries": ["http://registry:5000"]},
        "insecure_registries[0]: must be host or host:port",
    ),
    *[
        (RegistryMirror, {"remote_url": url}, problem)
        for url, problem in (
            ("registry-1.docker.io", "remote_url: must be an https:// or http:// URL"),
            ("https://user:word@registry.example.com", "remote_url: must not contain credentials"),
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
        "credentials_secret_name must not be set together with username and password",
    ),
    (RegistryMirror, {"ttl_hours": 0}, "ttl_hours: must be greater than or equal to 1"),
    (RegistryMirror, {"volume_size": "50"}, "volume_size: must be at least 1Gi"),
    (RegistryMirror, {"log_level": "trace"}, "log_level: must be"),
    (RegistryMirror, {"image": "docker.io/library/registry:3"}, "image: must be pinned by digest"),
    (RegistryMirror, {"client_namespaces": []}, "client_namespaces must have at least one"),
    (
        RegistryMirror,
        {"namespace": "same", "job_namespace": "same"},
        "namespace must differ from job_namespace",
    ),
    *[
        (component, {**args, "namespace": namespace}, "namespace: must be a dedicated namespace")
        for component, args in (
            (GitLabRunner, RUNNER),
            (SharedDockerDaemon, DAEMON),
            (BuildKitDaemon, {}),
            (MinioCache, {}),
            (RegistryMirror, {}),
        )
        for namespace in ("default", "kube-system")
    ],
    (SharedDockerDaemon, {**DAEMON, "namespace": ""}, "namespace: must be a DNS-1123 label"),
    *[
        (GitLabRunner, {**RUNNER, "cache": {**CACHE, **cache}}, f"cache{message}")
        for cache, message in (
            ({"path": "../../x"}, ".path: must not lead out of its folder"),
            ({"path": "/x"}, ".path: must be folder names"),
            ({"bucket": "UP"}, ": bucket: must be 3 to 63"),
            ({"type": "azure", "bucket": " "}, ".bucket: must not be empty"),
            ({"type": "gcs", "bucket": "google"}, ": bucket: must be the name of a GCS bucket"),
            ({"account_name": "{{x}}"}, ".account_name: must be a storage account"),
            ({"server_address": "https://x"}, ".server_address: must be host or host:port"),
            ({"credentials_secret_name": None}, ": server_address needs an access key"),
        )
    ],
    (GitLabRunner, {**RUNNER, "cache": {"bucket": "there"}}, "cache: region must be set for a bu"),
    *[
        (
            GitLabRunner,
            {**RUNNER, kind: {"host": host, "client_secret_name": "c"}},
            f"{kind}.host: must be 'tcp://host:",
        )
        for kind in ("docker", "buildkit")
        for host in ("not a host; rm -rf", "tcp://h", "tcp://h:2375", "tcp://h:99999", "h:2376")
    ],
    (
        GitLabRunner,
        {**RUNNER, "service_account_annotations": {"bad key": "x"}},
        "service_account_annotations.bad key: must be a label's name",
    ),
    (
        GitLabRunner,
        {**RUNNER, "manager_pod_labels": {"a": "{{ fail }}"}},
        "manager_pod_labels.a: must be a label's value",
    ),
    (
        GitLabRunner,
        {**RUNNER, "gitlab_ca_secret_name": " "},
        "gitlab_ca_secret_name: must be a DNS",
    ),
    (
        GitLabRunner,
        {**RUNNER, "image_pull_secrets": [None]},
        "image_pull_secrets[0]: must be a str",
    ),
    (S3Cache, {**S3, "service_account_names": []}, "service_account_names: must not be empty"),
    (RegistryMirror, {"username": "u", "password": "p\n"}, "password: must be one line"),
    (RegistryMirror, {"username": "u", "password": ""}, "password: must not be empty"),
    (ExternalCache, {}, "exactly one of s3, gcs and azure must be set, got none"),
    (
        ExternalCache,
        {"s3": {"bucket": "there", "region": "eu-west-1"}, "gcs": {"bucket": "there"}},
        "exactly one of s3, gcs and azure must be set, got s3 and gcs",
    ),
    (ExternalCache, {"gcs": {"bucket": "google"}}, "gcs.bucket: must be the name of a GCS bucket"),
    (
        ExternalCache,
        {"gcs": {"bucket": "there", "service_account_email": "nobody"}},
        "gcs.service_account_email: must be a service account",
    ),
    (
        ExternalCache,
        {"azure": {"account_name": "UP", "container": "there"}},
        "azure.account_name: must be a storage account",
    ),
    (
        ExternalCache,
        {"azure": {"account_name": "account", "container": "a--b"}},
        "azure.container: must be a container",
    ),
]

ALL: list[tuple[Any, dict[str, Any]]] = [
    (GitLabRunner, RUNNER),
    (RunnerPlatform, GOOD),
    (SharedDockerDaemon, DAEMON),
    (BuildKitDaemon, {}),
    (MinioCache, {}),
    (RegistryMirror, {}),
    (S3Cache, S3),
    (ExternalCache, {"gcs": {"bucket": "there"}}),
]


def refused(program: Callable[[], object]) -> ArgsError:
    """Return the error of a program, which must have registered nothing."""
    caught: list[ArgsError] = []

    def run() -> None:
        try:
            program()
        except ArgsError as error:
            caught.append(error)

    recorder = deploy(run)
    assert len(caught) == 1
    assert {made.type for made in recorder.registrations} <= {"pulumi:pulumi:Stack"}
    return caught[0]


@pytest.mark.parametrize(("component", "args", "message"), PARTS)
def test_bad_arguments_of_a_part(component: Any, args: dict[str, Any], message: str) -> None:
    error = refused(lambda: component("bad", args))
    assert any(problem.startswith(message) for problem in error.problems), error


@pytest.mark.parametrize("component", [component for component, _ in ALL])
@pytest.mark.parametrize("args", [None, [], 5, "abc"])
def test_arguments_of_the_wrong_shape(component: Any, args: Any) -> None:
    error = refused(lambda: component("bad", args))
    assert "the arguments must be a map, got" in str(error)


@pytest.mark.parametrize(("component", "args"), ALL)
@pytest.mark.parametrize("name", ["Cache_1", "a b", "m" * 70, "", None, 5])
def test_names_that_make_no_objects(component: Any, args: dict[str, Any], name: Any) -> None:
    error = refused(lambda: component(name, args))
    assert f"the name '{name}' must be a DNS-1123 label of at most" in str(error)


def test_names_are_judged_with_what_is_added_to_them() -> None:
    zones: Any = {"z" * 20: {"docker_daemon": DAEMON}, "y" * 20: {}}
    error = refused(lambda: RunnerPlatform("p" * 38, {**GOOD, "zones": zones}))  # type: ignore[typeddict-item]
    (problem,) = error.problems
    path = f"zones.{'z' * 20}.docker_daemon"
    assert problem.startswith(f"{path}: the name '{'p' * 38}-{'z' * 20}-docker-rootless' made of")
    assert deploy(lambda: RunnerPlatform("p" * 38, GOOD)).registrations  # type: ignore[arg-type]
    assert refused(lambda: RunnerPlatform("p" * 39, GOOD))  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["fleets", "zones", "runner", "cache", "docker_daemon"])
def test_only_what_is_inside_may_be_an_output(key: str) -> None:
    error = refused(
        lambda: RunnerPlatform("bad", {**GOOD, key: pulumi.Output.from_input({})})  # type: ignore[typeddict-item]
    )
    assert error.problems[0].startswith(f"{key}: must be a map, got an Output"), error


def test_what_is_right_passes() -> None:
    """Rules that refuse must not refuse these."""
    key = json.dumps({"type": "service_account", "private_key": "x"}, indent=2)
    more: list[tuple[Any, dict[str, Any]]] = [
        *ALL,
        (ExternalCache, {"gcs": {"bucket": "there", "service_account_key": key}}),
        (RunnerPlatform, {**GOOD, "network": {"egress_cidrs": ["fd00::/8", "10.0.0.0/8"]}}),
        (RunnerPlatform, {**GOOD, "gitlab_url": "https://gitlab.example.com:8443/git"}),
        (RunnerPlatform, {**GOOD, "gitlab_url": "https://ci"}),
        (RegistryMirror, {"remote_url": "https://ci"}),
        (SharedDockerDaemon, {**DAEMON, "egress_cidrs": ["192.0.0.0/4", "fd00::/8"]}),
        (RunnerPlatform, {**GOOD, **s3(region="us-gov-west-1", oidc_provider_arn=GOV)}),
        (RunnerPlatform, {**GOOD, "monitoring": {"prometheus_namespace": "kube-system"}}),
        (
            RunnerPlatform,
            {
                **GOOD,
                **runner(
                    environment={"A": "", "B": "x\ny"},
                    job_node_tolerations={"spot": "NoSchedule", "example.com/a=b": ""},
                    manager_tolerations=[
                        {"operator": "Exists"},
                        {"key": "a", "effect": "NoExecute", "tolerationSeconds": 30},
                    ],
                    feature_flags={"FF_USE_POD_ACTIVE_DEADLINE_SECONDS": True},
                ),
            },
        ),
    ]
    for component, args in more:
        assert deploy(lambda component=component, args=args: component("ok", args)).registrations  # type: ignore[misc]


def test_resources_in_part_keep_the_defaults_of_the_rest() -> None:
    args: Any = {**GOOD, **daemon(resources={"cpu_request": "2"})}
    made = deploy(lambda: RunnerPlatform("ci", args)).one(":StatefulSet", "ci-docker-daemon")
    (container, *_) = made.pod["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "2Gi"},
        "limits": {"cpu": "8", "memory": "16Gi"},
    }


def test_what_the_chart_reads_as_templates_comes_back_as_it_is() -> None:
    args: Any = {**GOOD, "service_account_annotations": {"a/b": "{{ .Values.x }}"}}
    values = deploy(lambda: GitLabRunner("ci", args)).one(":Release").values
    (text,) = values["serviceAccount"]["annotations"].values()
    assert "{{ .Values" not in text
    assert lint.by_helm(text) == "{{ .Values.x }}"


def test_values_that_are_not_known_yet_pass() -> None:
    def program() -> None:
        unknown: Any = pulumi.Output.from_input(UNKNOWN)
        GitLabRunner("ok", {"gitlab_url": unknown, "token_secret_name": unknown})

    values = deploy(program, preview=True).one(":Release").values
    assert values["gitlabUrl"] == UNKNOWN_VALUE
    # What does not depend on them is known all the same.
    assert values["concurrent"] == 10
    assert 'namespace = "gitlab-runner-jobs"' in values["runners"]["config"]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("gitlab_url", "http://gitlab.example.com", "gitlab_url must be https"),
        ("runner_token", "glpat-abcdefghijklmnopqrstuvwx", "but this is a personal access token"),
        ("job_namespace", "kube-system", "must be a dedicated namespace"),
    ],
)
@pytest.mark.parametrize("wrap", [pulumi.Output.from_input, pulumi.Output.secret])
def test_a_known_output_is_judged_like_its_value(
    name: str, value: str, word: str, wrap: Callable[[str], Any]
) -> None:
    def program() -> None:
        output = {name: wrap(value)}
        args: Any = {**RUNNER, "token_secret_name": None, "runner_token": token(), **output}
        GitLabRunner("ci", args)

    with pytest.raises(ArgsError, match=word) as caught:
        deploy(program)
    if wrap is pulumi.Output.secret:
        assert value not in str(caught.value)


def test_wrong_resources_hide_no_problem_around_them() -> None:
    resources = {"memory_request": "32Gi"}
    args = arguments({"token_secret_name": NONE, "docker_daemon": {"resources": resources}})
    problems = refused(lambda: RunnerPlatform("bad", args)).problems  # type: ignore[arg-type]
    for start in (
        "docker_daemon.resources: memory_request (32Gi) must not exceed",
        "docker_daemon: node_selector must select",
        "exactly one of runner_token",
    ):
        assert any(line.startswith(start) for line in problems), (start, problems)


def test_one_token_of_two_fleets_is_refused_as_a_secret_too() -> None:
    def program() -> None:
        fleets = {name: {"runner_token": pulumi.Output.secret(text)} for name in "ab"}
        args: Any = {"gitlab_url": GOOD["gitlab_url"], "fleets": fleets}
        RunnerPlatform("ci", args)

    text = token()
    with pytest.raises(ArgsError, match=r"fleets\.b\.runner_token must differ from fleets\.a"):
        deploy(program)


def test_a_problem_is_told_at_each_of_its_places() -> None:
    """Beside an invalid field, a zone hides the problem that another zone has too."""
    disk = {"accept_shared_nodes": True, "prune_above_percent": 50, "build_cache_percent": 60}
    zones = {"a": {"docker_daemon": disk}, "b": {"docker_daemon": {**disk, "mtu": 1}}}
    problems = refused(lambda: RunnerPlatform("bad", arguments({"zones": zones}))).problems  # type: ignore[arg-type]
    for zone in zones:
        assert any(
            line.startswith(f"zones.{zone}.docker_daemon: prune_above_percent") for line in problems
        ), problems


def test_a_variable_that_turns_out_to_be_a_secret_never_becomes_text() -> None:
    def made(value: pulumi.Output[str]) -> GitLabRunner:
        args: Any = {**RUNNER, "environment": {"A": value}}
        return GitLabRunner("ci", args)

    plain = deploy(lambda: made(pulumi.Output.from_input("x"))).one(":Release").values
    assert '"A=x"' in plain["runners"]["config"]
    for value in ("canary", token()):
        with pytest.raises(ValueError, match=r"environment\.A: must not be a secret"):
            deploy(lambda value=value: made(pulumi.Output.secret(value)))  # type: ignore[misc]
    with pytest.raises(ValueError, match=r"environment\.A: must not be a secret") as pin:
        deploy(lambda: made(pulumi.Output.secret(471147)))  # type: ignore[arg-type]
    assert "471147" not in str(pin.value)
    with pytest.raises(ValueError, match=r"environment\.A: must not contain a token"):
        deploy(lambda: made(pulumi.Output.from_input(token())))


@pytest.mark.parametrize("kind", ["docker", "buildkit"])
def test_a_late_address_of_several_daemons_is_refused(
    kind: str,
) -> None:
    def made(replicas: int) -> GitLabRunner:
        host = pulumi.Output.from_input("tcp://10.0.0.1:2376")
        daemon = {"host": host, "client_secret_name": "client", "replicas": replicas}
        args: Any = {**RUNNER, kind: daemon}
        return GitLabRunner("ci", args)

    assert deploy(lambda: made(1)).one(":Release")
    with pytest.raises(ValueError, match=rf"{kind}: host must be a DNS name .*; use the name"):
        deploy(lambda: made(2))


def arguments(wrong: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**GOOD, **wrong}.items() if value is not NONE}


def as_file(value: Any, name: str = "") -> Any:
    """Return arguments as a stack's file has them."""
    if isinstance(value, Mapping):
        own = name in settings._MAPS
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
    assert_told(refused(lambda: RunnerPlatform("bad", arguments(wrong))), path, word)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "wrong", "path", "word"), BAD, ids=IDS)
def test_bad_stack_files(kind: str, wrong: dict[str, Any], path: str, word: str) -> None:
    with pytest.raises(ArgsError) as caught:
        parse(arguments(wrong))
    assert str(caught.value).startswith("stacks/Pulumi.bad.yaml"), kind
    assert_told(caught.value, path, word)


def test_a_token_in_plain_text_is_refused() -> None:
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
        "cache: minio is set, but backend is 's3'",
        "cache: s3 must be set",
        "cache.minio.volume_size: must be",
        "docker_daemon.mtu: must be",
        "docker_daemon: node_selector must select",
        "docker_daemon.certificate_validity_hours: must be",
        "namespaces.jobs: must be a dedicated namespace",
    ):
        assert any(problem.startswith(path) for problem in caught.value.problems), (path, caught)
    assert "glpat-abc" not in str(caught.value)


def test_the_name_leaves_room_for_the_rootless_daemons_pods() -> None:
    daemon = {"accept_shared_nodes": True, "isolation": "rootless"}
    args: Any = {**GOOD, "docker_daemon": daemon}
    assert deploy(lambda: RunnerPlatform("a" * 36, args)).one(
        ":StatefulSet", f"{'a' * 36}-docker-daemon"
    )
    problems = refused(lambda: RunnerPlatform("a" * 37, args)).problems
    name = f"{'a' * 37}-docker-rootless"
    assert problems[0].startswith(f"docker_daemon: the name '{name}' made of it must be")


def test_a_wrong_item_hides_no_valid_one() -> None:
    policies = ["bad", "always", "worse", "if-not-present"]
    wrong = runner(pull_policy="if-not-present", allowed_pull_policies=policies)
    problems = refused(lambda: RunnerPlatform("bad", arguments(wrong))).problems  # type: ignore[arg-type]
    assert [problem.partition(":")[0] for problem in problems] == [
        "runner.allowed_pull_policies[0]",
        "runner.allowed_pull_policies[2]",
    ]


def test_a_wrong_label_is_one_problem() -> None:
    """The message does not also say that the labels are missing."""
    args = arguments({"docker_daemon": {"node_selector": {"a/b": True}}})
    problems = refused(lambda: RunnerPlatform("bad", args)).problems  # type: ignore[arg-type]
    assert problems == ("docker_daemon.node_selector.a/b: must be a string, got True",)


def test_the_users_own_keys_are_shown_as_they_wrote_them() -> None:
    environment = {"MY_DEBUG_FLAG": 1, "my_debug_flag": 1}
    with pytest.raises(ArgsError) as caught:
        parse(arguments({"runner": {"environment": environment}, "fleets": {"my_fleet": {}}}))
    for path in ("runner.environment.MY_DEBUG_FLAG:", "runner.environment.my_debug_flag:"):
        assert any(problem.startswith(path) for problem in caught.value.problems), caught.value
    assert any("fleets.my_fleet" in problem for problem in caught.value.problems)
