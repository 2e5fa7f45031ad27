"""A small evaluator of AWS policy documents, for what the test server does not enforce.

It knows the elements that the components write, and refuses all others.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

_KNOWN = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _like(pattern: str, text: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.DOTALL) is not None


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "Bool": lambda wanted, text: wanted == text,
    "StringEquals": lambda wanted, text: wanted == text,
    "StringLike": _like,
}


def _is_principal(wanted: Any, principal: str) -> bool:
    if wanted == "*":
        return True
    # A session has the rights of its role: …:sts::1:assumed-role/name/session.
    session = re.fullmatch(r"arn:([a-z-]+):sts::(\d+):assumed-role/([^/]+)/.+", principal)
    names = {principal}
    if session:
        names.add(f"arn:{session[1]}:iam::{session[2]}:role/{session[3]}")
    return any(names & set(_list(values)) for values in wanted.values())


def _applies(
    statement: Mapping[str, Any],
    action: str,
    resource: str | None,
    principal: str | None,
    context: Mapping[str, str],
) -> bool:
    assert set(statement) <= _KNOWN, statement
    assert ("Principal" in statement) == (principal is not None), statement
    if not any(_like(wanted.lower(), action.lower()) for wanted in _list(statement["Action"])):
        return False
    # The trust policy of a role has no resource: it is about the role.
    if resource is not None and not any(
        _like(wanted, resource) for wanted in _list(statement["Resource"])
    ):
        return False
    if principal is not None and not _is_principal(statement["Principal"], principal):
        return False
    return all(
        key in context and any(_OPERATORS[operator](one, context[key]) for one in _list(wanted))
        for operator, conditions in statement.get("Condition", {}).items()
        for key, wanted in conditions.items()
    )


def decide(
    document: Mapping[str, Any],
    action: str,
    resource: str | None = None,
    *,
    principal: str | None = None,
    context: Mapping[str, str] | None = None,
) -> str | None:
    """Return "Allow" or "Deny", or None where the document says nothing."""
    effects = {
        statement["Effect"]
        for statement in document["Statement"]
        if _applies(statement, action, resource, principal, context or {})
    }
    return "Deny" if "Deny" in effects else next(iter(effects), None)
