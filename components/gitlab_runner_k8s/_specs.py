"""The rules and defaults of every component's arguments.

The public argument types (`…Args`) stand beside their components; a test holds that each has
the same fields as its spec here. Field by field documentation is on the public types.
"""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pulumi
from pydantic import Field, model_validator

from . import _pins
from . import _validation as v

Environment = dict[v.EnvironmentName, Any]


class ResourcesSpec(v.Spec):
    cpu_request: v.Cpu | None = None
    cpu_limit: v.Cpu | None = None
    memory_request: v.Bytes | None = None
    memory_limit: v.Bytes | None = None

    @model_validator(mode="after")
    def _requests_fit(self) -> "ResourcesSpec":
        for kind in ("cpu", "memory"):
            request, limit = getattr(self, f"{kind}_request"), getattr(self, f"{kind}_limit")
            if request and limit and v.quantity(request) > v.quantity(limit):
                raise ValueError(
                    f"{kind}_request ({request}) must not exceed {kind}_limit ({limit}); lower it"
                )
        return self

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

    @model_validator(mode="after")
    def _fits(self) -> "RunnerOptions":
        wanted = self.request_concurrency
        if wanted is not None and wanted > self.concurrent:
            raise ValueError(
                f"request_concurrency ({wanted}) must not exceed concurrent ({self.concurrent}); "
                "lower it, or raise concurrent"
            )
        for key in self.environment:
            if key.startswith("DOCKER_") or re.search(r"TOKEN|SECRET|PASSWORD", key):
                raise ValueError(
                    f"environment.{key} must not be set here: it is plain text in the cluster, or "
                    "belongs to the shared daemon; use a masked CI/CD variable of the project"
                )
        return self


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

    @model_validator(mode="after")
    def _consistent(self) -> "GitLabRunnerSpec":
        _check_token(self.runner_token, self.token_secret_name)
        _check_url(self.gitlab_url, self.allow_insecure_gitlab_url)
        if self.docker and self.enable_privileged_jobs:
            raise ValueError(
                "enable_privileged_jobs must be off where jobs use the shared daemon; "
                "remove it: the jobs need no privilege of their own"
            )
        if isinstance(self.namespace, str) and self.namespace == self.job_namespace:
            raise ValueError(
                "job_namespace must differ from namespace: jobs could read the runner's token "
                "there; give them a namespace of their own"
            )
        return self


def _check_token(token: Any, secret_name: Any) -> None:
    if (token is None) == (secret_name is None):
        raise ValueError(
            "exactly one of runner_token and token_secret_name must be set; runner_token is a "
            "glrt- token as a secret, token_secret_name names a Secret with the keys "
            "'runner-token' and 'runner-registration-token' (empty)"
        )


