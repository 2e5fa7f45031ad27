# Removes what jobs leave at the daemon and its own clean-up of the build cache does not reach.
# Images go by their date of creation (nothing tells their last use): that of a base image is long
# ago, and removing it each time would have it pulled again. So they stay while there is room.
# Never: the build cache, named volumes, and whatever a container uses that runs.
# Usage: DIRECTORY HOURS PERCENT [SECONDS]
# Once, or every SECONDS: what is older than HOURS, and images where DIRECTORY's volume is fuller
# than PERCENT. The client has the daemon's address and certificates from its environment.
set -eu

directory=$1 hours=$2 limit=$3 every=${4-}

fullness() { df -Pk "$directory" | awk 'NR == 2 { print $5 + 0 }'; }
last() { printf "%s\n" "$1" | tail -n 1; }

# Adds to `said` what there was of a kind: its size, or, where the client tells none, its number.
prune() {
    what=$1 kind=$2
    shift 2
    if output=$(docker "$kind" prune --force "$@" 2>&1); then
        said="$said; $what: $(printf "%s\n" "$output" | awk '
            /^Total reclaimed space: / { size = $4 }
            !/:$|^$|^Total reclaimed/ { count++ }
            END { print (size ? size : count + 0) }')"
    else
        said="$said; $what: $(last "$output")" failed=1
    fi
}

round() {
    failed=0
    if ! output=$(docker version 2>&1); then
        printf "%s\n" "prune: the daemon does not answer: $(last "$output")"
        return 1
    fi
    said="prune: the volume is $(fullness)% full"
    prune "stopped containers" container --filter "until=${hours}h"
    prune networks network --filter "until=${hours}h"
    # Anonymous ones that no container has, stopped or not; an age this cannot be given.
    prune "anonymous volumes" volume
    # By age as well: a job may run what it built by its id.
    prune "untagged images" image --filter "until=${hours}h"
    if [ "$(fullness)" -gt "$limit" ]; then
        prune "unused images" image --all --filter "until=${hours}h"
        said="$said; now $(fullness)% full"
    fi
    printf "%s\n" "$said"
    return "$failed"
}

if [ -z "$every" ]; then
    round
    exit
fi
# A shell waits for what runs in the foreground before it heeds a signal.
trap 'exit 0' TERM INT
while true; do
    round &
    pause=$every
    wait $! || pause=60
    sleep "$pause" &
    wait $! || true
done
