"""The arguments of the components.

Generated from the settings by `make generate`: do not edit.
"""

from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import pulumi

from .cache.settings import MinioEngine, S3Identity
from .daemon.settings import DaemonIsolation
from .platform.settings import CacheBackend
from .runner.connections import CacheType
from .runner.settings import PullPolicy, SecretStoreKind, SpotNodes

if TYPE_CHECKING:
    CacheBackendInput = Literal["minio", "s3", "external", "none"] | CacheBackend
    CacheTypeInput = Literal["s3", "gcs", "azure"] | CacheType
    DaemonIsolationInput = Literal["privileged", "rootless"] | DaemonIsolation
    MinioEngineInput = Literal["silo", "minio", "seaweedfs"] | MinioEngine
    PullPolicyInput = Literal["always", "if-not-present", "never"] | PullPolicy
    S3IdentityInput = Literal["irsa", "pod-identity", "access-key", "existing"] | S3Identity
    SecretStoreKindInput = Literal["ClusterSecretStore", "SecretStore"] | SecretStoreKind
    SpotNodesInput = Literal["eks", "karpenter", "gke", "aks"] | SpotNodes
else:  # Pulumi's schema inference knows no union
    CacheBackendInput = CacheBackend
    CacheTypeInput = CacheType
    DaemonIsolationInput = DaemonIsolation
    MinioEngineInput = MinioEngine
    PullPolicyInput = PullPolicy
    S3IdentityInput = S3Identity
    SecretStoreKindInput = SecretStoreKind
    SpotNodesInput = SpotNodes


class ProxyArgs(TypedDict):
    """A proxy through which a daemon reaches registries.

    A `RUN` step does not get it: pass the build arguments HTTP_PROXY, HTTPS_PROXY and
    NO_PROXY.
    """

    http_proxy: NotRequired[pulumi.Input[str] | None]
    """URL of the proxy for `http://`, without credentials. A proxy with a private address must
    be in `egress_cidrs`."""
    https_proxy: NotRequired[pulumi.Input[str] | None]
    """URL of the proxy for `https://`, without credentials."""
    no_proxy: NotRequired[list[str]]
    """Hosts, domains and address blocks that the daemon reaches without the proxy. The daemon
    itself and all Services of the cluster are always among them. Default: none."""


class ResourcesArgs(TypedDict):
    """Compute resources of a container, as Kubernetes quantities."""

    cpu_request: NotRequired[str | None]
    """CPU cores that Kubernetes reserves for the container, as a Kubernetes quantity such as
    "500m". Default: none, unless the container has its own default."""
    cpu_limit: NotRequired[str | None]
    """CPU cores that the container cannot exceed, as a Kubernetes quantity such as "2". Default:
    none, unless the container has its own default."""
    memory_request: NotRequired[str | None]
    """Memory in bytes that Kubernetes reserves for the container, as a Kubernetes quantity such
    as "512Mi". Default: none, unless the container has its own default."""
    memory_limit: NotRequired[str | None]
    """Memory in bytes above which the container is killed, as a Kubernetes quantity such as
    "2Gi". Default: none, unless the container has its own default."""
    ephemeral_storage_request: NotRequired[str | None]
    """Local disk in bytes that Kubernetes reserves for the container, as a Kubernetes quantity
    such as "10Gi". Default: none, unless the container has its own default."""
    ephemeral_storage_limit: NotRequired[str | None]
    """Local disk in bytes above which Kubernetes evicts the pod, as a Kubernetes quantity such
    as "20Gi". Default: none, unless the container has its own default."""


class BuildKitDaemonArgs(TypedDict):
    """Arguments of `BuildKitDaemon`."""

    replicas: NotRequired[int]
    """Number of daemons, each with a volume of its own. Several daemons share the load. They are
    no security boundary: all have the same client certificate, and any job can reach every
    daemon of its zone. To separate projects, use zones. All jobs of a project use the same
    daemon, which a consistent hash of CI_PROJECT_ID chooses. Raising the number moves a share
    of the projects to the new daemon, where they start cold; all other projects stay.
    Lowering it removes the daemon with the highest number, within
    `termination_grace_period_seconds`; its volume stays. Jobs that run on the removed daemon
    fail at their next command to it. Jobs that start before the runner knows the new number
    wait, and then take the first daemon. An update from 1 to more, or back to 1, replaces the
    server's certificate and restarts the first daemon. Jobs choose their daemon in their own
    shell, which must be bash or sh. Services, and jobs with `run:`, know only the first
    daemon. Default: 1. From 1 to 16."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity. The volume holds the build cache
    and, with a Docker daemon, the images. You can raise the size, if the StorageClass allows
    that, but never lower it. Default: 100Gi."""
    storage_class_name: NotRequired[pulumi.Input[str] | None]
    """StorageClass of the volume. It must provide block devices, not NFS. You cannot change it
    later. Default: the cluster's default StorageClass."""
    build_cache_percent: NotRequired[int]
    """Percent of the volume that the build cache may use. Above it, the daemon removes the
    oldest build cache. Default: 70. From 10 to 90."""
    build_cache_keep_hours: NotRequired[int]
    """Hours after which the daemon removes build cache that no build used, however much room
    there is. Default: 1440 (60 days). From 1 to 87600."""
    registry_mirrors: NotRequired[list[pulumi.Input[str]]]
    """URLs of pull-through mirrors of Docker Hub. Default: none."""
    insecure_registries: NotRequired[list[str]]
    """`host:port` of the registries without TLS. Default: none."""
    registry_certificates: NotRequired[dict[str, str]]
    """Certificates of private authorities by `host:port` of their registry, as PEM texts. Set
    them for registries with TLS whose authority is not a public one. Default: none."""
    proxy: NotRequired[ProxyArgs | None]
    """Proxy through which the daemon reaches registries. Default: none."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the daemon and of everything that it builds. Default: cpu_request 1,
    cpu_limit 8, memory_request 2Gi, memory_limit 16Gi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the daemon runs. Default: any node."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the daemon's pod, as in Kubernetes. Default: taints with the key and value
    of each label of `node_selector`, so that the nodes' label can also be their taint."""
    enable_disruption_budget: NotRequired[bool]
    """Keep a node drain from evicting the daemon: the drain waits until you delete the pod. With
    `false`, the drain evicts the daemon, after `termination_grace_period_seconds` at the
    latest. Default: false."""
    certificate_validity_hours: NotRequired[int]
    """Hours for which the server's and the client's certificates are valid. The value must be
    less than `ca_validity_hours`. Default: 2160 (90 days). From 24 to 19800."""
    certificate_renewal_hours: NotRequired[int]
    """Hours before expiry from which an update renews the certificates. The value must be less
    than `certificate_validity_hours`. Default: 720 (30 days). From 1 to 87600."""
    ca_validity_hours: NotRequired[int]
    """Hours for which the certificate authority is valid. Another value makes a new certificate
    of the same key: certificates that the authority signed before are still trusted. Default:
    87600 (10 years). From 1 to 87600."""
    termination_grace_period_seconds: NotRequired[int]
    """Seconds that running builds have to end when the daemon restarts. The daemon stops as soon
    as no client is connected, and in any case 20 seconds before the end of this time.
    Default: 600. From 30 to 86400."""
    image: NotRequired[str]
    """Image of the rootless daemon, with tag and digest. Default: the pinned moby/buildkit
    image."""
    extra_daemon_config: NotRequired[str | None]
    """More of buildkitd.toml, as TOML text: keys that have no setting here. Unknown keys, keys
    that have a setting, and secrets are refused. Tables of a registry are merged with those
    of the package. Default: none."""
    dns_cidrs: NotRequired[list[str]]
    """Address blocks of the DNS caches on the nodes. If NodeLocal DNSCache answers on the
    cluster's own DNS address, as on GKE, add that address, such as "10.96.0.10/32". With
    Cloud DNS for GKE, add "169.254.169.254/32". Default: 169.254.20.10/32 (NodeLocal
    DNSCache)."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Another domain renews the servers' certificates, with the same
    authorities. Default: cluster.local."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the jobs, which gets the Secret with the client certificate.
    Default: gitlab-runner-jobs."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the daemon except what it needs. The jobs, and `metrics_namespaces` of
    a Docker daemon, may reach the daemon. The daemon may reach DNS, the internet,
    `egress_cidrs` and its mirrors in the cluster. Default: true."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that builds may reach, such as that of a registry. Default: none."""
    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace that only the daemon uses. It needs the Pod Security level
    `privileged`: the daemon's pod is not privileged, but it has no seccomp profile and no
    AppArmor profile. Default: gitlab-runner-buildkit."""


class ExternalS3Args(TypedDict):
    """An existing S3 bucket, on AWS or in an S3-compatible store.

    Without `access_key`, `credentials_secret_name` and `identity_role_arn`, the runner
    uses the identity that its pod already has, such as EKS Pod Identity. Set at most one
    of the three.
    """

    region: NotRequired[pulumi.Input[str]]
    """Region of the bucket. Required for a bucket on AWS; S3-compatible stores expect the
    default. Default: us-east-1."""
    server_address: NotRequired[pulumi.Input[str] | None]
    """`host:port` of an S3-compatible store, without a scheme. Such a store needs an access key,
    because only AWS knows the identity of a pod. Default: AWS S3."""
    insecure: NotRequired[bool]
    """Use plain HTTP instead of HTTPS. Allowed only with `server_address`. Default: false."""
    role_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the IAM role that the runner assumes for each object. Objects over 5 GB need it.
    Only for AWS S3. Default: presigned URLs, for objects up to 5 GB."""
    kms_key_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the KMS key that encrypts the objects. Default: the bucket's own encryption."""
    bucket: pulumi.Input[str]
    """Name of the bucket."""
    access_key: NotRequired[pulumi.Input[str] | None]
    """Access key, as a Pulumi secret. Set it together with `secret_key`. Default: none."""
    secret_key: NotRequired[pulumi.Input[str] | None]
    """Secret key that belongs to `access_key`, as a Pulumi secret. Default: none."""
    credentials_secret_name: NotRequired[pulumi.Input[str] | None]
    """Existing Secret in the runner's namespace with the keys `accesskey` and `secretkey`.
    Default: none."""
    identity_role_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the role that the runner's ServiceAccount gets through IRSA. It must be allowed to
    use the bucket. Default: none."""


class ExternalGcsArgs(TypedDict):
    """An existing Google Cloud Storage bucket.

    Without any credentials, the runner uses the identity that its pod already has:
    Workload Identity Federation for GKE, granted to the Kubernetes ServiceAccount itself.
    Set at most one of `service_account_key`, `credentials_secret_name` and
    `service_account_email`.
    """

    bucket: pulumi.Input[str]
    """Name of the bucket."""
    service_account_key: NotRequired[pulumi.Input[str] | None]
    """JSON key of a Google service account, as a Pulumi secret. Default: none."""
    credentials_secret_name: NotRequired[pulumi.Input[str] | None]
    """Existing Secret in the runner's namespace with the key `gcs-application-credentials-file`.
    Default: none."""
    service_account_email: NotRequired[pulumi.Input[str] | None]
    """Google service account that the runner's ServiceAccount acts as (Workload Identity).
    Default: none."""


class ExternalAzureArgs(TypedDict):
    """An existing container of Azure Blob Storage.

    Without any credentials, the runner uses the identity that its pod already has. Set at
    most one of `account_key`, `credentials_secret_name` and `client_id`.
    """

    account_name: pulumi.Input[str]
    """Name of the storage account."""
    container: pulumi.Input[str]
    """Name of the container."""
    storage_domain: NotRequired[pulumi.Input[str] | None]
    """Domain of the store. Default: blob.core.windows.net."""
    account_key: NotRequired[pulumi.Input[str] | None]
    """Key of the storage account, as a Pulumi secret. Default: none."""
    credentials_secret_name: NotRequired[pulumi.Input[str] | None]
    """Existing Secret in the runner's namespace with the keys `azure-account-name` and
    `azure-account-key`. Default: none."""
    client_id: NotRequired[pulumi.Input[str] | None]
    """Client ID of the managed identity of the runner's ServiceAccount (Microsoft Entra Workload
    ID). Default: none."""


class ExternalCacheArgs(TypedDict):
    """Arguments of `ExternalCache`."""

    s3: NotRequired[ExternalS3Args | None]
    """A bucket on AWS S3 or in an S3-compatible store."""
    gcs: NotRequired[ExternalGcsArgs | None]
    """A bucket on Google Cloud Storage."""
    azure: NotRequired[ExternalAzureArgs | None]
    """A container of Azure Blob Storage."""
    max_archive_size: NotRequired[str | None]
    """Size in bytes above which a job's cache is not uploaded, as a Kubernetes quantity. The job
    itself checks the size, so the limit is no defence against the job. Default: no limit."""
    runner_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the runner, which gets the Secret with the credentials. Default:
    gitlab-runner."""
    path: NotRequired[pulumi.Input[str]]
    """Prefix of every object. Runners with the same prefix share their cache. Default:
    gitlab-runner."""


