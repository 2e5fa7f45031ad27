"""Records what the real engine writes into --event-log: `python -m tests.preview.record`.

Needs the lab's CLI (`make up`) and the policy pack's environment (`make policy`, or POLICY_PYTHON
names another Python with pulumi-policy). The providers are the lab's stand-ins. What differs from
run to run and from machine to machine is taken out, and so are the debug messages, which the
converter skips.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pulumi
import pulumi_random as random
from pulumi import automation as auto
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2_grpc

from lab import engine
from lab.paths import CACHE, ROOT
from lab.toolchain import tool

EVENTS = Path(__file__).parent / "events"
PROJECT = "shop"
SECRET = "correct-horse-battery-staple"
NEW_SECRET = "tr0ub4dor-and-three-more-words"

Program = Callable[[], None]

# Starts a policy pack as the CLI's own script does, which no registry has.
_ANALYZER = """#!/bin/sh
cd "$2" && exec {python} -u -m pulumi.policy "$1" "$2/__main__.py"
"""
_PACK = """
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy


def short(args, report):
    if args.resource_type.endswith("RandomPassword") and args.props["length"] < 16:
        report(f"a password of {args.props['length']} characters is too short: 16 is the least")


def named(args, report):
    if args.resource_type.endswith("RandomId") and "prefix" not in args.props:
        report("give it a prefix, which tells what it is for")


long = ResourceValidationPolicy(
    "long-passwords", "Passwords are long.", short, EnforcementLevel.MANDATORY
)
prefixes = ResourceValidationPolicy(
    "prefixes", "Ids have a prefix.", named, EnforcementLevel.ADVISORY
)
PolicyPack("shop-rules", policies=[long, prefixes])
"""


def program(
    length: int = 20,
    ids: int = 1,
    secret: str = "",
    size: int = 4,
    fails: bool = False,
    upper: bool = True,
) -> Program:
    """Return a program: one password, some ids, and a secret in one of them."""

    def run() -> None:
        made = random.RandomPassword("database", length=length, special=False, upper=upper)
        for number in range(ids):
            random.RandomId(f"id-{number}", byte_length=size)
        if secret:
            random.RandomId("keyed", byte_length=8, prefix=pulumi.Output.secret(secret))
        pulumi.export("password", made.result)
        if fails:
            raise ValueError("the setting 'region' is missing")

    return run


class Parent(pulumi.ComponentResource):
    """A component without a provider: only its inputs change."""

    def __init__(self, name: str, props: dict[str, Any]) -> None:
        super().__init__("shop:index:Settings", name, props)
        self.register_outputs({})


def settings(**props: Any) -> Program:
    """Return a program with settings that can be updated in place, and a password."""

    def run() -> None:
        random.RandomPassword("database", length=20, special=False)
        Parent("settings", props)

    return run


@contextmanager
def served(run: Program) -> Iterator[str]:
    """Serve a program as the Automation API does; yield where."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageServer(run), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=2)


def _steady(event: dict[str, Any], work: Path, pack: Path | None) -> dict[str, Any]:
    """Return an event without what changes from run to run."""
    event.pop("timestamp", None)
    text = json.dumps(event)
    names = {str(work): "/stack", str(CACHE): "/cache", str(ROOT): "/project"}
    if pack:
        names[str(pack)] = "/pack"
    for path, name in {**names, sys.base_prefix: "/python"}.items():
        text = text.replace(path, name)
    found: dict[str, Any] = json.loads(text)
    if "summaryEvent" in found:
        found["summaryEvent"]["durationSeconds"] = 1
    return found


def record(
    name: str,
    before: Program | None,
    after: Program,
    environment: dict[str, str],
    pack: Path | None = None,
    target: Path = EVENTS,
) -> None:
    """Preview `after` on a stack that has `before`, and keep the events."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
        stack = engine.select_stack("dev", before or after, work, PROJECT, environment)
        if before:
            stack.up()
        log = work / "events.json"
        arguments = ["preview", "--stack", "dev", "--non-interactive", "--event-log", str(log)]
        path = os.environ["PATH"]
        if pack:
            analyzer = work / "bin/pulumi-analyzer-policy-python"
            analyzer.parent.mkdir()
            python = os.environ.get("POLICY_PYTHON") or CACHE / "policy-venv/bin/python"
            analyzer.write_text(_ANALYZER.format(python=python))
            analyzer.chmod(0o755)
            arguments += ["--policy-pack", str(pack)]
            path = f"{analyzer.parent}:{path}"
        with served(after) as address:
            done = subprocess.run(
                [tool("pulumi"), *arguments, f"--client={address}", "--exec-kind=auto.inline"],
                cwd=work,
                env={
                    **os.environ,
                    **stack.workspace.env_vars,
                    "PULUMI_DEBUG_COMMANDS": "true",
                    "PATH": path,
                },
                capture_output=True,
                text=True,
                check=False,
            )
        events = [_steady(json.loads(line), work, pack) for line in log.read_text().splitlines()]
        kept = [e for e in events if e.get("diagnosticEvent", {}).get("severity") != "debug"]
        for number, event in enumerate(kept):
            event["sequence"] = number
        text = "".join(f"{json.dumps(event)}\n" for event in kept)
        # Without a time the file is the same when nothing changed.
        (target / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        print(f"{name}: {len(kept)} events, the engine ended with {done.returncode}")
        _remove(stack)


def _remove(stack: auto.Stack) -> None:
    stack.destroy()
    stack.workspace.remove_stack("dev")


def cases(pack: Path) -> dict[str, tuple[Program | None, Program, Path | None]]:
    """Return what is there before and after in each case."""
    first = program()
    old = settings(zone="a", tags={"team": "web"}, hosts=["a"])
    new = settings(zone="b", tags={"team": "web", "cost.center": 7}, hosts=["a", "b"])
    return {
        "create": (None, program(secret=SECRET), None),
        "update": (old, new, None),
        "replace": (first, program(length=24), None),
        "delete": (program(ids=3), first, None),
        "secret": (program(secret=SECRET), program(secret=NEW_SECRET), None),
        "error": (first, program(ids=2, fails=True), None),
        "unchanged": (first, first, None),
        "many": (None, program(ids=500), None),
        "policy": (first, program(length=12), pack),
        "mixed": (program(ids=3, secret=SECRET), program(length=24, ids=1, size=8), None),
    }


def main(names: Sequence[str]) -> None:
    """Record the cases of these names, or all."""
    EVENTS.mkdir(exist_ok=True)
    environment = engine.environment()
    with tempfile.TemporaryDirectory() as folder:
        pack = Path(folder)
        (pack / "PulumiPolicy.yaml").write_text("runtime: python\nmain: .\n")
        (pack / "__main__.py").write_text(_PACK)
        for name, (before, after, rules) in cases(pack).items():
            if not names or name in names:
                record(name, before, after, environment, rules)


if __name__ == "__main__":
    main(sys.argv[1:])
