# Creates the bucket, its lifecycle rules and the users, and removes the users of keys that were
# rotated. It can be run any number of times.
set -eu

scheme="${STORE_URL%%://*}"
host="${STORE_URL#*://}"
read -r access_key < /secrets/accesskey
read -r secret_key < /secrets/secretkey
read -r root_user < /secrets/root-user
read -r root_password < /secrets/root-password
export MC_HOST_store="$scheme://$root_user:$root_password@$host"
export MC_HOST_runner="$scheme://$access_key:$secret_key@$host"
export MC_CONFIG_DIR=/tmp/mc

if [ -f /secrets/ca.crt ]; then
    mkdir -p "$MC_CONFIG_DIR/certs/CAs"
    cp /secrets/ca.crt "$MC_CONFIG_DIR/certs/CAs/ca.crt"
fi

attempts=60
until mc ready store > /dev/null 2>&1; do
    attempts=$((attempts - 1))
    if [ "$attempts" -eq 0 ]; then
        echo "the store at $STORE_URL did not become ready in 2 minutes" >&2
        exit 1
    fi
    sleep 2
done

# scoped_user ACCESS_KEY SECRET_KEY POLICY FILE
scoped_user() {
    # Keys are read from standard input, because every process on the node can see arguments. The
    # output of mc contains the access key, which must not get into a log.
    printf '%s\n%s\n' "$1" "$2" | mc admin user add store > /dev/null
    mc admin policy create store "$3" "$4"
    # Attaching a policy twice is an error.
    if ! mc admin user info store "$1" | grep -q "$3"; then
        mc admin policy attach store "$3" --user "$1" > /dev/null
    fi
}

# others POLICY ACCESS_KEY: removes all other users that have the policy.
others() {
    users=$(mc admin user list store)
    printf '%s\n' "$users" | while read -r _ user policy _; do
        [ "$policy" != "$1" ] || [ "$user" = "$2" ] || {
            mc admin user remove store "$user" > /dev/null
            echo "removed a user of the policy $1, whose key was rotated"
        }
    done
}

mc mb --ignore-existing "store/$BUCKET"
mc ilm rule import "store/$BUCKET" < /config/lifecycle.json
scoped_user "$access_key" "$secret_key" runner-cache /config/policy.json
others runner-cache "$access_key"
metrics_access_key=
if [ -f /secrets/metrics-accesskey ]; then
    read -r metrics_access_key < /secrets/metrics-accesskey
    read -r metrics_secret_key < /secrets/metrics-secretkey
    scoped_user "$metrics_access_key" "$metrics_secret_key" metrics /config/metrics-policy.json
fi
# Without metrics, nobody may read them.
others metrics "$metrics_access_key"

# Check that the user can do what the runner does.
echo ok | mc pipe --quiet "runner/$BUCKET/.bootstrap" > /dev/null
mc rm --quiet "runner/$BUCKET/.bootstrap" > /dev/null
echo "bucket $BUCKET is ready for the runner"
