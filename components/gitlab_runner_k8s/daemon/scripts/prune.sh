# Removes what jobs leave on the daemon, other than the build cache, which the daemon limits itself.
# Usage: DIRECTORY TIMEOUT HOURS PERCENT STATE [SECONDS]
# Runs once, or every SECONDS. TIMEOUT is the longest timeout of a job in seconds: a container or
# network that is older belongs to a job that has ended. Images stay for HOURS after they lost their
# name; STATE is a folder for the times of names. While the volume of DIRECTORY is fuller than PERCENT,
# it also removes all images that are older than TIMEOUT, and volumes that are older than HOURS. Then,
# and after a round that failed, the next round starts after 60 s.
# In a loop, it also removes at once the names in $PROTECTED_IMAGES, a pattern a line, if a job gives
# one to an image. The client gets the daemon's address and certificates from its environment.
# SC2086: lists of ids must split into words. SC2254: `case` must read $pattern as a pattern.
# shellcheck disable=SC2086,SC2254
set -euf

directory=$1 timeout=$2 hours=$3 limit=$4 state=$5 every=${6-}
# The name of an image that has lost the name that a job gave it. Nobody can push or pull it.
nameless=untagged.invalid/image

fullness() { df -Pk "$directory" | awk 'NR == 2 { print $5 + 0 }'; }
last() { printf "%s\n" "$1" | tail -n 1; }
# The time SECONDS ago, as docker writes times.
ago() { date -u -d "@$(($(date +%s) - $1))" +%Y-%m-%dT%H:%M:%S; }

# Appends to `said` what a command freed: the size, or the number of lines if it prints no size.
run() {
    what=$1
    shift
    if output=$("$@" 2>&1); then
        said="$said; $what: $(printf "%s\n" "$output" | awk '
            /^Total reclaimed space: / { size = $4 }
            !/:$|^$|^Total reclaimed/ { count++ }
            END { print (size ? size : count + 0) }')"
    else
        said="$said; $what: $(last "$output")" failed=1
    fi
}

containers() {
    ids=$(docker ps --all --quiet --no-trunc) || return
    [ -n "$ids" ] || return 0
    # One of them may end meanwhile.
    old=$(docker inspect --format '{{.Created}} {{.Id}}' $ids 2> /dev/null |
        awk -v before="$(ago "$timeout")" '$1 < before { print $2 }')
    [ -z "$old" ] || docker rm --force --volumes $old
}

# Removes volumes that no container has and that were created SECONDS ago: those without a name of
# their own, of a job's Compose project, of builders, and the mark of a drain; with `all`, any.
volumes() {
    names=$(docker volume ls --quiet --filter dangling=true) || return
    [ -n "$names" ] || return 0
    old=$(docker volume inspect --format '{{.CreatedAt}} {{.Name}} {{json .Labels}}' $names 2> /dev/null |
        awk -v before="$(ago "$1")" -v all="${2-}" '
            $1 < before && (all || /"com.docker.volume.anonymous":/ \
                || /"com.docker.compose.project":"ci-[0-9]+"/ \
                || $2 ~ /^buildx_buildkit_.*_state$/ || $2 == "gitlab-runner-draining") { print $2 }')
    [ -z "$old" ] || docker volume rm $old
}

# Takes a name from an image that still has it. The image stays, so that a pull finds its layers.
forget() {
    [ "$(docker image inspect --format '{{.Id}}' "$1")" = "$2" ] || return
    id=${2#sha256:}
    docker tag "$2" "$nameless:$(printf '%.12s' "$id")" && docker image rm "$1" > /dev/null
}

# Takes each name that an image has had for TIMEOUT, since a job last gave it: a build would prefer
# that image to the registry's. Removes images that have had no name for HOURS.
names() {
    now=$(date +%s)
    docker image ls --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' > "$state/listed" || return
    touch "$state/names" "$state/given"
    mv "$state/given" "$state/read"
    awk -v now="$now" '
        FILENAME == ARGV[1] { since[$2 " " $3] = $1; next }
        FILENAME == ARGV[2] { given[$1] = 1; next }
        { print ($1 " " $2 in since && !($1 in given) ? since[$1 " " $2] : now), $1, $2 }
    ' "$state/names" "$state/read" "$state/listed" > "$state/new"
    mv "$state/new" "$state/names"
    while read -r since name id; do
        case $name in
            "$nameless":*) gone=$((hours * 3600)) reference=$name ;;
            *:"<none>") gone=$((hours * 3600)) reference=$id ;;
            *)
                if [ $((now - since)) -ge "$timeout" ] && forget "$name" "$id"; then echo "$name"; fi
                continue
                ;;
        esac
        [ $((now - since)) -lt "$gone" ] || docker image rm "$reference" > /dev/null || :
    done < "$state/names" 2> "$state/errors"
    # An image may be gone meanwhile, or a container or another image may use it.
    ! grep -vE "No such image|is using its|is being used by|dependent child|multiple repositories" \
        "$state/errors"
}

round() {
    failed=0
    if ! output=$(docker version 2>&1); then
        printf "%s\n" "prune: the daemon does not answer: $(last "$output")"
        return 1
    fi
    said="prune: the volume is $(fullness)% full"
    run containers containers
    run networks docker network prune --force --filter "until=${timeout}s"
    run "volumes of jobs" volumes "$timeout"
    run "image names" names
    if [ "$(fullness)" -gt "$limit" ]; then
        run "unused images" docker image prune --force --all --filter "until=${timeout}s"
        run "unused volumes" volumes $((hours * 3600)) all
        said="$said; now $(fullness)% full"
    fi
    printf "%s\n" "$said"
    return "$failed"
}

# Tells whether a name, or its part before the tag, matches a pattern.
is_protected() {
    printf '%s\n' "${PROTECTED_IMAGES-}" | {
        while read -r pattern; do
            [ -n "$pattern" ] || continue
            case $1 in $pattern) exit 0 ;; esac
            case ${1%:*} in $pattern) exit 0 ;; esac
        done
        exit 1
    }
}

# Takes the protected names among lines of image and name, and notes the others. It is fast rather than
# exact: should the name have a pulled image meanwhile, that is pulled again.
take() {
    while read -r id name; do
        case $name in "$nameless":* | *:"<none>") continue ;; esac
        echo "$name" >> "$state/given"
        [ "$id" != pull ] || continue
        is_protected "$name" || continue
        docker image rm --force "$name" > /dev/null 2>&1 || forget "$name" "$id" 2> /dev/null || continue
        echo "protect: took the name $name from an image"
    done
}

# `docker build`, `docker tag` and `docker import` are `tag` events. A pull has its own, with the name as
# the id. `docker load` and `docker commit`, which jobs rather use for images of their own, have none.
protect() {
    until docker version > /dev/null 2>&1; do sleep 1; done
    since=$(date +%s)
    # What happened before the daemon restarted is in no event. A pulled image is pulled again.
    docker image ls --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}' | take || :
    docker events --since "$since" --filter type=image --filter event=tag --filter event=pull --format \
        '{{if eq .Action "pull"}}pull {{.Actor.ID}}{{else}}{{.Actor.ID}} {{index .Actor.Attributes "name"}}{{end}}' \
        2> /dev/null | take || :
}

if [ -z "$every" ]; then
    round
    exit
fi
# A shell handles a signal only after the command in its foreground has ended.
trap 'exit 0' TERM INT
while true; do
    (protect) || :
    sleep 1 || :
done &
while true; do
    round &
    pause=$every
    { wait $! && [ "$(fullness)" -le "$limit" ]; } || pause=60
    sleep "$pause" &
    wait $! || true
done
