# Removes what jobs leave on the daemon, other than the build cache, which the daemon limits itself.
# Usage: DIRECTORY HOURS PERCENT [SECONDS]
# Runs once, or every SECONDS. It removes objects that are older than HOURS, and unused images if the
# volume of DIRECTORY is fuller than PERCENT. Docker knows when an image was created, not when it was
# used: base images look old on the day of their pull, so images stay while there is room.
# It never removes the build cache, named volumes, or anything that a running container uses.
# The client gets the daemon's address and certificates from its environment.
set -eu

directory=$1 hours=$2 limit=$3 every=${4-}

fullness() { df -Pk "$directory" | awk 'NR == 2 { print $5 + 0 }'; }
last() { printf "%s\n" "$1" | tail -n 1; }

# Appends to `said` the size that was freed, or the number of objects if docker prints no size.
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
    # Only volumes that no container has, running or stopped. `volume prune` has no filter by age.
    prune "anonymous volumes" volume
    # By age too, because a job may run what it built by its id.
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
# A shell handles a signal only after the command in its foreground has ended.
trap 'exit 0' TERM INT
while true; do
    round &
    pause=$every
    wait $! || pause=60
    sleep "$pause" &
    wait $! || true
done
