#!/bin/sh
# Prints the private memory, in KiB, of each of COUNT supervisors whose containers sleep.
#
#   memory.sh corten|conmon COUNT PROGRAM BUNDLE
set -eu
kind=$1 count=$2 program=$3 bundle=$4
state=/mnt/memory.$kind
mkdir -p "$state"

# Of the process whose number is in a file.
private() {
    awk '/^Private_(Clean|Dirty):/ { sum += $2 } END { print sum }' "/proc/$1/smaps_rollup"
}

start() {
    case $kind in
    corten)
        "$program" --root "$state" run --detach --bundle "$bundle" "m$1" </dev/null >/dev/null
        ln -s "$state/m$1/lock" "$state/$1.pid"
        ;;
    conmon)
        mkdir "$state/$1"
        mkfifo "$state/$1/sync"
        exec 3<>"$state/$1/sync"
        _OCI_SYNCPIPE=3 "$program" --api-version 1 --cid "m$1" --cuuid "m$1" --name "m$1" \
            --bundle "$bundle" --runtime "$(command -v crun)" --runtime-arg --root \
            --runtime-arg="$state/crun" --log-path "k8s-file:$state/$1/log" \
            --container-pidfile "$state/$1/pid" --conmon-pidfile "$state/$1.pid" --socket-dir-path "$state/$1" \
            </dev/null >/dev/null
        read -r _ <&3
        crun --root "$state/crun" start "m$1"
        ;;
    esac
}

stop() {
    case $kind in
    corten) "$program" --root "$state" stop --timeout 0 "m$1" ;;
    conmon) crun --root "$state/crun" delete --force "m$1" ;;
    esac
}

for n in $(seq "$count"); do start "$n"; done
sleep 1
for n in $(seq "$count"); do private "$(cat "$state/$n.pid")"; done
for n in $(seq "$count"); do stop "$n"; done
