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
from ._extra_config import parse
from ._inputs import digest, lift, sha256
from ._meta import token
from ._secrets import has_secret
from ._specs import ExternalSecretSpec, GitLabRunnerSpec, RunnerCacheSpec, host_conflicts
from ._validation import ArgsError, name_problems, quantity, validate
from ._values import PRIORITY_CLASS_RULE, ChartConfig, values


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
    ephemeral_storage_request: NotRequired[str]
    """Local disk that is set aside, in bytes, such as "10Gi"."""
    ephemeral_storage_limit: NotRequired[str]
    """Local disk above which the pod is evicted, in bytes, such as "20Gi"."""


class ChartArgs(TypedDict):
    """Where the runner's Helm chart comes from."""

    chart: NotRequired[str]
    """Name of the chart, an `oci://` reference, or a path. Default: gitlab-runner."""
    repository: NotRequired[str | None]
    """`https://` URL of the chart repository; None for an OCI reference or a path.
    Default: GitLab's own, https://charts.gitlab.io."""
    version: NotRequired[str]
    """Exact version, 0.88.2 or newer. Default: the version that this package is tested with."""


class CacheType(str, Enum):
    """The kind of store of a distributed cache."""

    S3 = "s3"
    """AWS S3, or a store that speaks its protocol."""
    GCS = "gcs"
    """Google Cloud Storage."""
    AZURE = "azure"
    """Azure Blob Storage."""


class SpotNodes(str, Enum):
    """Who offers the interruptible nodes: the selector and the toleration for them differ."""

    EKS = "eks"
    """Managed node groups of EKS."""
    KARPENTER = "karpenter"
    """Nodes made by Karpenter."""
    GKE = "gke"
    """Spot VMs of GKE."""
    AKS = "aks"
    """Spot node pools of AKS."""


class SecretStoreKind(str, Enum):
    """Where the External Secrets Operator finds its store."""

    CLUSTER_SECRET_STORE = "ClusterSecretStore"  # noqa: S105
    """A store of the whole cluster."""
    SECRET_STORE = "SecretStore"  # noqa: S105
    """A store of the runner's namespace."""


class ExternalSecretArgs(TypedDict):
    """A token that the External Secrets Operator, which must be there, fetches.

    It never passes through Pulumi. A token that changes in the store reaches the runner when its
    pod restarts.
    """

    store_name: pulumi.Input[str]
    """Name of the store."""
    store_kind: NotRequired[SecretStoreKind]
    """Kind of the store. Default: ClusterSecretStore."""
    remote_key: pulumi.Input[str]
    """Key in the store under which the token is."""
    remote_property: NotRequired[pulumi.Input[str]]
    """Property of that key, where it has several. Default: the whole value."""
    refresh_interval_seconds: NotRequired[int]
    """Seconds between looks at the store, at least 60. Default: 3600."""


class RunnerCacheArgs(TypedDict):
    """A store for `cache:` of jobs."""

    type: NotRequired[CacheType]
    """Kind of the store. Default: s3."""
    bucket: pulumi.Input[str]
    """Name of the bucket; of the container on Azure."""
    path: NotRequired[pulumi.Input[str]]
    """Prefix of every object. Runners that share it share their cache: give it to runners of one
    trust zone alone. Default: the release's name."""
    max_archive_size: NotRequired[str]
    """Size above which a job's cache is not uploaded, in bytes, as a Kubernetes quantity. The job
    checks it, so it is no defence against the job. Default: no limit."""
    account_name: NotRequired[pulumi.Input[str] | None]
    """Name of the storage account; required on Azure."""
    storage_domain: NotRequired[pulumi.Input[str] | None]
    """Domain of the store on Azure. Default: blob.core.windows.net."""
    ca_secret_name: NotRequired[pulumi.Input[str] | None]
    """Secret in the job namespace with the `ca.crt` of a private authority that signed the
    store's certificate. Default: the system's authorities."""
    region: NotRequired[pulumi.Input[str]]
    """Region of the bucket; required on AWS. Default: us-east-1, which S3-compatible stores
    expect."""
    server_address: NotRequired[pulumi.Input[str] | None]
    """`host:port` of an S3-compatible store, without a scheme. Default: AWS S3."""
    insecure: NotRequired[bool]
    """Use plain HTTP to the store. Default: HTTPS."""
    credentials_secret_name: NotRequired[pulumi.Input[str] | None]
    """Secret in the runner's namespace with the keys that the chart reads: `accesskey` and
    `secretkey`, `gcs-application-credentials-file`, or `azure-account-name` and
    `azure-account-key`. Default: the identity of the runner's ServiceAccount."""
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
    """The daemon's address, `tcp://host:2376`. For a Service of a cluster whose domain has two
    labels, such as cluster.local, jobs get the DNS option `ndots:4`: such a name is looked up at
    once and not after three wrong ones, as with Kubernetes' own 5. To override it, set `dns_config`
    in `extra_config`: the last option counts. Another `dns_policy` there than the cluster's leaves
    it out."""
    client_secret_name: pulumi.Input[str]
    """Secret in the job namespace with `ca.pem`, `cert.pem` and `key.pem`."""
    replicas: NotRequired[int]
    """Daemons there are, from 1 to 16: that of `host`, and those whose names have -1, -2 and so on
    behind the first label of it. Each project's jobs use the same one. Default: 1."""


