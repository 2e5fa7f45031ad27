"""Validation of arguments: closed schemas, and every problem in one message.

Each rule is a pydantic type here, so that a component's arguments and a stack's
settings are judged by the same code. Values that are not known yet (Pulumi Outputs)
pass: their rules can only be checked by the cluster.
"""

import copy
import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
)
from urllib.parse import urlsplit

import pulumi
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from . import _pins
from ._secrets import has_secret, masked


class ArgsError(pulumi.RunError, ValueError):
    """The arguments of a component, or the settings of a stack, are not valid.

    `problems` holds one line each, `path: rule, got value; fix`. Natively Pulumi prints
    the message alone, without a traceback.
    """

    def __init__(self, where: str, problems: Iterable[str]) -> None:
        self.problems = tuple(map(masked, problems))
        count = len(self.problems)
        title = (
            f"{masked(where)}: {count} problem{'s' if count != 1 else ''}, nothing was registered"
        )
        super().__init__("\n".join([title, *(f"  - {problem}" for problem in self.problems)]))


class Problems(ValueError):
    """Several problems of one value, each a line as in `ArgsError`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Spec(BaseModel):
    """Validated, immutable arguments: no unknown key, no type conversion."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, arbitrary_types_allowed=True
    )

    def given(self) -> dict[str, Any]:
        """Return the fields that were given, as they are."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def problems(self) -> Iterator[str]:
        """Return what is wrong between the fields, each of which is right by itself."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _together(
        cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        if isinstance(value, Spec):  # judged when it was made
            return handler(value)
        spec = handler(value)
        told = info.context or ()  # what another look need not tell again: see _hidden
        found = [problem for problem in spec.problems() if problem not in told]
        if found:
            raise Problems(found)
        return spec


class Leaf:
    """Marks a field as an Input: an Output passes, a plain value meets `rule`."""

    def __init__(self, rule: Any, *, is_secret: bool = False) -> None:
        self.rule = rule
        self.is_secret = is_secret

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Build the schema of the plain value and let Outputs around it."""

        def around(value: Any, check: Callable[[Any], Any]) -> Any:
            return value if isinstance(value, pulumi.Output) else check(value)

        return core_schema.no_info_wrap_validator_function(
            around, handler.generate_schema(self.rule)
        )


def _whole(value: Any) -> Any:
    # The plugin host hands integers over as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def rule(check: Callable[[Any], str | list[str] | None]) -> AfterValidator:
    """Make a pydantic rule of a function that returns what is wrong, if anything is.

    A text of its own is shown with the value, a list of them is not.
    """

    def validate(value: Any) -> Any:
        found = check(value)
        if found:
            raise ValueError(found) if isinstance(found, str) else Problems(found)
        return value

    return AfterValidator(validate)


def _matches(pattern: str, problem: str) -> AfterValidator:
    expression = re.compile(pattern, re.ASCII)
    return rule(lambda value: None if expression.fullmatch(value) else problem)


Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Whole, Field(ge=1, le=10_000)]
Port = Annotated[Whole, Field(ge=1, le=65_535)]
Days = Annotated[Whole, Field(ge=1, le=3650)]
Hours = Annotated[Whole, Field(ge=1, le=24 * 3650)]
Seconds = Annotated[Whole, Field(ge=0, le=7 * 24 * 3600)]

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"
_LABEL_VALUE_RULE = "must be a label's value: at most 63 of [A-Za-z0-9._-]"
Name = Annotated[
    str,
    Field(max_length=40),
    _matches(
        _LABEL, "must be a DNS-1123 label; use lower-case letters, digits and '-' between them"
    ),
]
"""A name from which others are made: 40 characters leave room for the longest suffix."""
OwnNamespace = Annotated[Name, rule(lambda value: _namespace(value))]
"""A namespace of the platform, to whose name that of a zone is added."""
_SUFFIXES = {
    suffix: Decimal(factor)
    for suffix, factor in {
        "": 1,
        "m": "0.001",
        **{unit: 10 ** (3 * (n + 1)) for n, unit in enumerate(["k", "M", "G", "T", "P", "E"])},
        **{
            unit: 2 ** (10 * (n + 1)) for n, unit in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
        },
    }.items()
}


def quantity(value: str) -> Decimal:
    """Return a Kubernetes quantity ("10Gi", "500m") in its base unit.

    Raises:
        ValueError: the text is not a quantity.
    """
    match = re.fullmatch(r"([0-9.]+(?:[eE][+-]?[0-9]{1,3})?)([A-Za-z]*)", value)
    if match is None or match[2] not in _SUFFIXES:
        raise ValueError("must be a Kubernetes quantity, such as '20Gi' or '500m'")
    try:
        return Decimal(match[1]) * _SUFFIXES[match[2]]
    except InvalidOperation:
        raise ValueError("must be a Kubernetes quantity, such as '20Gi' or '500m'") from None


def _bytes(minimum: str, maximum: str) -> AfterValidator:
    def check(value: str) -> str | None:
        size = quantity(value)
        if value.endswith("m"):
            return "must be whole bytes, 'm' is a thousandth of one; write Mi"
        if size < quantity(minimum):
            return f"must be at least {minimum}; a unit such as Mi or Gi may be missing"
        if size > quantity(maximum):
            return f"must be at most {maximum}; correct the unit"
        return None

    return rule(check)


Bytes = Annotated[str, _bytes("1Mi", "1Pi")]
# The largest volume that a cloud sells (EBS io2 Block Express) has 64 TiB.
VolumeSize = Annotated[str, _bytes("1Gi", "64Ti")]
Cpu = Annotated[
    str,
    rule(
        lambda value: (
            None
            if Decimal("0.001") <= quantity(value) <= 1024
            else "must be between 1m and 1024 cores, such as '500m' or '2'"
        )
    ),
]


_HOST = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"


def _is_host(host: str | None) -> bool:
    if host and re.fullmatch(_HOST, host) and len(host) <= 253:
        return True
    try:
        return ipaddress.ip_address(host or "").version == 6
    except ValueError:
        return False


def _is_place(value: str) -> bool:
    """Tell whether a text is `host` or `host:port`."""
    match = re.fullmatch(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:([0-9]{1,5}))?", value)
    if match is None or not _is_host(match[1].strip("[]")):
        return False
    return match[3] is None or 1 <= int(match[3]) <= 65_535


def is_address(url: str) -> bool:
    """Tell whether a URL's host is an IP address."""
    try:
        ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return True


