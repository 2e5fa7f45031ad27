# Makes the bucket, its lifecycle and the runner's scoped user. Can be run any number of times.
set -eu

host="${STORE_URL#http://}"
read -r access_key < /secrets/accesskey
read -r secret_key < /secrets/secretkey
read -r root_user < /secrets/root-user
read -r root_password < /secrets/root-password
export MC_HOST_store="http://$root_user:$root_password@$host"
export MC_HOST_runner="http://$access_key:$secret_key@$host"
export MC_CONFIG_DIR=/tmp/mc

attempts=60
until mc ready store > /dev/null 2>&1; do
    attempts=$((attempts - 1))
    if [ "$attempts" -eq 0 ]; then
        echo "the store at $STORE_URL did not become ready in 2 minutes" >&2
        exit 1
    fi
    sleep 2
done

mc mb --ignore-existing "store/$BUCKET"
mc ilm rule import "store/$BUCKET" < /config/lifecycle.json
# The keys go in by standard input: arguments are visible to every process of the node.
printf '%s\n%s\n' "$access_key" "$secret_key" | mc admin user add store
mc admin policy create store runner-cache /config/policy.json
# Attaching twice is an error, so look first.
if ! mc admin user info store "$access_key" | grep -q runner-cache; then
    mc admin policy attach store runner-cache --user "$access_key"
fi

# The user can do what the runner does.
echo ok | mc pipe --quiet "runner/$BUCKET/.bootstrap" > /dev/null
mc rm --quiet "runner/$BUCKET/.bootstrap" > /dev/null
echo "bucket $BUCKET is ready for the runner"
