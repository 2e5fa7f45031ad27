"""The GitLab runner: the official Helm chart with the Kubernetes executor."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

from . import _kubernetes as kube
from . import _network as net
from ._config_toml import CacheConfig, RunnerConfig, render
from ._inputs import digest, lift, sha256
from ._meta import token
from ._specs import GitLabRunnerSpec
from ._validation import validate
from ._values import ChartConfig, values


class PullPolicy(str, Enum):
    """When the images of jobs are pulled."""

    ALWAYS = "always"
    """Always ask the registry: a job cannot use a private image that another one left behind."""
    IF_NOT_PRESENT = "if-not-present"
    """Only when the node does not have the image."""
    NEVER = "never"
    """Never: only images that the node already has."""


class ResourcesArgs(TypedDict):
    """Compute resources of a container, as Kubernetes quantities."""

    cpu_request: NotRequired[str]
    """CPU that is set aside, in cores, such as "500m"."""
    cpu_limit: NotRequired[str]
    """CPU that is never exceeded, in cores, such as "2"."""
    memory_request: NotRequired[str]
    """Memory that is set aside, in bytes, such as "512Mi"."""
    memory_limit: NotRequired[str]
    """Memory above which the container is killed, in bytes, such as "2Gi"."""


class ChartArgs(TypedDict):
    """Where the runner's Helm chart comes from."""

    chart: NotRequired[str]
    """Name of the chart, an `oci://` reference, or a path. Default: gitlab-runner."""
    repository: NotRequired[str | None]
    """URL of the chart repository; None for an OCI reference or a path.
    Default: GitLab's own, https://charts.gitlab.io."""
    version: NotRequired[str]
    """Exact version, 0.88.2 or newer. Default: the version that this package is tested with."""


class RunnerCacheArgs(TypedDict):
    """An S3-compatible store for `cache:` of jobs."""

    bucket: pulumi.Input[str]
    """Name of the bucket."""
    region: NotRequired[pulumi.Input[str]]
    """Region of the bucket. Default: us-east-1, which S3-compatible stores expect."""
    server_address: NotRequired[pulumi.Input[str] | None]
    """`host:port` of an S3-compatible store, without a scheme. Default: AWS S3."""
    insecure: NotRequired[bool]
    """Use plain HTTP to the store. Default: HTTPS."""
    credentials_secret_name: NotRequired[pulumi.Input[str] | None]
    """Secret in the runner's namespace with the keys `accesskey` and `secretkey`.
    Default: the identity of the runner's ServiceAccount (IRSA or EKS Pod Identity)."""
    credentials_checksum: NotRequired[pulumi.Input[str] | None]
    """Anything that changes with the credentials; the runner's pod rolls when it does.
    Default: a change of the Secret is not noticed."""
    role_arn: NotRequired[pulumi.Input[str] | None]
    """Role that the runner assumes for each object; needed for objects over 5 GB, AWS only.
    Default: presigned URLs, up to 5 GB an object."""
    kms_key_arn: NotRequired[pulumi.Input[str] | None]
    """KMS key that encrypts the objects. Default: the bucket's own encryption."""


class RunnerDockerArgs(TypedDict):
    """A docker daemon that every job uses, over mutual TLS."""

    host: pulumi.Input[str]
    """The daemon's address, `tcp://host:2376`."""
    client_secret_name: pulumi.Input[str]
    """Secret in the job namespace with `ca.pem`, `cert.pem` and `key.pem`."""


class RunnerOptionsArgs(TypedDict):
    """What can be chosen about a runner and its jobs."""

    concurrent: NotRequired[int]
    """Jobs that run at the same time. Default: 10."""
    request_concurrency: NotRequired[int]
    """Requests for jobs that are open at the same time; 1 makes jobs start late under GitLab's
    long polling. Default: 4, or `concurrent` if that is less."""
    default_image: NotRequired[str]
    """Image of jobs that name none, by digest. Default: the docker client."""
    helper_image: NotRequired[str]
    """Image that clones and transfers the cache, by digest; its version must be the runner's.
    Default: the runner's own choice."""
    image: NotRequired[str]
    """Image of the runner itself, by digest. Default: the pinned runner."""
    image_pull_secrets: NotRequired[list[str]]
    """Secrets for pulling the runner's own image. Default: none."""
    pull_policy: NotRequired[PullPolicy]
    """When the images of jobs are pulled. Default: always."""
    enable_privileged_jobs: NotRequired[bool]
    """Run every job's containers privileged, as a docker daemon per job needs.
    Default: no privilege. Refused together with the shared daemon."""
    environment: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables of every job; CI/CD variables override them. Not for secrets: they are plain
    text in the cluster. Default: none."""
    job_resources: NotRequired[ResourcesArgs]
    """Resources of the container that runs the job's script. Default: the cluster's."""
    helper_resources: NotRequired[ResourcesArgs]
    """Resources of the helper container. Default: the cluster's."""
    manager_resources: NotRequired[ResourcesArgs]
    """Resources of the runner itself. Default: 50m to 1 core, 128Mi to 512Mi."""
    job_node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which jobs run. Default: any node."""
    job_node_tolerations: NotRequired[dict[str, str]]
    """Taints that jobs tolerate, as "key=value": "Effect". Default: none."""
    manager_node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the runner itself runs. Default: any node."""
    poll_timeout_seconds: NotRequired[int]
    """Seconds a job's pod may take to start. Default: 600, room for a new node."""
    check_interval_seconds: NotRequired[int]
    """Seconds between requests for jobs. Default: 3."""
    maximum_job_timeout_seconds: NotRequired[int]
    """Seconds that a runner being replaced waits for its jobs to end; at least the longest job
    timeout of your projects. Default: 3600."""
    gitlab_outage_tolerance_minutes: NotRequired[int]
    """Minutes that GitLab may be unreachable before Kubernetes restarts the runner.
    Default: 30. The chart's own default is 3."""
    log_level: NotRequired[str]
    """debug, info, warn, error, fatal or panic. Default: info."""
    enable_metrics: NotRequired[bool]
    """Serve Prometheus metrics on port 9252. Default: served."""
    chart: NotRequired[ChartArgs]
    """The Helm chart. Default: GitLab's, at the pinned version."""


