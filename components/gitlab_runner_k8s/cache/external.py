"""`ExternalCache`: a distributed cache in an existing store: S3-compatible, GCS or Azure."""

from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

from ..arguments import ExternalCacheArgs, RunnerCacheArgs
from ..kubernetes import workloads
from ..meta import type_token
from ..outputs import digest
from ..runner.config_toml import cache_toml
from ..runner.connections import CacheType, RunnerCacheSettings, S3LocationSettings
from ..validation.messages import validate
from ..validation.rules.kubernetes import name_problems
from .settings import (
    ExternalAzureSettings,
    ExternalCacheSettings,
    ExternalGcsSettings,
    ExternalS3Settings,
)

AZURE_IDENTITY_LABEL = "azure.workload.identity/use"


class ExternalCache(pulumi.ComponentResource):
    """The Secret and the configuration that connect a runner to an existing store.

    The component does not create, change or delete anything in the store.

    Raises:
        ArgsError: the arguments are not valid. The message lists every problem.
    """

    bucket: pulumi.Output[str]
    """Name of the bucket or container."""
    credentials_secret_name: pulumi.Output[str] | None
    """Secret in the runner's namespace with the credentials. Not set with a workload identity."""
    credentials_checksum: pulumi.Output[str] | None
    """Salted digest of the credentials. Set only if the credentials are arguments."""
    service_account_annotations: pulumi.Output[dict[str, str]]
    """Annotations that the runner's ServiceAccount needs for its identity."""
    manager_pod_labels: pulumi.Output[dict[str, str]]
    """Labels that the runner's own pod needs for its identity."""
    config_toml: pulumi.Output[str]
    """The section `[runners.cache]` as TOML. It contains no secrets."""

    def __init__(
        self, name: str, args: ExternalCacheArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        names = name_problems(63, name)
        settings = validate(ExternalCacheSettings, args, f"ExternalCache '{name}'", also=names)
        super().__init__(type_token("ExternalCache"), name, {}, opts)
        store = settings.s3 or settings.gcs or settings.azure
        assert store is not None  # the settings require a store
        keys = _keys(store)
        self.credentials_secret_name = None
        self.credentials_checksum = None
        if store.credentials_secret_name is not None:
            self.credentials_secret_name = pulumi.Output.from_input(store.credentials_secret_name)
        elif keys:
            self._secret(name, settings.runner_namespace, keys)
        self._cache = RunnerCacheSettings.model_construct(
            **_location(store),
            path=settings.path,
            max_archive_size=settings.max_archive_size,
            credentials_secret_name=self.credentials_secret_name,
            credentials_checksum=self.credentials_checksum,
        )
        self._annotations, self._labels = _identity(store)
        self.bucket = pulumi.Output.from_input(self._cache.bucket)
        values: Any = self._annotations
        self.service_account_annotations = pulumi.Output.from_input(values)
        self.manager_pod_labels = pulumi.Output.from_input(self._labels)
        self.config_toml = pulumi.Output.from_input(cache_toml(self._cache))
        outputs = {key: getattr(self, key) for key in ExternalCache.__annotations__}
        self.register_outputs({key: value for key, value in outputs.items() if value is not None})

    @property
    def runner_cache(self) -> RunnerCacheArgs:
        """The argument `cache` of `GitLabRunner` (Python only)."""
        given: Any = {key: value for key, value in self._cache.given().items() if value is not None}
        cache: RunnerCacheArgs = given
        return cache

    @property
    def identity_annotations(self) -> dict[str, pulumi.Input[str]]:
        """`service_account_annotations` as a plain map, whose keys are known (Python only)."""
        return self._annotations

    @property
    def identity_labels(self) -> dict[str, str]:
        """`manager_pod_labels` as a plain map, whose keys are known (Python only)."""
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
                "labels": workloads.labels("external-cache", name),
            },
            string_data=keys,
            opts=child,
        )
        self.credentials_secret_name = secret.metadata["name"]
        self.credentials_checksum = digest(*keys.values(), salt=salt.hex)


_Store = ExternalS3Settings | ExternalGcsSettings | ExternalAzureSettings


def _location(store: _Store) -> dict[str, Any]:
    """Return where a store is, as fields of `RunnerCacheSettings`."""
    if isinstance(store, ExternalS3Settings):
        location = {name: getattr(store, name) for name in S3LocationSettings.model_fields}
        return {"type": CacheType.S3, "bucket": store.bucket, **location}
    if isinstance(store, ExternalGcsSettings):
        return {"type": CacheType.GCS, "bucket": store.bucket}
    return {
        "type": CacheType.AZURE,
        "bucket": store.container,
        "account_name": store.account_name,
        "storage_domain": store.storage_domain,
    }


def _keys(store: _Store) -> dict[str, pulumi.Input[str]]:
    """Return the data of a store's Secret, with the keys that the chart reads."""
    if isinstance(store, ExternalS3Settings):
        keys = {"accesskey": store.access_key, "secretkey": store.secret_key}
    elif isinstance(store, ExternalGcsSettings):
        keys = {"gcs-application-credentials-file": store.service_account_key}
    elif store.account_key is not None:
        keys = {"azure-account-key": store.account_key, "azure-account-name": store.account_name}
    else:
        keys = {}
    return {key: value for key, value in keys.items() if value is not None}


def _identity(store: _Store) -> tuple[dict[str, pulumi.Input[str]], dict[str, str]]:
    """Return the ServiceAccount's annotations and the pod's labels for a workload identity."""
    if isinstance(store, ExternalS3Settings) and store.identity_role_arn is not None:
        return {"eks.amazonaws.com/role-arn": store.identity_role_arn}, {}
    if isinstance(store, ExternalGcsSettings) and store.service_account_email is not None:
        return {"iam.gke.io/gcp-service-account": store.service_account_email}, {}
    if isinstance(store, ExternalAzureSettings) and store.client_id is not None:
        return {"azure.workload.identity/client-id": store.client_id}, {
            AZURE_IDENTITY_LABEL: "true"
        }
    return {}, {}
