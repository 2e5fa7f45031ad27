"""The rules and defaults of every component's arguments.

The public argument types (`…Args`) stand beside their components; a test holds that each has
the same fields as its spec here. Field by field documentation is on the public types.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pulumi
from pydantic import BeforeValidator, Field

from . import _pins
from . import _validation as v
from ._extra_config import ExtraConfig, has_posix_shell, overwrites, privileges
from ._secrets import is_secret_name

Environment = dict[v.EnvironmentName, v.Variable]

API_SERVER_PORTS = [443, 6443]

DNS_CIDRS = ["169.254.20.10/32"]
"""Where the cluster's DNS cache on each node answers, if there is one: NodeLocal DNSCache's own
default."""


_KINDS = ("cpu", "memory", "ephemeral_storage")


class ResourcesSpec(v.Spec):
    cpu_request: v.Cpu | None = None
    cpu_limit: v.Cpu | None = None
    memory_request: v.Bytes | None = None
    memory_limit: v.Bytes | None = None
    ephemeral_storage_request: v.Bytes | None = None
    ephemeral_storage_limit: v.Bytes | None = None

    def problems(self) -> Iterator[str]:
        for kind in _KINDS:
            request, limit = getattr(self, f"{kind}_request"), getattr(self, f"{kind}_limit")
            if request and limit and v.quantity(request) > v.quantity(limit):
                yield (
                    f"{kind}_request ({request}) must not exceed {kind}_limit ({limit}); lower it, "
                    f"or set a higher {kind}_limit"
                )

    def kubernetes(self) -> dict[str, dict[str, str]]:
        """Return the `resources` of a container."""
        table: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
        for kind in _KINDS:
            for part in ("request", "limit"):
                value = getattr(self, f"{kind}_{part}")
                if value:
                    table[f"{part}s"][kind.replace("_", "-")] = value
        return {key: value for key, value in table.items() if value}

    def executor(self) -> dict[str, str]:
        """Return the keys of `[runners.kubernetes]`."""
        return {key: value for key, value in self.model_dump().items() if value}


def _over(defaults: ResourcesSpec) -> BeforeValidator:
    """Let resources that are given in part keep the defaults of the rest."""

    def merged(given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        own = {key: value for key, value in given.items() if value is not None}
        return {**defaults.given(), **own}

    return BeforeValidator(merged)


_MANAGER = ResourcesSpec(
    cpu_request="50m", cpu_limit="1", memory_request="128Mi", memory_limit="512Mi"
)
_STORE = ResourcesSpec(
    cpu_request="100m", cpu_limit="2", memory_request="256Mi", memory_limit="1Gi"
)
_DAEMON = ResourcesSpec(cpu_request="1", cpu_limit="8", memory_request="2Gi", memory_limit="16Gi")
_MIRROR = ResourcesSpec(
    cpu_request="100m", cpu_limit="2", memory_request="128Mi", memory_limit="512Mi"
)


class ChartSpec(v.Spec):
    chart: v.ChartName = _pins.CHART_NAME
    repository: v.ChartRepository | None = _pins.CHART_REPOSITORY
    version: v.ChartVersion = _pins.CHART_VERSION


class S3Place(v.Spec):
    """Where a bucket is: on AWS, or in an S3-compatible store."""

    region: v.Text = "us-east-1"
    server_address: v.Address | None = None
    insecure: bool = False
    role_arn: v.RoleArn | None = None
    kms_key_arn: v.KmsKeyArn | None = None

    def place_problems(self, *, has_keys: bool) -> Iterator[str]:
        """Return what of the place contradicts itself, or the credentials."""
        address = self.server_address
        if address is None and "region" not in self.model_fields_set:
            yield "region must be set for a bucket on AWS; set it, or set server_address"
        if address is None and isinstance(self.region, str):
            yield from v.problems(_AwsPlace, {"region": self.region})
        if address is None and self.insecure:
            yield "insecure is only for a store with a server_address; remove it"
        if self.role_arn is not None and address is not None:
            yield "role_arn is only for AWS S3; remove it, or remove server_address"
        is_aws = isinstance(address, str) and ".amazonaws.com" in address
        if address is not None and not has_keys and not is_aws:
            yield (
                "server_address needs an access key: only AWS knows the identity of a pod; set "
                "credentials_secret_name or a key, or remove server_address"
            )


class _AwsPlace(v.Spec):
    region: v.Region


class RunnerCacheSpec(S3Place):
    type: Literal["s3", "gcs", "azure"] = "s3"
    bucket: v.Text
    path: v.ObjectPath | None = None
    max_archive_size: v.Bytes | None = None
    credentials_secret_name: v.ResourceName | None = None
    credentials_checksum: v.Text | None = None
    account_name: v.AzureAccountName | None = None
    storage_domain: v.Domain | None = None
    ca_secret_name: v.ResourceName | None = None

    def problems(self) -> Iterator[str]:
        if self.type == "s3":
            yield from self.place_problems(has_keys=self.credentials_secret_name is not None)
            yield from v.problems(_S3Bucket, {"bucket": self.bucket})
        if self.type == "gcs":
            yield from v.problems(_GcsBucket, {"bucket": self.bucket})
        if self.type == "azure":
            yield from v.problems(_AzureBucket, {"bucket": self.bucket})
            if self.account_name is None:
                yield "account_name must be set for the type 'azure'; name the storage account"
        only = {
            "s3": ("server_address", "role_arn", "kms_key_arn"),
            "azure": ("account_name", "storage_domain"),
        }
        for kind, fields in only.items():
            for field in fields:
                if kind != self.type and getattr(self, field) is not None:
                    yield f"{field} is only for the type '{kind}'; remove it"


class _S3Bucket(v.Spec):
    bucket: v.BucketName


class _GcsBucket(v.Spec):
    bucket: v.GcsBucketName


class _AzureBucket(v.Spec):
    bucket: v.AzureContainerName


MAXIMUM_REPLICAS = 16
"""The server's certificate has a name for each: to raise it renews that of every daemon that has
several, and restarts them."""
_Replicas = Annotated[v.Whole, Field(ge=1, le=MAXIMUM_REPLICAS)]


def host_conflicts(host: object, replicas: int, path: str = "") -> Iterator[str]:
    """Return what keeps the names of several daemons from being made of the first one's."""
    if replicas > 1 and isinstance(host, str) and v.is_address(host):
        yield (
            f"{path}host must be a DNS name where there are {replicas} daemons, whose names are "
            f"made of it, got '{host}'; name the daemon's Service"
        )


