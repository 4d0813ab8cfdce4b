#!/bin/sh
# Lets one container write BYTES and prints, for each of ROUNDS, how long its log took and how much of
# the processors whoever writes it used meanwhile: seconds, seconds.
#
#   flood.sh corten SUPERVISOR MEGABYTES ROUNDS
#   flood.sh dockerd dockerd   MEGABYTES ROUNDS
#
# Both write Docker's json-file to a tmpfs, in files of 200 MB. The container writes 16 MB of numbered
# lines again and again, and then waits; its processors' time is its own and does not count. Of what
# was written every line has to be in the log.
set -eu
kind=$1 program=$2 megabytes=$3 rounds=$4
if [ "${INSIDE:-}" != yes ]; then
    INSIDE=yes exec unshare --mount --net --propagation private "$0" "$@"
fi
work=$(mktemp -d)
daemon=
end() {
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon" || true; }
    umount -R --lazy "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT
mount -t tmpfs tmpfs "$work"
ip link set lo up
mkdir -p "$work/tree/bin" "$work/tree/in" "$work/tree/out" "$work/tree/proc" "$work/tree/dev" "$work/tree/sys"
cp /bin/busybox "$work/tree/bin/busybox"
for applet in sh cat sleep touch; do ln -s busybox "$work/tree/bin/$applet"; done

# Lines of 40 to 160 characters, as programs write them.
awk 'BEGIN { for (n = 0; size < 16 * 1024 * 1024; n++) {
    line = sprintf("%010d level=info path=/api/v1/items/%d msg=\"request served\" took=%dms", n, n * 7919 % 10007, n % 500)
    for (pad = n * 31 % 9; pad > 0; pad--) line = line " field=value"
    size += length(line) + 1; print line } }' > "$work/tree/in/lines"
times=$((megabytes / 16))
cat > "$work/tree/in/write" <<WRITE
n=0
while [ \$n -lt $times ]; do cat /in/lines; n=\$((n + 1)); done
touch /out/written
exec sleep 1000
WRITE
expected=$(($(wc -l < "$work/tree/in/lines") * times))

now() { date +%s.%N; }
# The seconds of processors that these processes have used.
used() {
    for pid in "$@"; do sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null || true; done |
        awk -v hz="$(getconf CLK_TCK)" '{ ticks += $12 + $13 } END { printf "%.2f", ticks / hz }'
}
# until_written OUT LOG: until the log has not grown for a quarter of a second. When it grew last is
# when it was done.
until_written() {
    while ! [ -e "$1/written" ]; do sleep 0.005; done
    ended=$(now) size=0 still=0
    while [ "$still" -lt 25 ]; do
        last=$size size=$(stat -c %s "$2")
        if [ "$size" = "$last" ]; then still=$((still + 1)); else still=0; fi
        [ "$still" -gt 0 ] || [ "$last" = 0 ] || ended=$(now)
        sleep 0.01
    done
}
# Every line is there, and none twice.
check() {
    found=$(cat "$1"* | wc -l)
    [ "$found" -eq "$expected" ] || { echo "$found of $expected lines" >&2; exit 1; }
}

case $kind in
corten)
    mkdir "$work/bundle"
    mv "$work/tree" "$work/bundle/rootfs"
    tree=$work/bundle/rootfs
    cat > "$work/bundle/config.json" <<CONFIG
{"ociVersion": "1.0.2", "hostname": "flood", "root": {"path": "rootfs"},
 "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"], "args": ["sh", "/in/write"]},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
 "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}]}}
CONFIG
    ;;
dockerd)
    cat > "$work/runtime" <<'RUNTIME'
#!/bin/sh
exec crun --cgroup-manager=disabled "$@"
RUNTIME
    chmod +x "$work/runtime"
    "$program" --data-root "$work/data" --exec-root "$work/exec" --host "unix://$work/socket" \
        --pidfile "$work/pid" --bridge none --iptables=false --ip6tables=false --ip-forward=false \
        --storage-driver vfs --add-runtime "own=$work/runtime" --default-runtime own > "$work/log" 2>&1 &
    daemon=$!
    api() { curl -s --unix-socket "$work/socket" "$@"; }
    for _ in $(seq 100); do api http://d/_ping > /dev/null && break; sleep 0.2; done
    tree=$work/shared
    mkdir -p "$tree/out"
    tar -C "$work/tree" -c . | api -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
        "http://d/images/create?fromSrc=-&repo=image" > /dev/null
    ;;
esac

for round in $(seq "$rounds"); do
    rm -f "$tree/out/written"
    case $kind in
    corten)
        begun=$(now)
        "$program" --root "$work/state" run --detach --bundle "$work/bundle" \
            --log-opt max-size=200m --log-opt max-file=50 "f$round" < /dev/null > /dev/null
        shim=$(cat "$work/state/f$round/lock")
        until_written "$tree/out" "$work/state/f$round/record/output.log"
        spent=$(used "$shim")
        check "$work/state/f$round/record/output.log"
        "$program" --root "$work/state" stop --timeout 0 "f$round"
        "$program" --root "$work/state" rm "f$round"
        ;;
    dockerd)
        id=$(api -X POST -H 'Content-Type: application/json' -d '{"Image": "image", "Cmd": ["sh", "/in/write"],
            "HostConfig": {"NetworkMode": "none", "Binds": ["'"$tree/out"':/out"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "200m", "max-file": "50"}}}}' \
            http://d/containers/create | sed -E 's/.*"Id":"([0-9a-f]+)".*/\1/')
        # Everything of it but the container: dockerd, its containerd and that one's shims.
        all() { echo "$(cat "$work/pid")"; pgrep -f "$work/exec" | sort -u; pgrep -f "containerd-shim.*$id"; }
        before=$(used $(all | sort -u))
        begun=$(now)
        api -X POST "http://d/containers/$id/start"
        until_written "$tree/out" "$work/data/containers/$id/$id-json.log"
        spent=$(echo "$(used $(all | sort -u)) $before" | awk '{ print $1 - $2 }')
        check "$work/data/containers/$id/$id-json.log"
        api -X DELETE "http://d/containers/$id?force=1"
        ;;
    esac
    echo "$ended $begun $spent" | awk '{ printf "%.3f %.2f\n", $1 - $2, $3 }'
done