def server_url(value: str) -> str | None:
    wanted = "must be an https:// URL, such as 'https://gitlab.example.com'"
    try:
        url = urlsplit(value)
    except ValueError:
        return wanted
    if url.username or url.password:
        return "must not carry credentials; remove 'user:password@'"
    if url.scheme not in {"https", "http"} or not _is_place(url.netloc):
        return wanted
    if url.query or url.fragment:
        return "must not have a query or a fragment; remove what follows '?' or '#'"
    if not re.fullmatch(r"[A-Za-z0-9._~%/-]*", url.path):
        return f"{wanted}; remove what is not of [A-Za-z0-9._~%/-] from its path"
    if url.path.rstrip("/").endswith("/ci"):
        return "must be the address of GitLab itself; remove '/ci'"
    return None


_TOKEN_KINDS = {
    "GR1348941": "a registration token (deprecated, to be removed in GitLab 20.0)",
    "glrtr-": "the token of a runner made with a registration token",
    "glpat-": "a personal access token",
    "glcbt-": "a CI/CD job token",
    "gldt-": "a deploy token",
    "glptt-": "a pipeline trigger token",
    "glagent-": "an agent token",
}


def _runner_token(value: str) -> str | None:
    wanted = "create a runner in GitLab (Settings > CI/CD > Runners) and use its glrt- token"
    for prefix, kind in _TOKEN_KINDS.items():
        if value.startswith(prefix):
            return f"must be a runner authentication token, this is {kind}; {wanted}"
    if value != value.strip():
        return "must not begin or end with white space or a line break; remove it"
    if not re.fullmatch(r"glrt-[0-9A-Za-z_.=-]{20,}", value):
        return f"must be 'glrt-' and at least 20 characters of [0-9A-Za-z_.=-]; {wanted}"
    return None


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
            or not _is_place(match["registry"])
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
    gone = _pins.WITHDRAWN_REPOSITORIES.get(f"{image.registry}/{image.repository}")
    if gone:
        return f"cannot be pulled: {gone}; use {_pins.SILO_IMAGE}"
    if image.digest is None:
        return "must be pinned by digest; append '@sha256:…' (docker buildx imagetools inspect)"
    if image.tag is None:
        return "must carry its tag beside the digest, such as ':1.2.3@sha256:…'"
    if image.tag == "latest":
        return "must not be ':latest'; name the version beside the digest"
    return None


