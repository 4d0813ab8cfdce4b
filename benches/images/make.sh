#!/bin/bash
# Makes an image of five layers from this machine's /usr: about 4 GB of files, 1 GB and more compressed.
# An OCI image layout with the tag `usr`, which is left alone when it is there.
#
#   make.sh LAYOUT
set -euo pipefail
layout=$1
[ ! -e "$layout/index.json" ] || exit 0
work=$layout.work
rm -rf "$layout" "$work"
mkdir -p "$layout/blobs/sha256" "$work"

# Five lists of about 0.8 GB. Directories come with what is in them, in the order of their names.
find /usr -xdev \( -type f -o -type l -o -type d \) -printf '%s\t%p\n' 2>/dev/null | LC_ALL=C sort -t $'\t' -k 2 |
    awk -F '\t' -v dir="$work" '{ sum += $1; n = int(sum / 8e8) + 1; if (n <= 5) print $2 >(dir "/list." n) }'

# A layer: the digest of the plain tar, and the blob under the digest of the compressed one.
layer() {
    tar --create --no-recursion --numeric-owner --files-from "$work/list.$1" --format=posix \
        --pax-option=delete=atime,delete=ctime 2>/dev/null | gzip -6 -n >"$work/blob.$1"
    gzip -dc "$work/blob.$1" | sha256sum | cut -d ' ' -f 1 >"$work/plain.$1"
}
export -f layer
export work
seq 5 | xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'layer {}'

blob() { # FILE: into the layout; prints digest and size
    local digest
    digest=$(sha256sum <"$1" | cut -d ' ' -f 1)
    stat -c "$digest %s" "$1"
    mv "$1" "$layout/blobs/sha256/$digest"
}
ids='' layers=''
for n in 1 2 3 4 5; do
    read -r digest size < <(blob "$work/blob.$n")
    ids+="${ids:+,}\"sha256:$(cat "$work/plain.$n")\""
    layers+="${layers:+,}{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:$digest\",\"size\":$size}"
done
architecture=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
echo -n "{\"architecture\":\"$architecture\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[$ids]}}" >"$work/config"
read -r digest size < <(blob "$work/config")
echo -n "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:$digest\",\"size\":$size},\"layers\":[$layers]}" >"$work/manifest"
read -r digest size < <(blob "$work/manifest")
echo -n '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
echo -n "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:$digest\",\"size\":$size,\"annotations\":{\"org.opencontainers.image.ref.name\":\"usr\"}}]}" >"$layout/index.json"
rm -rf "$work"
