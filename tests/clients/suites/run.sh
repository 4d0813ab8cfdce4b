#!/bin/sh
# Runs the tests that a client has of itself against one daemon, in a network of its own.
#
# run.sh corten|dockerd PLACE SOURCES REPORT COMMAND…
#
# PLACE is empty. $IMAGES names the images that there are to be, one a line: an archive beside PLACE, a name, and
# the command as JSON. What COMMAND says in SOURCES is in REPORT, and what the daemon said in PLACE/log.
set -eu
kind=$1 place=$2 sources=$3 report=$4
shift 4
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
        --registry-mirror "http://$mirror" --cgroup-parent "/$PARENT" >"$place/log" 2>&1 &
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
echo "$IMAGES" | while read -r archive name command; do
    docker import --change "CMD $command" --change "LABEL of=$name" "$place/../$archive" "$name" >/dev/null
    docker tag "$name" "$mirror/library/$name"
    docker push --quiet "$mirror/library/$name" >/dev/null
    docker rmi "$mirror/library/$name" >/dev/null
done
# A test fetches it.
docker rmi hello-world:latest >/dev/null 2>&1 || true
cd "$sources"
unset DOCKER_HOST
# What some want to know. Docker's registry has a meaning of its own for the last.
export DOCKER_TEST_API_VERSION=1.41 TESTCONTAINERS_RYUK_DISABLED=true TESTCONTAINERS_HOST_OVERRIDE=localhost
export PYTHONPATH=. REGISTRY_HTTP_ADDR=localhost:5000/library
# Its status says whether all passed; which ones is in what it prints.
timeout 1500 "$@" >"$report" 2>&1 || true
export DOCKER_HOST=unix:///run/docker.sock
docker ps -aq | xargs -r docker rm -f >/dev/null 2>&1 || true
kill "$daemon" "$registry"
wait "$daemon" || true
