"""The public argument types, from the settings.

They are source text, not types made at run time: mypy, editors and Pulumi's schema inference read
source. Pulumi's inference knows no inherited docstring, so every type has all of its fields.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from gitlab_runner_k8s.cache.settings import (
    ExternalCacheSettings,
    MinioCacheSettings,
    S3CacheSettings,
)
from gitlab_runner_k8s.daemon.settings import BuildKitDaemonSettings, SharedDockerDaemonSettings
from gitlab_runner_k8s.mirror.settings import RegistryMirrorSettings
from gitlab_runner_k8s.platform.settings import RunnerPlatformSettings
from gitlab_runner_k8s.runner.settings import GitLabRunnerSettings
from gitlab_runner_k8s.validation.base import Choice, Leaf, Settings
from gitlab_runner_k8s.validation.rules.kubernetes import TolerationSettings
from pydantic.fields import FieldInfo

from lab.paths import ROOT

PATH = ROOT / "components/gitlab_runner_k8s/arguments.py"

COMPONENTS: tuple[type[Settings], ...] = (
    BuildKitDaemonSettings,
    ExternalCacheSettings,
    GitLabRunnerSettings,
    MinioCacheSettings,
    RegistryMirrorSettings,
    RunnerPlatformSettings,
    S3CacheSettings,
    SharedDockerDaemonSettings,
)
"""The settings of the components."""

_SAYS_RANGE = re.compile(r"\bfrom \d+ to \d+|\bat (least|most) `?\w", re.IGNORECASE)
_WIDTH = 90
"""Columns of a docstring's text, so that its quotes fit into 100."""
_HEAD = '''"""The arguments of the components.

Generated from the settings by `make generate`: do not edit.
"""

from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import pulumi

'''


def argument_name(settings: type[Settings]) -> str:
    """Return the name of the argument type of settings."""
    return f"{settings.__name__.removesuffix('Settings')}Args"


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Return what a field may be, but for None."""
    if get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from _alternatives(option)
    elif annotation is not NoneType:
        yield annotation


def _inner(annotation: Any) -> Iterator[Any]:
    """Return the classes of settings and choices in a type."""
    if isinstance(annotation, type) and issubclass(annotation, Settings | Choice):
        yield annotation
    for argument in get_args(annotation):
        yield from _inner(argument)


@cache
def settings_types() -> tuple[type[Settings], ...]:
    """Return the settings that have an argument type, each after those it refers to."""
    found: list[type[Settings]] = []

    def visit(settings: type[Settings]) -> None:
        if settings in found or settings is TolerationSettings:
            return
        for field in settings.model_fields.values():
            for kind in _inner(field.annotation):
                if issubclass(kind, Settings):
                    visit(kind)
        found.append(settings)

    for component in COMPONENTS:
        visit(component)
    return tuple(found)


def settings_of(name: str) -> type[Settings]:
    """Return the settings of an argument type."""
    return {argument_name(settings): settings for settings in settings_types()}[name]


def choice_types() -> list[type[Choice]]:
    """Return the choices of all settings."""
    found: list[type[Choice]] = []
    for settings in settings_types():
        for field in settings.model_fields.values():
            for kind in _inner(field.annotation):
                if issubclass(kind, Choice) and kind not in found:
                    found.append(kind)
    return sorted(found, key=lambda choice: choice.__name__)


def type_text(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """Return the type of an argument as source text.

    Args:
        annotation: The setting's annotation, without None.
        metadata: Its rules.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0], arguments[1:])
    if any(isinstance(rule, Leaf) for rule in metadata):
        return "pulumi.Input[str]"
    if origin is list:
        item = type_text(arguments[0])
        # Pulumi's SDK turns list items of enums into empty maps.
        return f"list[{'str' if item.endswith('Input') else item}]"
    if origin is dict:
        return f"dict[str, {type_text(arguments[1])}]"
    if annotation is TolerationSettings:  # in Kubernetes' own spelling
        return "dict[str, Any]"
    if origin is Literal or origin in (Union, UnionType):
        return "str"
    if issubclass(annotation, Choice):
        return f"{annotation.__name__}Input"
    return argument_name(annotation) if issubclass(annotation, Settings) else annotation.__name__


def field_type(field: FieldInfo) -> str:
    """Return the type of an argument as source text, with what may be left out."""
    # Several kinds of text are a text.
    first, *_ = _alternatives(field.annotation)
    text = type_text(first, tuple(field.metadata))
    if field.is_required():
        return text
    return f"NotRequired[{text} | None]" if field.default is None else f"NotRequired[{text}]"