class RunnerBuildKitArgs(TypedDict):
    """A buildkitd that every job uses, over mutual TLS."""

    host: pulumi.Input[str]
    """The daemon's address, `tcp://host:1234`; jobs find it as BUILDKIT_HOST. Its name is looked up
    as that of a docker daemon is."""
    client_secret_name: pulumi.Input[str]
    """Secret in the job namespace with `ca.pem`, `cert.pem` and `key.pem`; jobs find it in
    BUILDKIT_CERT_PATH."""
    replicas: NotRequired[int]
    """Daemons there are, from 1 to 16: that of `host`, and those whose names have -1, -2 and so on
    behind the first label of it. Each project's jobs use the same one. Default: 1."""


class RunnerMirrorArgs(TypedDict):
    """A mirror of Docker Hub for docker daemons that jobs start themselves."""

    url: pulumi.Input[str]
    """Address of the mirror."""
    daemon_config_map_name: pulumi.Input[str]
    """ConfigMap in the job namespace with a `daemon.json` that names it."""


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
    allowed_pull_policies: NotRequired[list[PullPolicy]]
    """Policies that a job may ask for instead. Default: `pull_policy` alone."""
    allowed_images: NotRequired[list[str]]
    """Patterns of images that jobs may use, such as "registry.example.com/**". Default: any."""
    allowed_services: NotRequired[list[str]]
    """Patterns of images that jobs may use as services. Default: any."""
    tags: NotRequired[list[str]]
    """Tags that the runner has in GitLab, where they are set: with a glrt- token a runner cannot
    choose them. Here they annotate the Deployment, for people. Default: none."""
    spot: NotRequired[SpotNodes]
    """Run jobs on interruptible nodes, with the labels and taints of their provider. A job whose
    node goes fails: use `retry` in CI/CD. Default: any node."""
    enable_privileged_services: NotRequired[bool]
    """Run the jobs' services privileged, as a docker daemon per job needs, and the jobs not.
    Default: no privilege. Refused together with the shared daemon."""
    enable_job_disruption_budget: NotRequired[bool]
    """Keep a node drain from evicting running jobs; the drain waits for them.
    Default: jobs are evicted."""
    enable_privileged_jobs: NotRequired[bool]
    """Run every job's containers privileged, as a docker daemon per job needs.
    Default: no privilege. Refused together with the shared daemon."""
    environment: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables of every job; CI/CD variables override them. Not for secrets: they are plain
    text in the cluster, so what looks like one, or is a secret Output, is refused.
    Default: none."""
    job_resources: NotRequired[ResourcesArgs]
    """Resources of the container that runs the job's script. Default: the cluster's."""
    helper_resources: NotRequired[ResourcesArgs]
    """Resources of the helper container. Default: the cluster's."""
    service_resources: NotRequired[ResourcesArgs]
    """Resources of the jobs' services. Default: the cluster's."""
    manager_resources: NotRequired[ResourcesArgs]
    """Resources of the runner itself. Default: 50m to 1 core, 128Mi to 512Mi."""
    job_node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which jobs run. Default: any node."""
    job_node_tolerations: NotRequired[dict[str, str]]
    """Taints that jobs tolerate, as "key=value": "Effect". Default: none."""
    job_pod_labels: NotRequired[dict[str, str]]
    """Labels of the jobs' pods. Default: the runner's own."""
    job_pod_annotations: NotRequired[dict[str, str]]
    """Annotations of the jobs' pods. Default: none."""
    job_service_account_name: NotRequired[pulumi.Input[str]]
    """Existing ServiceAccount of the jobs' pods; its token is not mounted.
    Default: that of the namespace, without rights."""
    job_runtime_class_name: NotRequired[str]
    """RuntimeClass of the jobs' pods, such as gVisor's or Kata's. Default: the cluster's."""
    job_priority_class_name: NotRequired[str]
    """PriorityClass of the jobs' pods. Default: the cluster's."""
    manager_node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the runner itself runs. Default: any node."""
    manager_tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the runner's own pod, as in Kubernetes: `key`, `operator`, `value`, `effect`,
    `tolerationSeconds`. Default: none."""
    manager_priority_class_name: NotRequired[str]
    """PriorityClass of the runner's own pod. Default: the cluster's."""
    gitlab_ca_secret_name: NotRequired[pulumi.Input[str]]
    """Existing Secret in the runner's namespace with `<GitLab's host>.crt`, for a GitLab with a
    certificate of a private authority. Default: the system's authorities."""
    feature_flags: NotRequired[dict[str, bool]]
    """Feature flags of the runner, such as FF_USE_FASTZIP. Default: those that the package
    needs."""
    extra_config: NotRequired[str]
    """More of config.toml, as TOML: one `[[runners]]` with keys of the Kubernetes executor that
    have no argument here. Unknown keys, keys that have an argument, secrets, and paths of the
    node's own system are refused; beside a shared daemon, privilege of any kind too. An
    `autoscaler` gives the runner rights on deployments in the job namespace, and a ClusterRole for
    PriorityClasses. Default: none."""
    poll_timeout_seconds: NotRequired[int]
    """Seconds a job's pod may take to start. Default: 600, room for a new node."""
    daemon_wait_seconds: NotRequired[int]
    """Seconds that a job waits at its start for a shared daemon that is restarting, before it
    fails, at most 3600; 0 makes no job wait. Of several it then takes the first, for which it waits
    as long again. Only jobs with the daemon's client in their image wait. Default: 300."""
    check_interval_seconds: NotRequired[int]
    """Seconds between requests for jobs. Default: 3."""
    maximum_job_timeout_seconds: NotRequired[int]
    """Seconds that a runner being replaced waits for its jobs to end; at least the longest job
    timeout of your projects. Default: 3600."""
    gitlab_outage_tolerance_minutes: NotRequired[int]
    """Minutes that GitLab may be unreachable before Kubernetes restarts the runner, and in which a
    job that ends is still reported afterwards. Default: 30. The chart's own default is 3."""
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
    """Authentication token of the runner, `glrt-…`, as a Pulumi secret. One of this,
    `token_secret_name` and `token_external_secret` is required."""
    token_secret_name: NotRequired[pulumi.Input[str]]
    """Existing Secret with the keys `runner-token` and `runner-registration-token` (empty)."""
    token_external_secret: NotRequired[ExternalSecretArgs]
    """A token that the External Secrets Operator fetches."""
    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the runner itself. Default: gitlab-runner."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the jobs' pods. Default: gitlab-runner-jobs."""
    release_name: NotRequired[str]
    """Name of the Helm release, of the Deployment and of the ServiceAccount. It cannot be
    changed later without a new release. Default: the component's name."""
    service_account_annotations: NotRequired[dict[str, pulumi.Input[str]]]
    """Annotations of the runner's ServiceAccount, such as a role's ARN. Default: none."""
    manager_pod_labels: NotRequired[dict[str, pulumi.Input[str]]]
    """Labels of the runner's own pod, such as those of a workload identity. Default: none."""
    cache: NotRequired[RunnerCacheArgs]
    """Distributed cache. Default: none; `cache:` of jobs then dies with their pods."""
    docker: NotRequired[RunnerDockerArgs]
    """Shared docker daemon. Default: none."""
    buildkit: NotRequired[RunnerBuildKitArgs]
    """Shared buildkitd. Default: none."""
    registry_mirror: NotRequired[RunnerMirrorArgs]
    """Mirror of Docker Hub for the jobs' own docker daemons. Default: none."""
    metrics_namespaces: NotRequired[list[pulumi.Input[str]]]
    """Namespaces, such as that of Prometheus, that may read the metrics. Default: none, where
    the network enforces NetworkPolicy."""
    allow_insecure_gitlab_url: NotRequired[bool]
    """Accept an http:// address of GitLab; the token then crosses the network in clear.
    Default: refused."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the runner and the jobs but what they need. Default: denied.
    Has no effect where the cluster's network does not enforce NetworkPolicy."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that jobs may reach, such as a registry's. Default: none."""
    dns_cidrs: NotRequired[list[str]]
    """Address blocks of DNS caches on the nodes. Default: that of NodeLocal DNSCache,
    169.254.20.10/32."""
    api_server_ports: NotRequired[list[int]]
    """TCP ports on which the Kubernetes API server answers. Default: 443 and 6443."""
    gitlab_port: NotRequired[int]
    """TCP port of GitLab's own pods, where GitLab is in this cluster and its Service's port is
    another: policies see the pods'. Default: the port of `gitlab_url`."""


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
        is_release = not isinstance(args, Mapping) or args.get("release_name") is None
        names = name_problems(40 if is_release else 63, name)
        spec = validate(GitLabRunnerSpec, args, f"GitLabRunner '{name}'", also=names)
        super().__init__(token("GitLabRunner"), name, {}, opts)
        release_name = spec.release_name or name

        secret, secret_name, checksum = self._token(name, spec)
        extra = parse(spec.extra_config) if spec.extra_config else {}
        config_toml = lift(_render, _runner_config(spec, release_name, extra))
        has_autoscaler = "autoscaler" in extra.get("kubernetes", {})
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
            "tolerations": spec.manager_tolerations,
            "priority_class_name": spec.manager_priority_class_name,
            "pod_labels": spec.manager_pod_labels,
            "ca_secret_name": spec.gitlab_ca_secret_name,
            "tags": spec.tags,
            "enable_job_disruption_budget": spec.enable_job_disruption_budget,
            "enable_autoscaler": has_autoscaler,
        }
        first = self._network_policies(name, spec) if spec.enable_network_policies else []
        if has_autoscaler:
            first += self._priority_classes(name, release_name, spec)
        self._release = k8s.helm.v3.Release(
            f"{name}-release",
            name=release_name,
            namespace=spec.namespace,
            chart=spec.chart.chart,
            version=spec.chart.version,
            # A path or an OCI reference names its place itself.
            repository_opts=(
                {"repo": spec.chart.repository}
                if spec.chart.repository and "/" not in spec.chart.chart
                else None
            ),
            values=lift(_values, chart),
            max_history=5,
            atomic=True,
            cleanup_on_fail=True,
            # A first pull of the image takes minutes; the provider's own limit is 300.
            timeout=900,
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[*([secret] if secret else []), *first]
            ),
        )
        self._serves_metrics = spec.enable_metrics
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
    def serves_metrics(self) -> bool:
        """Whether the runner serves metrics (native only)."""
        return self._serves_metrics

    @property
    def release(self) -> k8s.helm.v3.Release:
        """The Helm release (native only)."""
        return self._release

    def _token(
        self, name: str, spec: GitLabRunnerSpec
    ) -> tuple[pulumi.Resource | None, pulumi.Input[str], pulumi.Input[str] | None]:
        """Declare the token's Secret; return it, its name, and a checksum of the secrets."""
        extra = spec.cache.credentials_checksum if spec.cache else None
        if spec.token_secret_name is not None:
            return None, spec.token_secret_name, extra
        metadata: Any = {
            "name": f"{name}-token",
            "namespace": spec.namespace,
            "labels": kube.labels("gitlab-runner", name),
        }
        child = pulumi.ResourceOptions(parent=self)
        if spec.token_external_secret is not None:
            reference = k8s.apiextensions.CustomResource(
                f"{name}-token",
                api_version="external-secrets.io/v1",
                kind="ExternalSecret",
                metadata=metadata,
                spec=_external_secret(f"{name}-token", spec.token_external_secret),
                opts=child,
            )
            return reference, f"{name}-token", extra
        assert spec.runner_token is not None  # the spec holds that one is set
        salt = random.RandomId(f"{name}-checksum-salt", byte_length=16, opts=child)
        secret = k8s.core.v1.Secret(
            f"{name}-token",
            metadata=metadata,
            # The chart mounts both keys: without the second the pod never starts.
            string_data={"runner-token": spec.runner_token, "runner-registration-token": ""},
            opts=child,
        )
        secrets = [spec.runner_token, *([extra] if extra else [])]
        return secret, f"{name}-token", digest(*secrets, salt=salt.hex)

    def _priority_classes(
        self, name: str, release_name: str, spec: GitLabRunnerSpec
    ) -> list[pulumi.Resource]:
        """Let the runner make the PriorityClass of its pause pods; it is the whole cluster's."""
        child = pulumi.ResourceOptions(parent=self)
        rules: Any = [PRIORITY_CLASS_RULE]
        role = k8s.rbac.v1.ClusterRole(
            f"{name}-priority-classes",
            metadata={"labels": kube.labels("gitlab-runner", name)},
            rules=rules,
            opts=child,
        )
        account: Any = {
            "kind": "ServiceAccount",
            "name": release_name,
            "namespace": spec.namespace,
        }
        binding = k8s.rbac.v1.ClusterRoleBinding(
            f"{name}-priority-classes",
            metadata={"labels": kube.labels("gitlab-runner", name)},
            role_ref={
                "api_group": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": role.metadata["name"],
            },
            subjects=[account],
            opts=child,
        )
        return [role, binding]

    def _network_policies(self, name: str, spec: GitLabRunnerSpec) -> list[pulumi.Resource]:
        addresses = {
            "gitlab": spec.gitlab_url,
            "store": spec.cache.server_address if spec.cache else None,
            "docker": spec.docker.host if spec.docker else None,
            "buildkit": spec.buildkit.host if spec.buildkit else None,
            "mirror": spec.registry_mirror.url if spec.registry_mirror else None,
        }
        has_identity = spec.cache and spec.cache.credentials_secret_name is None
        around = net.Surroundings(
            dns_cidrs=spec.dns_cidrs,
            egress_cidrs=spec.egress_cidrs,
            api_server_ports=spec.api_server_ports,
            gitlab_port=spec.gitlab_port,
            identity=spec.cache.type if spec.cache and has_identity else None,
        )
        child = pulumi.ResourceOptions(parent=self)
        return [
            net.policy(
                f"{name}-manager",
                spec.namespace,
                ingress=(
                    net.namespace_rule(spec.metrics_namespaces, net.METRICS_PORT)
                    if spec.enable_metrics
                    else []
                ),
                egress=lift(lambda known: net.manager_egress(known, around), addresses),
                opts=child,
            ),
            net.policy(
                f"{name}-jobs",
                spec.job_namespace,
                ingress=[],
                egress=lift(lambda known: net.job_egress(known, around), addresses),
                opts=child,
            ),
        ]


