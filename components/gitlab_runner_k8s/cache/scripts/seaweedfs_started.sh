# Creates the bucket $0 after each start of the server. Its objects live as long as $1. So an empty
# volume gets its bucket again.
until
    output=$(printf '%s\n' "s3.bucket.create -name $0" \
        "fs.configure -locationPrefix=/buckets/$0/ -ttl=$1 -volumeGrowthCount=2 -apply" |
        weed shell -master=127.0.0.1:9333 -filer=127.0.0.1:8888 2>&1)
    # The exit code of weed is always 0. The number of spaces in its output differs by build.
    printf '%s' "$output" | grep -q "\"ttl\": *\"$1\"" &&
        ! printf '%s' "$output" | grep '^error' | grep -qv "^error: bucket $0 already exists"
do
    sleep 1
done
