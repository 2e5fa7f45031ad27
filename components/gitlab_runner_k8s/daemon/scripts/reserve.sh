# Reserves some space on the volume, and frees it if the volume is full, so that the daemon can
# start. The daemon then makes room itself, and its next start reserves the space again.
# Usage: DIRECTORY
set -eu

reserve="$1/.reserve"
available() { df -Pk "$1" | awk 'NR == 2 { print $4 }'; }
# A hundredth of the volume, at most 1 GiB, in KiB.
size=$(df -Pk "$1" | awk 'NR == 2 { size = int($2 / 100); print (size > 1048576 ? 1048576 : size) }')

# A start that was killed may have left a part of it.
rm -f "$reserve.new"
if [ "$(available "$1")" -lt "$size" ]; then
    echo "the volume is full: freeing the space that was reserved"
    rm -f "$reserve"
elif [ ! -e "$reserve" ] && [ "$(available "$1")" -gt $((size * 2)) ]; then
    dd if=/dev/zero of="$reserve.new" bs=1024 count="$size" 2> /dev/null
    mv "$reserve.new" "$reserve"
fi
