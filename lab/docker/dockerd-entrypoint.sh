#!/bin/sh
# Stand-in for the entrypoint of docker:dind and docker:dind-rootless: starts dockerd as it is for
# root, and for anybody else below RootlessKit.
set -eu

if [ "$1" != dockerd ] || [ "$(id -u)" = 0 ]; then
    exec "$@"
fi
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
mkdir -p "$XDG_RUNTIME_DIR"
# The flags are several words.
# shellcheck disable=SC2086
exec rootlesskit --net=slirp4netns --port-driver=builtin --disable-host-loopback \
    --mtu="${DOCKERD_ROOTLESS_ROOTLESSKIT_MTU:-1500}" --copy-up=/etc --copy-up=/run \
    ${DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS:-} "$@"
