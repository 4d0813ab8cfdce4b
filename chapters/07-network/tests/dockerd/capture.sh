#!/bin/sh
# Writes down what Debian's dockerd puts into /etc/hosts, /etc/hostname and /etc/resolv.conf of the
# containers of cases.json, each in the default bridge and in a network of a user: files.json.
#
# dockerd runs in mount and network namespaces of its own, with everything below a temporary
# directory. Its containers are real ones, run by crun, but without control groups: none is made, so
# none is left.
#
#   apt-get install docker.io crun curl jq busybox-static iproute2
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
cp /etc/resolv.conf "$work/resolv.conf"
mount --bind "$work/resolv.conf" /etc/resolv.conf
dockerd --data-root "$work/data" --exec-root "$work/exec" --host "unix://$work/socket" \
    --pidfile "$work/pid" --bip 172.31.0.1/24 --iptables=false --ip6tables=false --ip-forward=false \
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

mkdir -p "$work/tree/bin"
cp /bin/busybox "$work/tree/bin/sleep"
tar -C "$work/tree" -c . | api -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
    "http://d/images/create?fromSrc=-&repo=image" > /dev/null
post '{"Name": "app", "IPAM": {"Config": [{"Subnet": "172.31.1.0/24"}]}}' networks/create > /dev/null

jq -c '.[]' "$here/cases.json" | while read -r case; do
    for network in bridge app; do
        # In place: the file is mounted.
        printf %s "$case" | jq -j .host > /etc/resolv.conf
        request=$(printf %s "$case" | jq -c --arg network "$network" '{Image: "image", Cmd: ["sleep", "100"],
            Hostname: (.hostname // "box"), Domainname: (.domainname // ""),
            HostConfig: {NetworkMode: $network, Dns: (.dns // []), DnsSearch: (.search // []),
                DnsOptions: (.options // []), ExtraHosts: (.extra // [])}}')
        id=$(post "$request" containers/create | jq -r '.Id // error')
        said=$(post '' "containers/$id/start")
        [ -z "$said" ] || { echo "$said" >&2; tail "$work/log" >&2; exit 1; }
        address=$(api "http://d/containers/$id/json" | jq -r '.NetworkSettings.Networks[].IPAddress')
        dir=$work/data/containers/$id
        printf %s "$case" | jq -c --arg network "$network" --arg address "$address" \
            --rawfile hosts "$dir/hosts" --rawfile hostname "$dir/hostname" --rawfile resolv "$dir/resolv.conf" \
            '. + {network: $network, address: $address, hosts: $hosts, hostname_file: $hostname, resolv_conf: $resolv}'
        api -X DELETE "http://d/containers/$id?force=1" > /dev/null
    done
done | jq -s . > "$work/files.json"
cp "$work/files.json" "$here/files.json"
