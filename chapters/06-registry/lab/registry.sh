# A registry for the sessions of chapter 6, to be sourced by bash: docker-registry on loopback with
# the image app:1, in a directory of its own. Both are gone when the shell ends.
#
#   H     the registry's host and port
#   DATA  where it keeps its files
for free in 5806 5807 5808; do
    (echo >/dev/tcp/127.0.0.1/$free) 2>/dev/null || break
done
H=127.0.0.1:$free
WORK=$(mktemp -d) && cd "$WORK" || exit
DATA=$WORK/data
cat >registry.yml <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $DATA}, delete: {enabled: true}}
http: {addr: "$H"}
END
docker-registry serve registry.yml >registry.log 2>&1 &
SERVER=$!
disown
trap 'kill $SERVER; rm -rf "$WORK"' EXIT
until (echo >/dev/tcp/127.0.0.1/$free) 2>/dev/null; do sleep 0.05; done
export DOCKER_CONFIG=$WORK COSIGN_PASSWORD=secret
mkdir root && echo "Corten" >root/motd
tar -C root --sort=name --mtime=@0 --owner=0 --group=0 -cf - . | gzip -n >layer.tar.gz
corten-registry import layer.tar.gz app:1 --store made >/dev/null
corten-registry push app:1 "$H/app:1" --store made >/dev/null
