# Waits until the runner's user can do in the bucket what the runner does. The server creates the
# bucket itself after each start.
set -eu

read -r access_key < /secrets/accesskey
read -r secret_key < /secrets/secretkey
authority=
if [ -f /secrets/ca.crt ]; then
    authority='cacert = /secrets/ca.crt'
fi

request() {
    # Keys are read from standard input, because every process on the node can see arguments.
    printf 'user = "%s:%s"\n%s\n' "$access_key" "$secret_key" "$authority" |
        curl --config - --silent --show-error --fail --output /dev/null --max-time 10 \
            --aws-sigv4 aws:amz:us-east-1:s3 "$@"
}

echo ok > /tmp/object
attempts=60
until request --upload-file /tmp/object "$STORE_URL/$BUCKET/.bootstrap"; do
    attempts=$((attempts - 1))
    if [ "$attempts" -eq 0 ]; then
        echo "the store at $STORE_URL did not become ready in 2 minutes" >&2
        exit 1
    fi
    sleep 2
done
request --request DELETE "$STORE_URL/$BUCKET/.bootstrap"
echo "bucket $BUCKET is ready for the runner"
