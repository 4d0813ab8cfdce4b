#!/bin/sh
# Makes the Docker archive FILE of one image with layers of so many MiB that no compression makes
# smaller: registry-image.sh FILE MIB...
set -eu
file=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
layers='' ids=''
for mib; do
    head -c "${mib}M" /dev/urandom >layer
    id=$(sha256sum layer | cut -d' ' -f1)
    mv layer "$id.tar"
    layers="$layers,\"$id.tar\"" ids="$ids,\"sha256:$id\""
done
printf '{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[%s]}}' \
    "${ids#,}" >config.json
printf '[{"Config":"config.json","RepoTags":["bench:1"],"Layers":[%s]}]' "${layers#,}" >manifest.json
tar -cf "$file" ./*
