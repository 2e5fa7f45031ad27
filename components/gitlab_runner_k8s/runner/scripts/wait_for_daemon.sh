# Waits up to $seconds for the shared daemon of $kind, docker or buildkit.
# If the job's image has no client of the daemon, it does not wait.
# The volume $draining marks a Docker daemon that will stop: the job waits for the next daemon. If the
# old daemon still answers after $seconds, the job uses it.
answers() {
    case $kind in
        docker)
            command -v docker > /dev/null || return 0
            # An error that the daemon responds with is an answer: the job's own commands show it.
            said=$($limit docker version 2>&1) || case $said in *"response from daemon"*) return 0 ;; *) return 1 ;; esac
            ! $limit docker volume inspect "$draining" > /dev/null 2>&1 || { said= && return 1; }
            ;;
        buildkit)
            command -v buildctl > /dev/null || return 0
            said=$($limit buildctl --tlsdir "$BUILDKIT_CERT_PATH" debug workers 2>&1) || return 1
            ;;
    esac
}

limit=
! command -v timeout > /dev/null || limit="timeout 15"
until=$(($(date +%s) + seconds)) waits=
until answers; do
    if [ "$(date +%s)" -ge "$until" ]; then
        [ -n "$said" ] || break
        echo "$level: the shared daemon has not answered for $seconds s: ${said##*
}" >&2
        exit 1
    fi
    [ -n "$waits" ] || echo "waiting for the shared daemon, which may be restarting..."
    waits=yes
    sleep 2
done
