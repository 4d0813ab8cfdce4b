#!/bin/sh
# Two containers in a network with names; one asks for the other's address TIMES times. Prints the
# milliseconds that each answer took.
#
#   ask.sh corten NETWORK ASK TIMES     NETWORK is corten-network, ASK its example of that name
#   ask.sh dockerd dockerd ASK TIMES
#
# Everything is in mount and network namespaces of its own, and below a temporary directory.
set -eu
kind=$1 program=$2 ask=$3 times=$4
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

case $kind in
corten)
    network() { "$program" --root "$work/root" --state "$work/state" "$@"; }
    network create app > /dev/null
    for name in web db; do
        network namespace "$work/$name"
        network attach app "$work/$name" > /dev/null
    done
    nsenter --net="$work/web" "$ask" db "$times"
    for name in web db; do network release "$work/$name"; done
    network rm app > /dev/null
    ;;
dockerd)
    cat > "$work/runtime" <<'RUNTIME'
#!/bin/sh
exec crun --cgroup-manager=disabled "$@"
RUNTIME
    chmod +x "$work/runtime"
    "$program" --data-root "$work/data" --exec-root "$work/exec" --host "unix://$work/socket" \
        --pidfile "$work/pid" --bip 172.31.0.1/24 --ip-forward=false \
        --storage-driver vfs --add-runtime "own=$work/runtime" --default-runtime own > "$work/log" 2>&1 &
    daemon=$!
    api() { curl -s --unix-socket "$work/socket" "$@"; }
    post() { api -X POST -H 'Content-Type: application/json' -d "$1" "http://d/$2"; }
    for _ in $(seq 100); do api http://d/_ping > /dev/null && break; sleep 0.2; done
    mkdir -p "$work/tree/bin"
    cp /bin/busybox "$work/tree/bin/sleep"
    tar -C "$work/tree" -c . | api -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
        "http://d/images/create?fromSrc=-&repo=image" > /dev/null
    post '{"Name": "app"}' networks/create > /dev/null
    for name in web db; do
        post '{"Image": "image", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "app"}}' \
            "containers/create?name=$name" > /dev/null
        post '' "containers/$name/start"
    done
    pid=$(api http://d/containers/web/json | jq .State.Pid)
    nsenter --net="/proc/$pid/ns/net" "$ask" db "$times"
    for name in web db; do api -X DELETE "http://d/containers/$name?force=1"; done
    ;;
esac