class _RunnerDaemonSpec(v.Spec):
    client_secret_name: v.ResourceName
    replicas: _Replicas = 1

    def problems(self) -> Iterator[str]:
        yield from host_conflicts(getattr(self, "host", None), self.replicas)


class RunnerDockerSpec(_RunnerDaemonSpec):
    host: v.DockerHost


class RunnerBuildKitSpec(_RunnerDaemonSpec):
    host: v.BuildKitHost


class RunnerMirrorSpec(v.Spec):
    url: v.ServerUrl
    daemon_config_map_name: v.ResourceName


class ExternalSecretSpec(v.Spec):
    store_name: v.ResourceName
    store_kind: Literal["ClusterSecretStore", "SecretStore"] = "ClusterSecretStore"
    remote_key: v.Text
    remote_property: v.Text | None = None
    refresh_interval_seconds: Annotated[v.Seconds, Field(ge=60)] = 3600


_NEEDED_FLAGS = {
    "FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": (
        "the runner would save a rotated token to a file that its restart throws away"
    ),
    "FF_USE_POD_ACTIVE_DEADLINE_SECONDS": (
        "without it the pods of a runner that is gone would run for ever"
    ),
}

_PULL_POLICY = Literal["always", "if-not-present", "never"]


class RunnerOptions(v.Spec):
    """What a user chooses about a runner, wherever it is declared."""

    concurrent: v.Count = 10
    request_concurrency: v.Count | None = None
    default_image: v.ImageReference = _pins.DOCKER_CLI_IMAGE
    helper_image: v.ImageReference | None = None
    image: v.ImageReference = _pins.RUNNER_IMAGE
    image_pull_secrets: list[v.ResourceName] = []
    pull_policy: _PULL_POLICY = "always"
    allowed_pull_policies: list[_PULL_POLICY] = []
    allowed_images: list[v.PlainText] = []
    allowed_services: list[v.PlainText] = []
    tags: list[v.Tag] = []
    spot: Literal["eks", "karpenter", "gke", "aks"] | None = None
    enable_privileged_jobs: bool = False
    enable_privileged_services: bool = False
    enable_job_disruption_budget: bool = False
    environment: Environment = {}
    job_resources: ResourcesSpec = ResourcesSpec()
    helper_resources: ResourcesSpec = ResourcesSpec()
    service_resources: ResourcesSpec = ResourcesSpec()
    manager_resources: Annotated[ResourcesSpec, _over(_MANAGER)] = _MANAGER
    job_node_selector: v.Labels = {}
    job_node_tolerations: dict[v.Taint, v.TaintEffect | Literal[""]] = {}
    job_pod_labels: v.Labels = {}
    job_pod_annotations: v.Annotations = {}
    job_service_account_name: v.ResourceName | None = None
    job_runtime_class_name: v.PlainName | None = None
    job_priority_class_name: v.PlainName | None = None
    manager_node_selector: v.Labels = {}
    manager_tolerations: list[v.Toleration] = []
    manager_priority_class_name: v.PlainName | None = None
    gitlab_ca_secret_name: v.ResourceName | None = None
    feature_flags: dict[v.FeatureFlag, bool] = {}
    extra_config: ExtraConfig | None = None
    poll_timeout_seconds: Annotated[v.Seconds, Field(ge=30)] = 600
    daemon_wait_seconds: Annotated[v.Seconds, Field(le=3600)] = 300
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
            if key.upper().startswith(("DOCKER_", "BUILDKIT_")) or is_secret_name(key):
                yield (
                    f"environment.{key} must not be set here: it is plain text in the cluster, or "
                    "belongs to the shared daemon; use a masked CI/CD variable of the project"
                )
        for flag, why in _NEEDED_FLAGS.items():
            if self.feature_flags.get(flag) is False:
                yield f"feature_flags.{flag} must not be switched off: {why}; remove it"
            if flag in self.environment:
                yield f"environment.{flag} must not be set: {why}; remove it"
        if self.allowed_pull_policies and self.pull_policy not in self.allowed_pull_policies:
            yield (
                f"pull_policy ({self.pull_policy}) must be among allowed_pull_policies "
                f"({', '.join(self.allowed_pull_policies)}); add it"
            )
        runner, helper = v.runner_version(self.image), v.runner_version(self.helper_image)
        if runner and helper and runner != helper:
            yield (
                f"helper_image ({helper}) must be of the runner's version ({runner}): "
                "they are one program in two parts; change it, or remove helper_image"
            )
        if self.poll_timeout_seconds > self.maximum_job_timeout_seconds:
            yield (
                f"poll_timeout_seconds ({self.poll_timeout_seconds}) must not exceed "
                f"maximum_job_timeout_seconds ({self.maximum_job_timeout_seconds}); lower it"
            )
        for key in self.job_pod_labels:
            if "runner.gitlab.com/" in key:
                yield f"job_pod_labels.{key} is the runner's own; remove it"


