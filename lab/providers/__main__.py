"""A provider plugin: serves one stand-in until it is killed, and prints the port.

`python -m lab.providers NAME`
"""

import importlib
import sys
from concurrent import futures
from contextlib import suppress

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from lab.providers.base import Provider

_OPTIONS = [
    ("grpc.max_receive_message_length", 400 << 20),
    ("grpc.max_send_message_length", 400 << 20),
]


def serve(provider: provider_pb2_grpc.ResourceProviderServicer) -> tuple[grpc.Server, int]:
    """Serve a provider on a free port of the loopback interface."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main(name: str) -> None:
    """Serve the stand-in of this name."""
    provider: Provider = importlib.import_module(f"lab.providers.{name}").provider()
    server, port = serve(provider)
    print(port, flush=True)
    # The engine ends it by SIGINT.
    with suppress(KeyboardInterrupt):
        server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1])
