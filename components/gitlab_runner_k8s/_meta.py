"""Name, version and type tokens of the package."""

PACKAGE = "gitlab-runner-k8s"
VERSION = "0.1.0"


def token(component: str) -> str:
    """Return the type token of a component: the same natively and as a plugin."""
    return f"{PACKAGE}:index:{component}"
