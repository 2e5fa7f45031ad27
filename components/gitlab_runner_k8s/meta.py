"""Name, version, type tokens and scripts of the package."""

from importlib import resources

PACKAGE = "gitlab-runner-k8s"
VERSION = "0.1.0"


def type_token(component: str) -> str:
    """Return the type token of a component, which is the same in every language."""
    return f"{PACKAGE}:index:{component}"


def script(path: str) -> str:
    """Return the text of a shell script of the package, such as `daemon/drain.sh`."""
    folder, _, file = path.partition("/")
    return resources.files(__package__).joinpath(folder, "scripts", file).read_text()
