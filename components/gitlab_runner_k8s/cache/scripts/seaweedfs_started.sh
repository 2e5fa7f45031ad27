# Makes the bucket $0, whose objects live as long as $1, each time the server has started: an
# empty volume gets it back by itself.
until
    output=$(printf '%s\n' "s3.bucket.create -name $0" \
        "fs.configure -locationPrefix=/buckets/$0/ -ttl=$1 -volumeGrowthCount=2 -apply" |
        weed shell -master=127.0.0.1:9333 -filer=127.0.0.1:8888 2>&1)
    # The shell's exit code is 0 whatever happened. How many spaces it prints differs by build.
    printf '%s' "$output" | grep -q "\"ttl\": *\"$1\"" &&
        ! printf '%s' "$output" | grep '^error' | grep -qv "^error: bucket $0 already exists"
do
    sleep 1
done