def _values(chart: Mapping[str, Any]) -> dict[str, Any]:
    return values(ChartConfig(**chart))


def _no_secret(key: str, value: pulumi.Input[str]) -> pulumi.Input[str]:
    """Return a job's variable; what turns out to be a secret never becomes plain text."""
    if not isinstance(value, pulumi.Output):
        return value

    def check(known: list[Any]) -> str:
        text, is_secret = known
        if is_secret or not isinstance(text, str) or has_secret(text):
            raise ArgsError(
                "GitLabRunner",
                [
                    f"environment.{key}: must be text that is no secret: it is plain text in the "
                    "cluster; use a masked CI/CD variable of the project"
                ],
            )
        return text

    return pulumi.Output.all(pulumi.Output.unsecret(value), value.is_secret()).apply(check)


def _render(runner: Mapping[str, Any]) -> str:
    # What was an Output is known only now.
    found = [
        problem
        for kind in ("docker", "buildkit")
        for problem in host_conflicts(
            runner[f"{kind}_host"], runner[f"{kind}_replicas"], f"{kind}: "
        )
    ]
    if found:
        raise ArgsError("GitLabRunner", found)
    cache = CacheConfig(**runner["cache"]) if runner["cache"] else None
    return render(RunnerConfig(**{**runner, "cache": cache}))