ImageReference = Annotated[str, rule(_image)]


def runner_version(reference: str | None) -> str | None:
    """Return the version in the tag of GitLab's runner or helper, such as "19.3.1".

    It is None for somebody's own build, whose version cannot be read from its name.
    """
    image = Image(reference) if reference else None
    if image is None or not image.repository.endswith(("/gitlab-runner", "/gitlab-runner-helper")):
        return None
    match = re.search(r"v([0-9]+\.[0-9]+\.[0-9]+)", image.tag or "")
    return match[1] if match else None


def _docker_image(value: str) -> str | None:
    version = re.match(r"([0-9]+)\.([0-9]+)\.([0-9]+)", Image(value).tag or "")
    if version is None or Image(value).repository != "library/docker":
        return None  # somebody's own build: its version cannot be read from its name
    if tuple(int(part) for part in version.groups()) < _pins.DOCKER_MINIMUM_VERSION:
        wanted = ".".join(map(str, _pins.DOCKER_MINIMUM_VERSION))
        return f"must be Docker {wanted} or newer (CVE-2026-34040); use {_pins.DOCKER_DAEMON_IMAGE}"
    return None


DockerImageReference = Annotated[ImageReference, rule(_docker_image)]

_RESERVED_BUCKET = (
    r"xn--.*|sthree-.*|amzn-s3-demo-.*|.*-s3alias|.*--ol-s3|.*\.mrap|.*--x-s3|.*--table-s3|.*-an"
)


