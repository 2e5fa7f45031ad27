"""Expansion of a job's variables, as far as GitLab does it before the runner does."""

import re
from collections.abc import Iterable
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from lab.gitlab.model import Variable

_REFERENCE = re.compile(r"\$\$|\$(\w+)|\$\{(\w+)\}")


def expanded(variables: Iterable[Variable]) -> tuple[Variable, ...]:
    """Return variables with their references to each other replaced, as GitLab sends them.

    The last variable of a name is kept. References to unknown, raw and file variables stay: the
    runner replaces them. Variables that refer to each other in a circle stay as they are.
    """
    table = {variable.key: variable for variable in variables}

    def references(variable: Variable) -> set[str]:
        if variable.raw:
            return set()
        names = {one or other for one, other in _REFERENCE.findall(variable.value)}
        return (names & table.keys()) - {variable.key}

    graph = {key: references(variable) for key, variable in table.items()}
    try:
        order = tuple(TopologicalSorter(graph).static_order())
    except CycleError:
        return tuple(table.values())
    known: dict[str, str] = {}
    for key in order:
        variable = table[key]
        if not variable.raw:

            def value(found: re.Match[str]) -> str:
                return known.get(found[1] or found[2], found[0])

            table[key] = replace(variable, value=_REFERENCE.sub(value, variable.value))
            if not variable.file:
                known[key] = table[key].value
    return tuple(table.values())
