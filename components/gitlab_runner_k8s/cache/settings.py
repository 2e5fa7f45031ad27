"""Settings of the distributed cache."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from ..kubernetes.settings import ClusterDnsSettings, ResourcesSettings, over
from ..runner.connections import S3LocationSettings
from ..validation.base import Choice, Settings
from ..validation.rules.basic import Days, SecretText, Text
from ..validation.rules.clouds import (
    AzureAccountName,
    AzureClientId,
    AzureContainerName,
    BucketName,
    GcsAccount,
    GcsBucketName,
    KmsKeyArn,
    ObjectPath,
    ObjectPrefix,
    OidcProviderArn,
    PolicyArn,
    Region,
    RoleArn,
    TagName,
    TagValue,
    partition,
)
from ..validation.rules.images import ImageReference
from ..validation.rules.kubernetes import (
    AnyNamespace,
    Bytes,
    Labels,
    Namespace,
    ResourceName,
    VolumeSize,
)
from ..validation.rules.network import Domain

_STORE = ResourcesSettings(
    cpu_request="100m", cpu_limit="2", memory_request="256Mi", memory_limit="1Gi"
)


class MinioEngine(Choice):
    """The server that stores the objects."""

    SILO = "silo"
    """Silo, the maintained fork of MinIO, with the same commands, variables, ports and data."""
    MINIO = "minio"
    """MinIO itself, from an image of your own: the official images are withdrawn."""
    SEAWEEDFS = "seaweedfs"
    """SeaweedFS, under the Apache licence. It has its own data format: a change from or to this
    engine starts with an empty cache."""


class MinioSettings(Settings):
    """Settings of the in-cluster store."""

    engine: MinioEngine = MinioEngine.SILO
    """Server that stores the objects. A change of the engine starts with an empty bucket; only
    `silo` and `minio` can read each other's data. The data of the old engine stays on the
    volume."""
    image: ImageReference | None = None
    """Image of the server, with tag and digest. An image of `silo` or `minio` must also contain the
    client `mc`, an image of `seaweedfs` must contain `curl`. Required for the engine `minio`.
    Default: the pinned image of the engine."""
    volume_size: VolumeSize = "20Gi"
    """Size of the volume in bytes, as a Kubernetes quantity. You can raise it, if the StorageClass
    allows that, but never lower it."""
    storage_class_name: ResourceName | None = None
    """StorageClass of the volume. You cannot change it later. Default: the cluster's default
    StorageClass."""
    expiration_days: Days = 14
    """Days after which an object that was not written again is deleted. Default: 14 (as on
    GitLab.com's runners)."""
    resources: Annotated[ResourcesSettings, over(_STORE)] = _STORE
    """Resources of the server."""
    node_selector: Labels = {}
    """Labels of the nodes on which the server runs. Default: any node."""
    enable_console: bool = False
    """Serve the web console on port 9001. The engine `seaweedfs` has no console."""
    enable_tls: bool = False
    """Serve only HTTPS, with a certificate that the store's own authority signs. The certificate is
    valid for a year; updates renew it from 90 days before its end. With `false`, the store serves
    plain HTTP."""
    enable_metrics: bool = False
    """Let Prometheus read the store's metrics. The engines `silo` and `minio` serve them at
    /minio/v2/metrics/cluster on the port `s3`, with a bearer token. The engine `seaweedfs` serves
    them at /metrics on the port `metrics`."""
    metrics_namespace: AnyNamespace = "monitoring"
    """Namespace of Prometheus, which may read the metrics."""

    def _conflicts(self) -> Iterator[str]:
        if self.engine == "minio" and self.image is None:
            yield (
                "image must be set for the engine 'minio', because its official images are "
                "withdrawn; set an image of your own with tag and digest, or use the engine 'silo'"
            )
        if self.engine == "seaweedfs" and self.enable_console:
            yield (
                "enable_console must be false for the engine 'seaweedfs', which has no console; "
                "remove it"
            )


class MinioCacheSettings(MinioSettings, ClusterDnsSettings):
    """Arguments of `MinioCache`."""

    namespace: Namespace = "gitlab-runner-cache"
    """Existing namespace of the store."""
    runner_namespace: Namespace = "gitlab-runner"
    """Existing namespace of the runner, which gets the Secret with the credentials."""
    job_namespace: Namespace = "gitlab-runner-jobs"
    """Namespace of the jobs, which may reach the store. With `enable_tls` it must exist, because it
    gets the authority's certificate."""
    bucket: BucketName = "runner"
    """Name of the bucket."""
    excluded_nodes: list[Labels] = []
    """Labels of nodes that the pods avoid, such as those of shared Docker daemons, where anyone who
    can run a job is root. A pod whose volume is on such a node stays there. Default: none."""
    enable_network_policies: bool = True
    """Deny all traffic of the store except that of the runner, of the jobs and, with
    `enable_metrics`, of Prometheus. The engine `seaweedfs` requires `true`."""

    def _conflicts(self) -> Iterator[str]:
        yield from super()._conflicts()
        if self.engine == "seaweedfs" and not self.enable_network_policies:
            yield (
                "enable_network_policies must be true for the engine 'seaweedfs', because the "
                "ports of its internal servers need no credentials; remove it, or choose another "
                "engine"
            )
        same = isinstance(self.job_namespace, str) and self.job_namespace == self.runner_namespace
        if same:
            yield (
                "job_namespace must differ from runner_namespace, because jobs could read the "
                "credentials there; use a separate namespace for jobs"
            )


class S3Identity(Choice):
    """How the runner proves to AWS that it may use the bucket."""

    IRSA = "irsa"
    """A role for the runner's ServiceAccount, through the cluster's OIDC provider."""
    POD_IDENTITY = "pod-identity"
    """A role for the runner's ServiceAccount, through the EKS Pod Identity agent."""
    ACCESS_KEY = "access-key"
    """A user with an access key in a Secret, for clusters outside of AWS."""
    EXISTING = "existing"
    """An identity that the runner already has. No role and no user is created."""


class S3Settings(Settings):
    """Settings of the bucket on AWS S3."""

    region: Region
    """Region of the bucket. It may differ from the region of the AWS provider. Another region is
    another bucket: the update is refused, unless `allow_destroy` is set."""
    bucket_name: BucketName | None = None
    """Name of the bucket. Another name is another bucket: the update is refused, unless
    `allow_destroy` is set. Default: the component's name and random letters."""
    existing_bucket_name: BucketName | None = None
    """Name of an existing bucket. It is used as it is, and only the identity is created. You cannot
    set anything about the bucket itself, such as `expiration_days`. A bucket that is encrypted with
    a KMS key needs the identity `existing`. Default: none; a bucket is created."""
    prefix: ObjectPrefix | None = None
    """Folder in the bucket, such as `ci/`. The runner can do nothing outside of it, so the path of
    its cache must lie in it. With a prefix, S3 answers 403 instead of 404 if an object is missing.
    Default: the whole bucket."""
    kms_key_arn: KmsKeyArn | None = None
    """ARN of the KMS key that encrypts the objects. Default: SSE-S3, with keys of S3 itself."""
    expiration_days: Days = 14
    """Days after which an object that was not written again is deleted. An old version is deleted
    after as many days more."""
    enable_versioning: bool = False
    """Keep the old versions of objects until they expire too."""
    access_log_bucket: BucketName | None = None
    """Bucket for the logs of all access, in the same account and region. Its own policy must let
    `logging.s3.amazonaws.com` write to it. Default: no logs."""
    access_log_prefix: ObjectPrefix | None = None
    """Folder of the logs in `access_log_bucket`, such as `cache/`. Default: the name of the cache's
    bucket."""
    identity: S3Identity = S3Identity.IRSA
    """How the runner proves to AWS that it may use the bucket."""
    oidc_provider_arn: OidcProviderArn | None = None
    """ARN of the cluster's OIDC provider. Required for the identity `irsa`, and allowed only for
    it."""
    eks_cluster_name: Text | None = None
    """Name of the EKS cluster. Required for the identity `pod-identity`, and allowed only for
    it."""
    existing_role_arn: RoleArn | None = None
    """ARN of the role of the identity `existing`. With `enable_large_objects` it is required, and
    it must let the runner assume it. Default: none."""
    permissions_boundary_arn: PolicyArn | None = None
    """ARN of the policy that is the permissions boundary of the created role or user. Default: no
    boundary."""
    enable_large_objects: bool = False
    """Let the runner assume a second role for each object, which allows objects over 5 GB. With
    `false`, the runner uses presigned URLs, for objects up to 5 GB."""
    allow_destroy: bool = False
    """Let an update or `pulumi destroy` delete the bucket with everything in it. Set it in an
    update of its own, before the update that removes the bucket. With `false`, the bucket and the
    resources that keep it private are protected."""
    tags: Annotated[dict[TagName, TagValue], Field(max_length=50)] = {}
    """Tags of every resource that can have tags, in addition to those of the AWS provider. At most
    50."""

    def _conflicts(self) -> Iterator[str]:
        yield from self._identity_conflicts()
        yield from self._bucket_conflicts()
        yield from self._arn_conflicts()

    def _identity_conflicts(self) -> Iterator[str]:
        needs = {"irsa": "oidc_provider_arn", "pod-identity": "eks_cluster_name"}
        for identity, needed in needs.items():
            is_set = getattr(self, needed) is not None
            if is_set != (self.identity == identity):
                yield (
                    f"{needed} is only for the identity '{identity}', but identity is "
                    f"'{self.identity}'; remove it, or choose another identity"
                    if is_set
                    else f"{needed} must be set for the identity '{identity}'; set it, or choose "
                    "another identity"
                )
        if self.existing_role_arn is not None and self.identity != "existing":
            yield (
                "existing_role_arn is only for the identity 'existing', but identity is "
                f"'{self.identity}'; remove it, or choose another identity"
            )
        if self.permissions_boundary_arn is not None and self.identity == "existing":
            yield (
                "permissions_boundary_arn must not be set for the identity 'existing', because no "
                "role is created; remove it, and set the boundary on the existing role"
            )
        if self.enable_large_objects and self.identity == "access-key":
            yield "enable_large_objects needs a role; use the identity 'irsa' or 'pod-identity'"
        is_existing = self.identity == "existing"
        if self.enable_large_objects and is_existing and self.existing_role_arn is None:
            yield (
                "enable_large_objects needs a role; set existing_role_arn to a role that the "
                "runner may assume"
            )

    def _bucket_conflicts(self) -> Iterator[str]:
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
                if getattr(self, field) != S3Settings.model_fields[field].default:
                    yield (
                        f"{field} must not be set together with existing_bucket_name, because an "
                        "existing bucket is not changed; remove one of the two"
                    )
        if self.access_log_prefix is not None and self.access_log_bucket is None:
            yield ("access_log_prefix needs access_log_bucket; set it, or remove access_log_prefix")
        if self.access_log_bucket is not None and self.access_log_bucket == self.bucket_name:
            yield (
                "access_log_bucket must differ from bucket_name, because S3 would log the writing "
                "of every log; use another bucket"
            )

    def _arn_conflicts(self) -> Iterator[str]:
        """Check every ARN against the region. Outputs that are not known yet pass."""
        names = (
            "oidc_provider_arn",
            "existing_role_arn",
            "permissions_boundary_arn",
            "kms_key_arn",
        )
        values = {name: getattr(self, name) for name in names}
        arns = {name: arn.split(":", 5) for name, arn in values.items() if isinstance(arn, str)}
        if isinstance(self.region, str):
            expected = partition(self.region)
            for name, parts in arns.items():
                if parts[1] != expected:
                    yield (
                        f"{name} must be in the partition '{expected}' of region ({self.region}), "
                        f"got '{values[name]}'; correct the ARN or the region"
                    )
        key = arns.get("kms_key_arn")
        if key and key[5].startswith("alias/"):
            yield (
                "kms_key_arn must be the ARN of a key, not of an alias, because policies match "
                "only keys; use the ARN with ':key/'"
            )
        if key and isinstance(self.region, str) and key[3] != self.region:
            yield (
                f"kms_key_arn must be in the bucket's region ({self.region}), got "
                f"'{self.kms_key_arn}'; use a key of that region"
            )
        # A key may belong to another account, but the provider and the boundary of a role may not.
        provider, boundary = arns.get("oidc_provider_arn"), arns.get("permissions_boundary_arn")
        if provider and boundary and boundary[4] not in ("aws", provider[4]):
            yield (
                "permissions_boundary_arn must be in the account of oidc_provider_arn, got "
                f"'{self.permissions_boundary_arn}'; use a policy of that account"
            )


class S3CacheSettings(S3Settings):
    """Arguments of `S3Cache`."""

    runner_namespace: Namespace = "gitlab-runner"
    """Namespace of the runner."""
    service_account_names: Annotated[list[ResourceName], Field(min_length=1)] = ["gitlab-runner"]
    """Names of the ServiceAccounts of the runners."""


class ExternalS3Settings(S3LocationSettings):
    """An existing S3 bucket, on AWS or in an S3-compatible store.

    Without `access_key`, `credentials_secret_name` and `identity_role_arn`, the runner uses the
    identity that its pod already has, such as EKS Pod Identity. Set at most one of the three.
    """

    bucket: BucketName
    """Name of the bucket."""
    access_key: SecretText | None = None
    """Access key, as a Pulumi secret. Set it together with `secret_key`. Default: none."""
    secret_key: SecretText | None = None
    """Secret key that belongs to `access_key`, as a Pulumi secret. Default: none."""
    credentials_secret_name: ResourceName | None = None
    """Existing Secret in the runner's namespace with the keys `accesskey` and `secretkey`. Default:
    none."""
    identity_role_arn: RoleArn | None = None
    """ARN of the role that the runner's ServiceAccount gets through IRSA. It must be allowed to use
    the bucket. Default: none."""

    def _conflicts(self) -> Iterator[str]:
        keys = (self.access_key, self.secret_key, self.credentials_secret_name)
        yield from self.location_problems(has_keys=any(key is not None for key in keys))
        if (self.access_key is None) != (self.secret_key is None):
            yield "access_key and secret_key must be set together; set both, or neither"
        yield from _one_identity(
            self, ("access_key", "credentials_secret_name", "identity_role_arn")
        )


class ExternalGcsSettings(Settings):
    """An existing Google Cloud Storage bucket.

    Without any credentials, the runner uses the identity that its pod already has: Workload
    Identity Federation for GKE, granted to the Kubernetes ServiceAccount itself. Set at most one of
    `service_account_key`, `credentials_secret_name` and `service_account_email`.
    """

    bucket: GcsBucketName
    """Name of the bucket."""
    service_account_key: SecretText | None = None
    """JSON key of a Google service account, as a Pulumi secret. Default: none."""
    credentials_secret_name: ResourceName | None = None
    """Existing Secret in the runner's namespace with the key `gcs-application-credentials-file`.
    Default: none."""
    service_account_email: GcsAccount | None = None
    """Google service account that the runner's ServiceAccount acts as (Workload Identity). Default:
    none."""

    def _conflicts(self) -> Iterator[str]:
        yield from _one_identity(
            self, ("service_account_key", "credentials_secret_name", "service_account_email")
        )


class ExternalAzureSettings(Settings):
    """An existing container of Azure Blob Storage.

    Without any credentials, the runner uses the identity that its pod already has. Set at most one
    of `account_key`, `credentials_secret_name` and `client_id`.
    """

    account_name: AzureAccountName
    """Name of the storage account."""
    container: AzureContainerName
    """Name of the container."""
    storage_domain: Domain | None = None
    """Domain of the store. Default: blob.core.windows.net."""
    account_key: SecretText | None = None
    """Key of the storage account, as a Pulumi secret. Default: none."""
    credentials_secret_name: ResourceName | None = None
    """Existing Secret in the runner's namespace with the keys `azure-account-name` and
    `azure-account-key`. Default: none."""
    client_id: AzureClientId | None = None
    """Client ID of the managed identity of the runner's ServiceAccount (Microsoft Entra Workload
    ID). Default: none."""

    def _conflicts(self) -> Iterator[str]:
        yield from _one_identity(self, ("account_key", "credentials_secret_name", "client_id"))


def _one_identity(store: Settings, names: tuple[str, ...]) -> Iterator[str]:
    identities = [name for name in names if getattr(store, name) is not None]
    if len(identities) > 1:
        yield (
            f"only one of {', '.join(names)} may be set, got {' and '.join(identities)}; "
            "remove all but one"
        )


class ExternalSettings(Settings):
    """An existing store. Set exactly one of `s3`, `gcs` and `azure`."""

    s3: ExternalS3Settings | None = None
    """A bucket on AWS S3 or in an S3-compatible store."""
    gcs: ExternalGcsSettings | None = None
    """A bucket on Google Cloud Storage."""
    azure: ExternalAzureSettings | None = None
    """A container of Azure Blob Storage."""
    max_archive_size: Bytes | None = None
    """Size in bytes above which a job's cache is not uploaded, as a Kubernetes quantity. The job
    itself checks the size, so the limit is no defence against the job. Default: no limit."""

    def _conflicts(self) -> Iterator[str]:
        names = [name for name in ("s3", "gcs", "azure") if getattr(self, name) is not None]
        if len(names) != 1:
            yield (
                f"exactly one of s3, gcs and azure must be set, got {' and '.join(names) or 'none'}"
                "; set only the store of your cache"
            )


class ExternalCacheSettings(ExternalSettings):
    """Arguments of `ExternalCache`."""

    runner_namespace: Namespace = "gitlab-runner"
    """Existing namespace of the runner, which gets the Secret with the credentials."""
    path: ObjectPath = "gitlab-runner"
    """Prefix of every object. Runners with the same prefix share their cache."""
