"""Rules for numbers and texts of any subject."""

from typing import TYPE_CHECKING, Annotated, Any

import pulumi
from pydantic import BeforeValidator, Field

from ...secrets import has_secret
from ..base import leaf, rule


def _whole(value: Any) -> Any:
    # The plugin host passes integers as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]


Count = Annotated[Whole, Field(ge=1, le=10_000)]


Days = Annotated[Whole, Field(ge=1, le=3650)]


Hours = Annotated[Whole, Field(ge=1, le=24 * 3650)]


Seconds = Annotated[Whole, Field(ge=0, le=7 * 24 * 3600)]


def _text(value: str) -> str | None:
    if not value.strip():
        return "must not be empty; set it, or leave it out"
    if value != value.strip() or not value.isprintable():
        return (
            "must be one line of printable characters without white space around it; remove all "
            "other characters"
        )
    return None


def variable(value: str) -> list[str]:
    """Return the problems of a text that is readable in the cluster."""
    if has_secret(value):
        return [
            "must not contain a token or a password, because it is stored as plain text; remove "
            "it, or use a masked CI/CD variable of the project"
        ]
    return []


def _bare(value: str) -> str | None:
    if value != value.strip():  # line breaks inside are valid: a service account's key has them
        return "must not begin or end with white space or a line break; remove it"
    return None


PlainText = Annotated[str, rule(_text)]


if TYPE_CHECKING:
    Text = pulumi.Input[str]
    Variable = pulumi.Input[str]
    SecretText = pulumi.Input[str]
    Password = pulumi.Input[str]
else:  # pydantic cannot read pulumi.Input itself
    Text = leaf(rule(_text))
    Variable = leaf(rule(variable), is_public=True)
    SecretText = leaf(Field(min_length=8), rule(_bare), is_secret=True)
    Password = leaf(rule(_text), is_secret=True)
