#!/bin/sh
# Runs a command with an empty directory in memory as its last argument: what is measured is the work
# of unpacking, not the disk. The peer commands of `./x bench unionfs` all go through here.
set -eu
dir=$(mktemp -d)
mount -t tmpfs unpack "$dir"
"$@" "$dir" >/dev/null
umount "$dir"
rmdir "$dir"
