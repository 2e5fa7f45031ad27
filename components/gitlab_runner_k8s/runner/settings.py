"""Settings of a runner and its jobs."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from .. import pins
from ..kubernetes.settings import NodeDnsSettings, ResourcesSettings, over
from ..secrets import is_secret_name
from ..validation.base import Choice, Settings
from ..validation.rules.basic import Count, PlainText, Seconds, Text, Variable, Whole
from ..validation.rules.gitlab import (
    ChartName,
    ChartRepository,
    ChartVersion,
    EnvironmentName,
    FeatureFlag,
    GitLabUrl,
    RunnerToken,
    Tag,
)
from ..validation.rules.images import ImageReference, runner_version
from ..validation.rules.kubernetes import (
    Annotations,
    AnyNamespace,
    LabelName,
    Labels,
    LabelText,
    Name,
    Namespace,
    PlainName,
    ResourceName,
    Taint,
    TaintEffect,
    Toleration,
)
from ..validation.rules.network import Cidr
from .connections import (
    GitLabConnectionSettings,
    RunnerBuildKitSettings,
    RunnerCacheSettings,
    RunnerDockerSettings,
    RunnerMirrorSettings,
)
from .extra_config import ExtraConfig, has_posix_shell, overwrites, privileges

Environment = dict[EnvironmentName, Variable]


_MANAGER = ResourcesSettings(
    cpu_request="50m", cpu_limit="1", memory_request="128Mi", memory_limit="512Mi"
)


class PullPolicy(Choice):
    """When Kubernetes pulls the images of jobs."""

    ALWAYS = "always"
    """Ask the registry every time. A job then cannot use a private image that another job left on
    the node."""
    IF_NOT_PRESENT = "if-not-present"
    """Pull an image only if the node does not have it."""
    NEVER = "never"
    """Never pull. Jobs can use only images that the node already has."""


class SpotNodes(Choice):
    """Provider of the interruptible nodes, which determines their node selector and toleration."""

    EKS = "eks"
    """Managed node groups of EKS."""
    KARPENTER = "karpenter"
    """Nodes that Karpenter creates."""
    GKE = "gke"
    """Spot VMs of GKE."""
    AKS = "aks"
    """Spot node pools of AKS."""


class SecretStoreKind(Choice):
    """Kind of the store that the External Secrets Operator reads."""

    CLUSTER_SECRET_STORE = "ClusterSecretStore"  # noqa: S105
    """A store for the whole cluster."""
    SECRET_STORE = "SecretStore"  # noqa: S105
    """A store in the runner's namespace."""


class ChartSettings(Settings):
    """Source of the runner's Helm chart."""

    chart: ChartName = pins.CHART_NAME
    """Name of the chart, an `oci://` reference, or a path."""
    repository: ChartRepository | None = pins.CHART_REPOSITORY
    """`https://` URL of the chart repository. It is not used if `chart` is an `oci://` reference or
    a path."""
    version: ChartVersion = pins.CHART_VERSION
    """Exact version of the chart, 0.88.2 or newer. This package is tested with the default
    version."""


class ExternalSecretSettings(Settings):
    """A runner token that the External Secrets Operator reads from a store.

    The operator must be installed in the cluster. The token never passes through Pulumi. After a
    change in the store, the runner uses the new token once its pod restarts.
    """

    store_name: ResourceName
    """Name of the store, an object of the External Secrets Operator."""
    store_kind: SecretStoreKind = SecretStoreKind.CLUSTER_SECRET_STORE
    """Kind of the store."""
    remote_key: Text
    """Key of the token in the store."""
    remote_property: Text | None = None
    """Property of the key that holds the token, if the key has several properties. Default: the
    whole value of the key."""
    refresh_interval_seconds: Annotated[Seconds, Field(ge=60)] = 3600
    """Seconds between two reads of the store."""


_NEEDED_FLAGS = {
    "FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": (
        "without it, a rotated token is lost when the runner restarts"
    ),
    "FF_USE_POD_ACTIVE_DEADLINE_SECONDS": (
        "without it, the pods of a deleted runner would run forever"
    ),
}


class TokenSettings(Settings):
    """The token of a runner, or where it is."""

    runner_token: RunnerToken | None = None
    """Authentication token of the runner, `glrt-…`, as a Pulumi secret. Set exactly one of
    `runner_token`, `token_secret_name` and `token_external_secret`."""
    token_secret_name: ResourceName | None = None
    """Existing Secret in the runner's namespace with the keys `runner-token` and
    `runner-registration-token` (empty), in place of `runner_token`."""
    token_external_secret: ExternalSecretSettings | None = None
    """Token that the External Secrets Operator reads from a store, in place of `runner_token`."""

    def token_problems(self) -> Iterator[str]:
        """Check that the token is set in exactly one way."""
        names = [name for name in TokenSettings.model_fields if getattr(self, name) is not None]
        if len(names) != 1:
            yield (
                "exactly one of runner_token, token_secret_name and token_external_secret must be "
                f"set, got {' and '.join(names) or 'none'}; runner_token is a glrt- token as a "
                "secret, token_secret_name names a Secret with the keys 'runner-token' and "
                "'runner-registration-token' (empty)"
            )


