"""The scripts of a job's stages. They reach the pod in a Secret: they may hold URLs and secrets."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from lab.jobs import cache as caching
from lab.jobs.model import Cache, Job, Variable

STAGES = ("get_sources", "step_script", "after_script")

_STRICT = """set -e
if (set -o pipefail) 2> /dev/null; then set -o pipefail; fi
"""

_TRANSFER = """
cd "$CI_PROJECT_DIR"
archive=$(mktemp -d)/cache.zip
transfer() {
    curl --silent --show-error --fail --connect-timeout 10 \\
        --max-time "$((${CACHE_REQUEST_TIMEOUT:-10} * 60))" "$@"
}
restore() {
    echo "Checking cache for $1..."
    if [ -z "$2" ]; then
        echo "No URL provided, cache will not be downloaded from shared cache server."
    elif ! transfer --head --output /dev/null "$2"; then
        echo "WARNING: Cache file does not exist"
    else
        echo "Downloading cache from ${3%%\\?*}"
        if transfer --output "$archive" "$3" && unzip -q -o "$archive"; then
            echo "Successfully extracted cache"
            exit 0
        fi
    fi
    echo "WARNING: Failed to extract cache"
}
save() {
    key=$1 url=$2 header=$3
    shift 3
    echo "Creating cache $key..."
    shopt -s globstar nullglob
    IFS=
    paths=()
    for pattern in "$@"; do
        found=($pattern)
        if [ -e "${found[0]:-}" ]; then
            echo "$pattern: found $(find "${found[@]}" | wc -l) matching files and directories"
            paths+=("${found[@]}")
        else
            echo "WARNING: $pattern: no matching files."
        fi
    done
    if [ "${#paths[@]}" -eq 0 ] || ! zip -q -r -y "$archive" "${paths[@]}"; then
        echo "WARNING: Failed to create cache"
    elif [ -z "$url" ]; then
        echo "No URL provided, cache will not be uploaded to shared cache server." \\
            "Cache will be stored only locally."
    else
        echo "Uploading cache.zip to ${url%%\\?*}"
        if transfer --header "$header" --upload-file "$archive" "$url"; then
            echo "Created cache"
            exit 0
        fi
        echo "WARNING: Failed to create cache"
    fi
}
"""


def _exports(variables: Iterable[Variable], directory: str) -> str:
    """Return the exports of what is not in the container's environment: secrets and files."""
    lines = []
    for variable in variables:
        value = shlex.quote(variable.value)
        if variable.file:
            path = shlex.quote(f"{directory}.tmp/{variable.key}")
            lines += [
                f"mkdir -p {shlex.quote(directory + '.tmp')}",
                f"printf %s {value} > {path}",
                f"export {variable.key}={path}",
            ]
        elif not variable.public or variable.masked:
            lines.append(f"export {variable.key}={value}")
    return "".join(f"{line}\n" for line in lines)


def _kept_environment(directory: str) -> str:
    """Return how a stage takes over what earlier ones wrote to $GITLAB_ENV."""
    path = shlex.quote(f"{directory}.tmp/gitlab_runner_env")
    return f"""mkdir -p {shlex.quote(directory + ".tmp")}
export GITLAB_ENV={path}
touch "$GITLAB_ENV"
while read -r line; do export "$line"; done < "$GITLAB_ENV"
"""


def _echoed(commands: Iterable[str]) -> str:
    lines = []
    for command in commands:
        text = command.strip()
        first, *rest = text.splitlines() or [""]
        shown = f"$ {first}{' # collapsed multi-line command' if rest else ''}"
        lines += [f"echo {shlex.quote(shown)}", text]
    return "\n".join(lines) + "\n"


def _get_sources(job: Job, variables: Mapping[str, str]) -> str:
    strategy = variables.get("GIT_STRATEGY", "fetch")
    # The build container may run as another user.
    start = 'umask 0000\nmkdir -p "$CI_PROJECT_DIR"\n'
    if strategy in {"none", "empty"}:
        return f"{start}echo 'Skipping Git repository setup'\n"
    depth = int(variables.get("GIT_DEPTH", job.git.depth))
    refspec = f"+refs/heads/{job.git.ref}:refs/remotes/origin/{job.git.ref}"
    shown = f"Checking out {job.git.sha[:8]} as detached HEAD (ref is {job.git.ref})..."
    return start + "\n".join(
        [
            f"echo Fetching changes{f' with git depth set to {depth}' if depth else ''}...",
            'cd "$CI_PROJECT_DIR"',
            "git init --quiet --initial-branch=main",
            f"git remote add origin {shlex.quote(job.git.repo_url)}",
            "git fetch --quiet --no-tags --prune --force"
            f" {f'--depth {depth} ' if depth else ''}origin {shlex.quote(refspec)}",
            f"echo {shlex.quote(shown)}",
            f"git -c advice.detachedHead=false checkout --quiet --force {shlex.quote(job.git.sha)}",
            "",
        ]
    )


def _restore(keys: Iterable[tuple[str, caching.Urls | None]]) -> str:
    calls = []
    for key, urls in keys:
        arguments = [key, urls.head if urls else "", urls.get if urls else ""]
        calls.append(f"restore {shlex.join(arguments)}\n")
    return _TRANSFER + "".join(calls) + "exit 1\n"


def _save(entry: Cache, urls: caching.Urls | None) -> str:
    target = [urls.put, urls.put_header] if urls else ["", ""]
    return f"{_TRANSFER}save {shlex.join([entry.key, *target, *entry.paths])}\nexit 1\n"


def render(
    runner: Mapping[str, Any],
    environment: Mapping[str, str],
    job: Job,
    variables: list[Variable],
    directory: str,
) -> dict[str, str]:
    """Return the job's scripts by name.

    Besides the stages there are `restore_cache_<n>` and `archive_cache_<n>` for the entries of
    `cache:`; they end with 0 only if the transfer went well.

    Args:
        runner: The runner's effective configuration.
        environment: The manager's environment, which may hold an identity for the store.
        job: The job.
        variables: All of the job's variables.
        directory: Where the job's repository is checked out.
    """
    exports = _exports(variables, directory)
    known = {variable.key: variable.value for variable in variables}
    # In the shell of the job's own script, as the runner has it.
    before, after = (
        [runner[key]] if runner.get(key) else []
        for key in ("pre_build_script", "post_build_script")
    )
    enter = f'{_STRICT}{exports}{_kept_environment(directory)}cd "$CI_PROJECT_DIR"\n'
    scripts = {
        "get_sources": f"{_STRICT}{exports}{_get_sources(job, known)}",
        "step_script": enter + _echoed([*before, *job.script, *after]),
        "after_script": enter + _echoed(job.after_script),
    }

    def presigned(key: str) -> caching.Urls | None:
        return caching.urls(runner, environment, job.project_id, key, job.timeout_seconds)

    for number, entry in enumerate(job.cache):
        keys = [(key, presigned(key)) for key in (entry.key, *entry.fallback_keys)]
        scripts[f"restore_cache_{number}"] = exports + _restore(keys)
        scripts[f"archive_cache_{number}"] = exports + _save(entry, keys[0][1])
    return scripts
