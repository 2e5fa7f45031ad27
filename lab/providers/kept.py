"""Stand-ins for `kubernetes` and `aws` where neither is there: resources are in the state alone.

It is for what the engine does with resources: parents, options, aliases, order, and what a change
replaces, for which it asks the other stand-ins. What Kubernetes says of an object, only
`lab.providers.kubernetes` can tell.
"""

import copy
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lab.providers import aws, kubernetes, random, tls
from lab.providers.__main__ import serve
from lab.providers.base import Call, Change, Properties, Provider, Resource, changed_paths

_IDENTITY = ("apiVersion", "kind", "metadata.name", "metadata.namespace")


class KeptObject(Resource):
    """Any object: it has a name, which stays, and is what its inputs say.

    Args:
        computed: What a provider adds to it, by its id. Default: nothing.
        like: The same type of another stand-in, which says what a change replaces. Default: another
            name or namespace does.
    """

    def __init__(
        self,
        computed: Callable[[str], Properties] = lambda _: {},
        like: Resource | None = None,
    ) -> None:
        self.computed, self.like = computed, like

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Name the object where it has no name."""
        news = copy.deepcopy(news)
        if "kind" in news:
            known = olds.get("metadata", {}).get("name")
            metadata = news.setdefault("metadata", {})
            metadata.setdefault("name", known or f"{call.name}-{secrets.token_hex(4)}")
        return news

    def diff(self, call: Call, inputs: Properties, outputs: Properties, news: Properties) -> Change:
        """Replace it, or update it otherwise."""
        if self.like is not None:
            return self.like.diff(call, inputs, outputs, news)
        return Change.of(changed_paths(inputs, news), lambda path: path in _IDENTITY)

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Keep it."""
        name = inputs.get("metadata", {}).get("name") or inputs.get("name") or call.name
        return str(name), {**self.computed(str(name)), **inputs}


class KeptProvider(Provider):
    """Serves every type alike; what a change replaces is what another stand-in says."""

    def __init__(self, like: Provider, computed: Callable[[str], Properties]) -> None:
        super().__init__(like.name, {})
        self.like, self.computed = like, computed

    def _resource(self, urn: str, context: Any) -> Resource:
        kind = urn.split("::")[2].rpartition("$")[2]
        return KeptObject(self.computed, self.like.resources.get(kind))

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: D102
        return self.like.Configure(request, context)


def _amazon(name: str) -> Properties:
    arn = f"arn:aws:iam::123456789012:role/{name}"
    return {"arn": arn, "name": name, "bucket": name, "secret": f"secret-of-{name}"}


def providers() -> list[Provider]:
    """Return the providers."""
    return [
        KeptProvider(kubernetes.provider(), lambda _: {}),
        KeptProvider(aws.provider(), _amazon),
    ]


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Serve them, `random` and `tls`; yield the environment by which the engine finds them."""
    all_of_them = (*providers(), random.provider(), tls.provider())
    served = [(provider.name, *serve(provider)) for provider in all_of_them]
    try:
        yield {"PULUMI_DEBUG_PROVIDERS": ",".join(f"{name}:{port}" for name, _, port in served)}
    finally:
        for _, server, _ in served:
            server.stop(grace=2)
