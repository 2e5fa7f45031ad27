# The options are several words. 'set -f' keeps the shell from expanding wildcards in them.
# shellcheck disable=SC2086
set -f
options="--host=tcp://127.0.0.1:2375 --tls=false $DOCKER_BUILD_DIND_OPTIONS"
if [ -n "$DOCKER_BUILD_PLAIN_HTTP" ]; then
  options="$options --insecure-registry=$DOCKER_BUILD_PLAIN_HTTP"
fi
# Docker's own image prepares what a daemon in a container needs.
if command -v dockerd-entrypoint.sh > /dev/null; then
  exec dockerd-entrypoint.sh dockerd $options
fi
exec dockerd $options
