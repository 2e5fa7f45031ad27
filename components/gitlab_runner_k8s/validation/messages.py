"""One message with every problem of the arguments, each with its path, its rule and a fix."""

import copy
import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

import pulumi
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..outputs import NOT_KNOWN, HiddenText
from ..secrets import masked
from .base import Problems, Reported, Settings


class ArgsError(pulumi.RunError, ValueError):
    """The arguments of a component, or the settings of a stack, are not valid.

    `problems` contains a line for each problem, `path: rule, got value; fix`. In Python programs,
    Pulumi prints only the message, without a traceback.
    """

    def __init__(self, where: str, problems: Iterable[str]) -> None:
        self.problems = tuple(map(masked, problems))
        count = len(self.problems)
        title = (
            f"{masked(where)}: {count} problem{'s' if count != 1 else ''}, nothing was registered"
        )
        super().__init__("\n".join([title, *(f"  - {problem}" for problem in self.problems)]))


_CONTAINERS = {
    "dict_type": "must be a map",
    "list_type": "must be a list",
    "model_type": "must be a map",
    "model_attributes_type": "must be a map",
}


_RULES = {
    "int_type": "must be a whole number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "too_short": "must not be empty; add to it, or leave it out",
    "too_long": "must have at most {max_length} items; remove some",
    "string_too_short": "must have at least {min_length} characters; use a longer text",
    "string_too_long": "must have at most {max_length} characters; shorten it",
    "string_pattern_mismatch": "must match {pattern}; change it",
    **_CONTAINERS,
}


def camel(name: str) -> str:
    """Return a snake_case name in camelCase, as Pulumi's schema inference does."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def alternatives(kind: Any) -> Iterator[Any]:
    """Return the alternatives of a type, without their annotations and None."""
    if get_origin(kind) is Annotated:
        yield from alternatives(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for option in get_args(kind):
            yield from alternatives(option)
    elif kind is not NoneType:
        yield kind


def is_model(kind: Any) -> bool:
    """Tell whether a type is a class of settings."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _below(kind: Any, part: int | str) -> Any:
    """Return the type of the value at a key, or a number, of a type."""
    if is_model(kind):
        field = kind.model_fields.get(str(part))
        return next(alternatives(field.annotation), None) if field else None
    # A dict or a list.
    return next(alternatives((get_args(kind) or (None,))[-1]), None)


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the names of the fields of the model at an error's location."""
    kind: Any = model
    for part in location:
        kind = _below(kind, part)
    if not is_model(kind):
        return []
    return [field.alias or name for name, field in kind.model_fields.items()]


@cache
def secret_fields() -> frozenset[str]:
    """Return the names of all fields whose values are secrets."""
    return frozenset(_secret_names(Settings))


def _secret_names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if any(getattr(rule, "is_secret", False) for rule in _annotations(field)):
            yield name
    for subclass in model.__subclasses__():
        yield from _secret_names(subclass)


def _annotations(field: FieldInfo) -> Iterator[Any]:
    """Return the annotations of a field's type and of its alternatives."""
    yield from field.metadata
    for option in get_args(field.annotation):
        yield from getattr(option, "__metadata__", ())


def kind_of(value: Any) -> str:
    """Return the kind of a value, for messages that must not show the value."""
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    if value is None:
        return "null"
    if isinstance(value, pulumi.Output):
        return "an Output; only the values inside it may be Outputs"
    return "a map" if isinstance(value, Mapping) else kinds.get(type(value), type(value).__name__)


def _shown(value: Any, location: Sequence[int | str]) -> str:
    if isinstance(value, HiddenText) or secret_fields() & {str(part) for part in location}:
        return "[secret]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, str | int | float | None):
        return kind_of(value)
    text = masked(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}…'"


def _field_names(model: type[BaseModel]) -> Iterator[str]:
    yield from model.model_fields
    for subclass in model.__subclasses__():
        yield from _field_names(subclass)