def _external_secret(name: str, wanted: ExternalSecretSpec) -> dict[str, Any]:
    remote: dict[str, Any] = {"key": wanted.remote_key}
    if wanted.remote_property is not None:
        remote["property"] = wanted.remote_property
    return {
        "refreshInterval": f"{wanted.refresh_interval_seconds}s",
        "secretStoreRef": {"name": wanted.store_name, "kind": wanted.store_kind},
        "target": {
            "name": name,
            "creationPolicy": "Owner",
            "template": {
                "engineVersion": "v2",
                # The chart mounts both keys: without the second the pod never starts.
                "data": {"runner-token": "{{ .token }}", "runner-registration-token": ""},
            },
        },
        "data": [{"secretKey": "token", "remoteRef": remote}],
    }


def cache_config(cache: Mapping[str, Any]) -> dict[str, Any]:
    """Return `RunnerCacheArgs`, with a path, as the arguments of `CacheConfig`."""
    spec = RunnerCacheSpec(**cache)
    limit = spec.max_archive_size
    return {
        "type": spec.type,
        "bucket": spec.bucket,
        "region": spec.region,
        "path": spec.path,
        "server_address": spec.server_address,
        "insecure": spec.insecure,
        "authentication": "iam" if spec.credentials_secret_name is None else "access-key",
        "role_arn": spec.role_arn,
        "kms_key_arn": spec.kms_key_arn,
        "account_name": spec.account_name,
        "storage_domain": spec.storage_domain,
        "ca_secret_name": spec.ca_secret_name,
        "max_archive_bytes": int(quantity(limit)) if limit else None,
    }


