"""Pulumi components that keep docker builds warm on GitLab runners with the Kubernetes executor."""

from .arguments import (
    AddressPoolArgs,
    BuildKitArgs,
    BuildKitDaemonArgs,
    CacheArgs,
    ChartArgs,
    DockerArgs,
    ExternalArgs,
    ExternalAzureArgs,
    ExternalCacheArgs,
    ExternalGcsArgs,
    ExternalS3Args,
    ExternalSecretArgs,
    FleetArgs,
    GitLabRunnerArgs,
    MinioArgs,
    MinioCacheArgs,
    MirrorArgs,
    MonitoringArgs,
    NamespacesArgs,
    NetworkArgs,
    ProxyArgs,
    RegistryMirrorArgs,
    ResourcesArgs,
    RunnerArgs,
    RunnerBuildKitArgs,
    RunnerCacheArgs,
    RunnerDockerArgs,
    RunnerMirrorArgs,
    RunnerPlatformArgs,
    S3Args,
    S3CacheArgs,
    SharedDockerDaemonArgs,
    ZoneArgs,
)
from .cache.external import ExternalCache
from .cache.minio import MinioCache
from .cache.s3 import S3Cache
from .cache.settings import MinioEngine, S3Identity
from .components import COMPONENTS
from .daemon.buildkit import BuildKitDaemon
from .daemon.docker import SharedDockerDaemon
from .daemon.settings import DaemonIsolation
from .meta import VERSION as __version__
from .mirror.component import RegistryMirror
from .platform.component import RunnerPlatform
from .platform.settings import CacheBackend
from .runner.component import GitLabRunner
from .runner.connections import CacheType
from .runner.settings import PullPolicy, SecretStoreKind, SpotNodes
from .validation.messages import ArgsError

__all__ = [
    "COMPONENTS",
    "AddressPoolArgs",
    "ArgsError",
    "BuildKitArgs",
    "BuildKitDaemon",
    "BuildKitDaemonArgs",
    "CacheArgs",
    "CacheBackend",
    "CacheType",
    "ChartArgs",
    "DaemonIsolation",
    "DockerArgs",
    "ExternalArgs",
    "ExternalAzureArgs",
    "ExternalCache",
    "ExternalCacheArgs",
    "ExternalGcsArgs",
    "ExternalS3Args",
    "ExternalSecretArgs",
    "FleetArgs",
    "GitLabRunner",
    "GitLabRunnerArgs",
    "MinioArgs",
    "MinioCache",
    "MinioCacheArgs",
    "MinioEngine",
    "MirrorArgs",
    "MonitoringArgs",
    "NamespacesArgs",
    "NetworkArgs",
    "ProxyArgs",
    "PullPolicy",
    "RegistryMirror",
    "RegistryMirrorArgs",
    "ResourcesArgs",
    "RunnerArgs",
    "RunnerBuildKitArgs",
    "RunnerCacheArgs",
    "RunnerDockerArgs",
    "RunnerMirrorArgs",
    "RunnerPlatform",
    "RunnerPlatformArgs",
    "S3Args",
    "S3Cache",
    "S3CacheArgs",
    "S3Identity",
    "SecretStoreKind",
    "SharedDockerDaemon",
    "SharedDockerDaemonArgs",
    "SpotNodes",
    "ZoneArgs",
    "__version__",
]