def default_text(default: Any) -> str:
    """Return a default in words."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Settings):
        values = [(name, getattr(default, name)) for name in type(default).model_fields]
        return ", ".join(f"{name} {value}" for name, value in values if value)
    if isinstance(default, list | dict):
        return ", ".join(map(str, default)) or "none"
    # A digest in full says nothing to a reader.
    return re.sub(r"@sha256:[0-9a-f]{64}$", "", str(default))


def rules_of(annotation: Any) -> Iterator[Any]:
    """Return the rules around a type, from the outside to the inside."""
    if get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from rules_of(option)
    elif get_origin(annotation) is list:
        yield from rules_of(get_args(annotation)[0])
        yield annotation
    elif get_origin(annotation) is Annotated:
        inner, *rules = get_args(annotation)
        yield from rules_of(inner)
        for rule in rules:
            if isinstance(rule, Leaf):
                yield from rules_of(rule.rule)
            elif isinstance(rule, FieldInfo):
                yield from rule.metadata
            else:
                yield rule
    else:
        yield annotation


def full_annotation(field: FieldInfo) -> Any:
    """Return a field's type with all of its rules."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def bounds(rules: Sequence[Any]) -> tuple[Any, Any]:
    """Return the least and the greatest value that the innermost rules allow, if any."""
    low = next((rule.ge for rule in reversed(rules) if isinstance(rule, Ge)), None)
    high = next((rule.le for rule in reversed(rules) if isinstance(rule, Le)), None)
    return low, high


def _range(field: FieldInfo) -> str:
    low, high = bounds([*rules_of(full_annotation(field))])
    if low is None:
        return ""
    return f" From {low} to {high}." if high is not None else f" At least {low}."


def description(field: FieldInfo) -> str:
    """Return a setting's docstring, with its default and range where it does not say them."""
    text = " ".join((field.description or "").split())
    is_plain = not field.is_required() and field.default is not None
    if "Default:" not in text and is_plain and (value := default_text(field.default)):
        text += f" Default: {value}."
    is_of_items = get_origin(field.annotation) in (list, dict)
    return text if is_of_items or _SAYS_RANGE.search(text) else text + _range(field)


def _docstring(text: str, indent: str) -> Iterator[str]:
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    quoted = [f'"""{lines[0]}', *lines[1:]]
    quoted[-1] += '"""'
    yield from (f"{indent}{line}" for line in quoted)


def _class(settings: type[Settings]) -> Iterator[str]:
    yield f"class {argument_name(settings)}(TypedDict):"
    first, *rest = inspect.cleandoc(settings.__doc__ or "").split("\n\n")
    paragraphs = [" ".join(first.split()), *(" ".join(text.split()) for text in rest)]
    if rest:
        yield f'    """{paragraphs[0]}'
        for text in paragraphs[1:]:
            yield ""
            yield from textwrap.wrap(
                text,
                _WIDTH,
                initial_indent="    ",
                subsequent_indent="    ",
                break_on_hyphens=False,
            )
        yield '    """'
    else:
        yield from _docstring(paragraphs[0], "    ")
    yield ""
    for name, field in settings.model_fields.items():
        yield f"    {name}: {field_type(field)}"
        yield from _docstring(description(field), "    ")
    yield ""
    yield ""


def _choices(choices: list[type[Choice]]) -> Iterator[str]:
    """Return what each choice is: to mypy its texts too, to Pulumi's inference the enum alone."""
    yield "if TYPE_CHECKING:"
    for choice in choices:
        texts = ", ".join(f'"{member.value}"' for member in choice)
        yield f"    {choice.__name__}Input = Literal[{texts}] | {choice.__name__}"
    yield "else:  # Pulumi's schema inference knows no union"
    for choice in choices:
        yield f"    {choice.__name__}Input = {choice.__name__}"
    yield ""
    yield ""


def _imports(choices: list[type[Enum]] | list[type[Choice]]) -> Iterator[str]:
    by_module: dict[str, list[str]] = {}
    for choice in choices:
        by_module.setdefault(choice.__module__.partition(".")[2], []).append(choice.__name__)
    for module, names in sorted(by_module.items()):
        yield f"from .{module} import {', '.join(sorted(names))}"
    yield ""


def render() -> str:
    """Return the module of the argument types."""
    settings, choices = settings_types(), choice_types()
    names = ",\n    ".join(f'"{name}"' for name in sorted(argument_name(one) for one in settings))
    lines = [
        *_imports(choices),
        *_choices(choices),
        *(line for one in settings for line in _class(one)),
        f"__all__ = [\n    {names},\n]",
    ]
    return _HEAD + "\n".join(lines).rstrip() + "\n"
