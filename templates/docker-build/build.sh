set -feu
say() { printf 'docker-build: %s\n' "$*"; }
fail() { say "error: $*"; exit 1; }
lines() { printf '%s\n' "$1" | sed '/^[[:space:]]*$/d'; }

[ "$DOCKER_BUILD_MODE.$DOCKER_BUILD_BUILDER" != auto.dind ] || DOCKER_BUILD_MODE=registry

work=$(mktemp -d)
builder='' context=''
# shellcheck disable=SC2329
clean() {
  [ -z "$builder" ] || docker buildx rm --force "$builder" > /dev/null 2>&1 || :
  [ -z "$context" ] || docker context rm --force "$context" > /dev/null 2>&1 || :
  rm -rf "$work"
}
trap clean EXIT
trap 'exit 143' INT TERM

# Away before the build: in its context, the record would change what is built.
record=".docker-build/$DOCKER_BUILD_JOB"
: > "$work/before"
[ ! -f "$record" ] || cp "$record" "$work/before"
rm -rf .docker-build

repository() {
  case $2 in
    '') fail "$1 is empty: name a repository, such as registry.example.com/group/app" ;;
    *[!A-Za-z0-9._/:-]* | [!A-Za-z0-9]*) fail "$1 is no repository: $2" ;;
  esac
  case ${2##*/} in
    *:*) fail "$1 has a tag, and must have none: $2" ;;
  esac
}
is_tag() {
  case $1 in
    '' | [.-]* | *[!A-Za-z0-9_.-]*) return 1 ;;
  esac
  [ "${#1}" -le 128 ]
}

cache_image=${DOCKER_BUILD_CACHE_IMAGE:-$DOCKER_BUILD_IMAGE/cache}
repository "the input 'image'" "$DOCKER_BUILD_IMAGE"
repository "the input 'cache-image'" "$cache_image"
is() {
  ! printf %s "$2" | tr '\n' ' ' | grep -Evq "^($3)\$" || fail "the input '$1' is not valid: $2"
}
is target "$DOCKER_BUILD_TARGET" '[A-Za-z0-9_.-]+'
platform='[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?'
is platforms "$DOCKER_BUILD_PLATFORMS" "$platform(,$platform)*"
is plain-http-registry "$DOCKER_BUILD_PLAIN_HTTP" '[A-Za-z0-9.-]+(:[0-9]+)?'
[ -d "$DOCKER_BUILD_CONTEXT" ] || fail "the input 'context' is no directory: $DOCKER_BUILD_CONTEXT"
: "${CI_COMMIT_SHA:?docker-build: error: CI_COMMIT_SHA is empty}"

# --- keys of the cache
# A branch's slug as GitLab makes it, and a sum: two names may have one slug.
key() {
  slug=$(
    printf %s "$2" | LC_ALL=C tr -d '\200-\277' | LC_ALL=C tr '[:upper:]' '[:lower:]' |
      LC_ALL=C tr -c 'a-z0-9' '-' | cut -c 1-63 | sed 's/^-*//; s/-*$//'
  )
  sum=$(printf %s "$2" | sha256sum | cut -c 1-8)
  printf '%s-%s-%s' "$1" "$slug" "$sum"
}
# Another branch, whatever its name, never gets the default branch's key.
branch_key() {
  if [ "$1" = "${CI_DEFAULT_BRANCH:-}" ]; then echo default; else key branch "$1"; fi
}
write_key='' read_keys='' default_branch=no
if [ -n "${CI_MERGE_REQUEST_SOURCE_BRANCH_NAME:-}" ]; then
  # In a merged result's pipeline too: the commit is new each time, the branch is not.
  source_project=${CI_MERGE_REQUEST_SOURCE_PROJECT_ID:-${CI_PROJECT_ID:-}}
  if [ "$source_project" = "${CI_PROJECT_ID:-}" ]; then
    write_key=$(key branch "$CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
  else
    write_key=$(key "fork-$source_project" "$CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
  fi
  read_keys="$write_key"
  [ -z "${CI_MERGE_REQUEST_TARGET_BRANCH_NAME:-}" ] ||
    read_keys="$read_keys $(branch_key "$CI_MERGE_REQUEST_TARGET_BRANCH_NAME")"
elif [ -n "${CI_COMMIT_BRANCH:-}" ]; then
  write_key=$(branch_key "$CI_COMMIT_BRANCH")
  read_keys="$write_key"
  [ "$write_key" != default ] || default_branch=yes
fi
case " $read_keys " in
  *' default '*) ;;
  *) read_keys="$read_keys default" ;;
