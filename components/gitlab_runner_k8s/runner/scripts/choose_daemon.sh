# Prints what the daemon of a project has behind the name of the first: nothing, or -1, -2...
# Jump consistent hash (Lamping and Veach, 2014): the same daemon each time, and one daemon more
# takes its share of projects over while all others stay where their layers are.
key=${CI_PROJECT_ID:-}
# What no shell could read as this number, octal or too large, is none.
case $key in ("" | *[!0-9]* | 0?* | ????????????????*) key=0 ;; esac
# A shell that calculates with 32 bits would choose another one than its fellows: the first.
[ $((1 << 31)) -gt 0 ] 2> /dev/null || replicas=0
number=0 next=0
while [ "$next" -lt "$replicas" ]; do
    number=$next
    key=$((key * 2862933555777941757 + 1))
    next=$(((number + 1) * 2147483648 / (((key >> 33) & 2147483647) + 1)))
done
[ "$number" -eq 0 ] || echo "-$number"
