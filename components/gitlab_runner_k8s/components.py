"""The components that the plugin serves."""

from .cache.external import ExternalCache
from .cache.minio import MinioCache
from .cache.s3 import S3Cache
from .daemon.buildkit import BuildKitDaemon
from .daemon.docker import SharedDockerDaemon
from .mirror.component import RegistryMirror
from .platform.component import RunnerPlatform
from .runner.component import GitLabRunner

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
