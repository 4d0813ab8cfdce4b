#!/bin/sh
# Makes a bundle out of the small system in $ROOTFS and prints its directory. The argument is a jq
# filter that changes config.json.
set -e
: "${ROOTFS:?must be a directory with a small system}"
bundle=$(mktemp -d)
corten-runtime spec --bundle "$bundle"
cd "$bundle"
jq ".root.path = \"$ROOTFS\" | .process.terminal = false | ${1:-.}" config.json >edited
mv edited config.json
echo "$bundle"
