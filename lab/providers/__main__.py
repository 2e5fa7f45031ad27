"""Serve the stand-ins until stopped; print one line, `name:port,name:port`, when they listen.

All of them, or those that the arguments name.
"""

import importlib
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent import futures

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from lab.providers.base import Provider

_ALL = ("aws", "kubernetes", "random", "tls")
_OPTIONS = [
    ("grpc.max_receive_message_length", 400 << 20),
    ("grpc.max_send_message_length", 400 << 20),
]


def serve(provider: Provider) -> tuple[grpc.Server, int]:
    """Serve a provider on a free port of the loopback interface."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main(names: Sequence[str]) -> None:
    """Serve those of these names."""
    providers = [importlib.import_module(f"lab.providers.{name}").provider() for name in names]
    served = [(provider.name, *serve(provider)) for provider in providers]
    print(",".join(f"{name}:{port}" for name, _, port in served), flush=True)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    ended.wait()
    for _, server, _ in served:
        server.stop(grace=2)


if __name__ == "__main__":
    main(sys.argv[1:] or _ALL)
