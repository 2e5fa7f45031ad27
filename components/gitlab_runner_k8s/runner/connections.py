"""Settings of what a runner connects to: GitLab, its cache, its daemon and a registry mirror."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

import pulumi
from pydantic import Field

from ..validation.base import Choice, Settings
from ..validation.messages import problems
from ..validation.rules.basic import Text, Whole
from ..validation.rules.clouds import (
    AzureAccountName,
    AzureContainerName,
    BucketName,
    GcsBucketName,
    KmsKeyArn,
    ObjectPath,
    Region,
    RoleArn,
)
from ..validation.rules.kubernetes import Bytes, ResourceName
from ..validation.rules.network import (
    Address,
    BuildKitHost,
    DockerHost,
    Domain,
    Port,
    ServerUrl,
    is_address,
)


class GitLabConnectionSettings(Settings):
    """How a runner reaches GitLab and the API server."""

    allow_insecure_gitlab_url: bool = False
    """Accept an `http://` URL of GitLab. The token then crosses the network unencrypted."""
    api_server_ports: list[Port] = [443, 6443]
    """TCP ports on which the Kubernetes API server answers."""
    gitlab_port: Port | None = None
    """TCP port of the GitLab pods, from 1 to 65535. Set it if GitLab runs in this cluster and its
    pods listen on another port than its Service: NetworkPolicies see the port of the pods. Default:
    the port of `gitlab_url`."""

    def url_conflicts(self, gitlab_url: pulumi.Input[str]) -> Iterator[str]:
        """Return the problem of the scheme of GitLab's URL."""
        is_http = isinstance(gitlab_url, str) and urlsplit(gitlab_url).scheme == "http"
        if is_http and not self.allow_insecure_gitlab_url:
            yield (
                f"gitlab_url must be https, got '{gitlab_url}'; use https, or set "
                "allow_insecure_gitlab_url (the runner's token is then sent unencrypted)"
            )


class CacheType(Choice):
    """Kind of the store of a distributed cache."""

    S3 = "s3"
    """AWS S3, or an S3-compatible store."""
    GCS = "gcs"
    """Google Cloud Storage."""
    AZURE = "azure"
    """Azure Blob Storage."""


class _AwsLocation(Settings):
    region: Region


class S3LocationSettings(Settings):
    """Location of a bucket: on AWS, or in an S3-compatible store."""

    region: Text = "us-east-1"
    """Region of the bucket. Required for a bucket on AWS; S3-compatible stores expect the
    default."""
    server_address: Address | None = None
    """`host:port` of an S3-compatible store, without a scheme. Such a store needs an access key,
    because only AWS knows the identity of a pod. Default: AWS S3."""
    insecure: bool = False
    """Use plain HTTP instead of HTTPS. Allowed only with `server_address`."""
    role_arn: RoleArn | None = None
    """ARN of the IAM role that the runner assumes for each object. Objects over 5 GB need it. Only
    for AWS S3. Default: presigned URLs, for objects up to 5 GB."""
    kms_key_arn: KmsKeyArn | None = None
    """ARN of the KMS key that encrypts the objects. Default: the bucket's own encryption."""

    def location_problems(self, *, has_keys: bool) -> Iterator[str]:
        """Check the location for contradictions, alone and against the credentials."""
        address = self.server_address
        if address is None and "region" not in self.model_fields_set:
            yield "region must be set for a bucket on AWS; set it, or set server_address"
        if address is None and isinstance(self.region, str):
            yield from problems(_AwsLocation, {"region": self.region})
        if address is None and self.insecure:
            yield "insecure is only for a store with a server_address; remove it"
        if self.role_arn is not None and address is not None:
            yield "role_arn is only for AWS S3; remove it, or remove server_address"
        is_aws = isinstance(address, str) and ".amazonaws.com" in address
        if address is not None and not has_keys and not is_aws:
            yield (
                "server_address needs an access key, because only AWS accepts the identity of a "
                "pod; set credentials_secret_name, or remove server_address"
            )


class _S3Bucket(Settings):
    bucket: BucketName


class _GcsBucket(Settings):
    bucket: GcsBucketName


class _AzureBucket(Settings):
    bucket: AzureContainerName