def spelled(text: str, spell: Callable[[str], str], others: Iterable[str] = ()) -> str:
    """Return a text with the names of settings spelled as the user spells them.

    Args:
        text: The text, with names in snake_case.
        spell: Function that spells a name.
        others: Names to spell in addition to those of settings.
    """
    names = {*_field_names(Settings), *others}
    return re.sub(
        r"(?<![\w'/-])[a-z0-9]+(_[a-z0-9]+)+(?![\w'/-])",
        lambda match: spell(match[0]) if match[0] in names else match[0],
        text,
    )


def _path(
    location: tuple[int | str, ...], model: type[BaseModel], spell: Callable[[str], str]
) -> str:
    """Return a location as the user writes it: with spelled fields, and the user's own keys."""
    path, kind = "", cast(Any, model)
    for part in location:
        if part == "[key]":  # pydantic's mark for the key of a map
            continue
        name = spell(str(part)) if is_model(kind) else str(part)
        kind = _below(kind, part)
        path += f"[{part}]" if isinstance(part, int) else f".{name}" if path else name
    return path


def _lines(
    error: ErrorDetails, model: type[BaseModel], spell: Callable[[str], str]
) -> Iterator[str]:
    """Return a line for an error, or a line for each of its `Problems`."""
    reason = error.get("ctx", {}).get("error")
    if not isinstance(reason, Problems):
        yield _problem(error, model, spell)
        return
    if isinstance(error["input"], str):  # the rule decides which part of the value to show
        path = _path(error["loc"], model, spell)
        for problem in reason.problems:
            # The text before a colon is a path inside the value.
            place, colon, rest = problem.partition(": ")
            yield f"{path}: {place}{colon}{spelled(rest, spell)}"
        return
    for problem in reason.problems:
        single: Any = {**error, "ctx": {"error": ValueError(problem)}}
        yield _problem(single, model, spell)


def _problem(error: ErrorDetails, model: type[BaseModel], spell: Callable[[str], str]) -> str:
    location = error["loc"]
    path = _path(location, model, spell)
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        names = [spell(name) for name in _fields_at(model, location[:-1])]
        near = difflib.get_close_matches(str(location[-1]), names, n=1)
        fix = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(names))}"
        return f"{path}: unknown key; {fix}"
    if kind == "missing":
        return f"{path}: is required; set it"
    if kind == "value_error":
        text = spelled(str(error["ctx"]["error"]), spell)
        # A rule over several fields has no single value to show.
        if isinstance(value, Mapping):
            return f"{path}: {text}" if path else text
        if isinstance(value, pulumi.Output):  # only a secret is refused as an Output
            return f"{path}: {text}"
    else:
        text = _RULES.get(kind, error["msg"].replace("Input should be", "must be"))
        text = text.format_map(error.get("ctx", {})) if kind in _RULES else text
    text, semicolon, fix = text.partition("; ")
    # A value in place of a map or a list may be a secret whose key is missing.
    shown = kind_of(value) if kind in _CONTAINERS else _shown(value, location)
    return f"{path}: {text}, got {shown}{semicolon}{fix}"


S = TypeVar("S", bound=Settings)


def problems(model: type[BaseModel], args: Mapping[str, Any]) -> list[str]:
    """Return every problem of the arguments, in a line with its path, its rule and a fix."""
    try:
        model.model_validate(dict(args))
    except ValidationError as invalid:
        return _explained(model, args, invalid, str)
    return []


def _explained(
    model: type[BaseModel],
    args: Mapping[str, Any],
    invalid: ValidationError,
    spell: Callable[[str], str],
) -> list[str]:
    errors = invalid.errors(include_url=False)
    errors += _hidden(model, args, errors)
    return [line for error in errors for line in _lines(error, model, spell)]


