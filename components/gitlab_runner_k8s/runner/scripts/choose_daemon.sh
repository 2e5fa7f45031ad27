# Prints the suffix of the daemon of a project: nothing for the first daemon, then -1, -2 and so on.
# Jump consistent hash (Lamping and Veach, 2014): a project always gets the same daemon. A new
# daemon takes its share of the projects. The others stay where their layers are.
key=${CI_PROJECT_ID:-}
# Shells differ in how they read an id that looks octal, or that is too large: it counts as 0.
case $key in ("" | *[!0-9]* | 0?* | ????????????????*) key=0 ;; esac
# A shell with 32-bit arithmetic computes another hash, so it takes the first daemon.
[ $((1 << 31)) -gt 0 ] 2> /dev/null || replicas=0
number=0 next=0
while [ "$next" -lt "$replicas" ]; do
    number=$next
    key=$((key * 2862933555777941757 + 1))
    next=$(((number + 1) * 2147483648 / (((key >> 33) & 2147483647) + 1)))
done
[ "$number" -eq 0 ] || echo "-$number"
