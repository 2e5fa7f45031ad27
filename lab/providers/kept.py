"""Stand-in for the provider `kubernetes` where there is no cluster: objects are in the state alone.

It is for what the engine does with resources: parents, options, aliases, order. What Kubernetes
says of an object, only `lab.providers.kubernetes` can tell.
"""

import copy
import secrets
from typing import Any

from lab.providers.base import Call, Change, Properties, Provider, Resource, changed_paths

_IDENTITY = ("apiVersion", "kind", "metadata.name", "metadata.namespace")


class KeptObject(Resource):
    """Any object: it has a name, which stays, and is what its inputs say."""

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
        return str(name), inputs


class KeptProvider(Provider):
    """Serves every type alike."""

    def _resource(self, urn: str, context: Any) -> Resource:
        return KeptObject()


def provider() -> Provider:
    """Return the provider."""
    return KeptProvider("kubernetes", {})
