#!/bin/sh
# Runs the tests that a client has of itself against one daemon, in a network of its own.
#
# run.sh corten|dockerd PLACE PYTHON SOURCES REPORT TESTS…
#
# PLACE is empty, and has image.tar, the root of a small system, beside it. The summary of pytest is in
# REPORT, and what the daemon said in PLACE/log.
set -eu
kind=$1 place=$2 python=$3 sources=$4 report=$5
shift 5
ip link set lo up
# docker-compose's tests look for the socket at its usual place.
mount -t tmpfs tmpfs /run
mkdir -p /run/lock "$place/tmp" "$place/home/.docker"
# Without it docker-py keeps its contexts in the current directory, where both would meet.
echo '{}' >"$place/home/.docker/config.json"
echo 1 >/proc/sys/net/ipv4/ip_forward
# What is pulled comes from a registry here, as a mirror of the usual one.
mirror=127.0.0.1:5000
cat >"$place/registry.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $place/registry}}
http: {addr: "$mirror"}
END
docker-registry serve "$place/registry.yml" >"$place/registry.log" 2>&1 &
registry=$!
echo "{\"registry-mirrors\": [\"http://$mirror\"]}" >"$place/registries.json"
export CORTEN_REGISTRIES="$place/registries.json"
export TMPDIR="$place/tmp" HOME="$place/home" DOCKER_HOST=unix:///run/docker.sock
case $kind in
corten)
    "$CORTEN" --root "$place/root" --state /run/corten daemon -H "$DOCKER_HOST" >"$place/log" 2>&1 &
    ;;
dockerd)
    dockerd --host "$DOCKER_HOST" --data-root "$place/root" --exec-root /run/dockerx \
        --pidfile /run/dockerd.pid --iptables=false --ip6tables=false --ip-forward=false \
        --userland-proxy=false --registry-mirror "http://$mirror" --cgroup-parent "/$PARENT" >"$place/log" 2>&1 &
    ;;
esac
daemon=$!
tries=0
until docker version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { cat "$place/log" >&2; kill "$daemon" "$registry"; exit 1; }
    sleep 0.1
done
# Each is an image of its own: of one that has several names dockerd's prune takes names away, also while a
# container uses it.
for name in busybox:latest busybox:1.31.0-uclibc busybox:1.27.2 alpine:3.10 alpine:3.10.1 alpine:3.12 \
    alpine:latest nginx:latest hello-world:latest; do
    command='["/bin/sh"]'
    [ "$name" != hello-world:latest ] || command='["echo", "hello"]'
    docker import --change "CMD $command" --change "LABEL of=$name" "$place/../image.tar" "$name" >/dev/null
    docker tag "$name" "$mirror/library/$name"
    docker push --quiet "$mirror/library/$name" >/dev/null
    docker rmi "$mirror/library/$name" >/dev/null
done
docker rmi hello-world:latest >/dev/null
cd "$sources"
unset DOCKER_HOST
# Its status says whether all passed; which ones is in the summary.
DOCKER_TEST_API_VERSION=1.41 PYTHONPATH=. timeout 1500 "$python" -W ignore -m pytest -q -rA --tb=no \
    --timeout 100 -p no:cacheprovider "$@" >"$report" 2>&1 || true
export DOCKER_HOST=unix:///run/docker.sock
docker ps -aq | xargs -r docker rm -f >/dev/null 2>&1 || true
kill "$daemon" "$registry"
wait "$daemon" || true