class ExternalSecretArgs(TypedDict):
    """A runner token that the External Secrets Operator reads from a store.

    The operator must be installed in the cluster. The token never passes through Pulumi.
    After a change in the store, the runner uses the new token once its pod restarts.
    """

    store_name: pulumi.Input[str]
    """Name of the store, an object of the External Secrets Operator."""
    store_kind: NotRequired[SecretStoreKindInput]
    """Kind of the store. Default: ClusterSecretStore."""
    remote_key: pulumi.Input[str]
    """Key of the token in the store."""
    remote_property: NotRequired[pulumi.Input[str] | None]
    """Property of the key that holds the token, if the key has several properties. Default: the
    whole value of the key."""
    refresh_interval_seconds: NotRequired[int]
    """Seconds between two reads of the store. Default: 3600. From 60 to 604800."""


class ChartArgs(TypedDict):
    """Source of the runner's Helm chart."""

    chart: NotRequired[str]
    """Name of the chart, an `oci://` reference, or a path. Default: gitlab-runner."""
    repository: NotRequired[str]
    """`https://` URL of the chart repository. It is not used if `chart` is an `oci://` reference
    or a path. Default: https://charts.gitlab.io."""
    version: NotRequired[str]
    """Exact version of the chart, 0.88.2 or newer. This package is tested with the default
    version. Default: 0.93.0."""


class RunnerCacheArgs(TypedDict):
    """Store for the `cache:` of jobs."""

    region: NotRequired[pulumi.Input[str]]
    """Region of the bucket. Required for a bucket on AWS; S3-compatible stores expect the
    default. Default: us-east-1."""
    server_address: NotRequired[pulumi.Input[str] | None]
    """`host:port` of an S3-compatible store, without a scheme. Such a store needs an access key,
    because only AWS knows the identity of a pod. Default: AWS S3."""
    insecure: NotRequired[bool]
    """Use plain HTTP instead of HTTPS. Allowed only with `server_address`. Default: false."""
    role_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the IAM role that the runner assumes for each object. Objects over 5 GB need it.
    Only for AWS S3. Default: presigned URLs, for objects up to 5 GB."""
    kms_key_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the KMS key that encrypts the objects. Default: the bucket's own encryption."""
    type: NotRequired[CacheTypeInput]
    """Kind of the store. Default: s3."""
    bucket: pulumi.Input[str]
    """Name of the bucket, or of the container on Azure."""
    path: NotRequired[pulumi.Input[str] | None]
    """Prefix of every object. Runners with the same prefix share their cache, so use a prefix
    only for runners of one zone. Default: the name of the Helm release."""
    max_archive_size: NotRequired[str | None]
    """Size in bytes above which a job's cache is not uploaded, as a Kubernetes quantity. The job
    itself checks the size, so the limit is no defence against the job. Default: no limit."""
    credentials_secret_name: NotRequired[pulumi.Input[str] | None]
    """Secret in the runner's namespace with the credentials, in the keys that the chart reads.
    The keys are `accesskey` and `secretkey` for S3, `gcs-application-credentials-file` for
    GCS, and `azure-account-name` and `azure-account-key` for Azure. Default: the identity of
    the runner's ServiceAccount."""
    credentials_checksum: NotRequired[pulumi.Input[str] | None]
    """Text that changes whenever the credentials change. A new value restarts the runner's pod.
    Default: none; the runner then does not notice a change of the Secret."""
    account_name: NotRequired[pulumi.Input[str] | None]
    """Name of the Azure storage account. Required for the type `azure`, and allowed only for it."""
    storage_domain: NotRequired[pulumi.Input[str] | None]
    """Domain of the Azure store. Default: blob.core.windows.net."""
    ca_secret_name: NotRequired[pulumi.Input[str] | None]
    """Secret in the job namespace with the key `ca.crt`: the certificate of the private
    authority that signed the store's certificate. Default: the system's certificate
    authorities."""


class RunnerDockerArgs(TypedDict):
    """A Docker daemon that every job uses, over mutual TLS."""

    client_secret_name: pulumi.Input[str]
    """Secret in the job namespace with the client certificate, in the keys `ca.pem`, `cert.pem`
    and `key.pem`."""
    replicas: NotRequired[int]
    """Number of daemons. The first daemon has the address `host`. The addresses of the others
    have -1, -2 and so on behind the first label of its name. With several daemons, `host`
    must be a DNS name. All jobs of a project use the same daemon. Default: 1. From 1 to 16."""
    host: pulumi.Input[str]
    """Address of the daemon, `tcp://host:2376`. For a Service in a cluster whose domain has two
    labels, such as cluster.local, jobs get the DNS option `ndots:4`. The resolver then looks
    the name up at once; with Kubernetes' default of 5 it tries three wrong names first. To
    override the option, set `dns_config` in `extra_config`: the last option counts. If
    `extra_config` sets a `dns_policy` other than the cluster's, jobs do not get the option."""


class RunnerBuildKitArgs(TypedDict):
    """A BuildKit daemon that every job uses, over mutual TLS."""

    client_secret_name: pulumi.Input[str]
    """Secret in the job namespace with the client certificate, in the keys `ca.pem`, `cert.pem`
    and `key.pem`."""
    replicas: NotRequired[int]
    """Number of daemons. The first daemon has the address `host`. The addresses of the others
    have -1, -2 and so on behind the first label of its name. With several daemons, `host`
    must be a DNS name. All jobs of a project use the same daemon. Default: 1. From 1 to 16."""
    host: pulumi.Input[str]
    """Address of the daemon, `tcp://host:1234`. Jobs find it in the variable BUILDKIT_HOST. For
    a Service in the cluster, jobs get the same DNS option as for a Docker daemon: see `host`
    of `RunnerDockerArgs`."""


class RunnerMirrorArgs(TypedDict):
    """A mirror of Docker Hub for the Docker daemons that jobs start themselves."""

    url: pulumi.Input[str]
    """URL of the mirror, with its scheme."""
    daemon_config_map_name: pulumi.Input[str]
    """ConfigMap in the job namespace with a `daemon.json` that names the mirror."""


