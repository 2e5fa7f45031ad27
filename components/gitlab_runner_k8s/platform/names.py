"""Names of the platform's parts, derived from its own name.

They never change, because volumes depend on them.
"""

from collections.abc import Mapping
from typing import Any

from ..cache.minio import MAXIMUM_NAME as MAXIMUM_STORE_NAME
from ..validation.messages import keys_of
from ..validation.rules.kubernetes import STATEFUL_SET_NAME, name_problems
from .settings import DEFAULT_ZONE

_RELEASE_NAME = 40
"""Longest name of a release. The chart and the runner append to it."""


def release_name(name: str, fleet: str) -> str:
    """Return the name of a fleet's release. Without fleets, `fleet` is empty."""
    return f"{name}-{fleet}" if fleet else name


def zone_prefix(name: str, zone: str) -> str:
    """Return the prefix of the names of a zone's resources."""
    return name if zone == DEFAULT_ZONE else f"{name}-{zone}"


def platform_name_problems(name: Any, args: Any) -> list[str]:
    """Return the problems of the names of the platform and of its parts.

    Args:
        name: The platform's name.
        args: Its arguments, not validated yet.
    """
    # The cache has the shortest limit of all parts whose names contain only the platform's name.
    if found := name_problems(MAXIMUM_STORE_NAME - len("-cache"), name):
        return found
    for fleet in keys_of(args, "fleets"):
        found += name_problems(_RELEASE_NAME, release_name(name, fleet), f"fleets.{fleet}")
    zones = {f"zones.{zone}.": (zone, args["zones"][zone]) for zone in keys_of(args, "zones")}
    for path, (zone, settings) in {"": (DEFAULT_ZONE, args), **zones}.items():
        # `SharedDockerDaemon` appends -rootless to the name of its pod.
        for daemon, suffix in (
            ("docker_daemon", "docker-rootless"),
            ("buildkit_daemon", "buildkit"),
        ):
            if isinstance(settings, Mapping) and settings.get(daemon) is not None:
                derived = f"{zone_prefix(name, zone)}-{suffix}"
                found += name_problems(STATEFUL_SET_NAME, derived, f"{path}{daemon}")
    return found
