#!/bin/sh
# Starts COMMAND NUMBER times at once, and waits for all; fails where one does.
#
#   together.sh NUMBER COMMAND…
set -eu
number=$1
shift
started=
for _ in $(seq "$number"); do
    "$@" &
    started="$started $!"
done
for pid in $started; do wait "$pid"; done