class GitLabRunnerSpec(RunnerOptions):
    gitlab_url: v.ServerUrl
    runner_token: v.RunnerToken | None = None
    token_secret_name: v.ResourceName | None = None
    token_external_secret: ExternalSecretSpec | None = None
    namespace: v.Namespace = "gitlab-runner"
    job_namespace: v.Namespace = "gitlab-runner-jobs"
    release_name: v.Name | None = None
    service_account_annotations: dict[v.LabelName, v.Variable] = {}
    manager_pod_labels: dict[v.LabelName, v.LabelText] = {}
    cache: RunnerCacheSpec | None = None
    docker: RunnerDockerSpec | None = None
    buildkit: RunnerBuildKitSpec | None = None
    registry_mirror: RunnerMirrorSpec | None = None
    metrics_namespaces: list[v.AnyNamespace] = []
    allow_insecure_gitlab_url: bool = False
    enable_network_policies: bool = True
    egress_cidrs: list[v.Cidr] = []
    dns_cidrs: list[v.DnsCidr] = DNS_CIDRS
    api_server_ports: list[v.Port] = API_SERVER_PORTS
    gitlab_port: v.Port | None = None

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from _check_token(self)
        yield from _check_url(self.gitlab_url, self.allow_insecure_gitlab_url)
        if self.docker:
            yield from shared_daemon_conflicts(self)
        for daemon in (self.docker, self.buildkit):
            if daemon:
                yield from replicas_conflicts(self, daemon.replicas)
        if isinstance(self.namespace, str) and self.namespace == self.job_namespace:
            yield (
                "job_namespace must differ from namespace: jobs could read the runner's token "
                "there; give them a namespace of their own"
            )


def shared_daemon_conflicts(runner: RunnerOptions, path: str = "") -> Iterator[str]:
    """Return what a runner must not do where its jobs use a shared daemon."""
    for field in ("enable_privileged_jobs", "enable_privileged_services"):
        if getattr(runner, field):
            yield (
                f"{path}{field} must be off where jobs use the shared daemon; "
                "remove it: the jobs need no privilege of their own"
            )
    for key in overwrites(runner.extra_config):
        yield (
            f"{path}extra_config must not set {key} where jobs use the shared daemon: a job could "
            "give itself another zone's labels or identity, or the daemon's nodes; remove it"
        )
    for key in privileges(runner.extra_config):
        yield (
            f"{path}extra_config must not set {key} where jobs use the shared daemon; "
            "remove it: the jobs need no privilege of their own"
        )


def replicas_conflicts(runner: RunnerOptions, replicas: int, path: str = "") -> Iterator[str]:
    """Return what keeps a runner's jobs from choosing among several daemons."""
    if replicas > 1 and not has_posix_shell(runner.extra_config):
        yield (
            f"{path}extra_config must not set another shell than bash or sh where there are "
            f"{replicas} daemons: jobs choose theirs in the shell; remove it, or set replicas to 1"
        )


_TOKENS = ("runner_token", "token_secret_name", "token_external_secret")


def _check_token(given: Any) -> Iterator[str]:
    found = [name for name in _TOKENS if getattr(given, name) is not None]
    if len(found) != 1:
        yield (
            "exactly one of runner_token, token_secret_name and token_external_secret must be set, "
            f"got {' and '.join(found) or 'none'}; runner_token is a glrt- token as a secret, "
            "token_secret_name names a Secret with the keys 'runner-token' and "
            "'runner-registration-token' (empty)"
        )


def _check_url(url: pulumi.Input[str], insecure: bool) -> Iterator[str]:
    if isinstance(url, str) and urlsplit(url).scheme == "http" and not insecure:
        yield (
            f"gitlab_url must be https, got '{url}'; use https, or set allow_insecure_gitlab_url "
            "(the runner's token crosses the network in clear)"
        )


class MinioOptions(v.Spec):
    """What a user chooses about the in-cluster store."""

    engine: Literal["silo", "minio", "seaweedfs"] = "silo"
    image: v.ImageReference | None = None
    volume_size: v.VolumeSize = "20Gi"
    storage_class_name: v.ResourceName | None = None
    expiration_days: v.Days = 14
    resources: Annotated[ResourcesSpec, _over(_STORE)] = _STORE
    node_selector: v.Labels = {}
    enable_console: bool = False
    enable_tls: bool = False
    enable_metrics: bool = False
    metrics_namespace: v.AnyNamespace = "monitoring"

    def problems(self) -> Iterator[str]:
        if self.engine == "minio" and self.image is None:
            yield (
                "image must be set for the engine 'minio': its official images are withdrawn; "
                "name your own build by digest, or use the engine 'silo'"
            )
        if self.engine == "seaweedfs" and self.enable_console:
            yield "enable_console must be off for the engine 'seaweedfs', which has none; remove it"


class MinioCacheSpec(MinioOptions):
    namespace: v.Namespace = "gitlab-runner-cache"
    runner_namespace: v.Namespace = "gitlab-runner"
    job_namespace: v.Namespace = "gitlab-runner-jobs"
    bucket: v.BucketName = "runner"
    cluster_domain: v.ClusterDomain = "cluster.local"
    enable_network_policies: bool = True
    dns_cidrs: list[v.DnsCidr] = DNS_CIDRS

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.engine == "seaweedfs" and not self.enable_network_policies:
            yield (
                "enable_network_policies must be on for the engine 'seaweedfs': who reaches the "
                "ports of its inner parts needs no credentials; leave it on, or choose another "
                "engine"
            )
        same = isinstance(self.job_namespace, str) and self.job_namespace == self.runner_namespace
        if same:
            yield (
                "job_namespace must differ from runner_namespace: jobs could read the credentials "
                "there; give the jobs a namespace of their own"
            )


