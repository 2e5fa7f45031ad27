"""The base class of all settings, and how a field gets its rule or accepts Outputs."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

import pulumi
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    ModelWrapValidatorHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from ..outputs import HiddenText, known

NOT_PUBLIC = (
    "must not be a secret, because it is stored as plain text; remove it, or use a masked CI/CD "
    "variable of the project"
)


class Problems(ValueError):
    """Several problems of one value, each a line as in `ArgsError`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Reported(dict[str, Any]):
    """Arguments, with the problems between their fields that are reported already."""

    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Any, values: Mapping[str, Any], problems: Iterable[str] = ()) -> Self:
        """Return a copy of the values, with the problems of their source and the given ones."""
        reported = cls(values)
        reported.problems = (*getattr(source, "problems", ()), *problems)
        return reported


class Settings(BaseModel):
    """Validated, immutable arguments, without unknown keys and type conversion."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
    )

    def given(self) -> dict[str, Any]:
        """Return the fields that the user set, unchanged."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def as_args(self) -> Any:
        """Return these settings as arguments of a component, which does not validate them again."""
        return self

    def conflicts(self) -> list[str]:
        """Return the problems between fields that are each valid by themselves."""
        return list(_with_known(self)._conflicts())

    def _conflicts(self) -> Iterator[str]:
        # The rules of a class: they read every Output with a known value as that value.
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _together(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, Settings):  # it was validated when it was created
            return handler(value)
        settings = handler(value)
        problems = settings.conflicts()
        if isinstance(value, Reported):
            problems = [problem for problem in problems if problem not in value.problems]
        if problems:
            raise Problems(problems)
        return settings


def _with_known(value: Any) -> Any:
    """Return a value for rules to read, in which every Output with a known value is that value."""
    if isinstance(value, Settings):
        given = value.given()
        return value.model_copy(update={name: _with_known(given[name]) for name in given})
    if isinstance(value, dict):
        return {key: _item(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_item(item) for item in value]
    return known(value)


def _item(value: Any) -> Any:
    # An Output of None leaves a field unset. In a map or a list it is a value.
    plain = _with_known(value)
    return value if plain is None else plain


class Leaf:
    """Marks a field as an Input. A plain value, or an Output's known value, must meet `rule`."""

    def __init__(self, rule: Any, *, is_secret: bool = False, is_public: bool = False) -> None:
        self.rule = rule
        self.is_secret = is_secret
        self.is_public = is_public

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Build the schema of the plain value, and accept Outputs of such a value."""

        def validate(value: Any, check: Callable[[Any], Any]) -> Any:
            if not isinstance(value, pulumi.Output):
                return check(value)
            plain = known(value)
            if self.is_public and isinstance(plain, HiddenText):
                raise ValueError(NOT_PUBLIC)
            # An Output of nothing leaves the setting out.
            if plain is not None and not isinstance(plain, pulumi.Output):
                check(plain)
            return value

        return core_schema.no_info_wrap_validator_function(
            validate, handler.generate_schema(self.rule)
        )


def rule(check: Callable[[Any], str | list[str] | None]) -> AfterValidator:
    """Return a pydantic rule from a function that returns the problem of a value, if it has one.

    The message shows the value after a problem that is a text, but not after a list of problems.
    """

    def validate(value: Any) -> Any:
        problem = check(value)
        if problem:
            raise ValueError(problem) if isinstance(problem, str) else Problems(problem)
        return value

    return AfterValidator(validate)


def matches(pattern: str, problem: str) -> AfterValidator:
    """Return a pydantic rule from a regular expression, with the problem of all other values."""
    expression = re.compile(pattern, re.ASCII)
    return rule(lambda value: None if expression.fullmatch(value) else problem)


def leaf(*rules: Any, is_secret: bool = False, is_public: bool = False) -> Any:
    """Return the type of a text that may be an Output.

    Args:
        rules: The rules of the text.
        is_secret: Whether messages must hide the value.
        is_public: Whether the value is plain text in the cluster, so that it must not be a secret.
    """
    return Annotated[Any, Leaf(Annotated[(str, *rules)], is_secret=is_secret, is_public=is_public)]


class Choice(StrEnum):
    """A closed set of texts. Settings also accept the text of a member."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Build a schema that also accepts the text, although models are strict."""
        schema: Any = handler(source)
        schema["strict"] = False
        return schema  # type: ignore[no-any-return]
