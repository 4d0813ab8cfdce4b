#!/bin/bash
# Builds every Dockerfile of this directory by corten, by dockerd's classic builder and by buildah, where
# each can, and compares trees, configurations and histories. Says what differs; ends with 1 where
# something does.
#
#   [CORTEN=target/debug/corten] [PEERS="docker buildah"] [KEEP=FILE] compare.sh [NAME…]
#
# NAME.args beside a directory are further arguments, NAME.skip the peers that cannot build it or do it otherwise (and why), and
# NAME.differs a pattern (grep -E) of lines that differ on purpose; the file says why.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${CORTEN:=$here/../../target/debug/corten}" "${PEERS:=docker buildah}" "${KEEP:=}"
export CORTEN PEERS KEEP
if [ "${INSIDE:-}" != yes ]; then
    INSIDE=yes exec unshare --mount --net --propagation private "$0" "$@"
fi
work=$(mktemp -d)
daemon=
# Of this run's own peers: to remove those of another run would take the ground from under its containers.
parent=compare-$$
groups() {
    ls -d /sys/fs/cgroup/{,*/}"$parent" 2>/dev/null || true
    case " $PEERS " in *" buildah "*) ls -d /sys/fs/cgroup/*/buildah* 2>/dev/null || true ;; esac
}
before=$(groups)
end() {
    if [ -n "$daemon" ] && kill "$daemon"; then
        for _ in $(seq 100); do kill -0 "$daemon" 2>/dev/null || break; sleep 0.2; done
        kill -KILL "$daemon" 2>/dev/null || true
        wait "$daemon" || true
    fi
    for group in $(groups); do
        case " $before " in *"$group"*) ;; *) find "$group" -depth -type d -exec rmdir {} \; || true ;; esac
    done 2>/dev/null
    umount -R --lazy "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT
mount -t tmpfs -o mode=755 tmpfs "$work"
ip link set lo up

mkdir -p "$work/tree"/{bin,proc,dev,sys,etc,tmp} "$work/tmp" "$work/lists"
chmod 1777 "$work/tree/tmp"
cp /bin/busybox "$work/tree/bin/busybox"
for applet in $("$work/tree/bin/busybox" --list | grep -vx busybox); do ln -s busybox "$work/tree/bin/$applet"; done
echo 'root:x:0:0:root:/root:/bin/sh' > "$work/tree/etc/passwd"
echo 'root:x:0:' > "$work/tree/etc/group"
touch "$work/tree/etc/hosts" "$work/tree/etc/hostname" "$work/tree/etc/resolv.conf"
tar -C "$work/tree" --mtime 2020-01-01 -cf "$work/image.tar" .

export CORTEN_ROOT="$work/corten" CORTEN_STATE="$work/corten-run" TMPDIR="$work/tmp"
"$CORTEN" import -c 'CMD ["sh"]' - busybox < "$work/image.tar" > /dev/null
case " $PEERS " in *" docker "*)
    export DOCKER_HOST="unix://$work/docker.sock" DOCKER_BUILDKIT=0
    dockerd --data-root "$work/docker" --exec-root "$work/docker-run" --host "$DOCKER_HOST" \
        --pidfile "$work/docker.pid" --cgroup-parent "/$parent" --bridge none --iptables=false --ip6tables=false \
        --ip-forward=false --storage-driver overlay2 > "$work/docker.log" 2>&1 &
    daemon=$!
    for _ in $(seq 100); do docker version > /dev/null 2>&1 && break; sleep 0.2; done
    docker import -c 'CMD ["sh"]' "$work/image.tar" busybox > /dev/null ;;
esac
buildah() {
    command buildah --root "$work/buildah" --runroot "$work/buildah-run" --storage-driver vfs "$@"
}
case " $PEERS " in *" buildah "*)
    container=$(buildah from scratch)
    buildah add -q "$container" "$work/image.tar" / > /dev/null
    buildah config --cmd '["sh"]' "$container" 2> /dev/null
    buildah commit -q "$container" localhost/busybox > /dev/null
    buildah rm "$container" > /dev/null
    printf 'unqualified-search-registries = ["localhost"]\nshort-name-mode = "permissive"\n' > "$work/registries.conf"
    export CONTAINERS_REGISTRIES_CONF="$work/registries.conf" ;;
esac

# The tree below the directory $1: kind, mode, owner, size, links, content; the time of what is old.
list() {
    (cd "$1" && find . -mindepth 1 \
        \( -path ./dev -o -path ./proc -o -path ./sys -o -path ./.dockerenv -o -path ./etc/mtab \
           -o -path ./etc/hosts -o -path ./etc/hostname -o -path ./etc/resolv.conf \) -prune -o \
        -printf '%P|%y|%m|%U:%G|%l|%n|%TY\n' | sed -e 's/|20[23][1-9]$/|now/' \
        -e '/^etc|d|/d' -e '/^bin\/.*|busybox|/d' -e '/|d|/s/|[0-9]*|\([^|]*\)$/|-|\1/' | LC_ALL=C sort
     find . -mindepth 1 \( -path ./dev -o -path ./proc -o -path ./sys -o -path './etc/host*' \
        -o -path ./etc/resolv.conf -o -path ./bin -o -path ./.dockerenv \) -prune -o -type f -print0 | \
        LC_ALL=C sort -z | xargs -0r sha256sum)
}
normal='{User,ExposedPorts,Env,Entrypoint,Cmd,Volumes,WorkingDir,Labels,StopSignal,Healthcheck,OnBuild,Shell}
    | with_entries(select(.value != null and .value != "" and .value != [] and .value != {}))'
# Hashes of sources differ between builders.
history() { sed -E 's/(file|dir|multi):[0-9a-f]{64}/\1:X/g; s/[[:space:]]+$//'; }

# The stream of a build, with output in one piece and without ids.
stream() {
    tr -d '\r' | sed -E -e 's/sha256:[0-9a-f]{64}/SHA/g' -e 's/(in|container|built|\\u003e) [0-9a-f]{12}/\1 ID/g' | \
        jq -cS 'if .stream then {stream} else . end' | \
        jq -rsS 'map(if .stream then .stream else tojson + "\n" end) | join("")'
}
own_history() {
    local id; id=$("$CORTEN" inspect "$1" | jq -r '.[0].Id'); id=${id#sha256:}
    jq -r '.history | reverse | .[] | .created_by // ""' "$CORTEN_ROOT/images/blobs/sha256/$id"
}

failed=0
[ $# -gt 0 ] || set -- $(cd "$here" && ls -d */ | tr -d /)
for name in "$@"; do
    cp -a "$here/$name" "$work/context"
    find "$work/context" -exec touch -h -d '2020-01-01 00:00:00' {} +
    find "$work/context" -name private -exec chmod 600 {} +
    arguments=$(cat "$here/$name.args" 2>/dev/null || true)
    skip=" $(grep -v '^#' "$here/$name.skip" 2>/dev/null || true) "
    for peer in $PEERS; do
        case "$skip" in *" $peer "*) continue ;; esac
        own= ; [ "$peer" = buildah ] || own=--classic
        if [ -e "$here/$name.fails" ]; then
            # Only what the stream says is compared, below.
            echo fails > "$work/c.list"; echo fails > "$work/p.list"
        # shellcheck disable=SC2086
        elif ! "$CORTEN" build $own --network none -t "c-$name" $arguments -o "type=tar,dest=$work/c.tar" \
            "$work/context" > "$work/c.log" 2>&1; then
            echo "corten: " > "$work/c.list"; tail -5 "$work/c.log" >> "$work/c.list"
        else
            mkdir "$work/c"; tar -C "$work/c" --same-owner -xpf "$work/c.tar"
            { list "$work/c" | grep -v '^run|d|'; "$CORTEN" inspect "c-$name" | jq -S ".[0].Config | $normal"
              [ "$peer" != docker ] || own_history "c-$name" | history; } > "$work/c.list"
            rm -rf "$work/c" "$work/c.tar"
        fi
        [ -e "$here/$name.fails" ] || case $peer in
        docker)
            # shellcheck disable=SC2086
            if timeout 300 docker build --network none -t "p-$name" $arguments "$work/context" > "$work/p.log" 2>&1; then
                id=$(docker create "p-$name" none)
                mkdir "$work/p"; docker export "$id" | tar -C "$work/p" --same-owner -xpf -; docker rm -v "$id" > /dev/null
                { list "$work/p" | grep -v '^run|d|'; docker inspect "p-$name" | jq -S ".[0].Config | $normal"
                  docker history --no-trunc --format '{{.CreatedBy}}' "p-$name" | history; } > "$work/p.list"
                rm -rf "$work/p"
            else echo "docker: " > "$work/p.list"; tail -5 "$work/p.log" >> "$work/p.list"; fi ;;
        buildah)
            # shellcheck disable=SC2086
            if buildah bud --format docker --isolation chroot --network host --pull-never -t "p-$name" $arguments "$work/context" > "$work/p.log" 2>&1; then
                id=$(buildah from --pull-never "p-$name"); tree=$(buildah mount "$id")
                { list "$tree" | grep -v '^run|d|'; buildah inspect --type image "p-$name" | jq -S "del(.Docker.config.Labels[\"io.buildah.version\"]) | .Docker.config | $normal"; } > "$work/p.list"
                buildah rm "$id" > /dev/null
            else echo "buildah: " > "$work/p.list"; tail -5 "$work/p.log" >> "$work/p.list"; fi ;;
        esac
        if [ "$peer" = docker ] && [ -z "$arguments" ]; then
            tar -C "$work/context" -cf "$work/context.tar" .
            curl -s -m 300 --unix-socket "$work/docker.sock" -X POST -H 'Content-Type: application/x-tar' \
                --data-binary "@$work/context.tar" "http://d/build?networkmode=none&nocache=1&rm=1&t=s-$name" | stream > "$work/p.stream"
            "$CORTEN" build --classic --force-rm=false --no-cache --network none --progress rawjson -t "s-$name" - \
                < "$work/context.tar" 2> /dev/null | stream > "$work/c.stream"
            expected=$(grep -v '^#' "$here/$name.differs" 2>/dev/null || echo '^$')
            if ! diff <(grep -vE "$expected" "$work/p.stream") <(grep -vE "$expected" "$work/c.stream") > "$work/diff"; then
                echo "DIFFERS: $name (docker's stream)"; head -30 "$work/diff" | sed 's/^/    /'; failed=1
            fi
            rm "$work/context.tar"
        fi
        expected=$(grep -v '^#' "$here/$name.differs" 2>/dev/null || echo '^$')
        if diff <(grep -vE "$expected" "$work/p.list") <(grep -vE "$expected" "$work/c.list") > "$work/diff"; then
            echo "same: $name ($peer)"
        else
            echo "DIFFERS: $name ($peer)"; head -30 "$work/diff" | sed 's/^/    /'; failed=1
        fi
    done
    rm -rf "$work/context"
done
exit $failed
