"""A distributed cache in a store that is there already: S3-compatible, GCS or Azure."""

from typing import Any, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random
import tomli_w

from . import _kubernetes as kube
from ._config_toml import CacheConfig, cache_table
from ._inputs import digest, lift
from ._meta import token
from ._specs import ExternalAzureSpec, ExternalCacheSpec, ExternalGcsSpec, ExternalS3Spec
from ._validation import name_problems, validate
from .gitlab_runner import RunnerCacheArgs, cache_config

AZURE_IDENTITY_LABEL = "azure.workload.identity/use"


class ExternalS3Args(TypedDict):
    """An existing S3 bucket, on AWS or in an S3-compatible store.

    Without `access_key`, `credentials_secret_name` and `identity_role_arn` the runner uses the
    identity that its pod has already, such as EKS Pod Identity.
    """

    bucket: pulumi.Input[str]
    """Name of the bucket."""
    region: NotRequired[pulumi.Input[str]]
    """Region of the bucket; required on AWS. Default: us-east-1, which S3-compatible stores
    expect."""
    server_address: NotRequired[pulumi.Input[str]]
    """`host:port` of an S3-compatible store, without a scheme. Default: AWS S3."""
    insecure: NotRequired[bool]
    """Use plain HTTP to the store. Default: HTTPS."""
    access_key: NotRequired[pulumi.Input[str]]
    """Access key, as a Pulumi secret, with `secret_key`. Default: none."""
    secret_key: NotRequired[pulumi.Input[str]]
    """Secret of the access key, as a Pulumi secret. Default: none."""
    credentials_secret_name: NotRequired[pulumi.Input[str]]
    """Existing Secret in the runner's namespace with the keys `accesskey` and `secretkey`.
    Default: none."""
    identity_role_arn: NotRequired[pulumi.Input[str]]
    """Role of the runner's ServiceAccount by IRSA, which may use the bucket. Default: none."""
    role_arn: NotRequired[pulumi.Input[str]]
    """Role that the runner assumes for each object, for objects over 5 GB; AWS alone.
    Default: presigned URLs, up to 5 GB an object."""
    kms_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key that encrypts the objects. Default: the bucket's own encryption."""


class ExternalGcsArgs(TypedDict):
    """An existing Google Cloud Storage bucket.

    Without any credentials the runner uses the identity that its pod has already (Workload
    Identity Federation for GKE, granted to the Kubernetes ServiceAccount itself).
    """

    bucket: pulumi.Input[str]
    """Name of the bucket."""
    service_account_key: NotRequired[pulumi.Input[str]]
    """JSON key of a Google service account, as a Pulumi secret. Default: none."""
    credentials_secret_name: NotRequired[pulumi.Input[str]]
    """Existing Secret in the runner's namespace with the key
    `gcs-application-credentials-file`. Default: none."""
    service_account_email: NotRequired[pulumi.Input[str]]
    """Google service account that the runner's ServiceAccount acts as (Workload Identity).
    Default: none."""


class ExternalAzureArgs(TypedDict):
    """An existing container of Azure Blob Storage.

    Without any credentials the runner uses the identity that its pod has already.
    """

    account_name: pulumi.Input[str]
    """Name of the storage account."""
    container: pulumi.Input[str]
    """Name of the container."""
    storage_domain: NotRequired[pulumi.Input[str]]
    """Domain of the store. Default: blob.core.windows.net."""
    account_key: NotRequired[pulumi.Input[str]]
    """Key of the storage account, as a Pulumi secret. Default: none."""
    credentials_secret_name: NotRequired[pulumi.Input[str]]
    """Existing Secret in the runner's namespace with the keys `azure-account-name` and
    `azure-account-key`. Default: none."""
    client_id: NotRequired[pulumi.Input[str]]
    """Client id of the managed identity of the runner's ServiceAccount (Microsoft Entra Workload
    ID). Default: none."""


class ExternalCacheOptionsArgs(TypedDict):
    """What can be said about a store that is there already: exactly one of the three."""

    s3: NotRequired[ExternalS3Args]
    """A bucket on S3 or in an S3-compatible store."""
    gcs: NotRequired[ExternalGcsArgs]
    """A bucket on Google Cloud Storage."""
    azure: NotRequired[ExternalAzureArgs]
    """A container of Azure Blob Storage."""
    max_archive_size: NotRequired[str]
    """Size above which a job's cache is not uploaded, in bytes, as a Kubernetes quantity. The job
    checks it, so it is no defence against the job. Default: no limit."""


class ExternalCacheArgs(ExternalCacheOptionsArgs):
    """Arguments of `ExternalCache`."""

    runner_namespace: NotRequired[pulumi.Input[str]]
    """Existing namespace of the runner, where the credentials go. Default: gitlab-runner."""
    path: NotRequired[pulumi.Input[str]]
    """Prefix of every object. Runners that share it share their cache. Default: gitlab-runner."""


