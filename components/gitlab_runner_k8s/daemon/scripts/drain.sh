# Delays the stop of the daemon while a client, such as a build, is connected.
# Usage: PORT SECONDS [COMMAND...]
# If clients are still connected in the second half of the time, and in its last 300 s at the earliest,
# COMMAND tells new jobs to wait. Without it, a sequence of short jobs would keep the drain from ending
# early.
set -eu

port=$(printf '%04X' "$1")
left=$2 half=$(($2 / 2))
# Jobs wait for 300 s by default.
[ "$half" -le 300 ] || half=300
shift 2

# Writes to the container's log, because Kubernetes discards the output of a hook.
say() { { echo "drain: $*" > /proc/1/fd/2; } 2> /dev/null || true; }

# Counts the established (01) connections to the port, without those of the daemon's own probe.
clients() {
    cat /proc/net/tcp /proc/net/tcp6 2> /dev/null | awk -v port="$port" '
        $4 == "01" {
            split($2, here, ":")
            split($3, there, ":")
            own = there[1] ~ /^(0000000000000000FFFF0000)?......7F$/ \
                || there[1] == "00000000000000000000000001000000"
            if (here[2] == port && !own) count++
        }
        END { print count + 0 }'
}

quiet=0 said=
while [ "$left" -gt 0 ]; do
    connected=$(clients)
    if [ "$connected" -eq 0 ]; then
        # Look twice, because a client is not connected between two calls.
        quiet=$((quiet + 1))
        if [ "$quiet" -eq 2 ]; then
            say "no client is connected"
            exit 0
        fi
    else
        quiet=0
        if [ -z "$said" ]; then
            say "waiting for $connected connections, for at most $left s"
            said=yes
        fi
    fi
    if [ "$left" -le "$half" ] && [ $# -gt 0 ]; then
        if "$@" > /dev/null 2>&1; then say "new jobs wait for the next daemon"; fi
        set --
    fi
    sleep 2
    left=$((left - 2))
done
say "time is up, and clients are still connected"
