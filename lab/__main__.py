"""The lab's command line: `python -m lab up|down|status|verify|extras|languages`."""

import argparse
import os
import signal
import sys
from contextlib import nullcontext
from typing import NoReturn

from pulumi.automation import errors

from lab import process
from lab.console import LabError, fail, say
from lab.paths import KUBECONFIG, STATE


def _up() -> None:
    from lab import up

    up.up()


def _down() -> None:
    from lab import cluster

    if not STATE.exists():
        say("nothing is running")
        return
    cluster.down()
    say("stopped; what was built stays in the cache for the next time")


def _status() -> None:
    from lab import cluster

    for name, pid in cluster.status().items():
        say(f"  {name:<24} {f'pid {pid}' if pid else 'not running'}")
    if cluster.runs():
        say("")
        say(cluster.kubectl("get", "pods", "-A").rstrip())
        say(f"\nexport KUBECONFIG={KUBECONFIG}")


def _verify() -> None:
    from lab import verify

    verify.main()


def _extras() -> None:
    from lab import cluster, images, toolchain

    if not cluster.runs():
        raise LabError("the lab is not running; run 'make up' first")
    toolchain.ensure(toolchain.EXTRAS)
    images.build_all(images.EXTRAS)
    images.load_all(images.EXTRAS)


def _languages() -> None:
    from lab import language, toolchain

    toolchain.ensure(toolchain.LANGUAGES)
    language.executor()
    language.install_node_modules()


_COMMANDS = {
    "up": (_up, "bring up the cluster and the platform; again, to apply changes"),
    "down": (_down, "stop and remove everything that up made, but the cache"),
    "status": (_status, "show what runs"),
    "verify": (_verify, "run the same docker build twice and show that the second is warm"),
    "extras": (_extras, "build, once, what the tests on the running lab need beside it"),
    "languages": (_languages, "build, once, what the tests of the plugin's users need"),
}
_ALONE = {"up", "down", "extras", "languages"}
"""The commands that change the lab: one at a time."""


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Run a command; every error that the user can mend is one message."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, text) in _COMMANDS.items():
        commands.add_parser(name, help=text)
    wanted = parser.parse_args().command
    command, _ = _COMMANDS[wanted]
    # A kill is an interruption like Ctrl-C, and so is a closed terminal, but for nohup.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        with process.alone() if wanted in _ALONE else nullcontext():
            command()
    except LabError as error:
        fail(str(error))
        return 1
    except errors.CommandError as error:
        fail(f"pulumi failed:\n{error}")
        return 1
    except KeyboardInterrupt:
        fail("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # The SDK would print what an interrupted program has left.
    os._exit(code)