def bucket(value: str) -> str | None:
    """Return what is wrong with the name of an S3 bucket, or None."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value) or ".." in value:
        return "must be 3 to 63 of [a-z0-9.-], starting and ending with a letter or digit"
    if re.fullmatch(r"[0-9.]+", value) and value.count(".") == 3:
        return "must not look like an IP address"
    if "." in value:
        return "must not have dots: they break the TLS certificate of virtual-hosted buckets"
    if re.fullmatch(_RESERVED_BUCKET, value):
        return "uses a prefix or suffix that S3 reserves; choose another name"
    return None


def _prefix(value: str) -> str | None:
    if not re.fullmatch(r"([A-Za-z0-9_.-]+/)+", value) or re.search(r"(^|/)\.\.?/", value):
        # What S3 or IAM would read as a pattern must not get into a policy.
        return "must be folders of [A-Za-z0-9_.-], each ending in '/', such as 'ci/'"
    return None


_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}


def partition(region: str) -> str:
    """Return the AWS partition that a region is in: the second part of the ARNs there."""
    for prefix, name in _PARTITIONS.items():
        if region.startswith(prefix):
            return name
    return "aws"


def _arn(resource: str, example: str) -> AfterValidator:
    # What IAM would read as a pattern must not get into a policy.
    partitions = "|".join(["aws", *_PARTITIONS.values()])
    return _matches(
        rf"arn:({partitions}):{resource}",
        f"must be an ARN such as '{example}', without '*' or '?'",
    )


def _text(value: str) -> str | None:
    if not value.strip():
        return "must not be empty; set it, or leave it out"
    if value != value.strip() or not value.isprintable():
        return "must be one line without white space around it; remove what is too much"
    return None


def _resource_name(value: str) -> str | None:
    if has_secret(value):
        return "must be the name of an object, this is a token itself; set it as the secret it is"
    if len(value) > 253 or not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", value):
        return "must be a DNS-1123 subdomain, such as 'gitlab-runner'"
    return None


def _any_namespace(value: str) -> str | None:
    if len(value) > 63 or not re.fullmatch(_LABEL, value):
        return "must be a DNS-1123 label; use lower-case letters, digits and '-' between them"
    return None


def _namespace(value: str) -> str | None:
    if value == "default" or value.startswith("kube-"):
        return "must be a namespace of its own: others have pods and secrets there; rename it"
    return _any_namespace(value)


def _address(value: str) -> str | None:
    if _is_place(value):
        return None
    return "must be host or host:port without a scheme, such as 'registry.example.com:5000'"


def _daemon_host(port: int) -> AfterValidator:
    wanted = f"must be 'tcp://host:{port}', a daemon with mutual TLS"

    def check(value: str) -> str | None:
        scheme, _, place = value.partition("://")
        if scheme != "tcp" or not _is_place(place) or not re.search(r":[0-9]+$", place):
            return wanted
        if place.endswith(":2375"):
            return f"{wanted}; 2375 is the port without TLS, where whoever reaches it is root"
        return None

    return rule(check)


def _object_path(value: str) -> str | None:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", value):
        return "must be folders of [A-Za-z0-9_.-] with '/' between them, such as 'ci/prod'"
    if {".", ".."} & set(value.split("/")):
        return "must not lead out of its folder; remove '.' and '..'"
    return None


def _variable(value: str) -> list[str]:
    if has_secret(value):
        return [
            "must not hold a token or a password: it is plain text in the cluster; use a masked "
            "CI/CD variable of the project"
        ]
    return []


def _bare(value: str) -> str | None:
    if value != value.strip():  # a service account's key has several lines within
        return "must not begin or end with white space or a line break; remove it"
    return None


if TYPE_CHECKING:
    Text = pulumi.Input[str]
    Variable = pulumi.Input[str]
    Namespace = pulumi.Input[str]
    AnyNamespace = pulumi.Input[str]
    ResourceName = pulumi.Input[str]
    ServerUrl = pulumi.Input[str]
    RunnerToken = pulumi.Input[str]
    BucketName = pulumi.Input[str]
    Region = pulumi.Input[str]
    RoleArn = pulumi.Input[str]
    KmsKeyArn = pulumi.Input[str]
    PolicyArn = pulumi.Input[str]
    ObjectPrefix = pulumi.Input[str]
    ObjectPath = pulumi.Input[str]
    OidcProviderArn = pulumi.Input[str]
    DockerHost = pulumi.Input[str]
    BuildKitHost = pulumi.Input[str]
    Address = pulumi.Input[str]
    Domain = pulumi.Input[str]
    GcsBucketName = pulumi.Input[str]
    GcsAccount = pulumi.Input[str]
    AzureAccountName = pulumi.Input[str]
    AzureContainerName = pulumi.Input[str]
    AzureClientId = pulumi.Input[str]
    SecretText = pulumi.Input[str]
    Password = pulumi.Input[str]
    LabelText = pulumi.Input[str]
    TagValue = pulumi.Input[str]
else:  # pydantic reads these; pulumi.Input itself is not a type it can read

    def _leaf(*rules: Any, is_secret: bool = False) -> Any:
        return Annotated[Any, Leaf(Annotated[(str, *rules)], is_secret=is_secret)]

    Text = _leaf(rule(_text))
    Variable = _leaf(rule(_variable))
    Namespace = _leaf(rule(_namespace))
    AnyNamespace = _leaf(rule(_any_namespace))
    ResourceName = _leaf(rule(_resource_name))
    ServerUrl = _leaf(rule(server_url))
    RunnerToken = _leaf(rule(_runner_token), is_secret=True)
    BucketName = _leaf(rule(bucket))
    DockerHost = _leaf(_daemon_host(2376))
    BuildKitHost = _leaf(_daemon_host(1234))
    Address = _leaf(rule(_address))
    Domain = _leaf(_matches(_HOST, "must be a DNS domain, such as 'blob.core.windows.net'"))
    GcsBucketName = _leaf(
        _matches(
            r"(?!goog)[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]",
            "must be the name of a GCS bucket: 3 to 222 of [a-z0-9._-], not beginning with 'goog'",
        )
    )
    GcsAccount = _leaf(
        _matches(
            r"[a-z0-9.-]+@[a-z0-9.-]+",
            "must be a service account, such as 'runner@project.iam.gserviceaccount.com'",
        )
    )
    AzureAccountName = _leaf(
        _matches(r"[a-z0-9]{3,24}", "must be a storage account: 3 to 24 of [a-z0-9]")
    )
    AzureContainerName = _leaf(
        _matches(
            r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
            "must be a container: 3 to 63 of [a-z0-9-], no two '-' in a row",
        )
    )
    AzureClientId = _leaf(
        _matches(
            r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
            "must be a client id, such as '00000000-0000-0000-0000-000000000000'",
        )
    )
    SecretText = _leaf(Field(min_length=8), rule(_bare), is_secret=True)
    Password = _leaf(rule(_text), is_secret=True)
    Region = _leaf(
        _matches(
            r"(af|ap|ca|cn|eu|il|me|mx|sa|us|us-gov|us-iso[bf]?|eu-isoe|eusc-[a-z]{2})"
            r"-(north|south|east|west|central|(north|south)(east|west))-[1-9][0-9]?",
            "must be an AWS region, such as 'eu-central-1'",
        )
    )
    ObjectPrefix = _leaf(rule(_prefix))
    ObjectPath = _leaf(rule(_object_path))
    RoleArn = _leaf(_arn(r"iam::\d{12}:role/[\w+=,.@/-]+", "arn:aws:iam::123456789012:role/name"))
    PolicyArn = _leaf(
        _arn(r"iam::(\d{12}|aws):policy/[\w+=,.@/-]+", "arn:aws:iam::123456789012:policy/name")
    )
    KmsKeyArn = _leaf(
        _arn(
            r"kms:[a-z0-9-]+:\d{12}:(key/[A-Za-z0-9-]+|alias/[\w/-]+)",
            "arn:aws:kms:eu-central-1:123456789012:key/…",
        )
    )
    OidcProviderArn = _leaf(
        _arn(
            r"iam::\d{12}:oidc-provider/[\w.:/-]+",
            "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/…",
        )
    )
    LabelText = _leaf(_matches(_LABEL_VALUE, _LABEL_VALUE_RULE))
    TagValue = _leaf(Field(max_length=256), rule(_variable))


def _chart_version(value: str) -> str | None:
    match = re.fullmatch(r"([0-9]+)\.([0-9]+)\.([0-9]+)", value)
    if match is None:
        return f"must be one exact version, such as '{_pins.CHART_VERSION}'; ranges move silently"
    if tuple(int(part) for part in match.groups()) < _pins.CHART_MINIMUM_VERSION:
        minimum = ".".join(map(str, _pins.CHART_MINIMUM_VERSION))
        return f"must be {minimum} or newer (older runners fail S3 cache downloads with 403)"
    return None


ChartVersion = Annotated[str, rule(_chart_version)]


def _dns_cidr(value: str) -> str | None:
    wanted = "must be an address block of a DNS cache, such as '169.254.20.10/32'"
    try:
        block = ipaddress.ip_network(value)
    except ValueError:
        return wanted
    # Wider than this it would be a way out for everything that can speak on port 53.
    return None if value.isascii() and block.num_addresses <= 256 else wanted


DnsCidr = Annotated[str, rule(_dns_cidr)]

# The clouds' metadata services, and every way to write an IPv4 address in IPv6.
_NOT_FOR_EGRESS = tuple(
    ipaddress.ip_network(block) for block in ("169.254.0.0/16", "fe80::/10", "::ffff:0:0/96")
)


def _cidr(value: str) -> str | None:
    try:
        block = ipaddress.ip_network(value, strict=False)
    except ValueError:
        block = None
    if block is None or "/" not in value or not value.isascii():
        return "must be a CIDR block, such as '10.0.0.0/8' or 'fd00::/8'"
    if block.prefixlen == 0:
        return "must not be every address; name the ranges that jobs need"
    if any(block.version == other.version and block.overlaps(other) for other in _NOT_FOR_EGRESS):
        return (
            "must not overlap link-local addresses, where the cloud's metadata service hands out "
            "the node's credentials; name smaller ranges"
        )
    if str(block) != value.lower():
        return f"must be the address of a network; write '{block}'"
    return None


Cidr = Annotated[str, rule(_cidr)]
HostPort = Annotated[str, rule(_address)]
ClusterDomain = Annotated[
    str,
    Field(max_length=150),
    _matches(rf"{_LABEL}(\.{_LABEL})*", "must be a DNS domain, such as 'cluster.local'"),
]


def _chart_repository(value: str) -> str | None:
    if not value.startswith("https://"):
        return "must be https: whoever is on the way could change the chart; use an https:// URL"
    return server_url(value)


ChartRepository = Annotated[str, rule(_chart_repository)]
ChartName = Annotated[
    str,
    _matches(r"(oci://)?[\w./:@-]+", "must be a chart's name, an oci:// reference, or a path"),
]
PlainText = Annotated[str, rule(_text)]
PlainName = Annotated[
    str,
    Field(max_length=253),
    _matches(rf"{_LABEL}(\.{_LABEL})*", "must be a DNS-1123 subdomain, such as 'high-priority'"),
]
ShortName = Annotated[
    str,
    Field(max_length=20),
    _matches(_LABEL, "must be a DNS-1123 label of at most 20 characters, such as 'prod'"),
]
"""A name that becomes part of others."""
LabelValue = Annotated[str, _matches(_LABEL_VALUE, _LABEL_VALUE_RULE)]
_LABEL_NAME = rf"({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?"
LabelName = Annotated[
    str,
    Field(max_length=253 + 64),
    _matches(_LABEL_NAME, "must be a label's name, such as 'pool' or 'example.com/pool'"),
]
Labels = dict[LabelName, LabelValue]
Annotations = dict[LabelName, Annotated[str, rule(_variable)]]
Taint = Annotated[
    str,
    _matches(
        rf"{_LABEL_NAME}(={_LABEL_VALUE})?", "must be a taint, such as 'dedicated=builds' or 'spot'"
    ),
]
TaintEffect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
TagName = Annotated[
    str,
    _matches(
        r"(?![Aa][Ww][Ss]:)[A-Za-z0-9 _.:/=+@-]{1,128}",
        "must be a tag's name: at most 128 of [A-Za-z0-9 _.:/=+@-], not beginning with 'aws:'",
    ),
]
FeatureFlag = Annotated[
    str,
    _matches(r"FF_[A-Z0-9_]+", "must be a feature flag of the runner, such as 'FF_USE_FASTZIP'"),
]
Tag = Annotated[str, _matches(r"[^\s,]{1,255}", "must be a runner's tag: no spaces, no commas")]
EnvironmentName = Annotated[
    str, _matches(r"[A-Za-z_][A-Za-z0-9_]*", "must be the name of an environment variable")
]

_CONTAINERS = {
    "dict_type": "must be a map",
    "list_type": "must be a list",
    "model_type": "must be a map",
    "model_attributes_type": "must be a map",
}
_WANTED = {
    "int_type": "must be a whole number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "too_short": "must not be empty; add to it, or leave it out",
    **_CONTAINERS,
}


class TolerationSpec(Spec):
    """A toleration, with the keys that Kubernetes has."""

    key: LabelName | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: LabelValue | None = None
    effect: TaintEffect | None = None
    tolerationSeconds: Annotated[Whole, Field(ge=0)] | None = None

    def problems(self) -> Iterator[str]:
        if self.key is None and self.operator != "Exists":
            yield "key must be set for the operator 'Equal'; set it, or set operator to 'Exists'"
        if self.value and self.operator == "Exists":
            yield "value must not be set for the operator 'Exists'; remove it"
        if self.tolerationSeconds is not None and self.effect != "NoExecute":
            yield "tolerationSeconds is only for the effect 'NoExecute'; remove it"


if TYPE_CHECKING:
    Toleration = dict[str, Any]
else:
    Toleration = Annotated[TolerationSpec, AfterValidator(lambda spec: spec.given())]


def camel(name: str) -> str:
    """Return a snake_case name in camelCase, as Pulumi's schema inference does."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _alternatives(kind: Any) -> Iterator[Any]:
    """Return what a type may be, without what annotates it."""
    if get_origin(kind) is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for option in get_args(kind):
            yield from _alternatives(option)
    elif kind is not NoneType:
        yield kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the names of the fields of the model at a location of an error."""
    kind: Any = model
    for part in location:
        if _is_model(kind):
            field = kind.model_fields.get(str(part))
            kind = next(_alternatives(field.annotation), None) if field else None
        else:  # a dict or a list
            kind = next(_alternatives((get_args(kind) or (None,))[-1]), None)
    if not _is_model(kind):
        return []
    return [field.alias or name for name, field in kind.model_fields.items()]


@cache
def secret_fields() -> frozenset[str]:
    """Return the names of the fields whose values are secrets, wherever they stand."""
    return frozenset(_secret_names(Spec))


def _secret_names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if any(getattr(rule, "is_secret", False) for rule in _around(field)):
            yield name
    for below in model.__subclasses__():
        yield from _secret_names(below)


def _around(field: FieldInfo) -> Iterator[Any]:
    """Return what a field's type, or one of its alternatives, is annotated with."""
    yield from field.metadata
    for option in get_args(field.annotation):
        yield from getattr(option, "__metadata__", ())