esac
push=no
case $DOCKER_BUILD_PUSH.$default_branch in
  always.* | default-branch.yes) push=yes ;;
esac
ref() {
  if [ "$DOCKER_BUILD_MODE.$1" = inline.default ]; then
    echo "$DOCKER_BUILD_IMAGE:latest"
  else
    echo "$cache_image:$1"
  fi
}

# --- the daemon
docker buildx version > /dev/null 2>&1 ||
  fail 'the job image has no docker CLI with buildx: see the input job-image'
if [ -z "${DOCKER_CONFIG:-}" ]; then
  export DOCKER_CONFIG="$work/docker"
  mkdir -m 700 "$DOCKER_CONFIG"
  [ -z "${DOCKER_AUTH_CONFIG:-}" ] ||
    printf %s "$DOCKER_AUTH_CONFIG" > "$DOCKER_CONFIG/config.json"
fi
# With how long one call may take; tried again until the daemon has had its time.
wait_for() {
  limit=$1
  shift
  deadline=$(($(date +%s) + DOCKER_BUILD_WAIT_SECONDS))
  until timeout "$limit" "$@" > "$work/answer" 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || return 1
    sleep 1
  done
}
# A job that was killed leaves its builder on a shared daemon.
remove_leftovers() {
  # No job's timeout is known but this one's: a day is more than nearly all.
  oldest=${CI_JOB_TIMEOUT:-0}
  [ "$oldest" -gt 86400 ] 2> /dev/null || oldest=86400
  oldest=$(($(date +%s) - oldest))
  docker ps --all --filter name=buildx_buildkit_docker-build- --format '{{.Names}}' \
    > "$work/builders" 2> /dev/null || return 0
  while IFS= read -r one; do
    id=${one#buildx_buildkit_docker-build-}
    case ${id%-builder0} in
      "$id" | '' | *[!0-9]*) continue ;;
    esac
    made=$(docker inspect --format '{{.Created}}' "$one" 2> /dev/null | cut -c 1-19 | tr T ' ')
    [ -n "$made" ] || continue
    made=$(date -u -d "$made" +%s) || continue
    [ "$made" -lt "$oldest" ] || continue
    docker rm --force "$one" > /dev/null 2>&1 || continue
    docker volume rm --force "${one}_state" > /dev/null 2>&1 || :
    say "removed $one, which a job before this one left"
  done < "$work/builders"
}
no_daemon() {
  [ ! -s "$work/answer" ] || sed 's/^/  /' "$work/answer"
  fail "no daemon answers at ${1:-(no address)} (builder: $DOCKER_BUILD_BUILDER). $2"
}
name="docker-build-${CI_JOB_ID:-$$}"
http_config=''
if [ -n "$DOCKER_BUILD_PLAIN_HTTP" ]; then
  http_config="$work/buildkitd.toml"
  printf '[registry."%s"]\n  http = true\n' "$DOCKER_BUILD_PLAIN_HTTP" > "$http_config"
fi

if [ "$DOCKER_BUILD_BUILDER" = buildkit ]; then
  [ -n "${BUILDKIT_HOST:-}" ] ||
    no_daemon '' 'The runner gives no BUILDKIT_HOST: give it a BuildKit daemon.'
  driver=remote
  set -- --name "$name" --driver remote
  if [ -n "${BUILDKIT_CERT_PATH:-}" ]; then
    certificates="cacert=$BUILDKIT_CERT_PATH/ca.pem,cert=$BUILDKIT_CERT_PATH/cert.pem"
    set -- "$@" --driver-opt "$certificates,key=$BUILDKIT_CERT_PATH/key.pem"
  fi
  docker buildx create "$@" "$BUILDKIT_HOST" > /dev/null
  builder=$name
  wait_for 120 docker buildx inspect --bootstrap "$name" ||
    no_daemon "$BUILDKIT_HOST" 'Is it up, and may this namespace reach it?'
  chosen="BuildKit at $BUILDKIT_HOST"
