"""Rules for image references."""

import re
from typing import Annotated

from ... import pins
from ..base import rule
from .network import is_place

_IMAGE = re.compile(
    r"(?P<registry>[a-z0-9.-]+(:[0-9]{1,5})?)"
    r"/(?P<repository>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Image:
    """The parts of a full image reference, `registry/repository:tag@sha256:digest`."""

    def __init__(self, reference: str) -> None:
        match = _IMAGE.fullmatch(reference)
        if (
            match is None
            or not re.search(r"[.:]|^localhost$", match["registry"])
            or not is_place(match["registry"])
            or re.search(r"//|\.\.|/[._-]|[._-]/", match["repository"])
        ):
            raise ValueError(
                "must be a full reference, such as 'registry.example.com/name:1.2.3@sha256:…'"
            )
        self.registry: str = match["registry"]
        self.repository: str = match["repository"]
        self.tag: str | None = match["tag"]
        self.digest: str | None = match["digest"]


def _image(value: str) -> str | None:
    image = Image(value)
    reason = pins.WITHDRAWN_REPOSITORIES.get(f"{image.registry}/{image.repository}")
    if reason:
        return f"cannot be pulled: {reason}; use {pins.SILO_IMAGE}"
    if image.digest is None:
        return "must be pinned by digest; append '@sha256:…' (docker buildx imagetools inspect)"
    if image.tag is None:
        return "must have a tag and a digest, such as ':1.2.3@sha256:…'; add the tag"
    if image.tag == "latest":
        return "must not be ':latest'; use the tag of a version"
    return None


ImageReference = Annotated[str, rule(_image)]


def runner_version(reference: str | None) -> str | None:
    """Return the version in the tag of GitLab's runner or helper, such as "19.3.1".

    It is None for a custom image, whose name does not tell the version.
    """
    image = Image(reference) if reference else None
    if image is None or not image.repository.endswith(("/gitlab-runner", "/gitlab-runner-helper")):
        return None
    match = re.search(r"v([0-9]+\.[0-9]+\.[0-9]+)", image.tag or "")
    return match[1] if match else None


def _docker_image(value: str) -> str | None:
    version = re.match(r"([0-9]+)\.([0-9]+)\.([0-9]+)", Image(value).tag or "")
    if version is None or Image(value).repository != "library/docker":
        return None  # a custom image: its name does not tell the version of Docker
    if tuple(int(part) for part in version.groups()) < pins.DOCKER_MINIMUM_VERSION:
        minimum = ".".join(map(str, pins.DOCKER_MINIMUM_VERSION))
        return (
            f"must be Docker {minimum} or newer, because of CVE-2026-34040; use "
            f"{pins.DOCKER_DAEMON_IMAGE}"
        )
    return None


DockerImageReference = Annotated[ImageReference, rule(_docker_image)]


_NAME_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9*._/:-]*")


def _name_pattern(value: str) -> str | None:
    own = value.removeprefix("docker.io/").removeprefix("library/")
    if _NAME_PATTERN.fullmatch(value) and re.search(r"[A-Za-z0-9]", own):
        return None
    return (
        "must be the name of an image without spaces, in which '*' stands for any text, such as "
        "'registry.example.com/base/*'"
    )


ImageNamePattern = Annotated[str, rule(_name_pattern)]
