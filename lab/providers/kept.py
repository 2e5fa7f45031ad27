"""Stand-ins for `kubernetes` and `aws` where neither is there: resources are in the state alone.

It is for what the engine does with resources: parents, options, aliases, order. What Kubernetes
says of an object, only `lab.providers.kubernetes` can tell.
"""

import copy
import secrets
from collections.abc import Callable
from typing import Any

from lab.providers.base import Call, Change, Properties, Provider, Resource, changed_paths

_IDENTITY = ("apiVersion", "kind", "metadata.name", "metadata.namespace")


class KeptObject(Resource):
    """Any object: it has a name, which stays, and is what its inputs say.

    Args:
        computed: What a provider adds to it, by its id.
    """

    def __init__(self, computed: Callable[[str], Properties]) -> None:
        self.computed = computed

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Name the object where it has no name."""
        news = copy.deepcopy(news)
        if "kind" in news:
            known = olds.get("metadata", {}).get("name")
            metadata = news.setdefault("metadata", {})
            metadata.setdefault("name", known or f"{call.name}-{secrets.token_hex(4)}")
        return news

    def diff(self, call: Call, inputs: Properties, outputs: Properties, news: Properties) -> Change:
        """Replace it by another name or namespace; update it otherwise."""
        return Change.of(changed_paths(inputs, news), lambda path: path in _IDENTITY)

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Keep it."""
        name = inputs.get("metadata", {}).get("name") or inputs.get("name") or call.name
        return str(name), {**self.computed(str(name)), **inputs}


class KeptProvider(Provider):
    """Serves every type alike."""

    def __init__(self, name: str, computed: Callable[[str], Properties]) -> None:
        super().__init__(name, {})
        self.kept = KeptObject(computed)

    def _resource(self, urn: str, context: Any) -> Resource:
        return self.kept


def _amazon(name: str) -> Properties:
    arn = f"arn:aws:iam::123456789012:role/{name}"
    return {"arn": arn, "name": name, "bucket": name, "secret": f"secret-of-{name}"}


def providers() -> list[Provider]:
    """Return the providers."""
    return [KeptProvider("kubernetes", lambda _: {}), KeptProvider("aws", _amazon)]