class ExternalCache(pulumi.ComponentResource):
    """The Secret and the configuration that join a runner to an existing store.

    The store itself stays yours: nothing in it is made, changed or deleted.

    Raises:
        ArgsError: the arguments are not valid; the message has every problem.
    """

    bucket: pulumi.Output[str]
    """Name of the bucket or container."""
    credentials_secret_name: pulumi.Output[str] | None
    """Secret in the runner's namespace with the credentials; none with workload identity."""
    credentials_checksum: pulumi.Output[str] | None
    """Salted digest of the credentials, where they are arguments."""
    service_account_annotations: pulumi.Output[dict[str, str]]
    """Annotations that the runner's ServiceAccount needs for its identity."""
    manager_pod_labels: pulumi.Output[dict[str, str]]
    """Labels that the runner's own pod needs for its identity."""
    config_toml: pulumi.Output[str]
    """The section `[runners.cache]` as TOML; it holds no secret."""

    def __init__(
        self, name: str, args: ExternalCacheArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        names = name_problems(63, name)
        spec = validate(ExternalCacheSpec, args, f"ExternalCache '{name}'", also=names)
        super().__init__(token("ExternalCache"), name, {}, opts)
        store = spec.s3 or spec.gcs or spec.azure
        assert store is not None  # the spec holds that one is set
        cache, keys = _described(store)
        annotations, labels = _identity(store)
        cache |= {"path": spec.path}
        if spec.max_archive_size:
            cache["max_archive_size"] = spec.max_archive_size
        self.credentials_secret_name = None
        self.credentials_checksum = None
        if store.credentials_secret_name is not None:
            self.credentials_secret_name = pulumi.Output.from_input(store.credentials_secret_name)
        elif keys:
            self._secret(name, spec.runner_namespace, keys)
        if self.credentials_secret_name is not None:
            cache["credentials_secret_name"] = self.credentials_secret_name
        if self.credentials_checksum is not None:
            cache["credentials_checksum"] = self.credentials_checksum
        self._cache: Any = cache
        self._annotations, self._labels = annotations, labels
        self.bucket = pulumi.Output.from_input(cache["bucket"])
        known: Any = annotations
        self.service_account_annotations = pulumi.Output.from_input(known)
        self.manager_pod_labels = pulumi.Output.from_input(labels)
        self.config_toml = pulumi.Output.from_input(lift(_toml, cache_config(cache)))
        outputs = {key: getattr(self, key) for key in ExternalCache.__annotations__}
        self.register_outputs({key: value for key, value in outputs.items() if value is not None})

    @property
    def runner_cache(self) -> RunnerCacheArgs:
        """The argument `cache` of `GitLabRunner` (native only)."""
        cache: RunnerCacheArgs = self._cache
        return cache

    @property
    def identity_annotations(self) -> dict[str, pulumi.Input[str]]:
        """As `service_account_annotations`, with keys that are known (native only)."""
        return self._annotations

    @property
    def identity_labels(self) -> dict[str, str]:
        """As `manager_pod_labels`, with keys that are known (native only)."""
        return self._labels

    def _secret(
        self, name: str, namespace: pulumi.Input[str], keys: dict[str, pulumi.Input[str]]
    ) -> None:
        child = pulumi.ResourceOptions(parent=self)
        salt = random.RandomId(f"{name}-checksum-salt", byte_length=16, opts=child)
        secret = k8s.core.v1.Secret(
            f"{name}-credentials",
            metadata={
                "name": f"{name}-credentials",
                "namespace": namespace,
                "labels": kube.labels("external-cache", name),
            },
            string_data=keys,
            opts=child,
        )
        self.credentials_secret_name = secret.metadata["name"]
        self.credentials_checksum = digest(*keys.values(), salt=salt.hex)


def _toml(config: dict[str, Any]) -> str:
    return tomli_w.dumps({"runners": {"cache": cache_table(CacheConfig(**config))}})


_Store = ExternalS3Spec | ExternalGcsSpec | ExternalAzureSpec


def _described(store: _Store) -> tuple[dict[str, Any], dict[str, pulumi.Input[str]]]:
    """Return a store as `RunnerCacheArgs`, and the keys of its Secret as the chart names them."""
    if isinstance(store, ExternalS3Spec):
        names = ("region", "server_address", "insecure", "role_arn", "kms_key_arn")
        options = {name: getattr(store, name) for name in names if getattr(store, name) is not None}
        keys = {"accesskey": store.access_key, "secretkey": store.secret_key}
        cache = {"type": "s3", "bucket": store.bucket, **options}
    elif isinstance(store, ExternalGcsSpec):
        keys = {"gcs-application-credentials-file": store.service_account_key}
        cache = {"type": "gcs", "bucket": store.bucket}
    else:
        keys = {"azure-account-key": store.account_key}
        if store.account_key is not None:
            keys["azure-account-name"] = store.account_name
        cache = {"type": "azure", "bucket": store.container, "account_name": store.account_name}
        if store.storage_domain is not None:
            cache["storage_domain"] = store.storage_domain
    return cache, {key: value for key, value in keys.items() if value is not None}


def _identity(store: _Store) -> tuple[dict[str, pulumi.Input[str]], dict[str, str]]:
    """Return the ServiceAccount's annotations and the pod's labels of a workload identity."""
    if isinstance(store, ExternalS3Spec) and store.identity_role_arn is not None:
        return {"eks.amazonaws.com/role-arn": store.identity_role_arn}, {}
    if isinstance(store, ExternalGcsSpec) and store.service_account_email is not None:
        return {"iam.gke.io/gcp-service-account": store.service_account_email}, {}
    if isinstance(store, ExternalAzureSpec) and store.client_id is not None:
        return {"azure.workload.identity/client-id": store.client_id}, {
            AZURE_IDENTITY_LABEL: "true"
        }
    return {}, {}
