"""Serve the stand-ins until stopped; print one line, `name:port,name:port`, when they listen."""

import signal
import threading
from concurrent import futures

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from lab.providers import aws, kubernetes, random, tls
from lab.providers.base import Provider

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


def main() -> None:
    """Serve all of them."""
    providers = (aws.provider(), kubernetes.provider(), random.provider(), tls.provider())
    served = [(provider.name, *serve(provider)) for provider in providers]
    print(",".join(f"{name}:{port}" for name, _, port in served), flush=True)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    ended.wait()
    for _, server, _ in served:
        server.stop(grace=2)


if __name__ == "__main__":
    main()