def _check_url(url: pulumi.Input[str], insecure: bool) -> None:
    if isinstance(url, str) and urlsplit(url).scheme == "http" and not insecure:
        raise ValueError(
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

    @model_validator(mode="after")
    def _image_for_engine(self) -> "MinioOptions":
        if self.engine == "minio" and self.image is None:
            raise ValueError(
                "image must be set for the engine 'minio': its official images are withdrawn; "
                "name your own build by digest, or use the engine 'silo'"
            )
        return self


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

    @model_validator(mode="after")
    def _identity_is_whole(self) -> "S3Options":
        needs = {"irsa": "oidc_provider_arn", "pod-identity": "eks_cluster_name"}
        for identity, needed in needs.items():
            given = getattr(self, needed) is not None
            if given != (self.identity == identity):
                raise ValueError(
                    f"{needed} {'must be set' if not given else 'is only'} for the identity "
                    f"'{identity}', and identity is '{self.identity}'; "
                    f"{'set it' if not given else 'remove it'}, or choose another identity"
                )
        if self.enable_large_objects and self.identity == "access-key":
            raise ValueError(
                "enable_large_objects needs a role: use the identity 'irsa' or 'pod-identity'"
            )
        return self


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

    @model_validator(mode="after")
    def _sound(self) -> "DockerOptions":
        if not self.node_selector and not self.accept_shared_nodes:
            raise ValueError(
                "node_selector must name nodes of the daemon's own: whoever can run a job is root "
                "there; set it, or set accept_shared_nodes to accept that for the nodes of others"
            )
        if self.certificate_renewal_hours >= self.certificate_validity_hours:
            raise ValueError(
                f"certificate_renewal_hours ({self.certificate_renewal_hours}) must be less than "
                f"certificate_validity_hours ({self.certificate_validity_hours}); lower it"
            )
        if not 24 <= self.certificate_validity_hours <= 825 * 24:
            raise ValueError("certificate_validity_hours must be from 24 to 19800 (825 days)")
        if self.certificate_validity_hours >= self.ca_validity_hours:
            raise ValueError("certificate_validity_hours must be less than ca_validity_hours")
        return self


class SharedDockerDaemonSpec(DockerOptions):
    namespace: v.Namespace = "gitlab-runner-docker"
    job_namespace: v.Namespace = "gitlab-runner-jobs"
    cluster_domain: v.HostPort = "cluster.local"
    enable_network_policies: bool = True
    egress_cidrs: list[v.Cidr] = []

    @model_validator(mode="after")
    def _own_namespace(self) -> "SharedDockerDaemonSpec":
        if isinstance(self.namespace, str) and self.namespace == self.job_namespace:
            raise ValueError(
                "namespace must differ from job_namespace: the daemon's pod is privileged and its "
                "key must not be readable to jobs; give it a namespace of its own"
            )
        return self


class CacheSettings(v.Spec):
    backend: Literal["minio", "s3", "existing", "none"] = "minio"
    minio: MinioOptions | None = None
    s3: S3Options | None = None
    existing: RunnerCacheSpec | None = None

    @model_validator(mode="after")
    def _one_backend(self) -> "CacheSettings":
        for block in ("minio", "s3", "existing"):
            if getattr(self, block) is not None and block != self.backend:
                raise ValueError(
                    f"{block} is set and backend is '{self.backend}'; remove {block}, "
                    f"or set backend to '{block}'"
                )
        if self.backend in {"s3", "existing"} and getattr(self, self.backend) is None:
            raise ValueError(f"{self.backend} must be set for the backend '{self.backend}'")
        return self


class NamespacesSettings(v.Spec):
    runner: v.Name = "gitlab-runner"
    jobs: v.Name = "gitlab-runner-jobs"
    cache: v.Name = "gitlab-runner-cache"
    docker: v.Name = "gitlab-runner-docker"
    enable_creation: bool = True
    enable_adoption: bool = False

    @model_validator(mode="after")
    def _apart(self) -> "NamespacesSettings":
        names = [self.runner, self.jobs, self.cache, self.docker]
        if len(set(names)) < len(names):
            raise ValueError(
                "the four namespaces must differ: each has its own secrets and Pod Security level; "
                "rename the one used twice"
            )
        for name in names:
            if name == "default" or name.startswith("kube-"):
                raise ValueError(f"'{name}' is not for this; give the platform its own namespaces")
        return self


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

    @model_validator(mode="after")
    def _consistent(self) -> "RunnerPlatformSpec":
        _check_token(self.runner_token, self.token_secret_name)
        _check_url(self.gitlab_url, self.network.allow_insecure_gitlab_url)
        if self.docker_daemon and self.runner.enable_privileged_jobs:
            raise ValueError(
                "runner.enable_privileged_jobs must be off where jobs use the shared daemon; "
                "remove it: the jobs need no privilege of their own"
            )
        return self


class RegistryMirrorOptions(v.Spec):
    """What a user chooses about the mirror."""

    image: v.ImageReference = _pins.REGISTRY_IMAGE
    remote_url: v.ServerUrl = "https://registry-1.docker.io"
    allow_insecure_remote: bool = False
    username: v.Text | None = None
    password: v.Text | None = None
    credentials_secret_name: v.ResourceName | None = None
    volume_size: v.VolumeSize = "50Gi"
    storage_class_name: v.ResourceName | None = None
    ttl_hours: v.Hours = 168
    resources: ResourcesSpec = ResourcesSpec(
        cpu_request="100m", cpu_limit="2", memory_request="128Mi", memory_limit="512Mi"
    )
    node_selector: dict[str, str] = {}
    log_level: Literal["error", "warn", "info", "debug"] = "info"
    metrics_namespaces: list[v.Namespace] = []

    @model_validator(mode="after")
    def _credentials_are_whole(self) -> "RegistryMirrorOptions":
        if (self.username is None) != (self.password is None):
            missing = "username" if self.username is None else "password"
            raise ValueError(
                f"username and password must be set together; set {missing}, or remove the other"
            )
        if self.username is not None and self.credentials_secret_name is not None:
            raise ValueError(
                "credentials_secret_name must not be set beside username and password; "
                "remove one of the two"
            )
        for key in ("username", "password"):
            value = getattr(self, key)
            if isinstance(value, str) and (value != value.strip() or "\n" in value):
                raise ValueError(
                    f"{key} must be one line without white space around it; remove what is too much"
                )
        return self

    @model_validator(mode="after")
    def _remote_can_be_mirrored(self) -> "RegistryMirrorOptions":
        if not isinstance(self.remote_url, str):
            return self
        url = urlsplit(self.remote_url)
        if url.scheme == "http" and not self.allow_insecure_remote:
            raise ValueError(
                f"remote_url must be https, got '{self.remote_url}'; use https, or set "
                "allow_insecure_remote (images and credentials cross the network in clear)"
            )
        if url.path:
            raise ValueError(
                f"remote_url must be the root of a registry, got '{self.remote_url}'; "
                f"remove '{url.path}'"
            )
        return self


class RegistryMirrorSpec(RegistryMirrorOptions):
    namespace: v.Namespace = "gitlab-runner-mirror"
    job_namespace: v.Namespace = "gitlab-runner-jobs"
    client_namespaces: list[v.Namespace] = ["gitlab-runner-jobs", "gitlab-runner-docker"]
    cluster_domain: v.HostPort = "cluster.local"
    enable_network_policies: bool = True
    egress_cidrs: list[v.Cidr] = []

    @model_validator(mode="after")
    def _apart_from_its_clients(self) -> "RegistryMirrorSpec":
        if not self.client_namespaces:
            raise ValueError(
                "client_namespaces must name at least one namespace: an empty list would admit "
                "every pod of the cluster; add the namespace of the jobs or of the daemon"
            )
        if isinstance(self.namespace, str) and self.namespace == self.job_namespace:
            raise ValueError(
                "namespace must differ from job_namespace: jobs could read the upstream's "
                "credentials there; give the mirror a namespace of its own"
            )
        return self