class GitLabRunnerArgs(TypedDict):
    """Arguments of `GitLabRunner`."""

    dns_cidrs: NotRequired[list[str]]
    """Address blocks of the DNS caches on the nodes. If NodeLocal DNSCache answers on the
    cluster's own DNS address, as on GKE, add that address, such as "10.96.0.10/32". With
    Cloud DNS for GKE, add "169.254.169.254/32". Default: 169.254.20.10/32 (NodeLocal
    DNSCache)."""
    allow_insecure_gitlab_url: NotRequired[bool]
    """Accept an `http://` URL of GitLab. The token then crosses the network unencrypted.
    Default: false."""
    api_server_ports: NotRequired[list[int]]
    """TCP ports on which the Kubernetes API server answers. Default: 443, 6443."""
    gitlab_port: NotRequired[int | None]
    """TCP port of the GitLab pods, from 1 to 65535. Set it if GitLab runs in this cluster and
    its pods listen on another port than its Service: NetworkPolicies see the port of the
    pods. Default: the port of `gitlab_url`."""
    runner_token: NotRequired[pulumi.Input[str] | None]
    """Authentication token of the runner, `glrt-…`, as a Pulumi secret. Set exactly one of
    `runner_token`, `token_secret_name` and `token_external_secret`."""
    token_secret_name: NotRequired[pulumi.Input[str] | None]
    """Existing Secret in the runner's namespace with the keys `runner-token` and
    `runner-registration-token` (empty), in place of `runner_token`."""
    token_external_secret: NotRequired[ExternalSecretArgs | None]
    """Token that the External Secrets Operator reads from a store, in place of `runner_token`."""
    concurrent: NotRequired[int]
    """Number of jobs that run at the same time. Default: 10. From 1 to 10000."""
    request_concurrency: NotRequired[int | None]
    """Number of requests for jobs that are open at the same time, from 1 to `concurrent`. With
    1, jobs start late under GitLab's long polling. Default: 4, or `concurrent` if that is
    less. From 1 to 10000."""
    default_image: NotRequired[str]
    """Image, with tag and digest, of jobs that name none. Default: the pinned image of the
    docker client."""
    helper_image: NotRequired[str | None]
    """Image, with tag and digest, of the helper container, which clones the repository and
    transfers the cache. Its version must be that of the runner. Default: the runner's own
    choice."""
    image: NotRequired[str]
    """Image of the runner itself, with tag and digest. Default: the pinned image of GitLab
    Runner."""
    image_pull_secrets: NotRequired[list[pulumi.Input[str]]]
    """Names of the Secrets for pulling the runner's own image. Default: none."""
    pull_policy: NotRequired[PullPolicyInput]
    """When Kubernetes pulls the images of jobs. Default: always."""
    allowed_pull_policies: NotRequired[list[str]]
    """Pull policies that a job may choose. The list must contain `pull_policy`. Default: only
    `pull_policy`."""
    allowed_images: NotRequired[list[str]]
    """Patterns of images that jobs may use, such as "registry.example.com/**". Default: any
    image."""
    allowed_services: NotRequired[list[str]]
    """Patterns of images that jobs may use as services. Default: any image."""
    tags: NotRequired[list[str]]
    """Tags of the runner, as an annotation of the Deployment for people to read. Set the tags
    that select jobs in GitLab: with a glrt- token, a runner cannot choose them. Default:
    none."""
    spot: NotRequired[SpotNodesInput | None]
    """Run jobs on interruptible nodes, by the labels and taints of this provider. A job fails if
    its node goes away: use `retry` in CI/CD. Default: any node."""
    enable_privileged_jobs: NotRequired[bool]
    """Run all containers of every job privileged. A Docker daemon in each job needs that.
    Refused together with a shared Docker daemon. Default: false."""
    enable_privileged_services: NotRequired[bool]
    """Run the services of jobs privileged, but not the jobs themselves. A Docker daemon in each
    job needs that. Refused together with a shared Docker daemon. Default: false."""
    enable_job_disruption_budget: NotRequired[bool]
    """Keep a node drain from evicting running jobs: the drain waits for them. With `false`, the
    drain evicts the jobs. Default: false."""
    environment: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables of every job. CI/CD variables override them. Do not put secrets here: the
    variables are plain text in the cluster. A secret Output, and a name or value that looks
    like a secret, are refused. Names that begin with DOCKER_ or BUILDKIT_ are refused too. If
    a proxy is among them, NO_PROXY and no_proxy get the shared daemon and the cache's store
    as well. Default: none."""
    job_resources: NotRequired[ResourcesArgs]
    """Resources of the container that runs the job's script. Default: no requests or limits,
    except those of a LimitRange in the job namespace."""
    helper_resources: NotRequired[ResourcesArgs]
    """Resources of the helper container. Default: no requests or limits, except those of a
    LimitRange in the job namespace."""
    service_resources: NotRequired[ResourcesArgs]
    """Resources of the jobs' services. Default: no requests or limits, except those of a
    LimitRange in the job namespace."""
    manager_resources: NotRequired[ResourcesArgs]
    """Resources of the runner itself. Default: cpu_request 50m, cpu_limit 1, memory_request
    128Mi, memory_limit 512Mi."""
    job_node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which jobs run. Default: any node."""
    job_node_tolerations: NotRequired[dict[str, str]]
    """Taints that jobs tolerate, as "key=value": "Effect". Default: none."""
    job_pod_labels: NotRequired[dict[str, str]]
    """Labels of the jobs' pods, in addition to the runner's own. Labels that contain
    `runner.gitlab.com/` are refused. Default: none."""
    job_pod_annotations: NotRequired[dict[str, str]]
    """Annotations of the jobs' pods. Default: none."""
    job_service_account_name: NotRequired[pulumi.Input[str] | None]
    """Existing ServiceAccount of the jobs' pods. Its token is not mounted. Default: the
    namespace's default ServiceAccount, without rights."""
    job_runtime_class_name: NotRequired[str | None]
    """RuntimeClass of the jobs' pods, such as that of gVisor or Kata. Default: the cluster's
    default runtime."""
    job_priority_class_name: NotRequired[str | None]
    """PriorityClass of the jobs' pods. Default: the cluster's default priority."""
    manager_node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the runner itself runs. Default: any node."""
    manager_tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the runner's own pod, as in Kubernetes: `key`, `operator`, `value`,
    `effect`, `tolerationSeconds`. Default: none."""
    manager_priority_class_name: NotRequired[str | None]
    """PriorityClass of the runner's own pod. Default: the cluster's default priority."""
    gitlab_ca_secret_name: NotRequired[pulumi.Input[str] | None]
    """Existing Secret in the runner's namespace with the key `<GitLab's host>.crt`. Set it if a
    private authority signed GitLab's certificate. Default: the system's certificate
    authorities."""
    feature_flags: NotRequired[dict[str, bool]]
    """Feature flags of the runner, such as FF_USE_FASTZIP. The package itself sets
    FF_DISABLE_AUTOMATIC_TOKEN_ROTATION. You cannot switch off that flag or
    FF_USE_POD_ACTIVE_DEADLINE_SECONDS. Default: none."""
    extra_config: NotRequired[str | None]
    """More of config.toml, as TOML text: one `[[runners]]` table with keys that have no setting
    here. Unknown keys, keys that have a setting, secrets, and paths of the node's own system
    are refused. With a shared Docker daemon, any kind of privilege is refused too. So are
    keys that let a job choose its labels, ServiceAccount, namespace or nodes. An `autoscaler`
    gives the runner rights on Deployments in the job namespace, and a ClusterRole for
    PriorityClasses. Default: none."""
    poll_timeout_seconds: NotRequired[int]
    """Seconds that a job's pod may take to start, at most `maximum_job_timeout_seconds`.
    Default: 600 (time for a new node to start)."""
    daemon_wait_seconds: NotRequired[int]
    """Seconds that a job waits at its start for a shared daemon that is restarting, before the
    job fails. With 0, jobs do not wait. With several daemons, the job takes the first daemon
    after this time, and waits for it as long again. Only jobs with the daemon's client in
    their image wait. Default: 300. From 0 to 3600."""
    check_interval_seconds: NotRequired[int]
    """Seconds between two requests for jobs. Default: 3. From 1 to 604800."""
    maximum_job_timeout_seconds: NotRequired[int]
    """Longest timeout of a job in seconds. Set at least the longest job timeout of your
    projects. A runner that is being replaced waits so long for its jobs to end. A shared
    Docker daemon removes containers and networks that are older, because their job has ended.
    Default: 3600."""
    gitlab_outage_tolerance_minutes: NotRequired[int]
    """Minutes that GitLab may be unreachable before Kubernetes restarts the runner. If a job
    ends during such an outage, the runner still reports it afterwards. The chart's own
    default is 3. Default: 30. From 3 to 1440."""
    log_level: NotRequired[str]
    """Lowest severity that the runner logs: debug, info, warn, error, fatal or panic. Default:
    info."""
    enable_metrics: NotRequired[bool]
    """Serve Prometheus metrics on port 9252. Default: true."""
    chart: NotRequired[ChartArgs]
    """Helm chart of the runner. Default: GitLab's chart, at the pinned version."""
    gitlab_url: pulumi.Input[str]
    """URL of GitLab, `https://…`."""
    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the runner itself. Default: gitlab-runner."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the jobs' pods. It must differ from `namespace`. Default:
    gitlab-runner-jobs."""
    release_name: NotRequired[str | None]
    """Name of the Helm release, of the Deployment and of the ServiceAccount. Another name makes
    a new release. Default: the component's name."""
    service_account_annotations: NotRequired[dict[str, pulumi.Input[str]]]
    """Annotations of the runner's ServiceAccount, such as the ARN of a role. Default: none."""
    manager_pod_labels: NotRequired[dict[str, pulumi.Input[str]]]
    """Labels of the runner's own pod, such as those for a workload identity. Default: none."""
    cache: NotRequired[RunnerCacheArgs | None]
    """Distributed cache. Default: none; the `cache:` of a job is then lost with the job's pod."""
    docker: NotRequired[RunnerDockerArgs | None]
    """Shared Docker daemon. Default: none."""
    buildkit: NotRequired[RunnerBuildKitArgs | None]
    """Shared BuildKit daemon. Default: none."""
    registry_mirror: NotRequired[RunnerMirrorArgs | None]
    """Mirror of Docker Hub for the Docker daemons that jobs start. Default: none."""
    manager_excluded_nodes: NotRequired[list[dict[str, str]]]
    """Labels of nodes on which the runner itself never runs, such as those of shared Docker
    daemons, where anyone who can run a job is root. Default: none."""
    job_excluded_nodes: NotRequired[list[dict[str, str]]]
    """Labels of nodes on which jobs never run, such as those of other zones' Docker daemons. Not
    used if `extra_config` sets `affinity.node_affinity`. Default: none."""
    metrics_namespaces: NotRequired[list[pulumi.Input[str]]]
    """Namespaces, such as that of Prometheus, that may read the metrics. If the cluster's
    network does not enforce NetworkPolicy, every pod can read them. Default: none."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the runner and the jobs except what they need. The setting has no
    effect where the cluster's network does not enforce NetworkPolicy. Default: true."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that jobs may reach, such as that of a registry. Default: none."""


class MinioCacheArgs(TypedDict):
    """Arguments of `MinioCache`."""

    dns_cidrs: NotRequired[list[str]]
    """Address blocks of the DNS caches on the nodes. If NodeLocal DNSCache answers on the
    cluster's own DNS address, as on GKE, add that address, such as "10.96.0.10/32". With
    Cloud DNS for GKE, add "169.254.169.254/32". Default: 169.254.20.10/32 (NodeLocal
    DNSCache)."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Another domain renews the servers' certificates, with the same
    authorities. Default: cluster.local."""
    engine: NotRequired[MinioEngineInput]
    """Server that stores the objects. A change of the engine starts with an empty bucket; only
    `silo` and `minio` can read each other's data. The data of the old engine stays on the
    volume. Default: silo."""
    image: NotRequired[str | None]
    """Image of the server, with tag and digest. An image of `silo` or `minio` must also contain
    the client `mc`, an image of `seaweedfs` must contain `curl`. Required for the engine
    `minio`. Default: the pinned image of the engine."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity. You can raise it, if the
    StorageClass allows that, but never lower it. Default: 20Gi."""
    storage_class_name: NotRequired[pulumi.Input[str] | None]
    """StorageClass of the volume. You cannot change it later. Default: the cluster's default
    StorageClass."""
    expiration_days: NotRequired[int]
    """Days after which an object that was not written again is deleted. Default: 14 (as on
    GitLab.com's runners). From 1 to 3650."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the server. Default: cpu_request 100m, cpu_limit 2, memory_request 256Mi,
    memory_limit 1Gi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the server runs. Default: any node."""
    enable_console: NotRequired[bool]
    """Serve the web console on port 9001. The engine `seaweedfs` has no console. Default: false."""
    enable_tls: NotRequired[bool]
    """Serve only HTTPS, with a certificate that the store's own authority signs. The certificate
    is valid for a year; updates renew it from 90 days before its end. With `false`, the store
    serves plain HTTP. Default: false."""
    enable_metrics: NotRequired[bool]
    """Let Prometheus read the store's metrics. The engines `silo` and `minio` serve them at
    /minio/v2/metrics/cluster on the port `s3`, with a bearer token. The engine `seaweedfs`
    serves them at /metrics on the port `metrics`. Default: false."""
    metrics_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of Prometheus, which may read the metrics. Default: monitoring."""
    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the store. Default: gitlab-runner-cache."""
    runner_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the runner, which gets the Secret with the credentials. Default:
    gitlab-runner."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of the jobs, which may reach the store. With `enable_tls` it must exist, because
    it gets the authority's certificate. Default: gitlab-runner-jobs."""
    bucket: NotRequired[pulumi.Input[str]]
    """Name of the bucket. Default: runner."""
    excluded_nodes: NotRequired[list[dict[str, str]]]
    """Labels of nodes that the pods avoid, such as those of shared Docker daemons, where anyone
    who can run a job is root. A pod whose volume is on such a node stays there. Default:
    none."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the store except that of the runner, of the jobs and, with
    `enable_metrics`, of Prometheus. The engine `seaweedfs` requires `true`. Default: true."""


