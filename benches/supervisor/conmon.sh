#!/bin/sh
# Runs a bundle to its end under conmon, as podman does: conmon leaves its caller, creates the
# container by a runtime, tells its number over a pipe, and waits; the caller starts the container,
# waits for conmon's end, and removes what is left.
#
#   conmon.sh BUNDLE RUNTIME
set -eu
bundle=$1 runtime=$2
id=c$$
state=/mnt/conmon/$id
mkdir -p "$state"
mkfifo "$state/sync"
exec 3<>"$state/sync"
# Whose writing end conmon inherits and we give up: its end is conmon's.
mkfifo "$state/end"
exec 5<>"$state/end" 6<"$state/end"
_OCI_SYNCPIPE=3 conmon --api-version 1 --cid "$id" --cuuid "$id" --name "$id" --bundle "$bundle" \
    --runtime "$(command -v "$runtime")" --runtime-arg --root --runtime-arg=/mnt/c \
    --log-path "k8s-file:$state/log" --exit-dir "$state" --persist-dir "$state" \
    --container-pidfile "$state/pid" --conmon-pidfile "$state/conmon" --socket-dir-path "$state" \
    </dev/null >/dev/null
# The number of the container's first process: it is created.
read -r created <&3
exec 5>&-
case $created in *'"data": -'*) echo "$created" >&2; exit 1 ;; esac
"$runtime" --root /mnt/c start "$id"
read -r _ <&6 || :
"$runtime" --root /mnt/c delete --force "$id"
status=$(cat "$state/$id")
rm -r "$state"
exit "$status"
