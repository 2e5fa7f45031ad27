# The startup probe: succeeds when the daemon answers. It then removes VOLUME, the mark of a drain, and
# keeps the kernel from killing the whole daemon for lack of memory.
# Usage: SOCKET VOLUME [CGROUP]
set -eu

docker --host="$1" version
# A container that restarts in its pod has the volume that the drain before it made.
docker --host="$1" volume rm --force "$2" || :
# On cgroup v2, the kubelet lets the kernel kill all processes of a container that exceeds its memory
# limit. With 0, it kills one.
group="${3:-/sys/fs/cgroup}/memory.oom.group"
[ ! -w "$group" ] || echo 0 > "$group" || :
# The kubelet gives the daemon a high score, which makes it die before the container that takes too much.
for process in /proc/[0-9]*; do
    case $(cat "$process/comm" 2> /dev/null) in
        dockerd | containerd) echo 0 > "$process/oom_score_adj" || : ;;
    esac
done 2> /dev/null
