"""Writes docs/reference.md from the components: `python -m docs.generate`.

Descriptions come from the docstrings beside the fields; types from the annotations; what is
required, the defaults and the allowed values from the specs that judge the arguments.
"""

import ast
import inspect
import re
import sys
from collections.abc import Awaitable, Iterable, Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ForwardRef, Literal, Union, get_args, get_origin

import gitlab_runner_k8s as package
import pulumi
from annotated_types import Ge, Le, MaxLen, MinLen
from gitlab_runner_k8s import _specs
from gitlab_runner_k8s._validation import Leaf, Spec, camel
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

REFERENCE = Path(__file__).with_name("reference.md")

HEAD = """# Reference

Made by `make docs` from the components; change the docstrings and specs, not this file.

Names are given as Python has them, and as stack files and other languages have them. *Unset* means
that the setting has no value of its own; its description says what then happens. "or Output" marks
what may be the output of another resource.
"""

_PLAIN = {str: "string", int: "integer", bool: "boolean", Any: "any"}
_UNIONS = (Union, UnionType)
# What no rule lets pass, and what is too small for one that asks for a size.
_PROBES = ("\0", "0")


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def own_fields(cls: type) -> dict[str, str]:
    """Return the fields that a class itself declares, with the docstring below each."""
    found: dict[str, str] = {}
    body = _classes(cls.__module__)[cls.__name__].body
    for node, following in zip(body, [*body[1:], None], strict=True):
        target: ast.expr | None = None
        if isinstance(node, ast.AnnAssign):
            target = node.target
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
        if isinstance(target, ast.Name):
            text = getattr(getattr(following, "value", None), "value", None)
            is_text = isinstance(following, ast.Expr) and isinstance(text, str)
            found[target.id] = _line(str(text)) if is_text else ""
    return found


def base_names(cls: type) -> list[str]:
    """Return the argument types that an argument type extends."""
    bases = _classes(cls.__module__)[cls.__name__].bases
    return [base.id for base in bases if isinstance(base, ast.Name) and base.id != "TypedDict"]


def spec_of(name: str) -> type[Spec]:
    """Return the spec that judges an argument type, which is named after it."""
    base = name.removesuffix("Args")
    for candidate in (f"{base}Spec", base, f"{base}Settings"):
        spec = getattr(_specs, candidate, None)
        if isinstance(spec, type) and issubclass(spec, Spec):
            return spec
    raise LookupError(f"{name} has no spec in _specs.py: {base}Spec, {base} or {base}Settings")


def argument_types() -> dict[str, type]:
    """Return every argument type that the package exports."""
    return {name: getattr(package, name) for name in package.__all__ if name.endswith("Args")}


def enums() -> dict[str, type[Enum]]:
    """Return every choice that the package exports."""
    exported = {name: getattr(package, name) for name in package.__all__}
    return {
        name: value
        for name, value in exported.items()
        if isinstance(value, type) and issubclass(value, Enum)
    }


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _is_output(annotation: Any) -> bool:
    return isinstance(annotation, ForwardRef) or get_origin(annotation) is Awaitable