class GitLabRunnerArgs(RunnerOptionsArgs):
    """Arguments of `GitLabRunner`."""

    gitlab_url: pulumi.Input[str]
    """Address of GitLab, `https://…`."""
    runner_token: NotRequired[pulumi.Input[str]]
    """Authentication token of the runner, `glrt-…`, as a Pulumi secret. One of this and
    `token_secret_name` is required."""
    token_secret_name: NotRequired[pulumi.Input[str]]
    """Existing Secret with the keys `runner-token` and `runner-registration-token` (empty)."""
    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the runner itself. Default: gitlab-runner."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the jobs' pods. Default: gitlab-runner-jobs."""
    release_name: NotRequired[str]
    """Name of the Helm release, of the Deployment and of the ServiceAccount. It cannot be
    changed later without a new release. Default: the component's name."""
    service_account_annotations: NotRequired[dict[str, pulumi.Input[str]]]
    """Annotations of the runner's ServiceAccount, such as a role's ARN. Default: none."""
    cache: NotRequired[RunnerCacheArgs]
    """Distributed cache. Default: none; `cache:` of jobs then dies with their pods."""
    docker: NotRequired[RunnerDockerArgs]
    """Shared docker daemon. Default: none."""
    allow_insecure_gitlab_url: NotRequired[bool]
    """Accept an http:// address of GitLab; the token then crosses the network in clear.
    Default: refused."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the runner and the jobs but what they need. Default: denied.
    Has no effect where the cluster's network does not enforce NetworkPolicy."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that jobs may reach, such as a registry's. Default: none."""


