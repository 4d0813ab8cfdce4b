#!/bin/bash
# Measures builds by corten and by dockerd's classic builder side by side, in memory and in namespaces of
# their own. Prints a line for each: what, who, the seconds of each run.
#
#   [CORTEN=target/release/corten] [RUNS=5] measure.sh
set -eu
: "${CORTEN:=$(cd "$(dirname "$0")/../.." && pwd)/target/release/corten}" "${RUNS:=5}" "${WHERE:=memory}"
export CORTEN RUNS WHERE
if [ "${INSIDE:-}" != yes ]; then
    INSIDE=yes exec unshare --mount --net --propagation private "$0" "$@"
fi
work=$(mktemp -d)
daemon=
groups() { ls -d /sys/fs/cgroup/*/docker 2>/dev/null || true; }
before=$(groups)
end() {
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon" || true; }
    for group in $(groups); do
        case " $before " in *"$group"*) ;; *) find "$group" -depth -type d -exec rmdir {} \; || true ;; esac
    done 2>/dev/null
    umount -R --lazy "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT
[ "$WHERE" != memory ] || mount -t tmpfs tmpfs "$work"
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

corten() { "$CORTEN" build -q --network none "$@" > /dev/null; }
docker_() { docker build -q --network none "$@" > /dev/null; }
# Times the command $2… and prints that for $1.
timed() {
    local what=$1 start; shift
    start=$(date +%s.%N)
    "$@"
    printf '%s\t%s\t%.4f\n' "$what" "${1%_}" "$(echo "$(date +%s.%N) - $start" | bc)"
}

runs=$work/runs; mkdir "$runs"
{ echo FROM busybox; for _ in $(seq 20); do echo RUN true; done; } > "$runs/Dockerfile"
many=$work/many; mkdir -p "$many"
(cd "$many" && mkdir files && cd files && for d in $(seq 200); do mkdir "$d"; for f in $(seq 100); do echo "$d $f" > "$d/$f"; done; done)
printf 'FROM busybox\nCOPY files /files\n' > "$many/Dockerfile"
stages=$work/stages; mkdir "$stages"
{
    for s in $(seq 10); do
        echo "FROM busybox AS s$s"; echo "COPY f$s /in"; echo "RUN cat /in > /out"; echo 1 > "$stages/f$s"
    done
    echo FROM busybox; for s in $(seq 10); do echo "COPY --from=s$s /out /$s"; done
} > "$stages/Dockerfile"
for who in corten docker_; do
    # Whatever is read is read.
    $who "$runs"; $who "$many"; $who "$stages"
done
for run in $(seq "$RUNS"); do
    for who in corten docker_; do
        timed "twenty RUN true" $who --no-cache "$runs"
        timed "twenty RUN true, cached" $who "$runs"
        timed "COPY of 20,000 files" $who --no-cache "$many"
        timed "COPY of 20,000 files, cached" $who "$many"
        timed "eleven stages" $who --no-cache "$stages"
        echo "$run $who" > "$stages/f5"
        timed "eleven stages, one file changed" $who "$stages"
    done
done
