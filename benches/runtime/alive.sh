#!/bin/sh
# Sees to it that COUNT sleeping containers of RUNTIME live: makes them or removes them, unless that is
# done already.
#
#   alive.sh COUNT RUNTIME ROOT BUNDLE
set -eu
count=$1 runtime=$2 root=$3 bundle=$4
marker=/mnt/alive.${runtime##*/}
[ -e "$marker" ] || echo 0 >"$marker"
now=$(cat "$marker")
while [ "$now" -lt "$count" ]; do
    now=$((now + 1))
    "$runtime" --root "$root" run --detach --bundle "$bundle" "alive$now" </dev/null >/dev/null
done
while [ "$now" -gt "$count" ]; do
    "$runtime" --root "$root" delete --force "alive$now"
    now=$((now - 1))
done
echo "$now" >"$marker"