def validate(
    model: type[S],
    args: Any,
    where: str,
    *,
    spell: Callable[[str], str] = str,
    also: Iterable[str] = (),
) -> S:
    """Return the arguments as validated settings.

    Args:
        model: Class of the settings.
        args: The arguments, by snake_case name.
        where: Start of the message, such as "GitLabRunner 'ci'".
        spell: Function that spells a field's name as the source of the arguments does.
        also: Problems from elsewhere, for the same message.

    Raises:
        ArgsError: with every problem, each with its path, rule and fix.
    """
    if isinstance(args, model):  # from the platform's plan, or a stack's file: it is validated
        return args
    lines = list(also)
    if not isinstance(args, Mapping):
        lines.append(f"the arguments must be a map, got {kind_of(args)}; give them by name")
        raise ArgsError(where, dict.fromkeys(lines))
    try:
        settings = model.model_validate(dict(args))
    except ValidationError as invalid:
        lines += _explained(model, args, invalid, spell)
    if lines:
        raise ArgsError(where, dict.fromkeys(lines))
    return settings


def keys_of(args: Any, field: str) -> list[str]:
    """Return the keys of a map in the arguments, which are not validated yet."""
    entries = args.get(field) if isinstance(args, Mapping) else None
    return [key for key in entries if isinstance(key, str)] if isinstance(entries, Mapping) else []


def _hidden(
    model: type[BaseModel], args: Mapping[str, Any], errors: list[ErrorDetails]
) -> Iterator[ErrorDetails]:
    """Return the problems between fields that the errors of the first validation hide.

    pydantic does not check the rules between fields while a field itself is invalid. This function
    validates again, with each invalid value replaced by an Output that is not known yet, or left
    out where an Output is not allowed.
    """
    attempt = dict(args)
    seen = {(error["loc"], error["msg"]) for error in errors}
    # The user set a value of the wrong kind, so no rule may report that it is missing.
    unsure = {error["loc"][:-1] for error in errors if error["type"] in _CONTAINERS}
    # Maps and lists with an invalid item. Without the item they may look empty, but they are not.
    wrong = {error["loc"][:-1] for error in errors if not _fields_at(model, error["loc"][:-1])}
    for _ in range(8):  # each level of the arguments may hide problems of the level above
        # Start at the end: removing an item of a list moves the items after it.
        for error in reversed(errors):
            reason = error.get("ctx", {}).get("error")
            if isinstance(reason, Problems) and isinstance(error["input"], Mapping):
                attempt = _reported(attempt, error["loc"], reason.problems)
                continue
            attempt = _without(attempt, error["loc"], is_unknown=error["type"] == "extra_forbidden")
        try:
            model.model_validate(attempt)
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False)
        else:
            return
        for error in errors:
            is_ours = error["type"] == "missing" or error["input"] is NOT_KNOWN
            is_known = (error["loc"], error["msg"]) in seen or error["loc"] in unsure
            if not is_ours and not is_known:
                seen.add((error["loc"], error["msg"]))
                yield from _sure(error, wrong)


def _sure(error: ErrorDetails, wrong: set[tuple[int | str, ...]]) -> Iterator[ErrorDetails]:
    """Return an error without the problems of fields whose items are invalid themselves."""
    reason = error.get("ctx", {}).get("error")
    if not isinstance(reason, Problems):
        yield error
        return
    problems = [
        line for line in reason.problems if (*error["loc"], line.partition(" ")[0]) not in wrong
    ]
    if problems:
        changed: Any = {**error, "ctx": {"error": Problems(problems)}}
        yield changed


def _reported(value: Any, location: Sequence[int | str], problems: tuple[str, ...]) -> Any:
    """Return a copy in which the problems of the map at a location are reported."""
    if not location:
        return Reported.of(value, value, problems)
    copied, (key, *rest) = copy.copy(value), location
    copied[key] = _reported(copied[key], rest, problems)
    return copied


def _without(value: Any, location: tuple[int | str, ...], *, is_unknown: bool) -> Any:
    """Return a copy in which the value at a location is left out or not known yet."""
    if not location or not isinstance(value, dict | list):
        return value
    copied: Any = copy.copy(value)
    key, *rest = location
    is_there = key in copied if isinstance(copied, dict) else int(key) < len(copied)
    if not is_there:
        return value
    if rest and isinstance(copied[key], dict | list):
        copied[key] = _without(copied[key], tuple(rest), is_unknown=is_unknown)
    elif is_unknown or copied[key] is NOT_KNOWN or isinstance(copied[key], dict):
        del copied[key]
    else:
        copied[key] = NOT_KNOWN
    return copied
