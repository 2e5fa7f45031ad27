"""Pulumi components that keep docker builds warm on GitLab runners with the Kubernetes executor."""

from ._meta import VERSION as __version__
from ._validation import ArgsError
from .gitlab_runner import (
    ChartArgs,
    GitLabRunner,
    GitLabRunnerArgs,
    PullPolicy,
    ResourcesArgs,
    RunnerCacheArgs,
    RunnerDockerArgs,
    RunnerOptionsArgs,
)
from .minio_cache import MinioCache, MinioCacheArgs, MinioEngine, MinioOptionsArgs
from .registry_mirror import RegistryMirror, RegistryMirrorArgs, RegistryMirrorOptionsArgs
from .runner_platform import (
    CacheBackend,
    CacheSettingsArgs,
    NamespacesArgs,
    NetworkArgs,
    RunnerPlatform,
    RunnerPlatformArgs,
)
from .s3_cache import S3Cache, S3CacheArgs, S3Identity, S3OptionsArgs
from .shared_docker_daemon import DockerOptionsArgs, SharedDockerDaemon, SharedDockerDaemonArgs

COMPONENTS = [GitLabRunner, MinioCache, RegistryMirror, RunnerPlatform, S3Cache, SharedDockerDaemon]
"""What the plugin serves."""

__all__ = [
    "COMPONENTS",
    "ArgsError",
    "CacheBackend",
    "CacheSettingsArgs",
    "ChartArgs",
    "DockerOptionsArgs",
    "GitLabRunner",
    "GitLabRunnerArgs",
    "MinioCache",
    "MinioCacheArgs",
    "MinioEngine",
    "MinioOptionsArgs",
    "NamespacesArgs",
    "NetworkArgs",
    "PullPolicy",
    "RegistryMirror",
    "RegistryMirrorArgs",
    "RegistryMirrorOptionsArgs",
    "ResourcesArgs",
    "RunnerCacheArgs",
    "RunnerDockerArgs",
    "RunnerOptionsArgs",
    "RunnerPlatform",
    "RunnerPlatformArgs",
    "S3Cache",
    "S3CacheArgs",
    "S3Identity",
    "S3OptionsArgs",
    "SharedDockerDaemon",
    "SharedDockerDaemonArgs",
    "__version__",
]
