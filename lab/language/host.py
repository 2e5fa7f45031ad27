"""Runs Python programs and plugins for the engine, as `pulumi-language-python` does.

Where the real host keeps a virtual environment for each program, this one installs nothing: a
program has its own environment where that is there already, and the lab's otherwise.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from lab.language import executor

ALREADY_REPORTED = 32
"""What the script that runs a program returns when it has told the user of an error."""


def python(info: language_pb2.ProgramInfo) -> str:
    """Return the Python of a program's own environment, or the lab's where it has none."""
    named = dict(info.options).get("virtualenv")
    own = Path(info.root_directory, str(named), "bin/python") if named else None
    return str(own) if own and own.exists() else sys.executable


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
    """Return where a program finds its configuration."""
    return {
        "PULUMI_CONFIG": json.dumps(dict(request.config)),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        "PYTHONUNBUFFERED": "1",
    }


def outcome(code: int) -> language_pb2.RunResponse:
    """Return what the engine is told of a program's end."""
    if code == 0:
        return language_pb2.RunResponse()
    if code == ALREADY_REPORTED:
        return language_pb2.RunResponse(bail=True)
    return language_pb2.RunResponse(error=f"Program exited with non-zero exit code: {code}")


def _forward(
    stream: IO[bytes] | None, message: Callable[[bytes], Any], messages: "queue.Queue[Any]"
) -> None:
    assert stream is not None
    for line in iter(stream.readline, b""):
        messages.put(message(line))


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """The language host of one engine."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.processes: set[subprocess.Popen[bytes]] = set()

    def stop(self) -> None:
        """End what still runs."""
        for process in list(self.processes):
            process.terminate()

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: D102
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: D102
        return plugin_pb2.PluginInfo(version=metadata.version("pulumi"))

    def About(self, request: Any, context: Any) -> Any:  # noqa: D102
        version = ".".join(map(str, sys.version_info[:3]))
        return language_pb2.AboutResponse(executable=python(request.info), version=version)

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:  # noqa: D102
        # None: the engine would download them, and they are attached or installed already.
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:  # noqa: D102
        return language_pb2.GetRequiredPluginsResponse()

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:  # noqa: D102
        found = {found.name: found.version for found in metadata.distributions()}
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[
                language_pb2.DependencyInfo(name=name, version=version)
                for name, version in sorted(found.items())
                if request.transitiveDependencies or name.startswith("pulumi")
            ]
        )

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:  # noqa: D102
        return language_pb2.RuntimeOptionsResponse()

    def Template(self, request: Any, context: Any) -> Any:  # noqa: D102
        return language_pb2.TemplateResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: D102
        text = f"the lab installs nothing: {python(request.info)} is used as it is\n"
        yield language_pb2.InstallDependenciesResponse(stdout=text.encode())

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: D102
        self.stop()
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: D102
        # The program's output is this host's own, which the engine shows.
        process = subprocess.Popen(
            [python(request.info), "-u", str(executor()), *run_arguments(request, self.engine)],
            env={**os.environ, **run_environment(request)},
            stdin=subprocess.DEVNULL,
        )
        self.processes.add(process)
        context.add_callback(process.terminate)
        try:
            return outcome(process.wait())
        finally:
            self.processes.discard(process)

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: D102
        if request.kind not in {"", "resource"}:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"the stand-in for the Python host runs no plugin of the kind '{request.kind}'",
            )
        folder = program(request.info)
        if not Path(folder, "__main__.py").exists():
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{folder} has no __main__.py")
        process = subprocess.Popen(
            [python(request.info), "-u", folder, *request.args],
            cwd=request.pwd or None,
            env=dict(item.partition("=")[::2] for item in request.env) or None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.add(process)
        context.add_callback(process.terminate)
        messages: queue.Queue[Any] = queue.Queue()
        response = language_pb2.RunPluginResponse
        streams = [
            threading.Thread(target=_forward, args=(stream, message, messages), daemon=True)
            for stream, message in (
                (process.stdout, lambda line: response(stdout=line)),
                (process.stderr, lambda line: response(stderr=line)),
            )
        ]

        def end() -> None:
            for stream in streams:
                stream.join()
            messages.put(response(exitcode=process.wait()))

        for thread in (*streams, threading.Thread(target=end, daemon=True)):
            thread.start()
        try:
            while True:
                message = messages.get()
                yield message
                if message.WhichOneof("output") == "exitcode":
                    return
        finally:
            self.processes.discard(process)


def main(arguments: list[str]) -> None:
    """Serve the engine, whose address is the last argument, until it ends this process."""
    host = Host(arguments[-1] if arguments else "")
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    host.stop()
    server.stop(grace=1)