class GitLabRunner(pulumi.ComponentResource):
    """A GitLab runner with the Kubernetes executor, installed by the official Helm chart.

    Raises:
        ArgsError: the arguments are not valid; the message has every problem.
    """

    namespace: pulumi.Output[str]
    """Namespace of the runner itself."""
    job_namespace: pulumi.Output[str]
    """Namespace of the jobs' pods."""
    release_name: pulumi.Output[str]
    """Name of the Helm release and of the runner's Deployment."""
    config_checksum: pulumi.Output[str]
    """SHA-256 of the rendered config.toml, which holds no secret."""

    def __init__(
        self,
        name: str,
        args: GitLabRunnerArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        spec = validate(GitLabRunnerSpec, args, f"GitLabRunner '{name}'")
        super().__init__(token("GitLabRunner"), name, {}, opts)
        release_name = spec.release_name or name

        secret, secret_name, checksum = self._token(name, spec)
        config_toml = lift(_render, _runner_config(spec, release_name))
        chart = {
            "gitlab_url": spec.gitlab_url,
            "job_namespace": spec.job_namespace,
            "concurrent": spec.concurrent,
            "config_toml": config_toml,
            "token_secret_name": secret_name,
            "image": spec.image,
            "service_account_name": release_name,
            "cache_secret_name": spec.cache.credentials_secret_name if spec.cache else None,
            "secrets_checksum": checksum,
            "service_account_annotations": spec.service_account_annotations,
            "log_level": spec.log_level,
            "check_interval_seconds": spec.check_interval_seconds,
            "termination_grace_period_seconds": spec.maximum_job_timeout_seconds,
            "outage_tolerance_minutes": spec.gitlab_outage_tolerance_minutes,
            "enable_metrics": spec.enable_metrics,
            "manager_resources": spec.manager_resources.kubernetes(),
            "node_selector": spec.manager_node_selector,
            "image_pull_secrets": spec.image_pull_secrets,
        }
        policies = self._network_policies(name, spec) if spec.enable_network_policies else []
        self._release = k8s.helm.v3.Release(
            f"{name}-release",
            name=release_name,
            namespace=spec.namespace,
            chart=spec.chart.chart,
            version=spec.chart.version,
            repository_opts={"repo": spec.chart.repository} if spec.chart.repository else None,
            values=lift(_values, chart),
            max_history=5,
            atomic=True,
            cleanup_on_fail=True,
            # A first pull of the image takes minutes; the provider's own limit is 300.
            timeout=900,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[*([secret] if secret else []), *policies]
            ),
        )
        self.namespace = pulumi.Output.from_input(spec.namespace)
        self.job_namespace = pulumi.Output.from_input(spec.job_namespace)
        # Known to whoever depends on it only when the release is there.
        self.release_name = self._release.id.apply(lambda _: release_name)
        self.config_checksum = pulumi.Output.from_input(config_toml).apply(sha256)
        self.register_outputs(
            {
                "namespace": self.namespace,
                "job_namespace": self.job_namespace,
                "release_name": self.release_name,
                "config_checksum": self.config_checksum,
            }
        )

    @property
    def release(self) -> k8s.helm.v3.Release:
        """The Helm release (native only)."""
        return self._release

    def _token(
        self, name: str, spec: GitLabRunnerSpec
    ) -> tuple[k8s.core.v1.Secret | None, pulumi.Input[str], pulumi.Input[str] | None]:
        """Declare the token's Secret; return it, its name, and a checksum of the secrets."""
        extra = spec.cache.credentials_checksum if spec.cache else None
        if spec.runner_token is None:
            assert spec.token_secret_name is not None  # the spec holds that one is set
            return None, spec.token_secret_name, extra
        salt = random.RandomId(
            f"{name}-checksum-salt", byte_length=16, opts=pulumi.ResourceOptions(parent=self)
        )
        secret = k8s.core.v1.Secret(
            f"{name}-token",
            metadata={
                "name": f"{name}-token",
                "namespace": spec.namespace,
                "labels": kube.labels("gitlab-runner", name),
            },
            # The chart mounts both keys: without the second the pod never starts.
            string_data={"runner-token": spec.runner_token, "runner-registration-token": ""},
            opts=pulumi.ResourceOptions(parent=self),
        )
        secrets = [spec.runner_token, *([extra] if extra else [])]
        return secret, f"{name}-token", digest(*secrets, salt=salt.hex)

    def _network_policies(self, name: str, spec: GitLabRunnerSpec) -> list[pulumi.Resource]:
        addresses = {
            "gitlab": spec.gitlab_url,
            "store": spec.cache.server_address if spec.cache else None,
            "docker": spec.docker.host if spec.docker else None,
        }
        child = pulumi.ResourceOptions(parent=self)
        return [
            net.policy(
                f"{name}-manager",
                spec.namespace,
                ingress=[{"ports": net.ports(net.METRICS_PORT)}] if spec.enable_metrics else [],
                egress=lift(net.manager_egress, addresses),
                opts=child,
            ),
            net.policy(
                f"{name}-jobs",
                spec.job_namespace,
                ingress=[],
                egress=lift(lambda known: net.job_egress(known, spec.egress_cidrs), addresses),
                opts=child,
            ),
        ]


def _values(chart: Mapping[str, Any]) -> dict[str, Any]:
    return values(ChartConfig(**chart))


def _render(runner: Mapping[str, Any]) -> str:
    cache = CacheConfig(**runner["cache"]) if runner["cache"] else None
    return render(RunnerConfig(**{**runner, "cache": cache}))


def _runner_config(spec: GitLabRunnerSpec, release_name: str) -> dict[str, Any]:
    cache = spec.cache and {
        "bucket": spec.cache.bucket,
        "region": spec.cache.region,
        "path": release_name,
        "server_address": spec.cache.server_address,
        "insecure": spec.cache.insecure,
        "authentication": "iam" if spec.cache.credentials_secret_name is None else "access-key",
        "role_arn": spec.cache.role_arn,
        "kms_key_arn": spec.cache.kms_key_arn,
    }
    return {
        "job_namespace": spec.job_namespace,
        "image": spec.default_image,
        "pull_policy": spec.pull_policy,
        "request_concurrency": spec.request_concurrency or min(4, spec.concurrent),
        "helper_image": spec.helper_image,
        "privileged": spec.enable_privileged_jobs,
        "poll_timeout_seconds": spec.poll_timeout_seconds,
        "environment": spec.environment,
        "job_resources": spec.job_resources.executor(),
        "helper_resources": spec.helper_resources.executor(),
        "node_selector": spec.job_node_selector,
        "node_tolerations": spec.job_node_tolerations,
        "cache": cache,
        "docker_host": spec.docker.host if spec.docker else None,
        "docker_client_secret_name": spec.docker.client_secret_name if spec.docker else None,
    }
