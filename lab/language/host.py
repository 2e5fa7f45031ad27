"""Runs Python programs, component plugins and policy packs for the engine.

It stands in for `pulumi-language-python` and serves only the calls that a preview or an update
makes: the engine does without the others, as it does with older hosts. Nothing is installed: a
program's virtual environment is used where it exists, and the lab's elsewhere.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from lab.language import executor

ALREADY_REPORTED = 32
"""Exit code of Pulumi's script when the user has seen the program's error."""


def python(info: language_pb2.ProgramInfo) -> str:
    """Return the Python of a program's virtual environment, or the lab's where it has none."""
    folder = dict(info.options).get("virtualenv")
    interpreter = Path(info.root_directory, str(folder), "bin/python")
    return str(interpreter) if folder and interpreter.exists() else sys.executable


def program(info: language_pb2.ProgramInfo) -> str:
    """Return the path of a program: a folder with `__main__.py`, or a file."""
    return os.path.normpath(os.path.join(info.program_directory, info.entry_point))


def run_arguments(request: language_pb2.RunRequest, engine: str) -> list[str]:
    """Return the arguments of the script that runs a program."""
    options = {
        "--project": request.project,
        "--root_directory": request.info.root_directory,
        "--stack": request.stack,
        "--pwd": request.pwd,
        "--dry_run": "true" if request.dryRun else "",
        "--parallel": str(request.parallel),
        "--monitor": request.monitor_address,
        "--engine": engine,
        "--organization": request.organization,
    }
    given = [part for name, value in options.items() if value for part in (name, value)]
    return [*given, program(request.info), *request.args]


def run_environment(request: language_pb2.RunRequest) -> dict[str, str]:
    """Return the variables that hold the configuration of a program."""
    return {
        "PULUMI_CONFIG": json.dumps(dict(request.config)),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        "PYTHONUNBUFFERED": "1",
    }


def plugin_arguments(request: language_pb2.RunPluginRequest) -> list[str]:
    """Return the arguments of Python for a plugin; the SDK has a module that runs policy packs."""
    folder = program(request.info)
    if request.kind == "analyzer":
        return ["-m", "pulumi.policy", *request.args, folder]
    return [folder, *request.args]


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """The language host of one engine."""

    def __init__(self, engine: str, ended: threading.Event) -> None:
        self.engine, self.ended = engine, ended

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: D102
        return plugin_pb2.PluginInfo()

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: D102
        return iter(())

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: D102
        self.ended.set()
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: D102
        # The program writes to this host's own output, which the engine shows.
        process = subprocess.Popen(
            [python(request.info), "-u", executor(), *run_arguments(request, self.engine)],
            env={**os.environ, **run_environment(request)},
            stdin=subprocess.DEVNULL,
        )
        context.add_callback(process.terminate)
        code = process.wait()
        failed = code not in {0, ALREADY_REPORTED}
        return language_pb2.RunResponse(
            error=f"Program exited with non-zero exit code: {code}" if failed else "",
            bail=code == ALREADY_REPORTED,
        )

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: D102
        process = subprocess.Popen(
            [python(request.info), "-u", *plugin_arguments(request)],
            cwd=request.pwd or None,
            env=dict(item.partition("=")[::2] for item in request.env) or None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        context.add_callback(process.terminate)
        with process, selectors.DefaultSelector() as streams:
            for name in ("stdout", "stderr"):
                streams.register(getattr(process, name), selectors.EVENT_READ, name)
            while streams.get_map():
                for stream, _ in streams.select():
                    if data := os.read(stream.fd, 1 << 16):
                        output: Any = {stream.data: data}
                        yield language_pb2.RunPluginResponse(**output)
                    else:
                        streams.unregister(stream.fileobj)
        yield language_pb2.RunPluginResponse(exitcode=process.returncode)


def main(arguments: list[str]) -> None:
    """Serve the engine, whose address is the last argument, until it ends this process."""
    ended = threading.Event()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    host = Host(arguments[-1] if arguments else "", ended)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    # The calls that still run are cancelled, which ends their processes.
    server.stop(grace=1).wait()