def kind_of(value: Any) -> str:
    """Return what a value is, without the value."""
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    if value is None:
        return "null"
    if isinstance(value, pulumi.Output):
        return "an Output; only what is inside may be one"
    return "a map" if isinstance(value, Mapping) else kinds.get(type(value), type(value).__name__)


def _shown(value: Any, location: Sequence[int | str]) -> str:
    if secret_fields() & {str(part) for part in location}:
        return "[secret]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, str | int | float | None):
        return kind_of(value)
    text = masked(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}…'"


def _field_names(model: type[BaseModel]) -> Iterator[str]:
    yield from model.model_fields
    for below in model.__subclasses__():
        yield from _field_names(below)


def _spelled(text: str, spell: Callable[[str], str]) -> str:
    """Return a text with the names of fields written as the user writes them."""
    names = set(_field_names(Spec))
    return re.sub(
        r"(?<![\w'/-])[a-z0-9]+(_[a-z0-9]+)+(?![\w'/-])",
        lambda match: spell(match[0]) if match[0] in names else match[0],
        text,
    )


def _path(location: tuple[int | str, ...], spell: Callable[[str], str], root: str) -> str:
    path = root
    for part in location:
        if part == "[key]":  # pydantic's word for a key itself
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{spell(part)}" if path else spell(part)
    return path


