"""Small helpers for values that may be plain or Pulumi Outputs."""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pulumi

T = TypeVar("T")
R = TypeVar("R")


def has_output(value: Any) -> bool:
    """Tell whether a value, or anything inside it, is an Output."""
    if isinstance(value, pulumi.Output):
        return True
    if isinstance(value, Mapping):
        return any(has_output(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(has_output(item) for item in value)
    return False


def lift(render: Callable[[Any], R], values: Any) -> pulumi.Input[R]:
    """Call `render` on the values: now when all are plain, so that previews show the result."""
    if has_output(values):
        return pulumi.Output.from_input(values).apply(render)
    return render(values)


def sha256(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def concat(*parts: pulumi.Input[str]) -> pulumi.Input[str]:
    """Join strings, any of which may be an Output."""
    return lift("".join, list(parts))


def digest(*values: pulumi.Input[str], salt: pulumi.Input[str]) -> pulumi.Output[str]:
    """Return a salted digest of secrets, itself no secret: it says only that they changed."""

    def compute(parts: list[str]) -> str:
        key, *rest = parts
        return hmac.new(key.encode(), "\0".join(rest).encode(), hashlib.sha256).hexdigest()[:16]

    return pulumi.Output.unsecret(pulumi.Output.all(salt, *values).apply(compute))