class S3Options(v.Spec):
    """What a user chooses about a bucket on AWS."""

    region: v.Region
    bucket_name: v.BucketName | None = None
    existing_bucket_name: v.BucketName | None = None
    prefix: v.ObjectPrefix | None = None
    kms_key_arn: v.KmsKeyArn | None = None
    expiration_days: v.Days = 14
    enable_versioning: bool = False
    access_log_bucket: v.BucketName | None = None
    access_log_prefix: v.ObjectPrefix | None = None
    identity: Literal["irsa", "pod-identity", "access-key", "existing"] = "irsa"
    oidc_provider_arn: v.OidcProviderArn | None = None
    eks_cluster_name: v.Text | None = None
    existing_role_arn: v.RoleArn | None = None
    permissions_boundary_arn: v.PolicyArn | None = None
    enable_large_objects: bool = False
    allow_destroy: bool = False
    tags: Annotated[dict[v.TagName, v.TagValue], Field(max_length=50)] = {}

    def problems(self) -> Iterator[str]:
        yield from self._of_identity()
        yield from self._of_bucket()
        yield from self._of_arns()

    def _of_identity(self) -> Iterator[str]:
        needs = {"irsa": "oidc_provider_arn", "pod-identity": "eks_cluster_name"}
        for identity, needed in needs.items():
            given = getattr(self, needed) is not None
            if given != (self.identity == identity):
                yield (
                    f"{needed} {'must be set' if not given else 'is only'} for the identity "
                    f"'{identity}', and identity is '{self.identity}'; "
                    f"{'set it' if not given else 'remove it'}, or choose another identity"
                )
        if self.existing_role_arn is not None and self.identity != "existing":
            yield (
                "existing_role_arn is only for the identity 'existing', and identity is "
                f"'{self.identity}'; remove it, or choose another identity"
            )
        if self.permissions_boundary_arn is not None and self.identity == "existing":
            yield (
                "permissions_boundary_arn must not be set for the identity 'existing': no role is "
                "made; remove it, and set the boundary on the role that is there"
            )
        if self.enable_large_objects and self.identity == "access-key":
            yield ("enable_large_objects needs a role: use the identity 'irsa' or 'pod-identity'")
        is_existing = self.identity == "existing"
        if self.enable_large_objects and is_existing and self.existing_role_arn is None:
            yield (
                "enable_large_objects needs a role: set existing_role_arn, a role that the "
                "runner may assume"
            )

    def _of_bucket(self) -> Iterator[str]:
        if self.existing_bucket_name is not None:
            for field in (
                "bucket_name",
                "kms_key_arn",
                "expiration_days",
                "enable_versioning",
                "access_log_bucket",
                "access_log_prefix",
                "allow_destroy",
            ):
                if getattr(self, field) != S3Options.model_fields[field].default:
                    yield (
                        f"{field} must not be set with existing_bucket_name: an existing bucket "
                        "is used as it is; remove one of the two"
                    )
        if self.access_log_prefix is not None and self.access_log_bucket is None:
            yield ("access_log_prefix needs access_log_bucket; set it, or remove access_log_prefix")
        if self.access_log_bucket is not None and self.access_log_bucket == self.bucket_name:
            yield (
                "access_log_bucket must differ from bucket_name: every log written would be "
                "logged; name another bucket"
            )

    def _of_arns(self) -> Iterator[str]:
        """Hold every ARN against the region; Outputs are not known yet and pass."""
        names = (
            "oidc_provider_arn",
            "existing_role_arn",
            "permissions_boundary_arn",
            "kms_key_arn",
        )
        given = {name: getattr(self, name) for name in names}
        arns = {name: arn.split(":", 5) for name, arn in given.items() if isinstance(arn, str)}
        if isinstance(self.region, str):
            wanted = v.partition(self.region)
            for name, parts in arns.items():
                if parts[1] != wanted:
                    yield (
                        f"{name} must be of the partition '{wanted}' as region ({self.region}) "
                        f"is, got '{parts[1]}'; correct the ARN or the region"
                    )
        key = arns.get("kms_key_arn")
        if key and key[5].startswith("alias/"):
            yield (
                "kms_key_arn must name the key itself, not an alias: policies see keys alone; "
                "use the ARN with ':key/'"
            )
        if key and isinstance(self.region, str) and key[3] != self.region:
            yield (
                f"kms_key_arn must be of the bucket's region ({self.region}), got '{key[3]}'; "
                "use a key of that region"
            )
        # A key may be another account's; what IAM joins to the role may not.
        provider, boundary = arns.get("oidc_provider_arn"), arns.get("permissions_boundary_arn")
        if provider and boundary and boundary[4] not in ("aws", provider[4]):
            yield (
                f"permissions_boundary_arn must be of the account of oidc_provider_arn "
                f"({provider[4]}), got '{boundary[4]}'; name a policy of that account"
            )


class S3CacheSpec(S3Options):
    runner_namespace: v.Namespace = "gitlab-runner"
    service_account_names: Annotated[list[v.ResourceName], Field(min_length=1)] = ["gitlab-runner"]


DAEMON_STOP_SECONDS = 20
"""What a daemon gets to stop once it is drained: dockerd gives its containers 15."""


