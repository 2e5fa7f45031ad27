"""Pulumi components that keep docker builds warm on GitLab runners with the Kubernetes executor."""

from ._meta import VERSION as __version__
from ._monitoring import MonitoringArgs
from ._validation import ArgsError
from .buildkit_daemon import BuildKitDaemon, BuildKitDaemonArgs, BuildKitOptionsArgs
from .external_cache import (
    ExternalAzureArgs,
    ExternalCache,
    ExternalCacheArgs,
    ExternalCacheOptionsArgs,
    ExternalGcsArgs,
    ExternalS3Args,
)
from .gitlab_runner import (
    CacheType,
    ChartArgs,
    ExternalSecretArgs,
    GitLabRunner,
    GitLabRunnerArgs,
    PullPolicy,
    ResourcesArgs,
    RunnerBuildKitArgs,
    RunnerCacheArgs,
    RunnerDockerArgs,
    RunnerMirrorArgs,
    RunnerOptionsArgs,
    SecretStoreKind,
    SpotNodes,
)
from .minio_cache import MinioCache, MinioCacheArgs, MinioEngine, MinioOptionsArgs
from .registry_mirror import RegistryMirror, RegistryMirrorArgs, RegistryMirrorOptionsArgs
from .runner_platform import (
    CacheBackend,
    CacheSettingsArgs,
    FleetArgs,
    NamespacesArgs,
    NetworkArgs,
    RunnerPlatform,
    RunnerPlatformArgs,
    ZoneArgs,
)
from .s3_cache import S3Cache, S3CacheArgs, S3Identity, S3OptionsArgs
from .shared_docker_daemon import (
    DaemonIsolation,
    DockerOptionsArgs,
    SharedDockerDaemon,
    SharedDockerDaemonArgs,
)

COMPONENTS = [
    BuildKitDaemon,
    ExternalCache,
    GitLabRunner,
    MinioCache,
    RegistryMirror,
    RunnerPlatform,
    S3Cache,
    SharedDockerDaemon,
]
"""What the plugin serves."""

__all__ = [
    "COMPONENTS",
    "ArgsError",
    "BuildKitDaemon",
    "BuildKitDaemonArgs",
    "BuildKitOptionsArgs",
    "CacheBackend",
    "CacheSettingsArgs",
    "CacheType",
    "ChartArgs",
    "DaemonIsolation",
    "DockerOptionsArgs",
    "ExternalAzureArgs",
    "ExternalCache",
    "ExternalCacheArgs",
    "ExternalCacheOptionsArgs",
    "ExternalGcsArgs",
    "ExternalS3Args",
    "ExternalSecretArgs",
    "FleetArgs",
    "GitLabRunner",
    "GitLabRunnerArgs",
    "MinioCache",
    "MinioCacheArgs",
    "MinioEngine",
    "MinioOptionsArgs",
    "MonitoringArgs",
    "NamespacesArgs",
    "NetworkArgs",
    "PullPolicy",
    "RegistryMirror",
    "RegistryMirrorArgs",
    "RegistryMirrorOptionsArgs",
    "ResourcesArgs",
    "RunnerBuildKitArgs",
    "RunnerCacheArgs",
    "RunnerDockerArgs",
    "RunnerMirrorArgs",
    "RunnerOptionsArgs",
    "RunnerPlatform",
    "RunnerPlatformArgs",
    "S3Cache",
    "S3CacheArgs",
    "S3Identity",
    "S3OptionsArgs",
    "SecretStoreKind",
    "SharedDockerDaemon",
    "SharedDockerDaemonArgs",
    "SpotNodes",
    "ZoneArgs",
    "__version__",
]