def type_text(annotation: Any) -> str:
    """Return an annotation in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin in _UNIONS:
        # pulumi.Input[T] is T, Awaitable[T] or Output[T], the last by its name.
        plain = [one for one in arguments if one is not NoneType and not _is_output(one)]
        takes_output = any(_is_output(one) for one in arguments)
        return " or ".join([*map(type_text, plain), *(["Output"] if takes_output else [])])
    if origin is pulumi.Output:
        return type_text(arguments[0])
    if origin is list:
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return f"map of {type_text(arguments[1])}"
    if isinstance(annotation, type):
        return _link(annotation.__name__)
    return type_text(arguments[0])  # NotRequired


def _output_text(annotation: Any) -> str:
    optional = ", optional" if NoneType in get_args(annotation) else ""
    return type_text(annotation) + optional


def default_text(field: FieldInfo) -> str:
    """Return whether a setting is required, or its default."""
    if field.is_required():
        return "**required**"
    default = field.default
    if default is None:
        return "unset"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, Spec):
        values = {key: getattr(default, key) for key in type(default).model_fields}
        given = ", ".join(f"{camel(key)}: {value}" for key, value in values.items() if value)
        return f"`{given}`" if given else "its defaults"
    if isinstance(default, list | dict):
        return f"`{', '.join(map(str, default))}`" if default else "none"
    # A digest in full says nothing to a reader.
    short = re.sub(r"(@sha256:[0-9a-f]{12})[0-9a-f]+", r"\1…", str(default))
    return f"`{short}`"


def _metadata(annotation: Any) -> Iterator[Any]:
    """Return the rules around a type, from the outside to the inside."""
    if get_origin(annotation) in _UNIONS:
        for option in get_args(annotation):
            yield from _metadata(option)
    elif get_origin(annotation) is list:
        yield from _metadata(get_args(annotation)[0])
        yield annotation
    elif get_origin(annotation) is Annotated:
        inner, *rules = get_args(annotation)
        yield from _metadata(inner)
        for rule in rules:
            if isinstance(rule, Leaf):
                yield from _metadata(rule.rule)
            elif isinstance(rule, FieldInfo):
                yield from rule.metadata
            else:
                yield rule
    else:
        yield annotation


def _said(annotation: Any) -> Iterator[str]:
    """Return what the rules say of strings that they do not take."""
    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config={"arbitrary_types_allowed": True})
    for probe in _PROBES:
        try:
            adapter.validate_python(probe)
        except ValidationError as refused:
            for error in refused.errors(include_url=False):
                if error["type"] == "value_error":
                    said = str(error["ctx"]["error"]).partition(";")[0]
                    yield re.sub(r"^must be |\n.*", "", said)


def allowed_text(field: FieldInfo) -> str:
    """Return what a setting may be, from its rules."""
    whole = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    rules = list(_metadata(whole))
    low = next((rule.ge for rule in reversed(rules) if isinstance(rule, Ge)), None)
    high = next((rule.le for rule in reversed(rules) if isinstance(rule, Le)), None)
    texts: list[str] = []
    choices = [rule for rule in rules if get_origin(rule) is Literal]
    if choices:
        texts.append(" ".join(f"`{choice}`" for choice in get_args(choices[0])))
    elif low is not None and high is not None:
        texts.append(f"{low} to {high}")
    elif low is not None:
        texts.append(f"{low} or more")
    elif str in rules:
        texts += dict.fromkeys(_said(whole))
        lengths = [rule for rule in rules if isinstance(rule, MinLen | MaxLen)]
        for rule in lengths:
            if isinstance(rule, MinLen):
                texts.append("not empty" if rule.min_length == 1 else f"{rule.min_length}+ long")
            else:
                texts.append(f"at most {rule.max_length} long")
    return ", ".join(texts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---' for _ in head)}|"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _summary(cls: type) -> Iterator[str]:
    """Return a class' docstring as paragraphs."""
    for paragraph in inspect.cleandoc(cls.__doc__ or "").split("\n\n"):
        yield re.sub(r"^Raises: (\w+):", r"Raises `\1`:", _line(paragraph))
        yield ""


def _arguments(name: str, cls: type) -> Iterator[str]:
    spec, hints = spec_of(name), cls.__annotations__
    yield f"## {name}"
    yield ""
    yield from _summary(cls)
    bases = base_names(cls)
    if bases:
        yield f"All of {' and '.join(_link(base) for base in bases)}, and:"
        yield ""
    yield from _table(
        ["Setting", "In stack files", "Type", "Default", "Allowed", "Description"],
        (
            [
                f"`{field}`",
                f"`{camel(field)}`",
                type_text(hints[field]),
                default_text(spec.model_fields[field]),
                allowed_text(spec.model_fields[field]),
                description,
            ]
            for field, description in own_fields(cls).items()
        ),
    )


def _component(cls: type) -> Iterator[str]:
    yield f"## {cls.__name__}"
    yield ""
    yield from _summary(cls)
    yield f"Arguments: {_link(cls.__name__ + 'Args')}. Outputs:"
    yield ""
    hints = cls.__annotations__
    yield from _table(
        ["Output", "In other languages", "Type", "Description"],
        (
            [f"`{field}`", f"`{camel(field)}`", _output_text(hints[field]), description]
            for field, description in own_fields(cls).items()
        ),
    )


def _choices(name: str, cls: type[Enum]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield from _summary(cls)
    documented = own_fields(cls)
    yield from _table(
        ["Value", "Meaning"], ([f"`{one.value}`", documented[one.name]] for one in cls)
    )


def render() -> str:
    """Return the reference."""
    lines = [HEAD]
    sections: dict[str, dict[str, Any]] = {
        "Components": {cls.__name__: cls for cls in package.COMPONENTS},
        "Arguments": argument_types(),
        "Choices": enums(),
    }
    for title, names in sections.items():
        lines.append(f"{title}: {', '.join(map(_link, names))}.")
        lines.append("")
    for cls in package.COMPONENTS:
        lines += _component(cls)
    for name, cls in argument_types().items():
        lines += _arguments(name, cls)
    for name, choice in enums().items():
        lines += _choices(name, choice)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    REFERENCE.write_text(render())
    sys.stdout.write(f"wrote {REFERENCE}\n")
