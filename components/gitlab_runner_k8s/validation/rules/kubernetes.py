"""Rules for Kubernetes names, labels, taints and quantities."""

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pulumi
from pydantic import AfterValidator, Field

from ...secrets import has_secret
from ..base import Settings, leaf, matches, rule
from .basic import Whole, variable

LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"


LABEL_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"


LABEL_VALUE_RULE = "must be a label's value: at most 63 characters of [A-Za-z0-9._-]"


Name = Annotated[
    str,
    Field(max_length=40),
    matches(LABEL, "must be a DNS-1123 label; use lower-case letters, digits and '-' between them"),
]
"""A name from which other names are derived. 40 characters leave room for the longest suffix."""


OwnNamespace = Annotated[Name, rule(lambda value: _namespace(value))]
"""A namespace of the platform. The namespaces of a zone append the zone's name to it."""


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
            return "must be a whole number of bytes, but 'm' means thousandths; write 'Mi'"
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


def _resource_name(value: str) -> str | None:
    if has_secret(value):
        return "must be the name of an object, but this is a token; set it as runner_token"
    if len(value) > 253 or not re.fullmatch(rf"{LABEL}(\.{LABEL})*", value):
        return "must be a DNS-1123 subdomain, such as 'gitlab-runner'"
    return None


def _any_namespace(value: str) -> str | None:
    if len(value) > 63 or not re.fullmatch(LABEL, value):
        return "must be a DNS-1123 label; use lower-case letters, digits and '-' between them"
    return None


def _namespace(value: str) -> str | None:
    if value == "default" or value.startswith("kube-"):
        return (
            "must be a dedicated namespace, because others have pods and Secrets there; choose "
            "another name"
        )
    return _any_namespace(value)


PlainName = Annotated[
    str,
    Field(max_length=253),
    matches(rf"{LABEL}(\.{LABEL})*", "must be a DNS-1123 subdomain, such as 'high-priority'"),
]


ShortName = Annotated[
    str,
    Field(max_length=20),
    matches(LABEL, "must be a DNS-1123 label of at most 20 characters, such as 'prod'"),
]
"""A name that becomes part of other names."""


ClusterDomain = Annotated[
    str,
    Field(max_length=150),
    matches(rf"{LABEL}(\.{LABEL})*", "must be a DNS domain, such as 'cluster.local'"),
]


LabelValue = Annotated[str, matches(LABEL_VALUE, LABEL_VALUE_RULE)]


_LABEL_NAME = rf"({LABEL}(\.{LABEL})*/)?[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?"


LabelName = Annotated[
    str,
    Field(max_length=253 + 64),
    matches(_LABEL_NAME, "must be a label's name, such as 'pool' or 'example.com/pool'"),
]


Labels = dict[LabelName, LabelValue]


Annotations = dict[LabelName, Annotated[str, rule(variable)]]


Taint = Annotated[
    str,
    matches(
        rf"{_LABEL_NAME}(={LABEL_VALUE})?", "must be a taint, such as 'dedicated=builds' or 'spot'"
    ),
]


TaintEffect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class TolerationSettings(Settings):
    """A toleration, with the keys that Kubernetes has."""

    key: LabelName | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: LabelValue | None = None
    effect: TaintEffect | None = None
    tolerationSeconds: Annotated[Whole, Field(ge=0)] | None = None

    def _conflicts(self) -> Iterator[str]:
        if self.key is None and self.operator != "Exists":
            yield "key must be set for the operator 'Equal'; set it, or set operator to 'Exists'"
        if self.value and self.operator == "Exists":
            yield "value must not be set for the operator 'Exists'; remove it"
        if self.tolerationSeconds is not None and self.effect != "NoExecute":
            yield "tolerationSeconds is only for the effect 'NoExecute'; remove it"


if TYPE_CHECKING:
    Toleration = dict[str, Any]
else:
    Toleration = Annotated[TolerationSettings, AfterValidator(lambda spec: spec.given())]


STATEFUL_SET_NAME = 52
"""Longest name of a StatefulSet. A label of its pods has the name and a hash, in 63 characters."""


def name_problems(maximum: int, name: Any, path: str = "") -> list[str]:
    """Return the problem of a name from which the names of Kubernetes objects are derived.

    Args:
        maximum: Largest number of characters that leaves room for the longest suffix.
        name: Name of a component.
        path: The argument that the name comes from, if the user does not choose it directly.
    """
    if isinstance(name, str) and len(name) <= maximum and re.fullmatch(LABEL, name):
        return []
    subject = f"{path}: the name '{name}' made of it" if path else f"the name '{name}'"
    return [
        f"{subject} must be a DNS-1123 label of at most {maximum} characters; shorten it, or use "
        "lower-case letters, digits and '-'"
    ]


if TYPE_CHECKING:
    Namespace = pulumi.Input[str]
    AnyNamespace = pulumi.Input[str]
    ResourceName = pulumi.Input[str]
    LabelText = pulumi.Input[str]
else:  # pydantic cannot read pulumi.Input itself
    Namespace = leaf(rule(_namespace))
    AnyNamespace = leaf(rule(_any_namespace))
    ResourceName = leaf(rule(_resource_name))
    LabelText = leaf(matches(LABEL_VALUE, LABEL_VALUE_RULE))