class RunnerSettings(Settings):
    """Settings of a runner and its jobs."""

    concurrent: Count = 10
    """Number of jobs that run at the same time."""
    request_concurrency: Count | None = None
    """Number of requests for jobs that are open at the same time, from 1 to `concurrent`. With 1,
    jobs start late under GitLab's long polling. Default: 4, or `concurrent` if that is less."""
    default_image: ImageReference = pins.DOCKER_CLI_IMAGE
    """Image, with tag and digest, of jobs that name none. Default: the pinned image of the docker
    client."""
    helper_image: ImageReference | None = None
    """Image, with tag and digest, of the helper container, which clones the repository and
    transfers the cache. Its version must be that of the runner. Default: the runner's own
    choice."""
    image: ImageReference = pins.RUNNER_IMAGE
    """Image of the runner itself, with tag and digest. Default: the pinned image of GitLab
    Runner."""
    image_pull_secrets: list[ResourceName] = []
    """Names of the Secrets for pulling the runner's own image."""
    pull_policy: PullPolicy = PullPolicy.ALWAYS
    """When Kubernetes pulls the images of jobs."""
    allowed_pull_policies: list[PullPolicy] = []
    """Pull policies that a job may choose. The list must contain `pull_policy`. Default: only
    `pull_policy`."""
    allowed_images: list[PlainText] = []
    """Patterns of images that jobs may use, such as "registry.example.com/**". Default: any
    image."""
    allowed_services: list[PlainText] = []
    """Patterns of images that jobs may use as services. Default: any image."""
    tags: list[Tag] = []
    """Tags of the runner, as an annotation of the Deployment for people to read. Set the tags that
    select jobs in GitLab: with a glrt- token, a runner cannot choose them."""
    spot: SpotNodes | None = None
    """Run jobs on interruptible nodes, by the labels and taints of this provider. A job fails if
    its node goes away: use `retry` in CI/CD. Default: any node."""
    enable_privileged_jobs: bool = False
    """Run all containers of every job privileged. A Docker daemon in each job needs that. Refused
    together with a shared Docker daemon."""
    enable_privileged_services: bool = False
    """Run the services of jobs privileged, but not the jobs themselves. A Docker daemon in each job
    needs that. Refused together with a shared Docker daemon."""
    enable_job_disruption_budget: bool = False
    """Keep a node drain from evicting running jobs: the drain waits for them. With `false`, the
    drain evicts the jobs."""
    environment: Environment = {}
    """Variables of every job. CI/CD variables override them. Do not put secrets here: the variables
    are plain text in the cluster. A secret Output, and a name or value that looks like a secret,
    are refused. Names that begin with DOCKER_ or BUILDKIT_ are refused too. If a proxy is among
    them, NO_PROXY and no_proxy get the shared daemon and the cache's store as well."""
    job_resources: ResourcesSettings = ResourcesSettings()
    """Resources of the container that runs the job's script. Default: no requests or limits, except
    those of a LimitRange in the job namespace."""
    helper_resources: ResourcesSettings = ResourcesSettings()
    """Resources of the helper container. Default: no requests or limits, except those of a
    LimitRange in the job namespace."""
    service_resources: ResourcesSettings = ResourcesSettings()
    """Resources of the jobs' services. Default: no requests or limits, except those of a LimitRange
    in the job namespace."""
    manager_resources: Annotated[ResourcesSettings, over(_MANAGER)] = _MANAGER
    """Resources of the runner itself."""
    job_node_selector: Labels = {}
    """Labels of the nodes on which jobs run. Default: any node."""
    job_node_tolerations: dict[Taint, TaintEffect | Literal[""]] = {}
    """Taints that jobs tolerate, as "key=value": "Effect"."""
    job_pod_labels: Labels = {}
    """Labels of the jobs' pods, in addition to the runner's own. Labels that contain
    `runner.gitlab.com/` are refused."""
    job_pod_annotations: Annotations = {}
    """Annotations of the jobs' pods."""
    job_service_account_name: ResourceName | None = None
    """Existing ServiceAccount of the jobs' pods. Its token is not mounted. Default: the namespace's
    default ServiceAccount, without rights."""
    job_runtime_class_name: PlainName | None = None
    """RuntimeClass of the jobs' pods, such as that of gVisor or Kata. Default: the cluster's
    default runtime."""
    job_priority_class_name: PlainName | None = None
    """PriorityClass of the jobs' pods. Default: the cluster's default priority."""
    manager_node_selector: Labels = {}
    """Labels of the nodes on which the runner itself runs. Default: any node."""
    manager_tolerations: list[Toleration] = []
    """Tolerations of the runner's own pod, as in Kubernetes: `key`, `operator`, `value`, `effect`,
    `tolerationSeconds`."""
    manager_priority_class_name: PlainName | None = None
    """PriorityClass of the runner's own pod. Default: the cluster's default priority."""
    gitlab_ca_secret_name: ResourceName | None = None
    """Existing Secret in the runner's namespace with the key `<GitLab's host>.crt`. Set it if a
    private authority signed GitLab's certificate. Default: the system's certificate authorities."""
    feature_flags: dict[FeatureFlag, bool] = {}
    """Feature flags of the runner, such as FF_USE_FASTZIP. The package itself sets
    FF_DISABLE_AUTOMATIC_TOKEN_ROTATION. You cannot switch off that flag or
    FF_USE_POD_ACTIVE_DEADLINE_SECONDS."""
    extra_config: ExtraConfig | None = None
    """More of config.toml, as TOML text: one `[[runners]]` table with keys that have no setting
    here. Unknown keys, keys that have a setting, secrets, and paths of the node's own system are
    refused. With a shared Docker daemon, any kind of privilege is refused too. So are keys that let
    a job choose its labels, ServiceAccount, namespace or nodes. An `autoscaler` gives the runner
    rights on Deployments in the job namespace, and a ClusterRole for PriorityClasses. Default:
    none."""
    poll_timeout_seconds: Annotated[Seconds, Field(ge=30)] = 600
    """Seconds that a job's pod may take to start, at most `maximum_job_timeout_seconds`. Default:
    600 (time for a new node to start)."""
    daemon_wait_seconds: Annotated[Seconds, Field(le=3600)] = 300
    """Seconds that a job waits at its start for a shared daemon that is restarting, before the job
    fails. With 0, jobs do not wait. With several daemons, the job takes the first daemon after this
    time, and waits for it as long again. Only jobs with the daemon's client in their image wait."""
    check_interval_seconds: Annotated[Seconds, Field(ge=1)] = 3
    """Seconds between two requests for jobs."""
    maximum_job_timeout_seconds: Annotated[Seconds, Field(ge=600)] = 3600
    """Longest timeout of a job in seconds. Set at least the longest job timeout of your projects. A
    runner that is being replaced waits so long for its jobs to end. A shared Docker daemon removes
    containers and networks that are older, because their job has ended."""
    gitlab_outage_tolerance_minutes: Annotated[Whole, Field(ge=3, le=24 * 60)] = 30
    """Minutes that GitLab may be unreachable before Kubernetes restarts the runner. If a job ends
    during such an outage, the runner still reports it afterwards. The chart's own default is 3."""
    log_level: Literal["debug", "info", "warn", "error", "fatal", "panic"] = "info"
    """Lowest severity that the runner logs: debug, info, warn, error, fatal or panic."""
    enable_metrics: bool = True
    """Serve Prometheus metrics on port 9252."""
    chart: ChartSettings = ChartSettings()
    """Helm chart of the runner. Default: GitLab's chart, at the pinned version."""

    def _conflicts(self) -> Iterator[str]:
        requests = self.request_concurrency
        if requests is not None and requests > self.concurrent:
            yield (
                f"request_concurrency ({requests}) must not exceed concurrent ({self.concurrent}); "
                "lower it, or raise concurrent"
            )
        for key in self.environment:
            if key.upper().startswith(("DOCKER_", "BUILDKIT_")) or is_secret_name(key):
                yield (
                    f"environment.{key} must not be set here, because it is plain text in the "
                    "cluster or configures the shared daemon; use a masked CI/CD variable of the "
                    "project"
                )
        for flag, why in _NEEDED_FLAGS.items():
            if self.feature_flags.get(flag) is False:
                yield f"feature_flags.{flag} must not be false: {why}; remove it"
            if flag in self.environment:
                yield (
                    f"environment.{flag} must not be set, because this package sets it in "
                    "feature_flags; remove it"
                )
        if self.allowed_pull_policies and self.pull_policy not in self.allowed_pull_policies:
            yield (
                f"pull_policy ({self.pull_policy}) must be among allowed_pull_policies "
                f"({', '.join(self.allowed_pull_policies)}); add it"
            )
        runner, helper = runner_version(self.image), runner_version(self.helper_image)
        if runner and helper and runner != helper:
            yield (
                f"helper_image ({helper}) must have the runner's version ({runner}), because each "
                "works only with the same version of the other; change it, or remove helper_image"
            )
        if self.poll_timeout_seconds > self.maximum_job_timeout_seconds:
            yield (
                f"poll_timeout_seconds ({self.poll_timeout_seconds}) must not exceed "
                f"maximum_job_timeout_seconds ({self.maximum_job_timeout_seconds}); lower it"
            )
        for key in self.job_pod_labels:
            if "runner.gitlab.com/" in key:
                yield (
                    f"job_pod_labels.{key} must not be set, because the runner reserves "
                    "runner.gitlab.com/; remove it"
                )


