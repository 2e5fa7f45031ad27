"""The versions of every chart and image that the package uses.

Images are pinned by the digest of the multi-platform index. The tag is for people to read.
"""

CHART_REPOSITORY = "https://charts.gitlab.io"
CHART_NAME = "gitlab-runner"
# This chart ships runner 19.4.0, which the lab also runs. The Helm values that the package renders
# are valid from chart 0.86 on.
CHART_VERSION = "0.93.0"
RUNNER_VERSION = "19.4.0"
"""Version of the runner that the chart ships. `runner/config_keys.json` lists the keys of its
config.toml."""
CHART_MINIMUM_VERSION = (0, 88, 2)
"""Older charts ship a runner whose cache downloads fail with 403 on S3-compatible stores
(gitlab-runner issue 39402, fixed in runner 18.11.2)."""

# The newest version whose digest is in public records. They have none for 19.4.0.
RUNNER_IMAGE = (
    "docker.io/gitlab/gitlab-runner:alpine-v19.3.1"
    "@sha256:af0325804248aee217e055e753add77ccaaba6c8f5e2143b01108fd401165ef3"
)
DOCKER_DAEMON_IMAGE = (
    "docker.io/library/docker:29.8.1-dind"
    "@sha256:3f3c01aaaebf7cce837356b688b7c059a4749f10bd7660dec7c58fc454a283f0"
)
DOCKER_ROOTLESS_IMAGE = (
    "docker.io/library/docker:29.8.1-dind-rootless"
    "@sha256:6508d42ef60f7d4c608a76e5b006c29012a0b1c4111c7d58f55799ffcd347005"
)
DOCKER_CLI_IMAGE = (
    "docker.io/library/docker:29.8.1-cli"
    "@sha256:018edbc908e08fcc9dbf029c812c34251e9b4719e6f71ca0e5eae2a987d014ca"
)
BUILDKIT_IMAGE = (
    "docker.io/moby/buildkit:v0.30.0-rootless"
    "@sha256:d76eb1caecac5733ef7553c1e90a1b21f1bb218cd1142d3553de0747b4a14ba9"
)
BUILDKIT_BUILDER_IMAGE = (
    "docker.io/moby/buildkit:v0.30.0"
    "@sha256:0168606be2315b7c807a03b3d8aa79beefdb31c98740cebdffdfeebf31190c9f"
)
"""Image of privileged builders in a Docker daemon. Only templates/docker-build uses it."""
DOCKER_MINIMUM_VERSION = (29, 3, 1)
"""Older versions have CVE-2026-34040 (authorization bypass in the engine)."""

SILO_IMAGE = (
    "docker.io/pgsty/silo:RELEASE.2026-09-16T00-00-00Z"
    "@sha256:635197cb9f36d01bee221d34d1c7d7960f6a95c48b0b6c01d99cd13bdae51a46"
)
"""The maintained fork of MinIO, with the same commands, variables, ports and data. The image also
contains the client `mc`."""

SEAWEEDFS_IMAGE = (
    "docker.io/chrislusf/seaweedfs:4.47"
    "@sha256:ce9e796f1fe6f06968f4c04bdaf8f678dad9c8acdfef3d244133d71bfa6bf882"
)

REGISTRY_IMAGE = (
    "docker.io/library/registry:3.1.2"
    "@sha256:ddf754342cfc8acc51a56d5d0ab6af06826461864460636d8bd5c546dab2a7b8"
)

WITHDRAWN_REPOSITORIES = {
    "docker.io/minio/minio": "deleted from Docker Hub in September 2026",
    "docker.io/minio/mc": "deleted from Docker Hub in September 2026",
    "quay.io/minio/minio": "refuses anonymous pulls since September 2026",
    "quay.io/minio/mc": "refuses anonymous pulls since September 2026",
}
"""Repositories that nobody can pull from, each with the reason."""