else
  if [ "$DOCKER_BUILD_BUILDER" = shared ]; then
    hint='Is it up, and may this namespace reach it?'
    [ -n "${DOCKER_HOST:-}" ] || [ -S /var/run/docker.sock ] || no_daemon '' \
      'The runner gives no DOCKER_HOST: give it a shared daemon, or set builder to dind.'
  else
    hint='Does the runner allow privileged services? The log of the service tells.'
  fi
  wait_for 15 docker version --format '{{.Server.Version}}' ||
    no_daemon "${DOCKER_HOST:-/var/run/docker.sock}" "$hint"
  chosen="docker $(cat "$work/answer")"
  driver=docker store=no
  case $(docker info --format '{{json .DriverStatus}}') in
    *io.containerd.snapshotter*) store=yes chosen="$chosen, containerd's image store" ;;
  esac
  why=''
  [ "$DOCKER_BUILD_MODE" != registry ] || why='the mode registry'
  case $DOCKER_BUILD_PLATFORMS in
    *,*) why='several platforms' ;;
  esac
  if [ -n "$why" ] && [ "$store" = no ]; then
    [ "$DOCKER_BUILD_BUILDER" != shared ] || remove_leftovers
    # A builder made from the environment must not use TLS; one made from a context may.
    host="host=${DOCKER_HOST:-unix:///var/run/docker.sock}"
    [ -z "${DOCKER_TLS_VERIFY:-}" ] ||
      host="$host$(printf ',%s=%s' ca "$DOCKER_CERT_PATH/ca.pem" \
        cert "$DOCKER_CERT_PATH/cert.pem" key "$DOCKER_CERT_PATH/key.pem")"
    docker context create "$name" --docker "$host" > /dev/null
    context=$name
    docker buildx create --name "$name-builder" --driver docker-container \
      --driver-opt "image=$DOCKER_BUILD_BUILDKIT_IMAGE" \
      ${http_config:+--buildkitd-config "$http_config"} "$name" > /dev/null
    builder="$name-builder" driver=docker-container
    chosen="$chosen; a builder of the job's own in it, as the daemon's cannot do $why"
    wait_for 120 docker buildx inspect --bootstrap "$builder" ||
      no_daemon "$builder" "$DOCKER_BUILD_BUILDKIT_IMAGE could not be started in it."
  fi
fi
# A builder that ends with the job has no layers of its own.
case $DOCKER_BUILD_MODE.$driver in
  auto.docker-container) DOCKER_BUILD_MODE=registry ;;
  auto.*) DOCKER_BUILD_MODE=inline ;;
esac
say "builder: $chosen (driver $driver); mode: $DOCKER_BUILD_MODE"
if [ "$DOCKER_BUILD_MODE" = daemon ]; then
  case $DOCKER_BUILD_BUILDER.$driver in
    dind.* | *.docker-container)
      say 'warning: this builder ends with the job: in the mode daemon nothing is reused' ;;
  esac
fi

if [ "$DOCKER_BUILD_MODE.$driver.${store:-}" = inline.docker.no ]; then
  say "warning: without containerd's image store, docker writes little of an inline cache once a"
  say '  build has reused everything: the mode registry keeps more'
fi

# --- the registry
case $DOCKER_BUILD_PASSWORD_VARIABLE in
  '' | [0-9]* | *[!A-Za-z0-9_]*) fail "no name of a variable: $DOCKER_BUILD_PASSWORD_VARIABLE" ;;
