"""Validation of arguments: closed schemas, and every problem in one message.

Each rule is a pydantic type here, so that a component's arguments and a stack's
settings are judged by the same code. Values that are not known yet (Pulumi Outputs)
pass: their rules can only be checked by the cluster.
"""

import copy
import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args
from urllib.parse import urlsplit

import pulumi
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from . import _extra_config, _pins


class ArgsError(pulumi.RunError, ValueError):
    """The arguments of a component, or the settings of a stack, are not valid.

    `problems` holds one line each, `path: rule, got value; fix`. Natively Pulumi prints
    the message alone, without a traceback.
    """

    def __init__(self, where: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        title = f"{where}: {count} problem{'s' if count != 1 else ''}, nothing was registered"
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

    @model_validator(mode="after")
    def _together(self) -> "Spec":
        problems = list(self.problems())
        if problems:
            raise Problems(problems)
        return self


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


def rule(check: Callable[[Any], str | None]) -> AfterValidator:
    """Make a pydantic rule of a function that returns what is wrong, or None."""

    def validate(value: Any) -> Any:
        problem = check(value)
        if problem:
            raise ValueError(problem)
        return value

    return AfterValidator(validate)


def rules(check: Callable[[Any], list[str]]) -> AfterValidator:
    """Make a pydantic rule of a function that returns everything that is wrong."""

    def validate(value: Any) -> Any:
        problems = check(value)
        if problems:
            raise Problems(problems)
        return value

    return AfterValidator(validate)


def _matches(pattern: str, problem: str) -> AfterValidator:
    expression = re.compile(pattern)
    return rule(lambda value: None if expression.fullmatch(value) else problem)


Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Whole, Field(ge=1, le=10_000)]
Port = Annotated[Whole, Field(ge=1, le=65_535)]
Days = Annotated[Whole, Field(ge=1, le=3650)]
Hours = Annotated[Whole, Field(ge=1, le=24 * 3650)]
Seconds = Annotated[Whole, Field(ge=0, le=7 * 24 * 3600)]

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
Name = Annotated[
    str,
    Field(max_length=40),
    _matches(
        _LABEL, "must be a DNS-1123 label; use lower-case letters, digits and '-' between them"
    ),
]
"""A name from which others are made: 40 characters leave room for the longest suffix."""
_SUFFIXES = {
    suffix: Decimal(factor)
    for suffix, factor in {
        "": 1,
        "m": "0.001",
        **{unit: 10 ** (3 * (n + 1)) for n, unit in enumerate(["k", "M", "G", "T", "P"])},
        **{unit: 2 ** (10 * (n + 1)) for n, unit in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi"])},
    }.items()
}


def quantity(value: str) -> Decimal:
    """Return a Kubernetes quantity ("10Gi", "500m") in its base unit.

    Raises:
        ValueError: the text is not a quantity.
    """
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", value)
    if match is None or match[2] not in _SUFFIXES:
        raise ValueError("must be a Kubernetes quantity, such as '20Gi' or '500m'")
    try:
        return Decimal(match[1]) * _SUFFIXES[match[2]]
    except InvalidOperation:
        raise ValueError("must be a Kubernetes quantity, such as '20Gi' or '500m'") from None


def _at_least(minimum: str) -> AfterValidator:
    def check(value: str) -> str | None:
        if quantity(value) < quantity(minimum):
            return f"must be at least {minimum}; a unit such as Mi or Gi may be missing"
        return None

    return rule(check)


Bytes = Annotated[str, _at_least("1Mi")]
VolumeSize = Annotated[str, _at_least("1Gi")]
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


def _server_url(value: str) -> str | None:
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        return "must be an https:// URL, such as 'https://gitlab.example.com'"
    if url.scheme not in {"https", "http"} or not url.hostname or re.search(r"\s", value):
        return "must be an https:// URL, such as 'https://gitlab.example.com'"
    if url.username or url.password:
        return "must not carry credentials; remove 'user:password@'"
    if url.query or url.fragment:
        return "must not have a query or a fragment; remove what follows '?' or '#'"
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
    r"(?P<registry>[a-z0-9.-]+(:[0-9]+)?)/(?P<repository>[a-z0-9._/-]+)"
    r"(:(?P<tag>[\w][\w.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Image:
    """The parts of a full image reference, `registry/repository:tag@sha256:digest`."""

    def __init__(self, reference: str) -> None:
        match = _IMAGE.fullmatch(reference)
        if match is None or not re.search(r"[.:]|^localhost$", match["registry"]):
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
    match = re.search(r"v(\d+\.\d+\.\d+)", image.tag or "")
    return match[1] if match else None


def _docker_image(value: str) -> str | None:
    version = re.match(r"(\d+)\.(\d+)\.(\d+)", Image(value).tag or "")
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
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+", value):
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
    return _matches(rf"arn:aws[a-z-]*:{resource}/.+", f"must be an ARN such as '{example}'")


if TYPE_CHECKING:
    Text = pulumi.Input[str]
    Namespace = pulumi.Input[str]
    ResourceName = pulumi.Input[str]
    ServerUrl = pulumi.Input[str]
    RunnerToken = pulumi.Input[str]
    BucketName = pulumi.Input[str]
    Region = pulumi.Input[str]
    RoleArn = pulumi.Input[str]
    KmsKeyArn = pulumi.Input[str]
    PolicyArn = pulumi.Input[str]
    ObjectPrefix = pulumi.Input[str]
    OidcProviderArn = pulumi.Input[str]
    DockerHost = pulumi.Input[str]
    Address = pulumi.Input[str]
    GcsBucketName = pulumi.Input[str]
    AzureAccountName = pulumi.Input[str]
    AzureContainerName = pulumi.Input[str]
    SecretText = pulumi.Input[str]
    Password = pulumi.Input[str]
else:  # pydantic reads these; pulumi.Input itself is not a type it can read

    def _leaf(*rules: Any, is_secret: bool = False) -> Any:
        return Annotated[Any, Leaf(Annotated[(str, *rules)], is_secret=is_secret)]

    Text = _leaf(Field(min_length=1))
    Namespace = _leaf(
        Field(max_length=63),
        _matches(
            _LABEL, "must be a DNS-1123 label; use lower-case letters, digits and '-' between them"
        ),
    )
    ResourceName = _leaf(
        Field(max_length=253),
        _matches(
            rf"{_LABEL}(\.{_LABEL})*", "must be a DNS-1123 subdomain, such as 'gitlab-runner'"
        ),
    )
    ServerUrl = _leaf(rule(_server_url))
    RunnerToken = _leaf(rule(_runner_token), is_secret=True)
    BucketName = _leaf(rule(bucket))
    DockerHost = _leaf(rule(lambda value: _docker_host(value)))
    Address = _leaf(
        _matches(
            r"[A-Za-z0-9.-]+(:\d{1,5})?",
            "must be host or host:port without a scheme, such as 'minio.example.com:9000'",
        )
    )
    GcsBucketName = _leaf(
        _matches(
            r"(?!goog)[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]",
            "must be the name of a GCS bucket: 3 to 222 of [a-z0-9._-], not beginning with 'goog'",
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
    SecretText = _leaf(
        Field(min_length=8),
        rule(
            lambda value: (
                None
                if value == value.strip()
                else "must not begin or end with white space or a line break; remove it"
            )
        ),
        is_secret=True,
    )
    Password = _leaf(Field(min_length=1), is_secret=True)
    Region = _leaf(
        _matches(r"[a-z]{2,}(-[a-z]+)+-\d", "must be an AWS region, such as 'eu-central-1'")
    )
    ObjectPrefix = _leaf(rule(_prefix))
    RoleArn = _leaf(_arn(r"iam::\d{12}:role", "arn:aws:iam::123456789012:role/name"))
    PolicyArn = _leaf(_arn(r"iam::(\d{12}|aws):policy", "arn:aws:iam::123456789012:policy/name"))
    KmsKeyArn = _leaf(
        _arn(r"kms:[a-z0-9-]+:\d{12}:(key|alias)", "arn:aws:kms:eu-central-1:123456789012:key/…")
    )
    OidcProviderArn = _leaf(
        _arn(
            r"iam::\d{12}:oidc-provider",
            "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/…",
        )
    )


def _chart_version(value: str) -> str | None:
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", value)
    if match is None:
        return f"must be one exact version, such as '{_pins.CHART_VERSION}'; ranges move silently"
    if tuple(int(part) for part in match.groups()) < _pins.CHART_MINIMUM_VERSION:
        minimum = ".".join(map(str, _pins.CHART_MINIMUM_VERSION))
        return f"must be {minimum} or newer (older runners fail S3 cache downloads with 403)"
    return None


ChartVersion = Annotated[str, rule(_chart_version)]

Cidr = Annotated[
    str,
    _matches(r"\d{1,3}(\.\d{1,3}){3}/\d{1,2}", "must be an IPv4 CIDR block, such as '10.0.0.0/8'"),
]


def _dns_cidr(value: str) -> str | None:
    wanted = "must be an address block of a DNS cache, such as '169.254.20.10/32'"
    try:
        block = ip_network(value)
    except ValueError:
        return wanted
    # Wider than this it would be a way out for everything that can speak on port 53.
    return None if value.isascii() and block.num_addresses <= 256 else wanted


DnsCidr = Annotated[str, rule(_dns_cidr)]
HostPort = Annotated[
    str,
    _matches(
        r"[A-Za-z0-9.-]+(:\d{1,5})?",
        "must be host or host:port without a scheme, such as 'registry.example.com:5000'",
    ),
]


def _docker_host(value: str) -> str | None:
    wanted = "must be 'tcp://host:2376', a daemon with mutual TLS"
    match = re.fullmatch(r"tcp://([A-Za-z0-9.-]+):(\d{1,5})", value)
    if match is None:
        return wanted
    if match[2] == "2375":
        return f"{wanted}; 2375 is the port without TLS, where whoever reaches it is root"
    return None


PlainText = Annotated[str, Field(min_length=1)]
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
ExtraConfig = Annotated[str, rules(_extra_config.check)]
LabelValue = Annotated[
    str,
    _matches(
        r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?",
        "must be a label's value: at most 63 of [A-Za-z0-9._-]",
    ),
]
LabelName = Annotated[
    str,
    _matches(
        rf"({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?",
        "must be a label's name, such as 'pool' or 'example.com/pool'",
    ),
]
Labels = dict[LabelName, LabelValue]
FeatureFlag = Annotated[
    str,
    _matches(r"FF_[A-Z0-9_]+", "must be a feature flag of the runner, such as 'FF_USE_FASTZIP'"),
]
Tag = Annotated[str, _matches(r"[^\s,]{1,255}", "must be a runner's tag: no spaces, no commas")]
EnvironmentName = Annotated[
    str, _matches(r"[A-Za-z_][A-Za-z0-9_]*", "must be the name of an environment variable")
]

_SECRET = re.compile(r"token|secret|password|access_key|accesskey|private_key", re.IGNORECASE)
_WANTED = {
    "int_type": "must be a whole number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "dict_type": "must be a map",
    "list_type": "must be a list",
    "model_type": "must be a map",
    "model_attributes_type": "must be a map",
}


def camel(name: str) -> str:
    """Return a snake_case name in camelCase, as Pulumi's schema inference does."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the names of the fields of the model at a location of an error."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return list(model.model_fields)


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


def _shown(value: Any, path: str) -> str:
    field = path.rpartition(".")[2]
    is_named_so = _SECRET.search(field) and not field.lower().endswith("name")
    if is_named_so or field in {
        spelled for name in secret_fields() for spelled in (name, camel(name))
    }:
        return "[secret]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
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
    if isinstance(error["input"], str):  # a text of several lines is not shown
        path = _path(error["loc"], spell, root)
        yield from (f"{path}: {_spelled(problem, spell)}" for problem in reason.problems)
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
    return f"{path}: {text}, got {_shown(value, path)}{semicolon}{fix}"


S = TypeVar("S", bound=Spec)


def validate(
    model: type[S],
    args: Mapping[str, Any],
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
    others = list(also)
    errors: list[ErrorDetails] = []
    try:
        spec = model.model_validate(dict(args))
        if not others:
            return spec
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    found = [line for error in errors for line in _lines(error, model, spell, root)]
    for error in _hidden(model, args, errors) if errors else ():
        found += _lines(error, model, spell, root)
    raise ArgsError(where, dict.fromkeys([*others, *found]))


def name_problems(*names: str) -> list[str]:
    """Return what is wrong with names from which those of Kubernetes objects are made."""
    return [
        f"the name '{name}' must be a DNS-1123 label of at most 40 characters; shorten it, or use "
        "lower-case letters, digits and '-'"
        for name in names
        if len(name) > 40 or not re.fullmatch(_LABEL, name)
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
    for _ in range(3):
        for error in errors:
            attempt = _without(attempt, error["loc"], is_unknown=error["type"] == "extra_forbidden")
        try:
            model.model_validate(attempt)
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False)
        else:
            return
        for error in errors:
            is_ours = error["type"] == "missing" or error["input"] is _NOT_KNOWN
            if not is_ours and (error["loc"], error["msg"]) not in seen:
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