class RunnerCacheSettings(S3LocationSettings):
    """Store for the `cache:` of jobs."""

    type: CacheType = CacheType.S3
    """Kind of the store."""
    bucket: Text
    """Name of the bucket, or of the container on Azure."""
    path: ObjectPath | None = None
    """Prefix of every object. Runners with the same prefix share their cache, so use a prefix only
    for runners of one zone. Default: the name of the Helm release."""
    max_archive_size: Bytes | None = None
    """Size in bytes above which a job's cache is not uploaded, as a Kubernetes quantity. The job
    itself checks the size, so the limit is no defence against the job. Default: no limit."""
    credentials_secret_name: ResourceName | None = None
    """Secret in the runner's namespace with the credentials, in the keys that the chart reads. The
    keys are `accesskey` and `secretkey` for S3, `gcs-application-credentials-file` for GCS, and
    `azure-account-name` and `azure-account-key` for Azure. Default: the identity of the runner's
    ServiceAccount."""
    credentials_checksum: Text | None = None
    """Text that changes whenever the credentials change. A new value restarts the runner's pod.
    Default: none; the runner then does not notice a change of the Secret."""
    account_name: AzureAccountName | None = None
    """Name of the Azure storage account. Required for the type `azure`, and allowed only for it."""
    storage_domain: Domain | None = None
    """Domain of the Azure store. Default: blob.core.windows.net."""
    ca_secret_name: ResourceName | None = None
    """Secret in the job namespace with the key `ca.crt`: the certificate of the private authority
    that signed the store's certificate. Default: the system's certificate authorities."""

    def _conflicts(self) -> Iterator[str]:
        if self.type == "s3":
            yield from self.location_problems(has_keys=self.credentials_secret_name is not None)
            yield from problems(_S3Bucket, {"bucket": self.bucket})
        if self.type == "gcs":
            yield from problems(_GcsBucket, {"bucket": self.bucket})
        if self.type == "azure":
            yield from problems(_AzureBucket, {"bucket": self.bucket})
            if self.account_name is None:
                yield "account_name must be set for the type 'azure'; set it to the storage account"
        only = {
            "s3": ("server_address", "role_arn", "kms_key_arn"),
            "azure": ("account_name", "storage_domain"),
        }
        for kind, fields in only.items():
            for field in fields:
                if kind != self.type and getattr(self, field) is not None:
                    yield f"{field} is only for the type '{kind}'; remove it"


MAXIMUM_REPLICAS = 16
"""Largest number of daemons. The server's certificate has a name for each of them, so raising this
renews the certificate of every component with several daemons, and restarts the daemons."""


Replicas = Annotated[Whole, Field(ge=1, le=MAXIMUM_REPLICAS)]


def host_conflicts(host: object, replicas: int, path: str = "") -> Iterator[str]:
    """Return the problem of a host from which the names of several daemons cannot be derived."""
    if replicas > 1 and isinstance(host, str) and is_address(host):
        yield (
            f"{path}host must be a DNS name if there are {replicas} daemons, because their names "
            f"are derived from it, got '{host}'; use the name of the daemon's Service"
        )


class _RunnerDaemonSettings(Settings):
    client_secret_name: ResourceName
    """Secret in the job namespace with the client certificate, in the keys `ca.pem`, `cert.pem` and
    `key.pem`."""
    replicas: Replicas = 1
    """Number of daemons. The first daemon has the address `host`. The addresses of the others have
    -1, -2 and so on behind the first label of its name. With several daemons, `host` must be a DNS
    name. All jobs of a project use the same daemon."""

    def _conflicts(self) -> Iterator[str]:
        yield from host_conflicts(getattr(self, "host", None), self.replicas)


class RunnerDockerSettings(_RunnerDaemonSettings):
    """A Docker daemon that every job uses, over mutual TLS."""

    host: DockerHost
    """Address of the daemon, `tcp://host:2376`. For a Service in a cluster whose domain has two
    labels, such as cluster.local, jobs get the DNS option `ndots:4`. The resolver then looks the
    name up at once; with Kubernetes' default of 5 it tries three wrong names first. To override the
    option, set `dns_config` in `extra_config`: the last option counts. If `extra_config` sets a
    `dns_policy` other than the cluster's, jobs do not get the option."""


class RunnerBuildKitSettings(_RunnerDaemonSettings):
    """A BuildKit daemon that every job uses, over mutual TLS."""

    host: BuildKitHost
    """Address of the daemon, `tcp://host:1234`. Jobs find it in the variable BUILDKIT_HOST. For a
    Service in the cluster, jobs get the same DNS option as for a Docker daemon: see `host` of
    `RunnerDockerArgs`."""


class RunnerMirrorSettings(Settings):
    """A mirror of Docker Hub for the Docker daemons that jobs start themselves."""

    url: ServerUrl
    """URL of the mirror, with its scheme."""
    daemon_config_map_name: ResourceName
    """ConfigMap in the job namespace with a `daemon.json` that names the mirror."""