class DaemonOptions(v.Spec):
    """What a user chooses about a daemon that builds for all jobs."""

    replicas: _Replicas = 1
    volume_size: v.VolumeSize = "100Gi"
    storage_class_name: v.ResourceName | None = None
    build_cache_percent: Annotated[v.Whole, Field(ge=10, le=90)] = 70
    build_cache_keep_hours: v.Hours = 1440
    registry_mirrors: list[v.ServerUrl] = []
    insecure_registries: list[v.HostPort] = []
    resources: Annotated[ResourcesSpec, _over(_DAEMON)] = _DAEMON
    node_selector: v.Labels = {}
    tolerations: list[v.Toleration] = []
    enable_disruption_budget: bool = False
    certificate_validity_hours: v.Hours = 2160
    certificate_renewal_hours: v.Hours = 720
    ca_validity_hours: v.Hours = 87600
    termination_grace_period_seconds: v.Seconds = 600

    def problems(self) -> Iterator[str]:
        if self.certificate_renewal_hours >= self.certificate_validity_hours:
            yield (
                f"certificate_renewal_hours ({self.certificate_renewal_hours}) must be less than "
                f"certificate_validity_hours ({self.certificate_validity_hours}); lower it"
            )
        if not 24 <= self.certificate_validity_hours <= 825 * 24:
            yield "certificate_validity_hours must be from 24 to 19800 (825 days); change it"
        if self.certificate_validity_hours >= self.ca_validity_hours:
            yield "certificate_validity_hours must be less than ca_validity_hours; lower it"
        if not 30 <= self.termination_grace_period_seconds <= 24 * 3600:
            yield (
                "termination_grace_period_seconds must be from 30 to 86400 (a day): "
                f"{DAEMON_STOP_SECONDS} of them are left to the daemon itself; change it"
            )


class DaemonPlace(v.Spec):
    """Where a daemon is, and who may reach it."""

    job_namespace: v.Namespace = "gitlab-runner-jobs"
    cluster_domain: v.ClusterDomain = "cluster.local"
    enable_network_policies: bool = True
    egress_cidrs: list[v.Cidr] = []
    dns_cidrs: list[v.DnsCidr] = DNS_CIDRS


def _own_namespace(namespace: Any, job_namespace: Any, why: str) -> Iterator[str]:
    if isinstance(namespace, str) and namespace == job_namespace:
        yield (
            f"namespace must differ from job_namespace: {why} its key must not be readable to "
            "jobs; give it a namespace of its own"
        )


class DockerOptions(DaemonOptions):
    """What a user chooses about the shared daemon."""

    image: v.DockerImageReference | None = None
    isolation: Literal["privileged", "rootless"] = "privileged"
    mtu: Annotated[v.Whole, Field(ge=576, le=9216)] = 1450
    accept_shared_nodes: bool = False
    metrics_namespaces: list[v.AnyNamespace] = []
    enable_pruning: bool = True
    prune_keep_hours: v.Hours = 72
    prune_above_percent: Annotated[v.Whole, Field(ge=10, le=99)] = 80

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.enable_pruning and self.prune_above_percent <= self.build_cache_percent:
            yield (
                f"prune_above_percent ({self.prune_above_percent}) must be more than "
                f"build_cache_percent ({self.build_cache_percent}): the build cache alone would "
                "have every image removed; raise it, or lower build_cache_percent"
            )
        if not self.node_selector and not self.accept_shared_nodes:
            danger = (
                "its pod is privileged, though the daemon is not root"
                if self.is_rootless
                else "whoever can run a job is root there"
            )
            yield (
                f"node_selector must name nodes of the daemon's own: {danger}; set it, or set "
                "accept_shared_nodes to accept that for the nodes of others"
            )
        official = self.image is not None and v.Image(self.image)
        if official and official.repository == "library/docker":
            is_rootless = str(official.tag).endswith("-dind-rootless")
            if is_rootless != self.is_rootless:
                yield (
                    f"image ({official.tag}) must be of the isolation '{self.isolation}'; remove "
                    f"it, or use {self.default_image}"
                )
        architecture = self.node_selector.get("kubernetes.io/arch", "amd64")
        if self.is_rootless and architecture not in {"amd64", "arm64"}:
            yield (
                f"node_selector.kubernetes.io/arch ({architecture}) must be amd64 or arm64 for the "
                "isolation 'rootless', whose image there is for those alone; change it"
            )

    @property
    def is_rootless(self) -> bool:
        """Whether the daemon runs without root."""
        return self.isolation == "rootless"

    @property
    def default_image(self) -> str:
        """The pinned image of the isolation."""
        return _pins.DOCKER_ROOTLESS_IMAGE if self.is_rootless else _pins.DOCKER_DAEMON_IMAGE


class SharedDockerDaemonSpec(DaemonPlace, DockerOptions):
    namespace: v.Namespace = "gitlab-runner-docker"

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from _own_namespace(
            self.namespace, self.job_namespace, "the daemon's pod is privileged and"
        )


class BuildKitOptions(DaemonOptions):
    """What a user chooses about buildkitd."""

    image: v.ImageReference = _pins.BUILDKIT_IMAGE


class BuildKitDaemonSpec(DaemonPlace, BuildKitOptions):
    namespace: v.Namespace = "gitlab-runner-buildkit"

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from _own_namespace(self.namespace, self.job_namespace, "the daemon's pod and")


