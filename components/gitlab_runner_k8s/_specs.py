"""The rules and defaults of every component's arguments.

The public argument types (`…Args`) stand beside their components; a test holds that each has
the same fields as its spec here. Field by field documentation is on the public types.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pulumi
from pydantic import Field

from . import _pins
from . import _validation as v

Environment = dict[v.EnvironmentName, Any]


class ResourcesSpec(v.Spec):
    cpu_request: v.Cpu | None = None
    cpu_limit: v.Cpu | None = None
    memory_request: v.Bytes | None = None
    memory_limit: v.Bytes | None = None

    def problems(self) -> Iterator[str]:
        for kind in ("cpu", "memory"):
            request, limit = getattr(self, f"{kind}_request"), getattr(self, f"{kind}_limit")
            if request and limit and v.quantity(request) > v.quantity(limit):
                yield (
                    f"{kind}_request ({request}) must not exceed {kind}_limit ({limit}); lower it"
                )

    def kubernetes(self) -> dict[str, dict[str, str]]:
        """Return the `resources` of a container."""
        table: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
        for kind in ("cpu", "memory"):
            for part in ("request", "limit"):
                value = getattr(self, f"{kind}_{part}")
                if value:
                    table[f"{part}s"][kind] = value
        return {key: value for key, value in table.items() if value}

    def executor(self) -> dict[str, str]:
        """Return the keys of `[runners.kubernetes]`."""
        return {key: value for key, value in self.model_dump().items() if value}


class ChartSpec(v.Spec):
    chart: v.Text = _pins.CHART_NAME
    repository: v.Text | None = _pins.CHART_REPOSITORY
    version: v.ChartVersion = _pins.CHART_VERSION


class RunnerCacheSpec(v.Spec):
    bucket: v.BucketName
    region: v.Text = "us-east-1"
    server_address: v.Text | None = None
    insecure: bool = False
    credentials_secret_name: v.ResourceName | None = None
    credentials_checksum: v.Text | None = None
    role_arn: v.RoleArn | None = None
    kms_key_arn: v.KmsKeyArn | None = None


class RunnerDockerSpec(v.Spec):
    host: v.Text
    client_secret_name: v.ResourceName


class RunnerOptions(v.Spec):
    """What a user chooses about a runner, wherever it is declared."""

    concurrent: v.Count = 10
    request_concurrency: v.Count | None = None
    default_image: v.ImageReference = _pins.DOCKER_CLI_IMAGE
    helper_image: v.ImageReference | None = None
    image: v.ImageReference = _pins.RUNNER_IMAGE
    image_pull_secrets: list[v.ResourceName] = []
    pull_policy: Literal["always", "if-not-present", "never"] = "always"
    enable_privileged_jobs: bool = False
    environment: Environment = {}
    job_resources: ResourcesSpec = ResourcesSpec()
    helper_resources: ResourcesSpec = ResourcesSpec()
    manager_resources: ResourcesSpec = ResourcesSpec(
        cpu_request="50m", cpu_limit="1", memory_request="128Mi", memory_limit="512Mi"
    )
    job_node_selector: dict[str, str] = {}
    job_node_tolerations: dict[str, str] = {}
    manager_node_selector: dict[str, str] = {}
    poll_timeout_seconds: Annotated[v.Seconds, Field(ge=30)] = 600
    check_interval_seconds: Annotated[v.Seconds, Field(ge=1)] = 3
    maximum_job_timeout_seconds: Annotated[v.Seconds, Field(ge=600)] = 3600
    gitlab_outage_tolerance_minutes: Annotated[v.Whole, Field(ge=3, le=24 * 60)] = 30
    log_level: Literal["debug", "info", "warn", "error", "fatal", "panic"] = "info"
    enable_metrics: bool = True
    chart: ChartSpec = ChartSpec()

    def problems(self) -> Iterator[str]:
        wanted = self.request_concurrency
        if wanted is not None and wanted > self.concurrent:
            yield (
                f"request_concurrency ({wanted}) must not exceed concurrent ({self.concurrent}); "
                "lower it, or raise concurrent"
            )
        for key in self.environment:
            if key.startswith("DOCKER_") or re.search(r"TOKEN|SECRET|PASSWORD", key):
                yield (
                    f"environment.{key} must not be set here: it is plain text in the cluster, or "
                    "belongs to the shared daemon; use a masked CI/CD variable of the project"
                )


class GitLabRunnerSpec(RunnerOptions):
    gitlab_url: v.ServerUrl
    runner_token: v.RunnerToken | None = None
    token_secret_name: v.ResourceName | None = None
    namespace: v.Namespace = "gitlab-runner"
    job_namespace: v.Namespace = "gitlab-runner-jobs"
    release_name: v.Name | None = None
    service_account_annotations: dict[str, Any] = {}
    cache: RunnerCacheSpec | None = None
    docker: RunnerDockerSpec | None = None
    allow_insecure_gitlab_url: bool = False
    enable_network_policies: bool = True
    egress_cidrs: list[v.Cidr] = []

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from _check_token(self.runner_token, self.token_secret_name)
        yield from _check_url(self.gitlab_url, self.allow_insecure_gitlab_url)
        if self.docker and self.enable_privileged_jobs:
            yield (
                "enable_privileged_jobs must be off where jobs use the shared daemon; "
                "remove it: the jobs need no privilege of their own"
            )
        if isinstance(self.namespace, str) and self.namespace == self.job_namespace:
            yield (
                "job_namespace must differ from namespace: jobs could read the runner's token "
                "there; give them a namespace of their own"
            )


def _check_token(token: Any, secret_name: Any) -> Iterator[str]:
    if (token is None) == (secret_name is None):
        yield (
            "exactly one of runner_token and token_secret_name must be set; runner_token is a "
            "glrt- token as a secret, token_secret_name names a Secret with the keys "
            "'runner-token' and 'runner-registration-token' (empty)"
        )


def _check_url(url: pulumi.Input[str], insecure: bool) -> Iterator[str]:
    if isinstance(url, str) and urlsplit(url).scheme == "http" and not insecure:
        yield (
            f"gitlab_url must be https, got '{url}'; use https, or set allow_insecure_gitlab_url "
            "(the runner's token crosses the network in clear)"
        )


class MinioOptions(v.Spec):
    """What a user chooses about the in-cluster store."""

    engine: Literal["silo", "minio"] = "silo"
    image: v.ImageReference | None = None
    volume_size: v.VolumeSize = "20Gi"
    storage_class_name: v.ResourceName | None = None
    expiration_days: v.Days = 14
    resources: ResourcesSpec = ResourcesSpec(
        cpu_request="100m", cpu_limit="2", memory_request="256Mi", memory_limit="1Gi"
    )
    node_selector: dict[str, str] = {}
    enable_console: bool = False

    def problems(self) -> Iterator[str]:
        if self.engine == "minio" and self.image is None:
            yield (
                "image must be set for the engine 'minio': its official images are withdrawn; "
                "name your own build by digest, or use the engine 'silo'"
            )


class MinioCacheSpec(MinioOptions):
    namespace: v.Namespace = "gitlab-runner-cache"
    runner_namespace: v.Namespace = "gitlab-runner"
    job_namespace: v.Namespace = "gitlab-runner-jobs"
    bucket: v.BucketName = "runner"
    cluster_domain: v.HostPort = "cluster.local"
    enable_network_policies: bool = True


class S3Options(v.Spec):
    """What a user chooses about a bucket on AWS."""

    region: v.Region
    bucket_name: v.BucketName | None = None
    kms_key_arn: v.KmsKeyArn | None = None
    expiration_days: v.Days = 14
    identity: Literal["irsa", "pod-identity", "access-key"] = "irsa"
    oidc_provider_arn: v.OidcProviderArn | None = None
    eks_cluster_name: v.Text | None = None
    enable_large_objects: bool = False
    allow_destroy: bool = False
    tags: dict[str, Any] = {}

    def problems(self) -> Iterator[str]:
        needs = {"irsa": "oidc_provider_arn", "pod-identity": "eks_cluster_name"}
        for identity, needed in needs.items():
            given = getattr(self, needed) is not None
            if given != (self.identity == identity):
                yield (
                    f"{needed} {'must be set' if not given else 'is only'} for the identity "
                    f"'{identity}', and identity is '{self.identity}'; "
                    f"{'set it' if not given else 'remove it'}, or choose another identity"
                )
        if self.enable_large_objects and self.identity == "access-key":
            yield "enable_large_objects needs a role: use the identity 'irsa' or 'pod-identity'"


class S3CacheSpec(S3Options):
    runner_namespace: v.Namespace = "gitlab-runner"
    service_account_name: v.ResourceName = "gitlab-runner"


class DockerOptions(v.Spec):
    """What a user chooses about the shared daemon."""

    image: v.DockerImageReference = _pins.DOCKER_DAEMON_IMAGE
    volume_size: v.VolumeSize = "100Gi"
    storage_class_name: v.ResourceName | None = None
    mtu: Annotated[v.Whole, Field(ge=576, le=9216)] = 1450
    build_cache_percent: Annotated[v.Whole, Field(ge=10, le=90)] = 70
    registry_mirrors: list[v.ServerUrl] = []
    insecure_registries: list[v.HostPort] = []
    resources: ResourcesSpec = ResourcesSpec(
        cpu_request="1", cpu_limit="8", memory_request="2Gi", memory_limit="16Gi"
    )
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    accept_shared_nodes: bool = False
    certificate_validity_hours: v.Hours = 2160
    certificate_renewal_hours: v.Hours = 720
    ca_validity_hours: v.Hours = 87600
    termination_grace_period_seconds: v.Seconds = 600

    def problems(self) -> Iterator[str]:
        if not self.node_selector and not self.accept_shared_nodes:
            yield (
                "node_selector must name nodes of the daemon's own: whoever can run a job is root "
                "there; set it, or set accept_shared_nodes to accept that for the nodes of others"
            )
        if self.certificate_renewal_hours >= self.certificate_validity_hours:
            yield (
                f"certificate_renewal_hours ({self.certificate_renewal_hours}) must be less than "
                f"certificate_validity_hours ({self.certificate_validity_hours}); lower it"
            )
        if not 24 <= self.certificate_validity_hours <= 825 * 24:
            yield "certificate_validity_hours must be from 24 to 19800 (825 days)"
        if self.certificate_validity_hours >= self.ca_validity_hours:
            yield "certificate_validity_hours must be less than ca_validity_hours"


class SharedDockerDaemonSpec(DockerOptions):
    namespace: v.Namespace = "gitlab-runner-docker"
    job_namespace: v.Namespace = "gitlab-runner-jobs"
    cluster_domain: v.HostPort = "cluster.local"
    enable_network_policies: bool = True
    egress_cidrs: list[v.Cidr] = []

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if isinstance(self.namespace, str) and self.namespace == self.job_namespace:
            yield (
                "namespace must differ from job_namespace: the daemon's pod is privileged and its "
                "key must not be readable to jobs; give it a namespace of its own"
            )


class CacheSettings(v.Spec):
    backend: Literal["minio", "s3", "existing", "none"] = "minio"
    minio: MinioOptions | None = None
    s3: S3Options | None = None
    existing: RunnerCacheSpec | None = None

    def problems(self) -> Iterator[str]:
        for block in ("minio", "s3", "existing"):
            if getattr(self, block) is not None and block != self.backend:
                yield (
                    f"{block} is set and backend is '{self.backend}'; remove {block}, "
                    f"or set backend to '{block}'"
                )
        if self.backend in {"s3", "existing"} and getattr(self, self.backend) is None:
            yield f"{self.backend} must be set for the backend '{self.backend}'"


class NamespacesSettings(v.Spec):
    runner: v.Name = "gitlab-runner"
    jobs: v.Name = "gitlab-runner-jobs"
    cache: v.Name = "gitlab-runner-cache"
    docker: v.Name = "gitlab-runner-docker"
    enable_creation: bool = True
    enable_adoption: bool = False

    def problems(self) -> Iterator[str]:
        names = [self.runner, self.jobs, self.cache, self.docker]
        if len(set(names)) < len(names):
            yield (
                "the four namespaces must differ: each has its own secrets and Pod Security level; "
                "rename the one used twice"
            )
        for name in names:
            if name == "default" or name.startswith("kube-"):
                yield f"'{name}' is not for this; give the platform its own namespaces"


class NetworkSettings(v.Spec):
    enable_policies: bool = True
    egress_cidrs: list[v.Cidr] = []
    cluster_domain: v.HostPort = "cluster.local"
    allow_insecure_gitlab_url: bool = False


class RunnerPlatformSpec(v.Spec):
    gitlab_url: v.ServerUrl
    runner_token: v.RunnerToken | None = None
    token_secret_name: v.ResourceName | None = None
    runner: RunnerOptions = RunnerOptions()
    cache: CacheSettings = CacheSettings()
    docker_daemon: DockerOptions | None = None
    namespaces: NamespacesSettings = NamespacesSettings()
    network: NetworkSettings = NetworkSettings()
    allow_volume_deletion: bool = False

    def problems(self) -> Iterator[str]:
        yield from _check_token(self.runner_token, self.token_secret_name)
        yield from _check_url(self.gitlab_url, self.network.allow_insecure_gitlab_url)
        if self.docker_daemon and self.runner.enable_privileged_jobs:
            yield (
                "runner.enable_privileged_jobs must be off where jobs use the shared daemon; "
                "remove it: the jobs need no privilege of their own"
            )
