# Removes what the job's own Compose project has left on the shared Docker daemon. It runs when the
# job's pod ends. A project with a name that the user chose may be for other jobs, so it stays.
[ -n "${CI_JOB_ID:-}" ] && [ "${COMPOSE_PROJECT_NAME:-}" = "ci-$CI_JOB_ID" ] || exit 0
command -v docker > /dev/null || exit 0
project="label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"
containers=$(docker ps --all --quiet --filter "$project")
# Lists of ids and names are several words.
# shellcheck disable=SC2086
[ -z "$containers" ] || docker rm --force --volumes $containers
networks=$(docker network ls --quiet --filter "$project")
# shellcheck disable=SC2086
[ -z "$networks" ] || docker network rm $networks
volumes=$(docker volume ls --quiet --filter "$project")
# shellcheck disable=SC2086
[ -z "$volumes" ] || docker volume rm $volumes
exit 0