def _lines(
    error: ErrorDetails, model: type[BaseModel], spell: Callable[[str], str], root: str
) -> Iterator[str]:
    """Return the lines of an error: one, or each of its `Problems`."""
    reason = error.get("ctx", {}).get("error")
    if not isinstance(reason, Problems):
        yield _problem(error, model, spell, root)
        return
    if isinstance(error["input"], str):  # the rule says of the value what may be shown
        path = _path(error["loc"], spell, root)
        for problem in reason.problems:
            # What comes before a colon is a path in the text itself.
            place, colon, rest = problem.partition(": ")
            yield f"{path}: {place}{colon}{_spelled(rest, spell)}"
        return
    for problem in reason.problems:
        one: Any = {**error, "ctx": {"error": ValueError(problem)}}
        yield _problem(one, model, spell, root)


def _problem(
    error: ErrorDetails, model: type[BaseModel], spell: Callable[[str], str], root: str
) -> str:
    location = error["loc"]
    path = _path(location, spell, root)
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        known = [spell(name) for name in _fields_at(model, location[:-1])]
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        fix = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"{path}: unknown key; {fix}"
    if kind == "missing":
        return f"{path}: is required; set it"
    if kind == "value_error":
        text = _spelled(str(error["ctx"]["error"]), spell)
        # A rule over several fields has no value of its own to show.
        if isinstance(value, Mapping):
            return f"{path}: {text}" if path else text
    else:
        text = _WANTED.get(kind, error["msg"].replace("Input should be", "must be"))
    text, semicolon, fix = text.partition("; ")
    # What stands where a map or a list is wanted may be a secret that lost its key.
    shown = kind_of(value) if kind in _CONTAINERS else _shown(value, location)
    return f"{path}: {text}, got {shown}{semicolon}{fix}"


