"""Helpers for values that are either plain or Pulumi Outputs."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pulumi
from pulumi.runtime.sync_await import _sync_await

R = TypeVar("R")
_TURNS = 20
"""Turns of the event loop after which an Output counts as waiting for a resource. An Output with a
known value needs about 5."""


NOT_KNOWN: pulumi.Output[Any] = object.__new__(pulumi.Output)
"""Stands in for a value that no rule may judge. It is never resolved."""


class HiddenText(str):
    """A secret text. Rules can read it, and messages show `[secret]` in its place."""

    __slots__ = ()

    def __str__(self) -> str:
        return "[secret]"

    def __repr__(self) -> str:
        return "[secret]"

    def __format__(self, format_spec: str) -> str:
        return "[secret]"


def known(value: Any) -> Any:
    """Return the value of an Output that waits for no resource, so that rules can check it.

    Args:
        value: Any value. Plain values, and Outputs whose value is not known yet, are returned
            unchanged. A secret text or number is returned as `HiddenText`.
    """
    if not isinstance(value, pulumi.Output) or value is NOT_KNOWN:
        return value
    state = asyncio.ensure_future(
        asyncio.gather(value.future(), value.is_known(), value.is_secret())
    )
    # Do not cancel the future, which would cancel the Output. Pulumi itself reports its error.
    state.add_done_callback(lambda done: done.cancelled() or done.exception())
    for _ in range(_TURNS):
        if state.done():
            break
        _sync_await(asyncio.sleep(0))
    if not state.done() or state.exception():
        return value
    plain, is_known, is_secret = state.result()
    if not is_known:
        return value
    if not is_secret:
        return plain
    return HiddenText(plain) if isinstance(plain, str | int | float) else value


def has_output(value: Any) -> bool:
    """Tell whether a value, or any value inside it, is an Output."""
    if isinstance(value, pulumi.Output):
        return True
    if isinstance(value, Mapping):
        return any(has_output(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(has_output(item) for item in value)
    return False


def lift(render: Callable[[Any], R], values: Any) -> pulumi.Input[R]:
    """Call `render` on the values: at once if all are plain, so that previews show the result."""
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
    """Return a salted digest of secrets. It is no secret: it shows only that they changed."""

    def compute(parts: list[str]) -> str:
        key, *rest = parts
        return hmac.new(key.encode(), "\0".join(rest).encode(), hashlib.sha256).hexdigest()[:16]

    return pulumi.Output.unsecret(pulumi.Output.all(salt, *values).apply(compute))
