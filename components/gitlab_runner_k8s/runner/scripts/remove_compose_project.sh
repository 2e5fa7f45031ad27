# Removes what the job's own Compose project has left on the shared Docker daemon. It runs when the
# job's pod ends. A project with a name that the user chose may be for other jobs, so it stays.
[ -n "${CI_JOB_ID:-}" ] && [ "${COMPOSE_PROJECT_NAME:-}" = "ci-$CI_JOB_ID" ] || exit 0
command -v docker > /dev/null || exit 0
limit=
! command -v timeout > /dev/null || limit="timeout 10"
# The limit, and lists of ids and names, are several words.
# shellcheck disable=SC2086
{
project="label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"
containers=$($limit docker ps --all --quiet --filter "$project")
[ -z "$containers" ] || $limit docker rm --force --volumes $containers
networks=$($limit docker network ls --quiet --filter "$project")
[ -z "$networks" ] || $limit docker network rm $networks
volumes=$($limit docker volume ls --quiet --filter "$project")
[ -z "$volumes" ] || $limit docker volume rm $volumes
}
exit 0