S = TypeVar("S", bound=Spec)


def problems(
    model: type[BaseModel],
    args: Mapping[str, Any],
    *,
    spell: Callable[[str], str] = str,
    root: str = "",
) -> list[str]:
    """Return everything that is wrong with the arguments, a line each, with path, rule and fix."""
    try:
        model.model_validate(dict(args))
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    else:
        return []
    errors += _hidden(model, args, errors)
    return [line for error in errors for line in _lines(error, model, spell, root)]


def validate(
    model: type[S],
    args: Any,
    where: str,
    *,
    spell: Callable[[str], str] = str,
    root: str = "",
    also: Iterable[str] = (),
) -> S:
    """Return the arguments as a spec.

    Args:
        model: The spec to validate against.
        args: The arguments, by snake_case name.
        where: What the message begins with, such as "GitLabRunner 'ci'".
        spell: How a field's name is written where the arguments came from.
        root: The path of `args` itself in what the user wrote.
        also: Problems found elsewhere, to be told together with these.

    Raises:
        ArgsError: with every problem found, each with its path, rule and fix.
    """
    found = list(also)
    if isinstance(args, Mapping):
        found += problems(model, args, spell=spell, root=root)
    else:
        found.append(f"the arguments must be a map, got {kind_of(args)}; give them by name")
    if found:
        raise ArgsError(where, dict.fromkeys(found))
    return model.model_validate(dict(args))


