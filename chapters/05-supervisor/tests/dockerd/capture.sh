#!/bin/sh
# Writes down what Debian's dockerd logs of the output in this directory, and what it says of options
# that it refuses.
#
#   NAME.N.stdout, NAME.N.stderr   what a container writes, in this order
#   NAME.json-file, NAME.local     the log that dockerd made of it
#   rotation.local.txt             the names and sizes of files that took turns
#   refusals.txt, refusals.json    options, and dockerd's sentences
#
# dockerd runs in mount and network namespaces of its own, with everything below a temporary
# directory. Its containers are real ones, run by crun, but without control groups: none is made, so
# none is left.
#
#   apt-get install docker.io crun curl jq busybox-static
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "${INSIDE:-}" != yes ]; then
    INSIDE=yes exec unshare --mount --net --propagation private "$0"
fi
work=$(mktemp -d)
trap 'kill "$daemon" 2>/dev/null && wait "$daemon" || true; umount -R "$work" 2>/dev/null || true; rm -rf "$work"' EXIT
mount -t tmpfs tmpfs "$work"
ip link set lo up
cat > "$work/runtime" <<'RUNTIME'
#!/bin/sh
exec crun --cgroup-manager=disabled "$@"
RUNTIME
chmod +x "$work/runtime"
dockerd --data-root "$work/data" --exec-root "$work/exec" --host "unix://$work/socket" \
    --pidfile "$work/pid" --bridge none --iptables=false --ip6tables=false --ip-forward=false \
    --storage-driver vfs --add-runtime "own=$work/runtime" --default-runtime own \
    > "$work/log" 2>&1 &
daemon=$!
api() { curl -s --unix-socket "$work/socket" "$@"; }
post() { api -X POST -H 'Content-Type: application/json' -d "$1" "http://d/$2"; }
for _ in $(seq 100); do
    api http://d/_ping > /dev/null && break
    kill -0 "$daemon" || { cat "$work/log"; exit 1; }
    sleep 0.2
done
api http://d/version | jq -r '"dockerd \(.Version), kernel \(.KernelVersion)"' > "$here/VERSION"

mkdir -p "$work/tree/bin" "$work/tree/in"
cp /bin/busybox "$work/tree/bin/sh"
ln -s sh "$work/tree/bin/cat"
ln -s sh "$work/tree/bin/sleep"
ln -s sh "$work/tree/bin/seq"
cp "$here"/*.std??? "$work/tree/in"
cat > "$work/tree/in/write" <<'WRITE'
for file in /in/$1.*; do
    case $file in
        *.stdout) cat "$file" ;;
        *.stderr) cat "$file" >&2 ;;
    esac
    sleep 0.3
done
WRITE
tar -C "$work/tree" -c . | api -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
    "http://d/images/create?fromSrc=-&repo=image&changes=ENV+FROM%3Dimage" > /dev/null

# run NAME DRIVER OPTIONS COMMAND: a container to its end; its id is in $id, its directory in $dir.
run() {
    request=$(jq -nc --arg driver "$2" --argjson options "$3" --argjson command "$4" \
        '{Image: "image", Cmd: $command, Labels: {"com.example": "<1>\t", "other": "2"},
          HostConfig: {NetworkMode: "none", LogConfig: {Type: $driver, Config: $options}}}')
    answer=$(post "$request" "containers/create?name=$1")
    id=$(printf %s "$answer" | jq -r '.Id // empty')
    dir=$work/data/containers/$id
    [ -n "$id" ] || { said=$(printf %s "$answer" | jq -r .message); return 0; }
    said=$(api -X POST "http://d/containers/$id/start" | jq -r '.message // ""' || true)
    api -X POST "http://d/containers/$id/wait" > /dev/null
}
remove() { [ -z "$id" ] || api -X DELETE "http://d/containers/$id?force=1" > /dev/null; }

for name in $(cd "$here" && ls ./*.std??? | sed -E 's#./([a-z]+)\..*#\1#' | sort -u); do
    run "$name" json-file '{}' "[\"sh\", \"/in/write\", \"$name\"]"
    [ -z "$said" ] || { echo "$said"; cat "$work/log"; exit 1; }
    cp "$dir/$id-json.log" "$here/$name.json-file"
    remove
    run "$name" local '{}' "[\"sh\", \"/in/write\", \"$name\"]"
    cp "$dir/local-logs/container.log" "$here/$name.local"
    remove
done
run tagged json-file '{"labels": "com.example,none", "env": "FROM", "tag": "{{.Name}}/{{.ImageName}}"}' \
    '["sh", "/in/write", "both"]'
cp "$dir/$id-json.log" "$here/attributes.json-file"
remove
run rotation local '{"max-size": "1k", "max-file": "4", "compress": "false"}' \
    '["sh", "-c", "for n in $(seq 100 160); do echo line $n; done"]'
(cd "$dir/local-logs" && stat -c '%n %s' container.log*) > "$here/rotation.local.txt"
remove

while read -r driver options; do
    run refused "$driver" "$options" '["sh", "-c", ":"]'
    remove
    jq -nc --arg driver "$driver" --argjson options "$options" --arg said "$said" \
        '{driver: $driver, options: $options, said: $said}'
done < "$here/refusals.txt" | jq -s . > "$here/refusals.json"