class ExternalS3Spec(S3Place):
    bucket: v.BucketName
    access_key: v.SecretText | None = None
    secret_key: v.SecretText | None = None
    credentials_secret_name: v.ResourceName | None = None
    identity_role_arn: v.RoleArn | None = None

    def problems(self) -> Iterator[str]:
        keys = (self.access_key, self.secret_key, self.credentials_secret_name)
        yield from self.place_problems(has_keys=any(key is not None for key in keys))
        if (self.access_key is None) != (self.secret_key is None):
            yield "access_key and secret_key must be set together; set both, or neither"
        yield from _one_identity(
            self, ("access_key", "credentials_secret_name", "identity_role_arn")
        )


class ExternalGcsSpec(v.Spec):
    bucket: v.GcsBucketName
    service_account_key: v.SecretText | None = None
    credentials_secret_name: v.ResourceName | None = None
    service_account_email: v.GcsAccount | None = None

    def problems(self) -> Iterator[str]:
        yield from _one_identity(
            self, ("service_account_key", "credentials_secret_name", "service_account_email")
        )


class ExternalAzureSpec(v.Spec):
    account_name: v.AzureAccountName
    container: v.AzureContainerName
    storage_domain: v.Domain | None = None
    account_key: v.SecretText | None = None
    credentials_secret_name: v.ResourceName | None = None
    client_id: v.AzureClientId | None = None

    def problems(self) -> Iterator[str]:
        yield from _one_identity(self, ("account_key", "credentials_secret_name", "client_id"))


def _one_identity(store: v.Spec, names: tuple[str, ...]) -> Iterator[str]:
    found = [name for name in names if getattr(store, name) is not None]
    if len(found) > 1:
        yield (
            f"only one of {', '.join(names)} may be set, got {' and '.join(found)}; "
            "remove all but one"
        )


class ExternalCacheOptions(v.Spec):
    """What a user says about a store that is there already."""

    s3: ExternalS3Spec | None = None
    gcs: ExternalGcsSpec | None = None
    azure: ExternalAzureSpec | None = None
    max_archive_size: v.Bytes | None = None

    def problems(self) -> Iterator[str]:
        found = [name for name in ("s3", "gcs", "azure") if getattr(self, name) is not None]
        if len(found) != 1:
            yield (
                f"exactly one of s3, gcs and azure must be set, got {' and '.join(found) or 'none'}"
                "; keep the one where your cache is"
            )


class ExternalCacheSpec(ExternalCacheOptions):
    runner_namespace: v.Namespace = "gitlab-runner"
    path: v.ObjectPath = "gitlab-runner"


class CacheSettings(v.Spec):
    backend: Literal["minio", "s3", "external", "none"] = "minio"
    keep_minio: bool = False
    minio: MinioOptions | None = None
    s3: S3Options | None = None
    external: ExternalCacheOptions | None = None

    def problems(self) -> Iterator[str]:
        if self.keep_minio and self.backend == "minio":
            yield "keep_minio is only for another backend than 'minio'; remove it"
        used = {self.backend, *(["minio"] if self.keep_minio else [])}
        for block in ("minio", "s3", "external"):
            if getattr(self, block) is not None and block not in used:
                yield (
                    f"{block} is set and backend is '{self.backend}'; remove {block}, "
                    f"or set backend to '{block}'"
                )
        if self.backend in {"s3", "external"} and getattr(self, self.backend) is None:
            yield f"{self.backend} must be set for the backend '{self.backend}'; set it"

    @property
    def has_minio(self) -> bool:
        """Tell whether the in-cluster store is declared."""
        return self.backend == "minio" or self.keep_minio


class NamespacesSettings(v.Spec):
    runner: v.OwnNamespace = "gitlab-runner"
    jobs: v.OwnNamespace = "gitlab-runner-jobs"
    cache: v.OwnNamespace = "gitlab-runner-cache"
    docker: v.OwnNamespace = "gitlab-runner-docker"
    mirror: v.OwnNamespace = "gitlab-runner-mirror"
    enable_creation: bool = True
    enable_adoption: bool = False

    def problems(self) -> Iterator[str]:
        names = [self.runner, self.jobs, self.cache, self.docker, self.mirror]
        if len(set(names)) < len(names):
            yield (
                "the namespaces must differ: each has its own secrets and Pod Security level; "
                "rename the one used twice"
            )


class NetworkSettings(v.Spec):
    enable_policies: bool = True
    egress_cidrs: list[v.Cidr] = []
    dns_cidrs: list[v.DnsCidr] = DNS_CIDRS
    api_server_ports: list[v.Port] = API_SERVER_PORTS
    gitlab_port: v.Port | None = None
    cluster_domain: v.ClusterDomain = "cluster.local"
    allow_insecure_gitlab_url: bool = False


class RegistryMirrorOptions(v.Spec):
    """What a user chooses about the mirror."""

    image: v.ImageReference = _pins.REGISTRY_IMAGE
    remote_url: v.ServerUrl = "https://registry-1.docker.io"
    allow_insecure_remote: bool = False
    username: v.Text | None = None
    password: v.Password | None = None
    credentials_secret_name: v.ResourceName | None = None
    volume_size: v.VolumeSize = "50Gi"
    storage_class_name: v.ResourceName | None = None
    ttl_hours: v.Hours = 168
    resources: Annotated[ResourcesSpec, _over(_MIRROR)] = _MIRROR
    node_selector: v.Labels = {}
    log_level: Literal["error", "warn", "info", "debug"] = "info"
    metrics_namespaces: list[v.AnyNamespace] = []

    def problems(self) -> Iterator[str]:
        if (self.username is None) != (self.password is None):
            missing = "username" if self.username is None else "password"
            yield (
                f"username and password must be set together; set {missing}, or remove the other"
            )
        if self.username is not None and self.credentials_secret_name is not None:
            yield (
                "credentials_secret_name must not be set beside username and password; "
                "remove one of the two"
            )
        if not isinstance(self.remote_url, str):
            return
        url = urlsplit(self.remote_url)
        if url.scheme == "http" and not self.allow_insecure_remote:
            yield (
                f"remote_url must be https, got '{self.remote_url}'; use https, or set "
                "allow_insecure_remote (images and credentials cross the network in clear)"
            )
        if url.path:
            yield (
                f"remote_url must be the root of a registry, got '{self.remote_url}'; "
                f"remove '{url.path}'"
            )