class RegistryMirrorArgs(TypedDict):
    """Arguments of `RegistryMirror`."""

    dns_cidrs: NotRequired[list[str]]
    """Address blocks of the DNS caches on the nodes. If NodeLocal DNSCache answers on the
    cluster's own DNS address, as on GKE, add that address, such as "10.96.0.10/32". With
    Cloud DNS for GKE, add "169.254.169.254/32". Default: 169.254.20.10/32 (NodeLocal
    DNSCache)."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Another domain renews the servers' certificates, with the same
    authorities. Default: cluster.local."""
    image: NotRequired[str]
    """Image of the CNCF registry 3, with tag and digest. Default: the pinned
    docker.io/library/registry image."""
    remote_url: NotRequired[pulumi.Input[str]]
    """URL of the registry to mirror. Docker daemons use a mirror only for Docker Hub, so set
    Docker Hub, or a registry that itself mirrors Docker Hub. Default:
    https://registry-1.docker.io."""
    allow_insecure_remote: NotRequired[bool]
    """Accept a `remote_url` without TLS. Images and credentials then cross the network
    unencrypted. Default: false."""
    username: NotRequired[pulumi.Input[str] | None]
    """Name of the account at the mirrored registry. Every job can pull whatever this account can
    pull, so give the account no private repositories. Default: anonymous."""
    password: NotRequired[pulumi.Input[str] | None]
    """Password or access token of `username`, as a Pulumi secret. Default: anonymous."""
    credentials_secret_name: NotRequired[pulumi.Input[str] | None]
    """Existing Secret in the mirror's namespace with the keys `username` and `password`, in
    place of the settings `username` and `password`. Write each single quote in a value twice.
    The pod reads the Secret when it starts. Default: anonymous."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity. The registry has no size limit,
    only `ttl_hours`: plan for everything that is pulled in that time. You can raise the size,
    if the StorageClass allows that, but never lower it. Default: 50Gi."""
    storage_class_name: NotRequired[pulumi.Input[str] | None]
    """StorageClass of the volume. You cannot change it later. Default: the cluster's default
    StorageClass."""
    ttl_hours: NotRequired[int]
    """Hours after which the mirror removes a layer or manifest. If a client asks for it again,
    the mirror pulls it again. A new value applies only to layers and manifests that are
    pulled from then on. Default: 168 (7 days). From 1 to 87600."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the mirror. Default: cpu_request 100m, cpu_limit 2, memory_request 128Mi,
    memory_limit 512Mi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the mirror runs. Default: any node."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the mirror's pod, as in Kubernetes. Default: none."""
    log_level: NotRequired[str]
    """Lowest severity that the mirror logs: error, warn, info or debug. Default: info."""
    metrics_namespaces: NotRequired[list[pulumi.Input[str]]]
    """Namespaces that may read the mirror's Prometheus metrics on port 5001 at /metrics. Go's
    profiler is on the same port. Default: none; the mirror then serves no metrics."""
    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the mirror. The Pod Security level `restricted` is enough. It must
    differ from `job_namespace`. Default: gitlab-runner-mirror."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the jobs, which gets a ConfigMap with the settings of the Docker
    daemons that jobs start. Default: gitlab-runner-jobs."""
    client_namespaces: NotRequired[list[pulumi.Input[str]]]
    """Namespaces whose pods may pull from the mirror, at least one. Default: gitlab-runner-jobs,
    gitlab-runner-docker."""
    excluded_nodes: NotRequired[list[dict[str, str]]]
    """Labels of nodes that the pods avoid, such as those of shared Docker daemons, where anyone
    who can run a job is root. A pod whose volume is on such a node stays there. Default:
    none."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the mirror except what it needs. `client_namespaces` and
    `metrics_namespaces` may reach the mirror. The mirror may reach DNS, the internet,
    `egress_cidrs` and `remote_url`. Default: true."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that the mirror may reach, such as that of a registry. Default:
    none."""


class RunnerArgs(TypedDict):
    """Settings of a runner and its jobs."""

    concurrent: NotRequired[int]
    """Number of jobs that run at the same time. Default: 10. From 1 to 10000."""
    request_concurrency: NotRequired[int | None]
    """Number of requests for jobs that are open at the same time, from 1 to `concurrent`. With
    1, jobs start late under GitLab's long polling. Default: 4, or `concurrent` if that is
    less. From 1 to 10000."""
    default_image: NotRequired[str]
    """Image, with tag and digest, of jobs that name none. Default: the pinned image of the
    docker client."""
    helper_image: NotRequired[str | None]
    """Image, with tag and digest, of the helper container, which clones the repository and
    transfers the cache. Its version must be that of the runner. Default: the runner's own
    choice."""
    image: NotRequired[str]
    """Image of the runner itself, with tag and digest. Default: the pinned image of GitLab
    Runner."""
    image_pull_secrets: NotRequired[list[pulumi.Input[str]]]
    """Names of the Secrets for pulling the runner's own image. Default: none."""
    pull_policy: NotRequired[PullPolicyInput]
    """When Kubernetes pulls the images of jobs. Default: always."""
    allowed_pull_policies: NotRequired[list[str]]
    """Pull policies that a job may choose. The list must contain `pull_policy`. Default: only
    `pull_policy`."""
    allowed_images: NotRequired[list[str]]
    """Patterns of images that jobs may use, such as "registry.example.com/**". Default: any
    image."""
    allowed_services: NotRequired[list[str]]
    """Patterns of images that jobs may use as services. Default: any image."""
    tags: NotRequired[list[str]]
    """Tags of the runner, as an annotation of the Deployment for people to read. Set the tags
    that select jobs in GitLab: with a glrt- token, a runner cannot choose them. Default:
    none."""
    spot: NotRequired[SpotNodesInput | None]
    """Run jobs on interruptible nodes, by the labels and taints of this provider. A job fails if
    its node goes away: use `retry` in CI/CD. Default: any node."""
    enable_privileged_jobs: NotRequired[bool]
    """Run all containers of every job privileged. A Docker daemon in each job needs that.
    Refused together with a shared Docker daemon. Default: false."""
    enable_privileged_services: NotRequired[bool]
    """Run the services of jobs privileged, but not the jobs themselves. A Docker daemon in each
    job needs that. Refused together with a shared Docker daemon. Default: false."""
    enable_job_disruption_budget: NotRequired[bool]
    """Keep a node drain from evicting running jobs: the drain waits for them. With `false`, the
    drain evicts the jobs. Default: false."""
    environment: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables of every job. CI/CD variables override them. Do not put secrets here: the
    variables are plain text in the cluster. A secret Output, and a name or value that looks
    like a secret, are refused. Names that begin with DOCKER_ or BUILDKIT_ are refused too. If
    a proxy is among them, NO_PROXY and no_proxy get the shared daemon and the cache's store
    as well. Default: none."""
    job_resources: NotRequired[ResourcesArgs]
    """Resources of the container that runs the job's script. Default: no requests or limits,
    except those of a LimitRange in the job namespace."""
    helper_resources: NotRequired[ResourcesArgs]
    """Resources of the helper container. Default: no requests or limits, except those of a
    LimitRange in the job namespace."""
    service_resources: NotRequired[ResourcesArgs]
    """Resources of the jobs' services. Default: no requests or limits, except those of a
    LimitRange in the job namespace."""
    manager_resources: NotRequired[ResourcesArgs]
    """Resources of the runner itself. Default: cpu_request 50m, cpu_limit 1, memory_request
    128Mi, memory_limit 512Mi."""
    job_node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which jobs run. Default: any node."""
    job_node_tolerations: NotRequired[dict[str, str]]
    """Taints that jobs tolerate, as "key=value": "Effect". Default: none."""
    job_pod_labels: NotRequired[dict[str, str]]
    """Labels of the jobs' pods, in addition to the runner's own. Labels that contain
    `runner.gitlab.com/` are refused. Default: none."""
    job_pod_annotations: NotRequired[dict[str, str]]
    """Annotations of the jobs' pods. Default: none."""
    job_service_account_name: NotRequired[pulumi.Input[str] | None]
    """Existing ServiceAccount of the jobs' pods. Its token is not mounted. Default: the
    namespace's default ServiceAccount, without rights."""
    job_runtime_class_name: NotRequired[str | None]
    """RuntimeClass of the jobs' pods, such as that of gVisor or Kata. Default: the cluster's
    default runtime."""
    job_priority_class_name: NotRequired[str | None]
    """PriorityClass of the jobs' pods. Default: the cluster's default priority."""
    manager_node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the runner itself runs. Default: any node."""
    manager_tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the runner's own pod, as in Kubernetes: `key`, `operator`, `value`,
    `effect`, `tolerationSeconds`. Default: none."""
    manager_priority_class_name: NotRequired[str | None]
    """PriorityClass of the runner's own pod. Default: the cluster's default priority."""
    gitlab_ca_secret_name: NotRequired[pulumi.Input[str] | None]
    """Existing Secret in the runner's namespace with the key `<GitLab's host>.crt`. Set it if a
    private authority signed GitLab's certificate. Default: the system's certificate
    authorities."""
    feature_flags: NotRequired[dict[str, bool]]
    """Feature flags of the runner, such as FF_USE_FASTZIP. The package itself sets
    FF_DISABLE_AUTOMATIC_TOKEN_ROTATION. You cannot switch off that flag or
    FF_USE_POD_ACTIVE_DEADLINE_SECONDS. Default: none."""
    extra_config: NotRequired[str | None]
    """More of config.toml, as TOML text: one `[[runners]]` table with keys that have no setting
    here. Unknown keys, keys that have a setting, secrets, and paths of the node's own system
    are refused. With a shared Docker daemon, any kind of privilege is refused too. So are
    keys that let a job choose its labels, ServiceAccount, namespace or nodes. An `autoscaler`
    gives the runner rights on Deployments in the job namespace, and a ClusterRole for
    PriorityClasses. Default: none."""
    poll_timeout_seconds: NotRequired[int]
    """Seconds that a job's pod may take to start, at most `maximum_job_timeout_seconds`.
    Default: 600 (time for a new node to start)."""
    daemon_wait_seconds: NotRequired[int]
    """Seconds that a job waits at its start for a shared daemon that is restarting, before the
    job fails. With 0, jobs do not wait. With several daemons, the job takes the first daemon
    after this time, and waits for it as long again. Only jobs with the daemon's client in
    their image wait. Default: 300. From 0 to 3600."""
    check_interval_seconds: NotRequired[int]
    """Seconds between two requests for jobs. Default: 3. From 1 to 604800."""
    maximum_job_timeout_seconds: NotRequired[int]
    """Longest timeout of a job in seconds. Set at least the longest job timeout of your
    projects. A runner that is being replaced waits so long for its jobs to end. A shared
    Docker daemon removes containers and networks that are older, because their job has ended.
    Default: 3600."""
    gitlab_outage_tolerance_minutes: NotRequired[int]
    """Minutes that GitLab may be unreachable before Kubernetes restarts the runner. If a job
    ends during such an outage, the runner still reports it afterwards. The chart's own
    default is 3. Default: 30. From 3 to 1440."""
    log_level: NotRequired[str]
    """Lowest severity that the runner logs: debug, info, warn, error, fatal or panic. Default:
    info."""
    enable_metrics: NotRequired[bool]
    """Serve Prometheus metrics on port 9252. Default: true."""
    chart: NotRequired[ChartArgs]
    """Helm chart of the runner. Default: GitLab's chart, at the pinned version."""


