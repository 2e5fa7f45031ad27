# Prints what the daemon of a project has behind the name of the first: nothing, or -1, -2...
# Jump consistent hash (Lamping and Veach, 2014): the same daemon each time, and one daemon more
# takes its share of projects over while all others stay where their layers are.
key=${CI_PROJECT_ID:-}
case $key in ("" | *[!0-9]*) key=0 ;; esac
number=0 next=0
while [ "$next" -lt "$replicas" ]; do
    number=$next
    key=$((key * 2862933555777941757 + 1))
    next=$(((number + 1) * 2147483648 / (((key >> 33) & 2147483647) + 1)))
done
[ "$number" -eq 0 ] || echo "-$number"