class RegistryMirrorSpec(RegistryMirrorOptions):
    namespace: v.Namespace = "gitlab-runner-mirror"
    job_namespace: v.Namespace = "gitlab-runner-jobs"
    client_namespaces: list[v.AnyNamespace] = ["gitlab-runner-jobs", "gitlab-runner-docker"]
    cluster_domain: v.ClusterDomain = "cluster.local"
    enable_network_policies: bool = True
    egress_cidrs: list[v.Cidr] = []
    dns_cidrs: list[v.DnsCidr] = DNS_CIDRS

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if not self.client_namespaces:
            yield (
                "client_namespaces must name at least one namespace: an empty list would admit "
                "every pod of the cluster; add the namespace of the jobs or of the daemon"
            )
        if isinstance(self.namespace, str) and self.namespace == self.job_namespace:
            yield (
                "namespace must differ from job_namespace: jobs could read the upstream's "
                "credentials there; give the mirror a namespace of its own"
            )


DEFAULT_ZONE = "default"


class ZoneSettings(v.Spec):
    docker_daemon: DockerOptions | None = None
    buildkit_daemon: BuildKitOptions | None = None
    job_namespace: v.OwnNamespace | None = None
    docker_namespace: v.OwnNamespace | None = None

    @property
    def has_daemon(self) -> bool:
        """Tell whether the zone has a daemon, of either kind."""
        return bool(self.docker_daemon or self.buildkit_daemon)

    @property
    def replicas(self) -> int:
        """How many daemons the zone has, of the kind that it has."""
        daemon = self.docker_daemon or self.buildkit_daemon
        return daemon.replicas if daemon else 0


class FleetSettings(v.Spec):
    runner_token: v.RunnerToken | None = None
    token_secret_name: v.ResourceName | None = None
    token_external_secret: ExternalSecretSpec | None = None
    zone: v.Name = DEFAULT_ZONE
    runner: RunnerOptions = RunnerOptions()

    def problems(self) -> Iterator[str]:
        yield from _check_token(self)


class MonitoringSpec(v.Spec):
    enable_pod_monitor: bool = False
    enable_alert_rules: bool = False
    enable_dashboard: bool = False
    labels: v.Labels = {}
    interval_seconds: Annotated[v.Whole, Field(ge=5, le=120)] = 30
    dashboard_namespace: v.AnyNamespace | None = None
    prometheus_namespace: v.AnyNamespace = "monitoring"

    def problems(self) -> Iterator[str]:
        if self.enable_alert_rules and not self.enable_pod_monitor:
            yield (
                "enable_alert_rules needs enable_pod_monitor: without metrics every alert of a "
                "part that is down would fire; set enable_pod_monitor"
            )