# Labels that an interruptible node has, and the taints that keep others off it.
_SPOT: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "eks": ({"eks.amazonaws.com/capacityType": "SPOT"}, {}),
    "karpenter": ({"karpenter.sh/capacity-type": "spot"}, {}),
    "gke": (
        {"cloud.google.com/gke-spot": "true"},
        {"cloud.google.com/gke-spot=true": "NoSchedule"},
    ),
    "aks": (
        {"kubernetes.azure.com/scalesetpriority": "spot"},
        {"kubernetes.azure.com/scalesetpriority=spot": "NoSchedule"},
    ),
}


def _runner_config(
    spec: GitLabRunnerSpec, release_name: str, extra: dict[str, Any]
) -> dict[str, Any]:
    selector, tolerations = _SPOT[spec.spot] if spec.spot else ({}, {})
    kubernetes = {
        "allowed_pull_policies": spec.allowed_pull_policies or None,
        "allowed_images": spec.allowed_images or None,
        "allowed_services": spec.allowed_services or None,
        "service_account": spec.job_service_account_name,
        "pod_labels": spec.job_pod_labels or None,
        "pod_annotations": spec.job_pod_annotations or None,
        "runtime_class_name": spec.job_runtime_class_name,
        "priority_class_name": spec.job_priority_class_name,
        "pod_disruption_budget": spec.enable_job_disruption_budget or None,
        "service_container_security_context": (
            {"privileged": True} if spec.enable_privileged_services else None
        ),
        **{f"service_{key}": value for key, value in spec.service_resources.executor().items()},
    }
    cache = spec.cache and {"path": release_name, **spec.cache.given()}
    return {
        "job_namespace": spec.job_namespace,
        "image": spec.default_image,
        "pull_policy": spec.pull_policy,
        "request_concurrency": spec.request_concurrency or min(4, spec.concurrent),
        "helper_image": spec.helper_image,
        "privileged": spec.enable_privileged_jobs,
        "poll_timeout_seconds": spec.poll_timeout_seconds,
        "environment": {key: _no_secret(key, value) for key, value in spec.environment.items()},
        "job_resources": spec.job_resources.executor(),
        "helper_resources": spec.helper_resources.executor(),
        "node_selector": {**selector, **spec.job_node_selector},
        "node_tolerations": {**tolerations, **spec.job_node_tolerations},
        "cache": cache_config(cache) if cache else None,
        "docker_host": spec.docker.host if spec.docker else None,
        "docker_client_secret_name": spec.docker.client_secret_name if spec.docker else None,
        "docker_replicas": spec.docker.replicas if spec.docker else 1,
        "buildkit_host": spec.buildkit.host if spec.buildkit else None,
        "buildkit_client_secret_name": spec.buildkit.client_secret_name if spec.buildkit else None,
        "buildkit_replicas": spec.buildkit.replicas if spec.buildkit else 1,
        "daemon_wait_seconds": spec.daemon_wait_seconds,
        "outage_tolerance_minutes": spec.gitlab_outage_tolerance_minutes,
        "mirror_config_map_name": (
            spec.registry_mirror.daemon_config_map_name if spec.registry_mirror else None
        ),
        "feature_flags": spec.feature_flags,
        "kubernetes": kubernetes,
        "extra": extra,
    }