def keys_of(args: Any, field: str) -> list[str]:
    """Return the names in a map of the arguments, which are not validated yet."""
    found = args.get(field) if isinstance(args, Mapping) else None
    return [key for key in found if isinstance(key, str)] if isinstance(found, Mapping) else []


STATEFUL_SET_NAME = 52
"""How long the name of a StatefulSet may be: a pod's label has it with a hash, in 63 characters."""


def name_problems(maximum: int, *names: Any) -> list[str]:
    """Return what is wrong with names from which those of Kubernetes objects are made.

    Args:
        maximum: The most characters that leave room for the longest suffix.
        names: Names of components.
    """
    return [
        f"the name '{name}' must be a DNS-1123 label of at most {maximum} characters; shorten it, "
        "or use lower-case letters, digits and '-'"
        for name in names
        if not isinstance(name, str) or len(name) > maximum or not re.fullmatch(_LABEL, name)
    ]


_NOT_KNOWN = pulumi.Output.from_input("")


def _hidden(
    model: type[BaseModel], args: Mapping[str, Any], errors: list[ErrorDetails]
) -> Iterator[ErrorDetails]:
    """Return the problems between fields that others hide: pydantic stops at a field's own.

    What was wrong counts as not known yet, or, where that cannot be, as left out.
    """
    attempt = copy.copy(dict(args))
    seen = {(error["loc"], error["msg"]) for error in errors}
    told: set[str] = set()
    # What is not a map may have been meant as one: it is not missing.
    unsure = {error["loc"][:-1] for error in errors if error["type"] in _CONTAINERS}
    for _ in range(8):  # the levels of the arguments, each of which may hide the one above
        for error in errors:
            reason = error.get("ctx", {}).get("error")
            if isinstance(reason, Problems) and isinstance(error["input"], Mapping):
                told.update(reason.problems)
                continue
            attempt = _without(attempt, error["loc"], is_unknown=error["type"] == "extra_forbidden")
        try:
            model.model_validate(attempt, context=told)
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False)
        else:
            return
        for error in errors:
            is_ours = error["type"] == "missing" or error["input"] is _NOT_KNOWN
            is_told = (error["loc"], error["msg"]) in seen or error["loc"] in unsure
            if not is_ours and not is_told:
                seen.add((error["loc"], error["msg"]))
                yield error


def _without(value: Any, location: tuple[int | str, ...], *, is_unknown: bool) -> Any:
    """Return a copy without what stands at a location."""
    if not location or not isinstance(value, dict | list):
        return value
    copied: Any = copy.copy(value)
    key, *rest = location
    is_there = key in copied if isinstance(copied, dict) else int(key) < len(copied)
    if not is_there:
        return value
    if rest and isinstance(copied[key], dict | list):
        copied[key] = _without(copied[key], tuple(rest), is_unknown=is_unknown)
    elif is_unknown or copied[key] is _NOT_KNOWN or isinstance(copied[key], dict):
        del copied[key]
    else:
        copied[key] = _NOT_KNOWN
    return copied
