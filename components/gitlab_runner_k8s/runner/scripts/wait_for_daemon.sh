# Waits for the shared daemon of a kind, docker or buildkit, for some seconds.
# A job whose image has no client of it has nothing to wait for.
answers() {
    case $kind in
        docker)
            command -v docker > /dev/null || return 0
            # An error that the daemon itself responds with is for the job's own commands to show.
            said=$($limit docker version 2>&1) || case $said in *"response from daemon"*) ;; *) return 1 ;; esac
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
        echo "$level: the shared daemon has not answered for $seconds s: ${said##*
}" >&2
        exit 1
    fi
    [ -n "$waits" ] || echo "waiting for the shared daemon, which may be restarting..."
    waits=yes
    sleep 2
done