class FleetArgs(TypedDict):
    """A runner with its own Helm release and its own token."""

    runner_token: NotRequired[pulumi.Input[str] | None]
    """Authentication token of the runner, `glrt-…`, as a Pulumi secret. Set exactly one of
    `runner_token`, `token_secret_name` and `token_external_secret`."""
    token_secret_name: NotRequired[pulumi.Input[str] | None]
    """Existing Secret in the runner's namespace with the keys `runner-token` and
    `runner-registration-token` (empty), in place of `runner_token`."""
    token_external_secret: NotRequired[ExternalSecretArgs | None]
    """Token that the External Secrets Operator reads from a store, in place of `runner_token`."""
    zone: NotRequired[str]
    """Trust zone of the fleet's jobs. Default: default (the zone of the platform's own
    arguments)."""
    runner: NotRequired[RunnerArgs]
    """Settings in which the fleet differs from the platform's `runner`. Default: no differences."""


class AddressPoolArgs(TypedDict):
    """A range of addresses that a Docker daemon divides into networks."""

    base: str
    """Range of the pool, in IPv4."""
    size: int
    """Prefix length of each network. For example, 24 makes networks with 254 addresses. From 1
    to 29."""


class DockerArgs(TypedDict):
    """Settings of a shared Docker daemon."""

    replicas: NotRequired[int]
    """Number of daemons, each with a volume of its own. Several daemons share the load. They are
    no security boundary: all have the same client certificate, and any job can reach every
    daemon of its zone. To separate projects, use zones. All jobs of a project use the same
    daemon, which a consistent hash of CI_PROJECT_ID chooses. Raising the number moves a share
    of the projects to the new daemon, where they start cold; all other projects stay.
    Lowering it removes the daemon with the highest number, within
    `termination_grace_period_seconds`; its volume stays. Jobs that run on the removed daemon
    fail at their next command to it. Jobs that start before the runner knows the new number
    wait, and then take the first daemon. An update from 1 to more, or back to 1, replaces the
    server's certificate and restarts the first daemon. Jobs choose their daemon in their own
    shell, which must be bash or sh. Services, and jobs with `run:`, know only the first
    daemon. Default: 1. From 1 to 16."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity. The volume holds the build cache
    and, with a Docker daemon, the images. You can raise the size, if the StorageClass allows
    that, but never lower it. Default: 100Gi."""
    storage_class_name: NotRequired[pulumi.Input[str] | None]
    """StorageClass of the volume. It must provide block devices, not NFS. You cannot change it
    later. Default: the cluster's default StorageClass."""
    build_cache_percent: NotRequired[int]
    """Percent of the volume that the build cache may use. Above it, the daemon removes the
    oldest build cache. Default: 70. From 10 to 90."""
    build_cache_keep_hours: NotRequired[int]
    """Hours after which the daemon removes build cache that no build used, however much room
    there is. Default: 1440 (60 days). From 1 to 87600."""
    registry_mirrors: NotRequired[list[pulumi.Input[str]]]
    """URLs of pull-through mirrors of Docker Hub. Default: none."""
    insecure_registries: NotRequired[list[str]]
    """`host:port` of the registries without TLS. Default: none."""
    registry_certificates: NotRequired[dict[str, str]]
    """Certificates of private authorities by `host:port` of their registry, as PEM texts. Set
    them for registries with TLS whose authority is not a public one. Default: none."""
    proxy: NotRequired[ProxyArgs | None]
    """Proxy through which the daemon reaches registries. Default: none."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the daemon and of everything that it builds. Default: cpu_request 1,
    cpu_limit 8, memory_request 2Gi, memory_limit 16Gi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of nodes that only the daemon uses. Anyone who can run a job is root there. With
    the isolation `rootless` nobody is, but the daemon's pod is still privileged. Give these
    nodes a taint too, as a label keeps no other pod away. Required unless
    `accept_shared_nodes` is set. Default: none."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the daemon's pod, as in Kubernetes. Default: taints with the key and value
    of each label of `node_selector`, so that the nodes' label can also be their taint."""
    enable_disruption_budget: NotRequired[bool]
    """Keep a node drain from evicting the daemon: the drain waits until you delete the pod. With
    `false`, the drain evicts the daemon, after `termination_grace_period_seconds` at the
    latest. Default: false."""
    certificate_validity_hours: NotRequired[int]
    """Hours for which the server's and the client's certificates are valid. The value must be
    less than `ca_validity_hours`. Default: 2160 (90 days). From 24 to 19800."""
    certificate_renewal_hours: NotRequired[int]
    """Hours before expiry from which an update renews the certificates. The value must be less
    than `certificate_validity_hours`. Default: 720 (30 days). From 1 to 87600."""
    ca_validity_hours: NotRequired[int]
    """Hours for which the certificate authority is valid. Another value makes a new certificate
    of the same key: certificates that the authority signed before are still trusted. Default:
    87600 (10 years). From 1 to 87600."""
    termination_grace_period_seconds: NotRequired[int]
    """Seconds that running builds have to end when the daemon restarts. The daemon stops as soon
    as no client is connected, and in any case 20 seconds before the end of this time.
    Default: 600. From 30 to 86400."""
    image: NotRequired[str | None]
    """Image of the daemon, with tag and digest, of Docker 29.3.1 or newer. Default: the pinned
    docker:dind image, or the pinned docker:dind-rootless image for the isolation `rootless`."""
    isolation: NotRequired[DaemonIsolationInput]
    """What separates the daemon from its node. `rootless` needs nodes with unprivileged user
    namespaces, Linux 5.11 or newer, and amd64 or arm64. Its network is slower. Another value
    moves the daemon to a new, empty volume and leaves the old one. Default: privileged."""
    mtu: NotRequired[int]
    """MTU of the daemon's bridge in bytes. Set at most the MTU of the pods' network; otherwise
    builds hang in TLS handshakes. Default: 1450 (fits VXLAN)."""
    address_pools: NotRequired[list[AddressPoolArgs]]
    """Ranges of addresses for the daemon's own bridge and for the networks that jobs create.
    They must not contain an address that the daemon talks to: pods, nodes, GitLab or a
    registry. Default: 198.18.0.0/16 in 256 networks. RFC 2544 reserves this range for
    benchmarks, so hardly any network uses it."""
    bridge_address: NotRequired[str | None]
    """The daemon's own address on its default bridge, with the prefix length of that network,
    such as "172.30.0.1/24". Default: the first network of `address_pools`."""
    minimum_api_version: NotRequired[str | None]
    """Oldest version of Docker's API that clients may use, from 1.24. Old clients, such as those
    in Testcontainers, need a lower version than the default. Default: the daemon's own (1.44
    in Docker 29)."""
    container_log_size: NotRequired[str]
    """Bytes after which the log of a container continues in a new file, as a Kubernetes
    quantity. Default: 10Mi."""
    container_log_files: NotRequired[int]
    """Number of files that the daemon keeps of the log of a container. Default: 3. From 1 to
    10000."""
    extra_daemon_config: NotRequired[str | None]
    """More of daemon.json, as JSON text: keys that have no setting here. Unknown keys, keys that
    have a setting, and secrets are refused. Another storage driver, image store or
    `userns-remap` starts with an empty store; the old one stays on the volume. Default: none."""
    accept_shared_nodes: NotRequired[bool]
    """Accept that jobs can become root on nodes that others use too. With `false`,
    `node_selector` is required. Default: false."""
    metrics_namespaces: NotRequired[list[pulumi.Input[str]]]
    """Namespaces, such as that of Prometheus, that may read the daemon's metrics on port 9323 at
    /metrics. Default: none; the daemon then serves no metrics."""
    enable_pruning: NotRequired[bool]
    """Remove what jobs leave beside the build cache: containers, networks, volumes, names of
    images, and images. Pruning runs every ten minutes, and every minute above
    `prune_above_percent`. It needs Kubernetes 1.29 or newer. Default: true."""
    enable_image_protection: NotRequired[bool]
    """If a job builds, tags or imports an image with the name of a base image, take the name
    away within a second. Without this protection, every later build would start from that
    image in place of the registry's. Base images are `protected_images`, and the official
    images of Docker Hub that most builds start from, such as python and nginx. The setting
    has no effect without pruning. Default: true."""
    protected_images: NotRequired[list[str]]
    """Names of more base images. `*` stands for any text. A name without a tag stands for all
    its tags. For example, "registry.example.com/base/*". Default: none."""
    prune_keep_hours: NotRequired[int]
    """Hours after which pruning removes an image that lost its name, counted from then. An image
    that never had a name is removed so many hours after its creation. Set more hours than a
    pipeline takes to reach its last job. Default: 72 (a pipeline of Friday can continue on
    Monday). From 1 to 87600."""
    prune_above_percent: NotRequired[int]
    """Percent of the volume in use above which pruning removes every image that no container
    uses and that was created more than `maximum_job_timeout_seconds` ago. It also removes
    volumes without a container that were created more than `prune_keep_hours` ago. The value
    must be more than `build_cache_percent`. The default lies between the build cache's 70 and
    the 90 at which the daemon removes build cache to make room. Default: 80. From 10 to 99."""


