#!/bin/sh
# Makes what the suites' images are of, beside PLACE/image.tar, the root of a small system: python.tar has
# Debian's Python in it, registry.tar its registry, and bollard.tar what those tests run.
#
# images.sh PLACE
set -eu
place=$1
root=$place/root-of-images

# What a program needs, to where it looks for it.
libraries() {
    ldd "$@" | grep -oE '(=> |^[[:space:]])/[^ ]*' | grep -o '/.*' | sort -u | while read -r library; do
        mkdir -p "$root${library%/*}"
        cp --dereference "$library" "$root$library"
    done
}

begin() {
    rm -rf "$root"
    mkdir "$root"
    tar --extract --file "$place/image.tar" --directory "$root"
}

begin
python=$(readlink --canonicalize /usr/bin/python3)
library=/usr/lib/${python##*/}
mkdir -p "$root/usr/bin" "$root/usr/local/bin" "$root/usr/lib"
cp "$python" "$root/usr/bin/"
for name in usr/bin/python3 usr/local/bin/python usr/local/bin/python3; do
    ln -s "$python" "$root/$name"
done
cp --archive "$library" "$root/usr/lib/"
find "$root$library" -name __pycache__ -prune -exec rm -rf {} +
# It may point to what is not there.
rm -f "$root$library/sitecustomize.py"
libraries "$python" "$library"/lib-dynload/*.so
tar --create --file "$place/python.tar" --directory "$root" .

begin
mkdir -p "$root/etc/docker/registry" "$root/var/lib/registry"
cp /usr/bin/docker-registry "$root/bin/registry"
libraries /usr/bin/docker-registry
cat >"$root/etc/docker/registry/config.yml" <<'END'
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/registry}}
http: {addr: ":5000"}
END
tar --create --file "$place/registry.tar" --directory "$root" .

begin
mkdir -p "$root/usr/sbin" "$root/etc/config" "$root/www"
printf '#!/bin/sh\necho\necho "Hello from Docker!"\n' >"$root/hello"
printf '#!/bin/sh\nexec httpd "$@"\n' >"$root/usr/sbin/run_uhttpd"
chmod 755 "$root/hello" "$root/usr/sbin/run_uhttpd"
printf '\nconfig uhttpd main\n' >"$root/etc/config/uhttpd"
echo hello >"$root/www/index.html"
tar --create --file "$place/bollard.tar" --directory "$root" .
rm -rf "$root"
