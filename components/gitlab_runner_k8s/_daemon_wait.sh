answers() {
    if [ -n "$docker_host" ] && [ "${DOCKER_HOST:-}" = "$docker_host" ] &&
        command -v docker > /dev/null; then
        # An error that the daemon itself responds with is for the job's own commands to show.
        said=$($limit docker version 2>&1) || case $said in *"response from daemon"*) ;; *) return 1 ;; esac
    fi
    if [ -n "$buildkit_host" ] && [ "${BUILDKIT_HOST:-}" = "$buildkit_host" ] &&
        command -v buildctl > /dev/null; then
        said=$($limit buildctl --tlsdir "$BUILDKIT_CERT_PATH" debug workers 2>&1) || return 1
    fi
}

limit=
! command -v timeout > /dev/null || limit="timeout 15"
until=$(($(date +%s) + seconds)) waits=
until answers; do
    if [ "$(date +%s)" -ge "$until" ]; then
        echo "ERROR: the shared daemon has not answered for $seconds s: ${said##*
}" >&2
        exit 1
    fi
    [ -n "$waits" ] || echo "waiting for the shared daemon, which may be restarting..."
    waits=yes
    sleep 2
done