class BuildKitArgs(TypedDict):
    """Settings of a BuildKit daemon."""

    replicas: NotRequired[int]
    """Number of daemons, each with a volume of its own. Several daemons share the load. They are
    no security boundary: all have the same client certificate, and any job can reach every
    daemon of its zone. To separate projects, use zones. All jobs of a project use the same
    daemon, which a consistent hash of CI_PROJECT_ID chooses. Raising the number moves a share
    of the projects to the new daemon, where they start cold; all other projects stay.
    Lowering it removes the daemon with the highest number, within
    `termination_grace_period_seconds`; its volume stays. Jobs that run on the removed daemon
    fail at their next command to it. Jobs that start before the runner knows the new number
    wait, and then take the first daemon. An update from 1 to more, or back to 1, replaces the
    server's certificate and restarts the first daemon. Jobs choose their daemon in their own
    shell, which must be bash or sh. Services, and jobs with `run:`, know only the first
    daemon. Default: 1. From 1 to 16."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity. The volume holds the build cache
    and, with a Docker daemon, the images. You can raise the size, if the StorageClass allows
    that, but never lower it. Default: 100Gi."""
    storage_class_name: NotRequired[pulumi.Input[str] | None]
    """StorageClass of the volume. It must provide block devices, not NFS. You cannot change it
    later. Default: the cluster's default StorageClass."""
    build_cache_percent: NotRequired[int]
    """Percent of the volume that the build cache may use. Above it, the daemon removes the
    oldest build cache. Default: 70. From 10 to 90."""
    build_cache_keep_hours: NotRequired[int]
    """Hours after which the daemon removes build cache that no build used, however much room
    there is. Default: 1440 (60 days). From 1 to 87600."""
    registry_mirrors: NotRequired[list[pulumi.Input[str]]]
    """URLs of pull-through mirrors of Docker Hub. Default: none."""
    insecure_registries: NotRequired[list[str]]
    """`host:port` of the registries without TLS. Default: none."""
    registry_certificates: NotRequired[dict[str, str]]
    """Certificates of private authorities by `host:port` of their registry, as PEM texts. Set
    them for registries with TLS whose authority is not a public one. Default: none."""
    proxy: NotRequired[ProxyArgs | None]
    """Proxy through which the daemon reaches registries. Default: none."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the daemon and of everything that it builds. Default: cpu_request 1,
    cpu_limit 8, memory_request 2Gi, memory_limit 16Gi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the daemon runs. Default: any node."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the daemon's pod, as in Kubernetes. Default: taints with the key and value
    of each label of `node_selector`, so that the nodes' label can also be their taint."""
    enable_disruption_budget: NotRequired[bool]
    """Keep a node drain from evicting the daemon: the drain waits until you delete the pod. With
    `false`, the drain evicts the daemon, after `termination_grace_period_seconds` at the
    latest. Default: false."""
    certificate_validity_hours: NotRequired[int]
    """Hours for which the server's and the client's certificates are valid. The value must be
    less than `ca_validity_hours`. Default: 2160 (90 days). From 24 to 19800."""
    certificate_renewal_hours: NotRequired[int]
    """Hours before expiry from which an update renews the certificates. The value must be less
    than `certificate_validity_hours`. Default: 720 (30 days). From 1 to 87600."""
    ca_validity_hours: NotRequired[int]
    """Hours for which the certificate authority is valid. Another value makes a new certificate
    of the same key: certificates that the authority signed before are still trusted. Default:
    87600 (10 years). From 1 to 87600."""
    termination_grace_period_seconds: NotRequired[int]
    """Seconds that running builds have to end when the daemon restarts. The daemon stops as soon
    as no client is connected, and in any case 20 seconds before the end of this time.
    Default: 600. From 30 to 86400."""
    image: NotRequired[str]
    """Image of the rootless daemon, with tag and digest. Default: the pinned moby/buildkit
    image."""
    extra_daemon_config: NotRequired[str | None]
    """More of buildkitd.toml, as TOML text: keys that have no setting here. Unknown keys, keys
    that have a setting, and secrets are refused. Tables of a registry are merged with those
    of the package. Default: none."""


class ZoneArgs(TypedDict):
    """A trust zone: projects that may see each other's builds.

    Each zone has its own job namespace, daemon, certificate authority, volume and part of
    the cache.
    """

    docker_daemon: NotRequired[DockerArgs | None]
    """Shared Docker daemon of the zone. Default: none."""
    buildkit_daemon: NotRequired[BuildKitArgs | None]
    """Rootless BuildKit daemon of the zone, in place of a Docker daemon. Default: none."""
    job_namespace: NotRequired[str | None]
    """Namespace of the zone's jobs. Default: the platform's job namespace with a hyphen and the
    zone's name."""
    daemon_namespace: NotRequired[str | None]
    """Namespace of the zone's daemon. Default: the platform's daemon namespace with a hyphen and
    the zone's name."""


class MinioArgs(TypedDict):
    """Settings of the in-cluster store."""

    engine: NotRequired[MinioEngineInput]
    """Server that stores the objects. A change of the engine starts with an empty bucket; only
    `silo` and `minio` can read each other's data. The data of the old engine stays on the
    volume. Default: silo."""
    image: NotRequired[str | None]
    """Image of the server, with tag and digest. An image of `silo` or `minio` must also contain
    the client `mc`, an image of `seaweedfs` must contain `curl`. Required for the engine
    `minio`. Default: the pinned image of the engine."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity. You can raise it, if the
    StorageClass allows that, but never lower it. Default: 20Gi."""
    storage_class_name: NotRequired[pulumi.Input[str] | None]
    """StorageClass of the volume. You cannot change it later. Default: the cluster's default
    StorageClass."""
    expiration_days: NotRequired[int]
    """Days after which an object that was not written again is deleted. Default: 14 (as on
    GitLab.com's runners). From 1 to 3650."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the server. Default: cpu_request 100m, cpu_limit 2, memory_request 256Mi,
    memory_limit 1Gi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the server runs. Default: any node."""
    enable_console: NotRequired[bool]
    """Serve the web console on port 9001. The engine `seaweedfs` has no console. Default: false."""
    enable_tls: NotRequired[bool]
    """Serve only HTTPS, with a certificate that the store's own authority signs. The certificate
    is valid for a year; updates renew it from 90 days before its end. With `false`, the store
    serves plain HTTP. Default: false."""
    enable_metrics: NotRequired[bool]
    """Let Prometheus read the store's metrics. The engines `silo` and `minio` serve them at
    /minio/v2/metrics/cluster on the port `s3`, with a bearer token. The engine `seaweedfs`
    serves them at /metrics on the port `metrics`. Default: false."""
    metrics_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of Prometheus, which may read the metrics. Default: monitoring."""


class S3Args(TypedDict):
    """Settings of the bucket on AWS S3."""

    region: pulumi.Input[str]
    """Region of the bucket. It may differ from the region of the AWS provider. Another region is
    another bucket: the update is refused, unless `allow_destroy` is set."""
    bucket_name: NotRequired[pulumi.Input[str] | None]
    """Name of the bucket. Another name is another bucket: the update is refused, unless
    `allow_destroy` is set. Default: the component's name and random letters."""
    existing_bucket_name: NotRequired[pulumi.Input[str] | None]
    """Name of an existing bucket. It is used as it is, and only the identity is created. You
    cannot set anything about the bucket itself, such as `expiration_days`. A bucket that is
    encrypted with a KMS key needs the identity `existing`. Default: none; a bucket is
    created."""
    prefix: NotRequired[pulumi.Input[str] | None]
    """Folder in the bucket, such as `ci/`. The runner can do nothing outside of it, so the path
    of its cache must lie in it. With a prefix, S3 answers 403 instead of 404 if an object is
    missing. Default: the whole bucket."""
    kms_key_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the KMS key that encrypts the objects. Default: SSE-S3, with keys of S3 itself."""
    expiration_days: NotRequired[int]
    """Days after which an object that was not written again is deleted. An old version is
    deleted after as many days more. Default: 14. From 1 to 3650."""
    enable_versioning: NotRequired[bool]
    """Keep the old versions of objects until they expire too. Default: false."""
    access_log_bucket: NotRequired[pulumi.Input[str] | None]
    """Bucket for the logs of all access, in the same account and region. Its own policy must let
    `logging.s3.amazonaws.com` write to it. Default: no logs."""
    access_log_prefix: NotRequired[pulumi.Input[str] | None]
    """Folder of the logs in `access_log_bucket`, such as `cache/`. Default: the name of the
    cache's bucket."""
    identity: NotRequired[S3IdentityInput]
    """How the runner proves to AWS that it may use the bucket. Default: irsa."""
    oidc_provider_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the cluster's OIDC provider. Required for the identity `irsa`, and allowed only for
    it."""
    eks_cluster_name: NotRequired[pulumi.Input[str] | None]
    """Name of the EKS cluster. Required for the identity `pod-identity`, and allowed only for
    it."""
    existing_role_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the role of the identity `existing`. With `enable_large_objects` it is required,
    and it must let the runner assume it. Default: none."""
    permissions_boundary_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the policy that is the permissions boundary of the created role or user. Default:
    no boundary."""
    enable_large_objects: NotRequired[bool]
    """Let the runner assume a second role for each object, which allows objects over 5 GB. With
    `false`, the runner uses presigned URLs, for objects up to 5 GB. Default: false."""
    allow_destroy: NotRequired[bool]
    """Let an update or `pulumi destroy` delete the bucket with everything in it. Set it in an
    update of its own, before the update that removes the bucket. With `false`, the bucket and
    the resources that keep it private are protected. Default: false."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of every resource that can have tags, in addition to those of the AWS provider. At
    most 50. Default: none."""


class ExternalArgs(TypedDict):
    """An existing store. Set exactly one of `s3`, `gcs` and `azure`."""

    s3: NotRequired[ExternalS3Args | None]
    """A bucket on AWS S3 or in an S3-compatible store."""
    gcs: NotRequired[ExternalGcsArgs | None]
    """A bucket on Google Cloud Storage."""
    azure: NotRequired[ExternalAzureArgs | None]
    """A container of Azure Blob Storage."""
    max_archive_size: NotRequired[str | None]
    """Size in bytes above which a job's cache is not uploaded, as a Kubernetes quantity. The job
    itself checks the size, so the limit is no defence against the job. Default: no limit."""


class CacheArgs(TypedDict):
    """Settings of the distributed cache."""

    backend: NotRequired[CacheBackendInput]
    """Where the cache is stored. An update from `minio` to another backend removes the store at
    once: see `keep_minio`. An update from `s3` to another backend is refused where the bucket
    is protected. Default: minio."""
    keep_minio: NotRequired[bool]
    """Keep the in-cluster store beside another backend. Set it in the update that changes the
    backend from `minio`, because running jobs still have the store's addresses. Remove the
    setting in a later update, once those jobs have ended. The store's volume stays, unless
    `allow_volume_deletion` is set. Default: false."""
    minio: NotRequired[MinioArgs | None]
    """Settings of the backend `minio`. Default: the defaults of that backend."""
    s3: NotRequired[S3Args | None]
    """Settings of the backend `s3`. Required for that backend."""
    external: NotRequired[ExternalArgs | None]
    """The store of the backend `external`. Required for that backend."""


class MirrorArgs(TypedDict):
    """Settings of the registry mirror."""

    image: NotRequired[str]
    """Image of the CNCF registry 3, with tag and digest. Default: the pinned
    docker.io/library/registry image."""
    remote_url: NotRequired[pulumi.Input[str]]
    """URL of the registry to mirror. Docker daemons use a mirror only for Docker Hub, so set
    Docker Hub, or a registry that itself mirrors Docker Hub. Default:
    https://registry-1.docker.io."""
    allow_insecure_remote: NotRequired[bool]
    """Accept a `remote_url` without TLS. Images and credentials then cross the network
    unencrypted. Default: false."""
    username: NotRequired[pulumi.Input[str] | None]
    """Name of the account at the mirrored registry. Every job can pull whatever this account can
    pull, so give the account no private repositories. Default: anonymous."""
    password: NotRequired[pulumi.Input[str] | None]
    """Password or access token of `username`, as a Pulumi secret. Default: anonymous."""
    credentials_secret_name: NotRequired[pulumi.Input[str] | None]
    """Existing Secret in the mirror's namespace with the keys `username` and `password`, in
    place of the settings `username` and `password`. Write each single quote in a value twice.
    The pod reads the Secret when it starts. Default: anonymous."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity. The registry has no size limit,
    only `ttl_hours`: plan for everything that is pulled in that time. You can raise the size,
    if the StorageClass allows that, but never lower it. Default: 50Gi."""
    storage_class_name: NotRequired[pulumi.Input[str] | None]
    """StorageClass of the volume. You cannot change it later. Default: the cluster's default
    StorageClass."""
    ttl_hours: NotRequired[int]
    """Hours after which the mirror removes a layer or manifest. If a client asks for it again,
    the mirror pulls it again. A new value applies only to layers and manifests that are
    pulled from then on. Default: 168 (7 days). From 1 to 87600."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the mirror. Default: cpu_request 100m, cpu_limit 2, memory_request 128Mi,
    memory_limit 512Mi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of the nodes on which the mirror runs. Default: any node."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the mirror's pod, as in Kubernetes. Default: none."""
    log_level: NotRequired[str]
    """Lowest severity that the mirror logs: error, warn, info or debug. Default: info."""
    metrics_namespaces: NotRequired[list[pulumi.Input[str]]]
    """Namespaces that may read the mirror's Prometheus metrics on port 5001 at /metrics. Go's
    profiler is on the same port. Default: none; the mirror then serves no metrics."""


