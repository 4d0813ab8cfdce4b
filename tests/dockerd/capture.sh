#!/bin/sh
# Writes down what Debian's dockerd hands to its runtime for each request in this directory.
#
# dockerd runs in mount and network namespaces of its own, with everything below a temporary
# directory. Its runtime is a few lines that keep config.json and then say that they failed: no
# container starts, so nothing of it is left in /sys/fs/cgroup or anywhere else.
#
#   apt-get install docker.io curl jq busybox-static && tests/dockerd/capture.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "${INSIDE:-}" != yes ]; then
    INSIDE=yes exec unshare --mount --net --propagation private "$0"
fi
work=$(mktemp -d)
trap 'kill "$daemon" 2>/dev/null && wait "$daemon" || true; umount -R "$work" 2>/dev/null || true; rm -rf "$work"' EXIT
mount -t tmpfs tmpfs "$work"
ip link set lo up
mkdir "$work/kept" "$work/data" "$work/host"
cat > "$work/runtime" <<RUNTIME
#!/bin/sh
while [ \$# -gt 0 ]; do
    case \$1 in
        --bundle) cp "\$2/config.json" "$work/kept/config.json"; shift ;;
        --version) echo "runc version 1.1.5" ; exit 0 ;;
    esac
    shift
done
exit 1
RUNTIME
chmod +x "$work/runtime"
dockerd --data-root "$work/data" --exec-root "$work/exec" --host "unix://$work/socket" \
    --pidfile "$work/pid" --bridge none --iptables=false --ip6tables=false --ip-forward=false \
    --storage-driver vfs --add-runtime "keep=$work/runtime" --default-runtime keep \
    > "$work/log" 2>&1 &
daemon=$!
api() { curl -s --unix-socket "$work/socket" "$@"; }
for _ in $(seq 100); do
    api http://d/_ping > /dev/null && break
    kill -0 "$daemon" || { cat "$work/log"; exit 1; }
    sleep 0.2
done
api http://d/version | jq -r '"dockerd \(.Version), kernel \(.KernelVersion)"' > "$here/VERSION"

# An image that has just what decides something: users, groups and a few defaults.
mkdir -p "$work/tree/etc" "$work/tree/bin" "$work/tree/data" "$work/tree/sbin"
cp /bin/busybox "$work/tree/bin/sh"
printf 'root:x:0:0:root:/root:/bin/sh\nbob:x:1000:100::/home/bob:/bin/sh\n' > "$work/tree/etc/passwd"
printf 'root:x:0:\nusers:x:100:\nwheel:x:10:bob\nvideo:x:44:\n' > "$work/tree/etc/group"
tar -C "$work/tree" -c . | api -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
    "http://d/images/create?fromSrc=-&repo=image&changes=CMD+%5B%22sh%22%5D&changes=ENV+FROM%3Dimage" > /dev/null
api -X POST -H 'Content-Type: application/json' -d '{"Name":"named"}' http://d/volumes/create > /dev/null
mkdir /tmp/corten-golden-host 2> /dev/null || true

for request in "$here"/*.request.json; do
    name=$(basename "$request" .request.json)
    rm -f "$work/kept/config.json"
    answer=$(api -X POST -H 'Content-Type: application/json' -d "@$request" "http://d/containers/create?name=$name")
    id=$(printf %s "$answer" | jq -r .Id)
    if [ "$id" = null ]; then
        printf '%s: %s\n' "$name" "$answer"
        continue
    fi
    api -X POST "http://d/containers/$id/start" > "$work/answer" || true
    if [ ! -f "$work/kept/config.json" ]; then
        printf '%s: %s\n' "$name" "$(cat "$work/answer")"
        continue
    fi
    # Ids, directories and process numbers differ in each run, and so do the devices of a machine.
    # The profile is the same in all, and stands in chapters/04-runtime/tests/rig/docker-seccomp.json.
    normal='.linux.seccomp |= (. != null) | del(.hooks) | .root.path = "ROOT"
        | if (.linux.devices // [] | length) > 9 then .linux.devices |= length else . end'
    sed -E -e "s#$id#ID#g" -e "s#$(printf %.12s "$id")#SHORT#g" \
        -e "s#$work/data/volumes/[0-9a-f]{64}#VOLUMES/ANONYMOUS#g" -e "s#$work/data/volumes#VOLUMES#g" \
        -e "s#$work/data#DATA#g" -e "s#$work/exec#EXEC#g" "$work/kept/config.json" |
        jq --sort-keys "$normal" > "$here/$name.config.json"
    api -X DELETE "http://d/containers/$id?force=1&v=1" > /dev/null
done
rmdir /tmp/corten-golden-host

# What dockerd says of requests that it refuses, or accepts with a warning.
while read -r body; do
    request=$(printf %s "$body" | jq -c '. + {Image: "image"}')
    answer=$(api -X POST -H 'Content-Type: application/json' -d "$request" http://d/containers/create)
    printf '%s' "$answer" | jq -c --argjson request "$body" \
        '{request: $request, said: (.message // (.Warnings // [] | join("|")))}'
done < "$here/refusals.txt" | jq -s . > "$here/refusals.json"