esac
# By its name: a variable of the job with its value would be in the pod's specification.
eval "password=\${$DOCKER_BUILD_PASSWORD_VARIABLE:-}"
if [ -n "$DOCKER_BUILD_REGISTRY_USER" ] && [ -n "$password" ]; then
  # Without a registry, docker login would send the password to Docker Hub.
  registry=$DOCKER_BUILD_REGISTRY
  if [ -z "$registry" ]; then
    registry=${DOCKER_BUILD_IMAGE%%/*}
    case $registry in
      "$DOCKER_BUILD_IMAGE") registry='' ;;
      *[.:]* | localhost) ;;
      *) registry='' ;;
    esac
    [ -n "$registry" ] || fail "the input 'registry' is empty, and the image names none:" \
      "say where $DOCKER_BUILD_REGISTRY_USER is to log in"
  fi
  if printf %s "$password" |
    docker login --username "$DOCKER_BUILD_REGISTRY_USER" --password-stdin "$registry" \
      > "$work/login" 2>&1; then
    say "logged in to $registry as $DOCKER_BUILD_REGISTRY_USER"
  else
    sed 's/^/  /' "$work/login"
    [ "$push" = no ] ||
      fail "no login to $registry as $DOCKER_BUILD_REGISTRY_USER: nothing could be pushed"
    say "warning: no login to $registry: the build goes on without"
  fi
fi
unset password

# --- the options
set -- --progress plain --metadata-file "$work/metadata"
[ -z "$builder" ] || set -- "$@" --builder "$builder"
[ -z "$DOCKER_BUILD_DOCKERFILE" ] || set -- "$@" --file "$DOCKER_BUILD_DOCKERFILE"
[ -z "$DOCKER_BUILD_TARGET" ] || set -- "$@" --target "$DOCKER_BUILD_TARGET"
[ "$DOCKER_BUILD_PULL" = false ] || set -- "$@" --pull
[ -z "$DOCKER_BUILD_PLATFORMS" ] || set -- "$@" --platform "$DOCKER_BUILD_PLATFORMS"
lines "$DOCKER_BUILD_ARGS" > "$work/args"
while IFS= read -r line; do
  case ${line%%=*} in
    "$line" | '' | [0-9]* | *[!A-Za-z0-9_]*)
      fail "the input 'build-args' has a line that is no NAME=value" ;;
  esac
  set -- "$@" --build-arg "$line"
done < "$work/args"
lines "$DOCKER_BUILD_SECRETS" > "$work/secrets"
# The line is not shown: what is wrong may be a secret itself.
! grep -Evq '^id=[A-Za-z0-9_.-]+,(env=[A-Za-z_][A-Za-z0-9_]*|src=[^,]+)$' "$work/secrets" ||
  fail "the input 'build-secrets' has a line that is no id=NAME,env=VARIABLE or id=NAME,src=FILE"
while IFS= read -r line; do
  set -- "$@" --secret "$line"
done < "$work/secrets"

pushed=''
tag() {
  is_tag "$1" || fail "this is no tag of an image: $1"
  case $cache_image:$1 in
    "$DOCKER_BUILD_IMAGE":default | "$DOCKER_BUILD_IMAGE":branch-* | "$DOCKER_BUILD_IMAGE":fork-*)
      fail "the input 'tags' has $1, a key of the cache: give 'cache-image' another repository" ;;
  esac
  pushed="$pushed $DOCKER_BUILD_IMAGE:$1"
}
tag "$CI_COMMIT_SHA"
[ "$default_branch" = no ] || tag latest
for one in $DOCKER_BUILD_TAGS; do
  [ "$one" != latest ] || [ "$default_branch" = yes ] ||
    fail "the input 'tags' has latest, which only the default branch pushes"
  tag "$one"
done
if [ "$DOCKER_BUILD_MODE" != daemon ]; then
  pulled=''
  for one in $read_keys; do
    from=$(ref "$one")
    set -- "$@" --cache-from "type=registry,ref=$from"
    # What is pulled comes with its layers' history, and needs no other request.
    if [ "$DOCKER_BUILD_MODE.$driver" = inline.docker ] && [ -z "$pulled" ]; then
      if docker pull --quiet "$from" > "$work/pull" 2>&1; then
        pulled=$from
        say "pulled $from"
      else
        say "no image at $from, or no registry; that is no error: $(tail -n 1 "$work/pull")"
      fi
    fi
  done
  say "reads the cache of: $(for one in $read_keys; do ref "$one"; done | tr '\n' ' ')"
fi
written=''
if [ "$push" = yes ]; then
  case $DOCKER_BUILD_MODE in
    inline)
      set -- "$@" --cache-to type=inline
      [ -z "$write_key" ] || written=$(ref "$write_key")
      [ -z "$write_key" ] || [ "$write_key" = default ] || pushed="$pushed $written"
      ;;
    registry)
      if [ -n "$write_key" ]; then
        written=$(ref "$write_key")
        set -- "$@" --cache-to "type=registry,ref=$written,mode=max,ignore-error=true"
      fi
      ;;
  esac
  set -- "$@" --push
  for one in $pushed; do set -- "$@" --tag "$one"; done
else
  case $driver in
    docker) for one in $pushed; do set -- "$@" --tag "$one"; done ;;
    *) set -- "$@" --output type=cacheonly ;;
  esac
fi
say "writes the cache to: ${written:-nowhere}"

# --- the build
started=$(date +%s)
{
  docker buildx build "$@" -- "$DOCKER_BUILD_CONTEXT" 2>&1 && code=0 || code=$?
  echo "$code" > "$work/code"
} | tee "$work/log"
code=$(cat "$work/code")
took=$(($(date +%s) - started))
if [ "$code" != 0 ]; then
  # By what the builder says of itself: never by what a RUN wrote, nor by a cache that it
  # goes on without.
  why=$(awk '
    /^#[0-9]+ [0-9.]+ / { next }
    /^#[0-9]+ (pushing|exporting to image)/ { pushes[$1] }
    /^(#[0-9]+ )?ERROR/ && /process "/ { next }
    /^#[0-9]+ ERROR/ && $1 in pushes { push = tolower($0) }
    /^ERROR/ { last = tolower($0) }
    END {
      away = "connection refused|no such host|i/o timeout|no route to host|failed to do request"
      refused = "denied|unauthorized|insufficient_scope|server message: invalid"
      if (last ~ /failed to push|error pushing/ || push ~ away || push ~ refused) print "push"
      else if (last ~ "failed to resolve source metadata" || last ~ away || last ~ refused)
        print "reach"
    }
  ' "$work/log")
  case $why in
    push)
      fail "the image could not be pushed to $DOCKER_BUILD_IMAGE: the registry refused or did not answer"
      ;;
    reach)
      fail "the build failed after $took s: an image or an address above could not be reached" ;;
  esac
  fail "the build failed after $took s (exit code $code): the builder's output above tells why"
fi

# --- what it did
# Steps are the Dockerfile's instructions but FROM; durations are by a step's text.
mkdir -p .docker-build
awk -v before="$work/before" -v after="$record" '
  BEGIN {
    while ((getline line < before) > 0) {
      split(line, part, "\t")
      known[part[2]] = part[1]
    }
  }
  /^#[0-9]+ \[[^]]*[0-9]+\/[0-9]+\] / {
    text = substr($0, length($1) + 2)
    if (text ~ /^\[[^]]*\] FROM /) next
    sub(/ ?[0-9]+\/[0-9]+\] /, "] ", text)
    step[$1] = text
  }
  # What is only fetched for a later step is not always called CACHED too.
  /^#[0-9]+ (CACHED|(extracting )?sha256:)/ { cached[$1] = 1 }
  /^#[0-9]+ DONE [0-9.]+s/ { seconds[$1] = $3 + 0 }
  END {
    for (id in step) {
      steps++
      if (!(id in cached)) {
        if (id in seconds) known[step[id]] = seconds[id]
        continue
      }
      reused++
      if (step[id] in known) {
        timed++
        saved += known[step[id]]
        if (id in seconds) saved -= seconds[id]
      }
    }
    for (text in known) printf "%s\t%s\n", known[text], text > after
    print steps + 0, reused + 0, timed + 0, sprintf("%.1f", saved < 0 ? 0 : saved)
  }
' "$work/log" > "$work/sums"
read -r steps reused timed saved < "$work/sums"
if [ -f "$record" ]; then
  tail -n 1000 "$record" > "$work/after"
  cp "$work/after" "$record"
fi

digest=$(sed -n 's/.*"containerimage.digest": *"\([^"]*\)".*/\1/p' "$work/metadata" | head -n 1)
if [ "$push" = yes ]; then
  for one in $pushed; do say "pushed $one"; done
  [ -z "$digest" ] || say "digest $digest"
fi
if [ "$DOCKER_BUILD_MODE" = registry ] &&
  awk '/^#[0-9]+ exporting cache/ { id[$1] } /^#[0-9]+ ERROR/ && $1 in id { bad = 1 }
    END { exit !bad }' "$work/log"; then
  say "warning: the cache was not written to $written: the next build finds none of this"
fi
say "$reused of $steps steps CACHED, built in $took s"
if [ "$reused" = 0 ]; then
  say 'time saved: none, no step was reused'
elif [ "$timed" = 0 ]; then
  say "time saved: not known, no earlier job's record has the $reused reused steps"
else
  say "time saved: about $saved s, the last known time of $timed of the $reused reused steps"
fi