class MonitoringArgs(TypedDict):
    """Monitoring by the Prometheus operator and Grafana. Everything is off by default."""

    enable_pod_monitor: NotRequired[bool]
    """Create PodMonitors, by which the Prometheus operator scrapes the runners, the Docker
    daemons and the in-cluster store. The store also needs its own `enable_metrics`. Default:
    false."""
    enable_alert_rules: NotRequired[bool]
    """Create alerts as a PrometheusRule. They need `enable_pod_monitor`. Default: false."""
    enable_dashboard: NotRequired[bool]
    """Create a dashboard, as a ConfigMap that Grafana's sidecar picks up. Default: false."""
    labels: NotRequired[dict[str, str]]
    """Labels by which your Prometheus selects PodMonitors and PrometheusRules, such as `release:
    kube-prometheus-stack`. Default: none."""
    interval_seconds: NotRequired[int]
    """Seconds between two scrapes. Default: 30. From 5 to 120."""
    dashboard_namespace: NotRequired[pulumi.Input[str] | None]
    """Existing namespace for the dashboard's ConfigMap. Default: the runner's namespace."""
    prometheus_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of Prometheus. No other namespace may reach the metrics. Default: monitoring."""


class NamespacesArgs(TypedDict):
    """The namespaces. Each has its own secrets and Pod Security level.

    A new name makes a new namespace. The update ends everything that runs in the old
    namespace, and its volume stays behind there.
    """

    runner: NotRequired[str]
    """Namespace of the runner itself, with the Pod Security level `restricted`. Default:
    gitlab-runner."""
    jobs: NotRequired[str]
    """Namespace of the jobs' pods, with the Pod Security level `baseline`, or `privileged` if
    the jobs are privileged. Default: gitlab-runner-jobs."""
    cache: NotRequired[str]
    """Namespace of the in-cluster store, with the Pod Security level `restricted`. Default:
    gitlab-runner-cache."""
    daemon: NotRequired[str]
    """Namespace of the shared daemon, with the Pod Security level `privileged`. Default:
    gitlab-runner-docker."""
    mirror: NotRequired[str]
    """Namespace of the registry mirror, with the Pod Security level `restricted`. Default:
    gitlab-runner-mirror."""
    enable_creation: NotRequired[bool]
    """Create the namespaces. With `false`, you create the namespaces and their Pod Security
    labels yourself. Default: true."""
    enable_adoption: NotRequired[bool]
    """Take over the namespaces with volumes that `pulumi destroy` left, when you create a stack
    again. All of these namespaces must exist, so add a new component in a later update. With
    `false`, a preview refuses a namespace that already exists. Default: false."""


class NetworkArgs(TypedDict):
    """Settings of the network around the platform."""

    allow_insecure_gitlab_url: NotRequired[bool]
    """Accept an `http://` URL of GitLab. The token then crosses the network unencrypted.
    Default: false."""
    api_server_ports: NotRequired[list[int]]
    """TCP ports on which the Kubernetes API server answers. Default: 443, 6443."""
    gitlab_port: NotRequired[int | None]
    """TCP port of the GitLab pods, from 1 to 65535. Set it if GitLab runs in this cluster and
    its pods listen on another port than its Service: NetworkPolicies see the port of the
    pods. Default: the port of `gitlab_url`."""
    dns_cidrs: NotRequired[list[str]]
    """Address blocks of the DNS caches on the nodes. If NodeLocal DNSCache answers on the
    cluster's own DNS address, as on GKE, add that address, such as "10.96.0.10/32". With
    Cloud DNS for GKE, add "169.254.169.254/32". Default: 169.254.20.10/32 (NodeLocal
    DNSCache)."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Another domain renews the servers' certificates, with the same
    authorities. Default: cluster.local."""
    enable_policies: NotRequired[bool]
    """Deny all traffic except what the platform needs. The engine `seaweedfs` of the in-cluster
    store requires `true`. The setting has no effect where the cluster's network does not
    enforce NetworkPolicy. Default: true."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that jobs, builds and the registry mirror may reach, such as those
    of GitLab and of registries. A range that contains the nodes or the API server, such as
    10.0.0.0/8 in many clusters, lets jobs reach those too: list small ranges. Default: none."""


class RunnerPlatformArgs(TypedDict):
    """Arguments of `RunnerPlatform`."""

    runner_token: NotRequired[pulumi.Input[str] | None]
    """Authentication token of the runner, `glrt-…`, as a Pulumi secret. Set exactly one of
    `runner_token`, `token_secret_name` and `token_external_secret`."""
    token_secret_name: NotRequired[pulumi.Input[str] | None]
    """Existing Secret in the runner's namespace with the keys `runner-token` and
    `runner-registration-token` (empty), in place of `runner_token`."""
    token_external_secret: NotRequired[ExternalSecretArgs | None]
    """Token that the External Secrets Operator reads from a store, in place of `runner_token`."""
    gitlab_url: pulumi.Input[str]
    """URL of GitLab, `https://…`."""
    runner: NotRequired[RunnerArgs]
    """Settings of the runner and its jobs. With `fleets`, these are the settings that all fleets
    share. Default: the defaults of these settings."""
    fleets: NotRequired[dict[str, FleetArgs]]
    """Several runners by name, in place of a single runner and its token. Each fleet has its own
    token. Default: one runner."""
    zones: NotRequired[dict[str, ZoneArgs]]
    """Trust zones by name, in addition to the default zone. Default: none."""
    cache: NotRequired[CacheArgs]
    """Distributed cache. Default: a store in the cluster."""
    docker_daemon: NotRequired[DockerArgs | None]
    """Shared Docker daemon. Anyone who can run a job is root on the daemon's node, unless the
    daemon is rootless. Default: none."""
    buildkit_daemon: NotRequired[BuildKitArgs | None]
    """Shared, rootless BuildKit daemon, in place of the Docker daemon. It is for jobs that build
    images and start no containers. Default: none."""
    registry_mirror: NotRequired[MirrorArgs | None]
    """Mirror of Docker Hub, for the shared daemons and for the Docker daemons that privileged
    jobs start. Default: none."""
    monitoring: NotRequired[MonitoringArgs | None]
    """Monitoring by the Prometheus operator and Grafana. Default: none."""
    namespaces: NotRequired[NamespacesArgs]
    """Namespaces of the platform. Default: created, with their default names."""
    network: NotRequired[NetworkArgs]
    """Settings of the network around the platform. Default: the defaults of these settings."""
    allow_volume_deletion: NotRequired[bool]
    """Let Pulumi delete the namespaces of the store, the mirror and the daemons, together with
    their volumes. Pulumi deletes them in `pulumi destroy`, or an update that renames or
    removes such a namespace. With `false`, these namespaces and volumes stay. Default: false."""


class S3CacheArgs(TypedDict):
    """Arguments of `S3Cache`."""

    region: pulumi.Input[str]
    """Region of the bucket. It may differ from the region of the AWS provider. Another region is
    another bucket: the update is refused, unless `allow_destroy` is set."""
    bucket_name: NotRequired[pulumi.Input[str] | None]
    """Name of the bucket. Another name is another bucket: the update is refused, unless
    `allow_destroy` is set. Default: the component's name and random letters."""
    existing_bucket_name: NotRequired[pulumi.Input[str] | None]
    """Name of an existing bucket. It is used as it is, and only the identity is created. You
    cannot set anything about the bucket itself, such as `expiration_days`. A bucket that is
    encrypted with a KMS key needs the identity `existing`. Default: none; a bucket is
    created."""
    prefix: NotRequired[pulumi.Input[str] | None]
    """Folder in the bucket, such as `ci/`. The runner can do nothing outside of it, so the path
    of its cache must lie in it. With a prefix, S3 answers 403 instead of 404 if an object is
    missing. Default: the whole bucket."""
    kms_key_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the KMS key that encrypts the objects. Default: SSE-S3, with keys of S3 itself."""
    expiration_days: NotRequired[int]
    """Days after which an object that was not written again is deleted. An old version is
    deleted after as many days more. Default: 14. From 1 to 3650."""
    enable_versioning: NotRequired[bool]
    """Keep the old versions of objects until they expire too. Default: false."""
    access_log_bucket: NotRequired[pulumi.Input[str] | None]
    """Bucket for the logs of all access, in the same account and region. Its own policy must let
    `logging.s3.amazonaws.com` write to it. Default: no logs."""
    access_log_prefix: NotRequired[pulumi.Input[str] | None]
    """Folder of the logs in `access_log_bucket`, such as `cache/`. Default: the name of the
    cache's bucket."""
    identity: NotRequired[S3IdentityInput]
    """How the runner proves to AWS that it may use the bucket. Default: irsa."""
    oidc_provider_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the cluster's OIDC provider. Required for the identity `irsa`, and allowed only for
    it."""
    eks_cluster_name: NotRequired[pulumi.Input[str] | None]
    """Name of the EKS cluster. Required for the identity `pod-identity`, and allowed only for
    it."""
    existing_role_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the role of the identity `existing`. With `enable_large_objects` it is required,
    and it must let the runner assume it. Default: none."""
    permissions_boundary_arn: NotRequired[pulumi.Input[str] | None]
    """ARN of the policy that is the permissions boundary of the created role or user. Default:
    no boundary."""
    enable_large_objects: NotRequired[bool]
    """Let the runner assume a second role for each object, which allows objects over 5 GB. With
    `false`, the runner uses presigned URLs, for objects up to 5 GB. Default: false."""
    allow_destroy: NotRequired[bool]
    """Let an update or `pulumi destroy` delete the bucket with everything in it. Set it in an
    update of its own, before the update that removes the bucket. With `false`, the bucket and
    the resources that keep it private are protected. Default: false."""
    tags: NotRequired[dict[str, pulumi.Input[str]]]
    """Tags of every resource that can have tags, in addition to those of the AWS provider. At
    most 50. Default: none."""
    runner_namespace: NotRequired[pulumi.Input[str]]
    """Namespace of the runner. Default: gitlab-runner."""
    service_account_names: NotRequired[list[pulumi.Input[str]]]
    """Names of the ServiceAccounts of the runners. Default: gitlab-runner."""