class RunnerPlatformSpec(v.Spec):
    gitlab_url: v.ServerUrl
    runner_token: v.RunnerToken | None = None
    token_secret_name: v.ResourceName | None = None
    token_external_secret: ExternalSecretSpec | None = None
    runner: RunnerOptions = RunnerOptions()
    fleets: dict[v.ShortName, FleetSettings] = {}
    zones: dict[v.ShortName, ZoneSettings] = {}
    cache: CacheSettings = CacheSettings()
    docker_daemon: DockerOptions | None = None
    buildkit_daemon: BuildKitOptions | None = None
    registry_mirror: RegistryMirrorOptions | None = None
    monitoring: MonitoringSpec | None = None
    namespaces: NamespacesSettings = NamespacesSettings()
    network: NetworkSettings = NetworkSettings()
    allow_volume_deletion: bool = False

    def zone(self, name: str) -> ZoneSettings:
        """Return a zone's settings, all of its namespaces named."""
        if name == DEFAULT_ZONE:
            return ZoneSettings(
                docker_daemon=self.docker_daemon,
                buildkit_daemon=self.buildkit_daemon,
                job_namespace=self.namespaces.jobs,
                docker_namespace=self.namespaces.docker,
            )
        zone = self.zones[name]
        return zone.model_copy(
            update={
                "job_namespace": zone.job_namespace or f"{self.namespaces.jobs}-{name}",
                "docker_namespace": zone.docker_namespace or f"{self.namespaces.docker}-{name}",
            }
        )

    def zone_names(self) -> list[str]:
        """Return every zone, the default one only where something is in it."""
        is_used = not self.fleets or self.zone(DEFAULT_ZONE).has_daemon
        is_used |= any(fleet.zone == DEFAULT_ZONE for fleet in self.fleets.values())
        return [*([DEFAULT_ZONE] if is_used else []), *self.zones]

    def options(self, fleet: FleetSettings) -> dict[str, Any]:
        """Return the options of a fleet's runner: its own before the platform's."""
        return {
            **self.runner.given(),
            **fleet.runner.given(),
        }

    def problems(self) -> Iterator[str]:
        found = [*self._own_problems()]
        # What a part refuses is told here: it is made when others are registered already.
        yield from found or self._part_problems()

    def _own_problems(self) -> Iterator[str]:
        yield from _check_url(self.gitlab_url, self.network.allow_insecure_gitlab_url)
        store = self.cache.minio
        if store and store.engine == "seaweedfs" and not self.network.enable_policies:
            yield (
                "network.enable_policies must be on for the engine 'seaweedfs' of cache.minio: who "
                "reaches the ports of its inner parts needs no credentials; leave it on, or "
                "choose another engine"
            )
        if not self.fleets:
            yield from _check_token(self)
            if self.docker_daemon:
                yield from shared_daemon_conflicts(self.runner, "runner.")
            replicas = self.zone(DEFAULT_ZONE).replicas
            yield from replicas_conflicts(self.runner, replicas, "runner.")
        for name in _TOKENS:
            if self.fleets and getattr(self, name) is not None:
                yield f"{name} must not be set beside fleets; move it into one of them"
        yield from self._zone_problems()
        others = {"store", "docker", *(f"docker-{zone}" for zone in self.zones)}
        owners: dict[Any, str] = {}
        for name, fleet in self.fleets.items():
            if self.monitoring and name in others:
                yield f"fleets.{name}: the metrics of another part have this name; rename it"
            yield from self._fleet_problems(name, fleet)
            for field in _TOKENS:
                token, path = getattr(fleet, field), f"fleets.{name}.{field}"
                if token is None or isinstance(token, pulumi.Output):
                    continue
                key = repr(token)
                if key in owners:
                    yield (
                        f"{path} must differ from {owners[key]}: for GitLab both would be one "
                        "runner, and either could get the other's jobs; create one for each"
                    )
                owners.setdefault(key, path)

    def _part_problems(self) -> Iterator[str]:
        around = {
            "cluster_domain": self.network.cluster_domain,
            "enable_network_policies": self.network.enable_policies,
        }
        egress = {"egress_cidrs": self.network.egress_cidrs}
        runner = {"runner_namespace": self.namespaces.runner}
        parts: list[tuple[str, type[v.Spec], v.Spec | None, dict[str, Any]]] = [
            ("cache.s3", S3CacheSpec, self.cache.s3, runner),
            ("cache.external", ExternalCacheSpec, self.cache.external, runner),
            (
                "cache.minio",
                MinioCacheSpec,
                self.cache.minio,
                {
                    **runner,
                    **around,
                    "namespace": self.namespaces.cache,
                    "job_namespace": self.zone(self.zone_names()[0]).job_namespace,
                },
            ),
            (
                "registry_mirror",
                RegistryMirrorSpec,
                self.registry_mirror,
                {
                    **around,
                    **egress,
                    "namespace": self.namespaces.mirror,
                    "job_namespace": self.zone(self.zone_names()[0]).job_namespace,
                },
            ),
        ]
        for name in self.zone_names():
            zone, path = self.zone(name), "" if name == DEFAULT_ZONE else f"zones.{name}."
            place = {
                **around,
                **egress,
                "namespace": zone.docker_namespace,
                "job_namespace": zone.job_namespace,
            }
            parts += [
                (f"{path}docker_daemon", SharedDockerDaemonSpec, zone.docker_daemon, place),
                (f"{path}buildkit_daemon", BuildKitDaemonSpec, zone.buildkit_daemon, place),
            ]
        for path, model, options, more in parts:
            if options is not None:
                yield from v.problems(model, {**options.given(), **more}, root=path)

    def _zone_problems(self) -> Iterator[str]:
        if DEFAULT_ZONE in self.zones:
            yield (
                f"zones.{DEFAULT_ZONE} is made of docker_daemon and namespaces; "
                "set those, or rename the zone"
            )
            return
        owners: dict[str, str] = {
            self.namespaces.runner: "namespaces.runner",
            self.namespaces.cache: "namespaces.cache",
            self.namespaces.mirror: "namespaces.mirror",
        }
        for name in [DEFAULT_ZONE, *self.zones]:
            zone = self.zone(name)
            if zone.docker_daemon and zone.buildkit_daemon:
                path = "" if name == DEFAULT_ZONE else f"zones.{name}."
                yield (
                    f"{path}buildkit_daemon must not be set beside docker_daemon: a zone has one; "
                    "remove one of the two"
                )
            for field in ("job_namespace", "docker_namespace"):
                namespace, path = str(getattr(zone, field)), f"zones.{name}.{field}"
                if name == DEFAULT_ZONE:
                    path = f"namespaces.{'jobs' if field == 'job_namespace' else 'docker'}"
                if namespace in owners and name != DEFAULT_ZONE:
                    yield (
                        f"{path} must differ from {owners[namespace]} ('{namespace}'): a zone's "
                        "jobs and daemon have namespaces of their own; rename it"
                    )
                owners.setdefault(namespace, path)

    def _fleet_problems(self, name: str, fleet: FleetSettings) -> Iterator[str]:
        path = f"fleets.{name}"
        if fleet.zone != DEFAULT_ZONE and fleet.zone not in self.zones:
            known = ", ".join([DEFAULT_ZONE, *self.zones])
            yield f"{path}.zone: there is no zone '{fleet.zone}'; known zones: {known}"
            return
        wrong = v.problems(RunnerOptions, self.options(fleet))
        yield from (f"{path}.runner, joined with runner: {problem}" for problem in wrong)
        if wrong:
            return
        runner = RunnerOptions(**self.options(fleet))
        if self.zone(fleet.zone).docker_daemon:
            yield from shared_daemon_conflicts(runner, f"{path}.runner.")
        replicas = self.zone(fleet.zone).replicas
        yield from replicas_conflicts(runner, replicas, f"{path}.runner.")
