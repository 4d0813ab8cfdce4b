# The engine's own image. What it is built with comes from this machine:
#
#   cargo vendor --locked /tmp/crates >/dev/null
#   corten build -t corten --allow network.host \
#       --build-context rust="$(rustc --print sysroot)" --build-context crates=/tmp/crates .
#
# where `debian` is an image of Debian 12, for which debootstrap is enough. `./x soak project` does all of it, and
# lets a container of this image run a container:
#
#   corten run --rm --privileged -v inner:/var/lib/corten corten run busybox
FROM debian AS build
RUN --network=host apt-get update -q && apt-get install -qy --no-install-recommends gcc libc6-dev
WORKDIR /src
RUN --mount=type=bind,target=/src --mount=type=bind,from=rust,target=/rust \
    --mount=type=bind,from=crates,target=/crates --mount=type=cache,target=/target --network=none <<EOF
set -e
export PATH=/rust/bin:$PATH CARGO_HOME=/tmp/cargo CARGO_TARGET_DIR=/target
cargo build --release --locked --offline --package corten --package corten-supervisor --bins \
    --config 'source.crates-io.replace-with="vendored"' --config 'source.vendored.directory="/crates"'
install -D -t /out /target/release/corten /target/release/corten-supervisor
EOF

FROM debian
COPY --from=build /out/ /usr/local/bin/
# An overlay cannot have its upper directory on another one.
VOLUME /var/lib/corten
ENTRYPOINT ["corten"]
CMD ["--help"]