class SharedDockerDaemonArgs(TypedDict):
    """Arguments of `SharedDockerDaemon`."""

    replicas: NotRequired[int]
    """Number of daemons, each with a volume of its own. Several daemons share the load. They are
    no security boundary: all have the same client certificate, and any job can reach every
    daemon of its zone. To separate projects, use zones. All jobs of a project use the same
    daemon, which a consistent hash of CI_PROJECT_ID chooses. Raising the number moves a share
    of the projects to the new daemon, where they start cold; all other projects stay.
    Lowering it removes the daemon with the highest number, within
    `termination_grace_period_seconds`; its volume stays. Jobs that run on the removed daemon
    fail at their next command to it. Jobs that start before the runner knows the new number
    wait, and then take the first daemon. An update from 1 to more, or back to 1, replaces the
    server's certificate and restarts the first daemon. Jobs choose their daemon in their own
    shell, which must be bash or sh. Services, and jobs with `run:`, know only the first
    daemon. Default: 1. From 1 to 16."""
    volume_size: NotRequired[str]
    """Size of the volume in bytes, as a Kubernetes quantity. The volume holds the build cache
    and, with a Docker daemon, the images. You can raise the size, if the StorageClass allows
    that, but never lower it. Default: 100Gi."""
    storage_class_name: NotRequired[pulumi.Input[str] | None]
    """StorageClass of the volume. It must provide block devices, not NFS. You cannot change it
    later. Default: the cluster's default StorageClass."""
    build_cache_percent: NotRequired[int]
    """Percent of the volume that the build cache may use. Above it, the daemon removes the
    oldest build cache. Default: 70. From 10 to 90."""
    build_cache_keep_hours: NotRequired[int]
    """Hours after which the daemon removes build cache that no build used, however much room
    there is. Default: 1440 (60 days). From 1 to 87600."""
    registry_mirrors: NotRequired[list[pulumi.Input[str]]]
    """URLs of pull-through mirrors of Docker Hub. Default: none."""
    insecure_registries: NotRequired[list[str]]
    """`host:port` of the registries without TLS. Default: none."""
    registry_certificates: NotRequired[dict[str, str]]
    """Certificates of private authorities by `host:port` of their registry, as PEM texts. Set
    them for registries with TLS whose authority is not a public one. Default: none."""
    proxy: NotRequired[ProxyArgs | None]
    """Proxy through which the daemon reaches registries. Default: none."""
    resources: NotRequired[ResourcesArgs]
    """Resources of the daemon and of everything that it builds. Default: cpu_request 1,
    cpu_limit 8, memory_request 2Gi, memory_limit 16Gi."""
    node_selector: NotRequired[dict[str, str]]
    """Labels of nodes that only the daemon uses. Anyone who can run a job is root there. With
    the isolation `rootless` nobody is, but the daemon's pod is still privileged. Give these
    nodes a taint too, as a label keeps no other pod away. Required unless
    `accept_shared_nodes` is set. Default: none."""
    tolerations: NotRequired[list[dict[str, Any]]]
    """Tolerations of the daemon's pod, as in Kubernetes. Default: taints with the key and value
    of each label of `node_selector`, so that the nodes' label can also be their taint."""
    enable_disruption_budget: NotRequired[bool]
    """Keep a node drain from evicting the daemon: the drain waits until you delete the pod. With
    `false`, the drain evicts the daemon, after `termination_grace_period_seconds` at the
    latest. Default: false."""
    certificate_validity_hours: NotRequired[int]
    """Hours for which the server's and the client's certificates are valid. The value must be
    less than `ca_validity_hours`. Default: 2160 (90 days). From 24 to 19800."""
    certificate_renewal_hours: NotRequired[int]
    """Hours before expiry from which an update renews the certificates. The value must be less
    than `certificate_validity_hours`. Default: 720 (30 days). From 1 to 87600."""
    ca_validity_hours: NotRequired[int]
    """Hours for which the certificate authority is valid. Another value makes a new certificate
    of the same key: certificates that the authority signed before are still trusted. Default:
    87600 (10 years). From 1 to 87600."""
    termination_grace_period_seconds: NotRequired[int]
    """Seconds that running builds have to end when the daemon restarts. The daemon stops as soon
    as no client is connected, and in any case 20 seconds before the end of this time.
    Default: 600. From 30 to 86400."""
    image: NotRequired[str | None]
    """Image of the daemon, with tag and digest, of Docker 29.3.1 or newer. Default: the pinned
    docker:dind image, or the pinned docker:dind-rootless image for the isolation `rootless`."""
    isolation: NotRequired[DaemonIsolationInput]
    """What separates the daemon from its node. `rootless` needs nodes with unprivileged user
    namespaces, Linux 5.11 or newer, and amd64 or arm64. Its network is slower. Another value
    moves the daemon to a new, empty volume and leaves the old one. Default: privileged."""
    mtu: NotRequired[int]
    """MTU of the daemon's bridge in bytes. Set at most the MTU of the pods' network; otherwise
    builds hang in TLS handshakes. Default: 1450 (fits VXLAN)."""
    address_pools: NotRequired[list[AddressPoolArgs]]
    """Ranges of addresses for the daemon's own bridge and for the networks that jobs create.
    They must not contain an address that the daemon talks to: pods, nodes, GitLab or a
    registry. Default: 198.18.0.0/16 in 256 networks. RFC 2544 reserves this range for
    benchmarks, so hardly any network uses it."""
    bridge_address: NotRequired[str | None]
    """The daemon's own address on its default bridge, with the prefix length of that network,
    such as "172.30.0.1/24". Default: the first network of `address_pools`."""
    minimum_api_version: NotRequired[str | None]
    """Oldest version of Docker's API that clients may use, from 1.24. Old clients, such as those
    in Testcontainers, need a lower version than the default. Default: the daemon's own (1.44
    in Docker 29)."""
    container_log_size: NotRequired[str]
    """Bytes after which the log of a container continues in a new file, as a Kubernetes
    quantity. Default: 10Mi."""
    container_log_files: NotRequired[int]
    """Number of files that the daemon keeps of the log of a container. Default: 3. From 1 to
    10000."""
    extra_daemon_config: NotRequired[str | None]
    """More of daemon.json, as JSON text: keys that have no setting here. Unknown keys, keys that
    have a setting, and secrets are refused. Another storage driver, image store or
    `userns-remap` starts with an empty store; the old one stays on the volume. Default: none."""
    accept_shared_nodes: NotRequired[bool]
    """Accept that jobs can become root on nodes that others use too. With `false`,
    `node_selector` is required. Default: false."""
    metrics_namespaces: NotRequired[list[pulumi.Input[str]]]
    """Namespaces, such as that of Prometheus, that may read the daemon's metrics on port 9323 at
    /metrics. Default: none; the daemon then serves no metrics."""
    enable_pruning: NotRequired[bool]
    """Remove what jobs leave beside the build cache: containers, networks, volumes, names of
    images, and images. Pruning runs every ten minutes, and every minute above
    `prune_above_percent`. It needs Kubernetes 1.29 or newer. Default: true."""
    enable_image_protection: NotRequired[bool]
    """If a job builds, tags or imports an image with the name of a base image, take the name
    away within a second. Without this protection, every later build would start from that
    image in place of the registry's. Base images are `protected_images`, and the official
    images of Docker Hub that most builds start from, such as python and nginx. The setting
    has no effect without pruning. Default: true."""
    protected_images: NotRequired[list[str]]
    """Names of more base images. `*` stands for any text. A name without a tag stands for all
    its tags. For example, "registry.example.com/base/*". Default: none."""
    prune_keep_hours: NotRequired[int]
    """Hours after which pruning removes an image that lost its name, counted from then. An image
    that never had a name is removed so many hours after its creation. Set more hours than a
    pipeline takes to reach its last job. Default: 72 (a pipeline of Friday can continue on
    Monday). From 1 to 87600."""
    prune_above_percent: NotRequired[int]
    """Percent of the volume in use above which pruning removes every image that no container
    uses and that was created more than `maximum_job_timeout_seconds` ago. It also removes
    volumes without a container that were created more than `prune_keep_hours` ago. The value
    must be more than `build_cache_percent`. The default lies between the build cache's 70 and
    the 90 at which the daemon removes build cache to make room. Default: 80. From 10 to 99."""
    dns_cidrs: NotRequired[list[str]]
    """Address blocks of the DNS caches on the nodes. If NodeLocal DNSCache answers on the
    cluster's own DNS address, as on GKE, add that address, such as "10.96.0.10/32". With
    Cloud DNS for GKE, add "169.254.169.254/32". Default: 169.254.20.10/32 (NodeLocal
    DNSCache)."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster. Another domain renews the servers' certificates, with the same
    authorities. Default: cluster.local."""
    job_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the jobs, which gets the Secret with the client certificate.
    Default: gitlab-runner-jobs."""
    enable_network_policies: NotRequired[bool]
    """Deny all traffic of the daemon except what it needs. The jobs, and `metrics_namespaces` of
    a Docker daemon, may reach the daemon. The daemon may reach DNS, the internet,
    `egress_cidrs` and its mirrors in the cluster. Default: true."""
    egress_cidrs: NotRequired[list[str]]
    """Private address ranges that builds may reach, such as that of a registry. Default: none."""
    namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace that only the daemon uses. It needs the Pod Security level
    `privileged`. Default: gitlab-runner-docker."""
    maximum_job_timeout_seconds: NotRequired[int]
    """Longest timeout of a job in seconds. Pruning removes containers, running or stopped, and
    networks that are older. After this time it also takes the names of images away, so that a
    build asks the registry again. Default: 3600. From 600 to 604800."""


__all__ = [
    "AddressPoolArgs",
    "BuildKitArgs",
    "BuildKitDaemonArgs",
    "CacheArgs",
    "ChartArgs",
    "DockerArgs",
    "ExternalArgs",
    "ExternalAzureArgs",
    "ExternalCacheArgs",
    "ExternalGcsArgs",
    "ExternalS3Args",
    "ExternalSecretArgs",
    "FleetArgs",
    "GitLabRunnerArgs",
    "MinioArgs",
    "MinioCacheArgs",
    "MirrorArgs",
    "MonitoringArgs",
    "NamespacesArgs",
    "NetworkArgs",
    "ProxyArgs",
    "RegistryMirrorArgs",
    "ResourcesArgs",
    "RunnerArgs",
    "RunnerBuildKitArgs",
    "RunnerCacheArgs",
    "RunnerDockerArgs",
    "RunnerMirrorArgs",
    "RunnerPlatformArgs",
    "S3Args",
    "S3CacheArgs",
    "SharedDockerDaemonArgs",
    "ZoneArgs",
]
