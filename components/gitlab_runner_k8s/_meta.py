"""Name, version, type tokens and scripts of the package."""

from importlib import resources

PACKAGE = "gitlab-runner-k8s"
VERSION = "0.1.0"


def token(component: str) -> str:
    """Return the type token of a component: the same natively and as a plugin."""
    return f"{PACKAGE}:index:{component}"


def script(file: str) -> str:
    """Return a shell script of the package."""
    return resources.files(__package__).joinpath(file).read_text()