class GitLabRunnerSettings(
    RunnerSettings, TokenSettings, GitLabConnectionSettings, NodeDnsSettings
):
    """Arguments of `GitLabRunner`."""

    gitlab_url: GitLabUrl
    """URL of GitLab, `https://…`."""
    namespace: Namespace = "gitlab-runner"
    """Existing namespace of the runner itself."""
    job_namespace: Namespace = "gitlab-runner-jobs"
    """Existing namespace of the jobs' pods. It must differ from `namespace`."""
    release_name: Name | None = None
    """Name of the Helm release, of the Deployment and of the ServiceAccount. Another name makes a
    new release. Default: the component's name."""
    service_account_annotations: dict[LabelName, Variable] = {}
    """Annotations of the runner's ServiceAccount, such as the ARN of a role."""
    manager_pod_labels: dict[LabelName, LabelText] = {}
    """Labels of the runner's own pod, such as those for a workload identity."""
    cache: RunnerCacheSettings | None = None
    """Distributed cache. Default: none; the `cache:` of a job is then lost with the job's pod."""
    docker: RunnerDockerSettings | None = None
    """Shared Docker daemon. Default: none."""
    buildkit: RunnerBuildKitSettings | None = None
    """Shared BuildKit daemon. Default: none."""
    registry_mirror: RunnerMirrorSettings | None = None
    """Mirror of Docker Hub for the Docker daemons that jobs start. Default: none."""
    manager_excluded_nodes: list[Labels] = []
    """Labels of nodes on which the runner itself never runs, such as those of shared Docker
    daemons, where anyone who can run a job is root. Default: none."""
    job_excluded_nodes: list[Labels] = []
    """Labels of nodes on which jobs never run, such as those of other zones' Docker daemons. Not
    used if `extra_config` sets `affinity.node_affinity`. Default: none."""
    metrics_namespaces: list[AnyNamespace] = []
    """Namespaces, such as that of Prometheus, that may read the metrics. If the cluster's network
    does not enforce NetworkPolicy, every pod can read them."""
    enable_network_policies: bool = True
    """Deny all traffic of the runner and the jobs except what they need. The setting has no effect
    where the cluster's network does not enforce NetworkPolicy."""
    egress_cidrs: list[Cidr] = []
    """Private address ranges that jobs may reach, such as that of a registry."""

    def _conflicts(self) -> Iterator[str]:
        yield from super()._conflicts()
        yield from self.token_problems()
        yield from self.url_conflicts(self.gitlab_url)
        if self.docker:
            yield from shared_daemon_conflicts(self)
        for daemon in (self.docker, self.buildkit):
            if daemon:
                yield from replicas_conflicts(self, daemon.replicas)
        if isinstance(self.namespace, str) and self.namespace == self.job_namespace:
            yield (
                "job_namespace must differ from namespace, because jobs could read the runner's "
                "token there; use a separate namespace for jobs"
            )


def shared_daemon_conflicts(runner: RunnerSettings, path: str = "") -> Iterator[str]:
    """Return the problems of a runner whose jobs use a shared daemon."""
    for field in ("enable_privileged_jobs", "enable_privileged_services"):
        if getattr(runner, field):
            yield (
                f"{path}{field} must be false if jobs use the shared daemon, because they need no "
                "privileges then; remove it"
            )
    for key in overwrites(runner.extra_config):
        yield (
            f"{path}extra_config must not set {key} if jobs use the shared daemon, because a job "
            "could take another zone's labels or identity, or run on the daemon's nodes; remove it"
        )
    for key in privileges(runner.extra_config):
        yield (
            f"{path}extra_config must not set {key} if jobs use the shared daemon, because they "
            "need no privileges then; remove it"
        )


def replicas_conflicts(runner: RunnerSettings, replicas: int, path: str = "") -> Iterator[str]:
    """Return the problem that keeps a runner's jobs from choosing among several daemons."""
    if replicas > 1 and not has_posix_shell(runner.extra_config):
        yield (
            f"{path}extra_config must not set a shell other than bash or sh if there are "
            f"{replicas} daemons, because a shell script selects the daemon of a job; remove it, "
            "or set replicas to 1"
        )
