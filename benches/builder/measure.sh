#!/bin/bash
# Measures builds by corten, by dockerd's classic builder and by buildah side by side, in memory and in
# namespaces of their own. Prints a line for each: what, who, the milliseconds; separated by tabs.
#
#   [CORTEN=target/release/corten] [RUNS=5] measure.sh
#
# buildah runs commands by chroot(2), without a container: with one it does not work on every host.
set -eu
: "${CORTEN:=$(cd "$(dirname "$0")/../.." && pwd)/target/release/corten}" "${RUNS:=5}"
export CORTEN RUNS
if [ "${INSIDE:-}" != yes ]; then
    INSIDE=yes exec unshare --mount --net --propagation private "$0" "$@"
fi
work=$(mktemp -d)
daemon=
groups() { ls -d /sys/fs/cgroup/*/docker /sys/fs/cgroup/*/buildah* 2>/dev/null || true; }
before=$(groups)
end() {
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon" || true; }
    for group in $(groups); do
        case " $before " in *"$group"*) ;; *) find "$group" -depth -type d -exec rmdir {} \; || true ;; esac
    done 2>/dev/null
    umount -R --lazy "$work" 2>/dev/null || true
    rm -rf "${work:?}"
}
trap end EXIT
mount -t tmpfs -o mode=755 tmpfs "$work"
ip link set lo up
mkdir -p "$work/tree"/{bin,proc,dev,sys,etc} "$work/tmp"
cp /bin/busybox "$work/tree/bin/busybox"
for applet in sh true cat; do ln -s busybox "$work/tree/bin/$applet"; done
touch "$work/tree/etc/hosts" "$work/tree/etc/hostname" "$work/tree/etc/resolv.conf"
tar -C "$work/tree" -cf "$work/image.tar" .

export CORTEN_ROOT="$work/corten" CORTEN_STATE="$work/corten-run" TMPDIR="$work/tmp"
"$CORTEN" import - busybox < "$work/image.tar" > /dev/null
export DOCKER_HOST="unix://$work/docker.sock" DOCKER_BUILDKIT=0
dockerd --data-root "$work/docker" --exec-root "$work/docker-run" --host "$DOCKER_HOST" \
    --pidfile "$work/docker.pid" --bridge none --iptables=false --ip6tables=false --ip-forward=false \
    --storage-driver overlay2 > "$work/docker.log" 2>&1 &
daemon=$!
for _ in $(seq 100); do docker version > /dev/null 2>&1 && break; sleep 0.2; done
docker import "$work/image.tar" busybox > /dev/null
own() { command buildah --root "$work/buildah" --runroot "$work/buildah-run" --storage-driver overlay "$@"; }
container=$(own from scratch)
own add -q "$container" "$work/image.tar" / > /dev/null
own commit -q "$container" localhost/busybox > /dev/null
own rm "$container" > /dev/null
printf 'unqualified-search-registries = ["localhost"]\nshort-name-mode = "permissive"\n' > "$work/registries.conf"
export CONTAINERS_REGISTRIES_CONF="$work/registries.conf"

# Builds with the arguments, an image without a name.
corten_() { "$CORTEN" build -q --network none "$@" > /dev/null 2>&1; }
dockerd_() { docker build -q --network none "$@" > /dev/null 2>&1; }
buildah_() {
    own bud -q --format docker --isolation chroot --network host --pull-never --layers "$@" > /dev/null 2>&1
}
# Times the command $2… and prints that for $1.
timed() {
    local what=$1 start end; shift
    start=$(date +%s%N)
    "$@" || { echo "$what, $1: it failed" >&2; exit 1; }
    end=$(date +%s%N)
    printf '%s\t%s\t%s\n' "$what" "${1%_}" "$(((end - start) / 1000))" |
        awk -F '\t' -v OFS='\t' '{ printf "%s\t%s\t%.3f\n", $1, $2, $3 / 1000 }'
}

runs=$work/runs; mkdir "$runs"
{ echo FROM busybox; for _ in $(seq 20); do echo RUN true; done; } > "$runs/Dockerfile"
many=$work/many; mkdir -p "$many/files"
(cd "$many/files" && for d in $(seq 200); do mkdir "$d"; for f in $(seq 100); do echo "$d $f" > "$d/$f"; done; done)
printf 'FROM busybox\nCOPY files /files\n' > "$many/Dockerfile"
stages=$work/stages; mkdir "$stages"
{
    for s in $(seq 10); do
        echo "FROM busybox AS s$s"; echo "COPY f$s /in"; echo "RUN cat /in > /out"; echo 1 > "$stages/f$s"
    done
    echo FROM busybox; for s in $(seq 10); do echo "COPY --from=s$s /out /$s"; done
} > "$stages/Dockerfile"
everybody="corten_ dockerd_ buildah_"
for who in $everybody; do
    # Whatever is read is read; digests of the context are kept as soon as its files are settled.
    $who "$runs"; $who "$many"; $who "$stages"
done
sleep 3
for run in $(seq "$RUNS"); do
    for who in $everybody; do
        timed runs $who --no-cache "$runs"
        timed runs-cached $who "$runs"
        timed copy $who --no-cache "$many"
        timed copy-cached $who "$many"
        timed stages $who --no-cache "$stages"
        echo "$run $who" > "$stages/f5"
        timed stages-changed $who "$stages"
    done
done
