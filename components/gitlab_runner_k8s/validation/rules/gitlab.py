"""Rules for GitLab, its runner and the runner's chart."""

import re
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import pulumi

from ... import pins
from ..base import leaf, matches, rule
from .network import server_url

_TOKEN_KINDS = {
    "GR1348941": "a registration token (deprecated, to be removed in GitLab 20.0)",
    "glrtr-": "the token of a runner that was created with a registration token",
    "glpat-": "a personal access token",
    "glcbt-": "a CI/CD job token",
    "gldt-": "a deploy token",
    "glptt-": "a pipeline trigger token",
    "glagent-": "an agent token",
}


def _runner_token(value: str) -> str | None:
    fix = "create a runner in GitLab (Settings > CI/CD > Runners) and use its glrt- token"
    for prefix, kind in _TOKEN_KINDS.items():
        if value.startswith(prefix):
            return f"must be a runner authentication token, but this is {kind}; {fix}"
    if value != value.strip():
        return "must not begin or end with white space or a line break; remove it"
    if not re.fullmatch(r"glrt-[0-9A-Za-z_.=-]{20,}", value):
        return f"must be 'glrt-' and at least 20 characters of [0-9A-Za-z_.=-]; {fix}"
    return None


def gitlab_url(value: str) -> str | None:
    """Return the problem of a URL of GitLab, or None.

    `GitLabConnectionSettings.url_conflicts` decides about `http://`.
    """
    problem = server_url(value, "must be an https:// URL, such as 'https://gitlab.example.com'")
    # The runner itself removes this end.
    if problem is None and urlsplit(value).path.rstrip("/").endswith("/ci"):
        return "must be the address of GitLab itself; remove '/ci'"
    return problem


def _chart_version(value: str) -> str | None:
    match = re.fullmatch(r"([0-9]+)\.([0-9]+)\.([0-9]+)", value)
    if match is None:
        return f"must be one exact version, not a range; use one such as '{pins.CHART_VERSION}'"
    if tuple(int(part) for part in match.groups()) < pins.CHART_MINIMUM_VERSION:
        minimum = ".".join(map(str, pins.CHART_MINIMUM_VERSION))
        return (
            f"must be {minimum} or newer, because with older runners S3 cache downloads fail with "
            f"403; use {pins.CHART_VERSION}"
        )
    return None


ChartVersion = Annotated[str, rule(_chart_version)]


def _chart_repository(value: str) -> str | None:
    if not value.startswith("https://"):
        return "must be an https:// URL, so that nobody can change the chart on its way; use https"
    return server_url(value)


ChartRepository = Annotated[str, rule(_chart_repository)]


ChartName = Annotated[
    str,
    matches(r"(oci://)?[\w./:@-]+", "must be a chart's name, an oci:// reference, or a path"),
]


FeatureFlag = Annotated[
    str,
    matches(r"FF_[A-Z0-9_]+", "must be a feature flag of the runner, such as 'FF_USE_FASTZIP'"),
]


Tag = Annotated[str, matches(r"[^\s,]{1,255}", "must be a runner's tag: no spaces, no commas")]


EnvironmentName = Annotated[
    str, matches(r"[A-Za-z_][A-Za-z0-9_]*", "must be the name of an environment variable")
]


if TYPE_CHECKING:
    GitLabUrl = pulumi.Input[str]
    RunnerToken = pulumi.Input[str]
else:  # pydantic cannot read pulumi.Input itself
    GitLabUrl = leaf(rule(gitlab_url))
    RunnerToken = leaf(rule(_runner_token), is_secret=True)
