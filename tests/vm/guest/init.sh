#!/bin/sh
# PID 1 of the lab VM: sets up what a Linux machine has, runs the jobs that the host has asked for,
# and powers off. /run/jobs comes from the host; it sets the variables
#   nonce        a secret that tells our marks from whatever a job prints
#   cgroup       v2, v1 or hybrid
#   address      of eth0, where the VM is on a network
#   size         rows and columns of the host's terminal
#   scratch      yes where a scratch disk is attached
# and calls `job INDEX LIMIT STDIN ARGV...`, one line per job.
export PATH=/corten/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root TERM=linux CORTEN_VM=1
# A small system, on which the book's commands are tried.
export ROOTFS=/rootfs

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev shm /dev/shm
mount -t mqueue -o nosuid,nodev,noexec mqueue /dev/mqueue
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
hostname lab
ip link set lo up

# `end` writes to the host even when `/run/jobs` is broken, so it is defined first.
port_named() {
    for name in /sys/class/virtio-ports/*/name; do
        if [ "$(cat "$name")" = "$1" ]; then
            name=${name%/name}
            echo "/dev/${name##*/}"
        fi
    done
}

# The driver announces ports in the background too.
port=
until [ -n "$port" ] && [ -c "$port" ]; do port=$(port_named corten.jobs); done

# Everything for the host goes through one pipe, so that marks and output keep their order. The
# jobs get the pipe and not the port because a port can't be opened a second time, which programs
# do through /dev/stdout.
exec 4<>"$port"
mkfifo /run/to-host
cat /run/to-host >&4 4>&- &
exec 3>/run/to-host 5</dev/null
rm /run/to-host

mark() { printf '\036%s %s\n' "$nonce" "$*" >&3; }

setup_cgroups() {
    case $cgroup in
    v2)
        mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
        return
        ;;
    esac
    mount -t tmpfs -o nosuid,nodev,noexec,mode=755 tmpfs /sys/fs/cgroup
    # A controller that this kernel has for v2 only (memory and cpuset since Debian's 6.12) stays
    # unmounted.
    while read -r controller _; do
        case $controller in '#'*) continue ;; esac
        mkdir "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "nosuid,nodev,noexec,$controller" cgroup "/sys/fs/cgroup/$controller" \
            2>/dev/null || rmdir "/sys/fs/cgroup/$controller"
    done </proc/cgroups
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o nosuid,nodev,noexec,none,name=systemd cgroup /sys/fs/cgroup/systemd
    if [ "$cgroup" = hybrid ]; then
        mkdir /sys/fs/cgroup/unified
        mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup/unified
    fi
}

# Makes its arguments a session of its own, whose number is left in /run/session.
session() { setsid $terminal sh -c 'echo $$ >/run/session; exec "$@"' sh "$@" 3>&- 4>&- 5>&-; }

# What the guard of a job does: kills its session after the limit.
guard='sleep $1; : >/run/too-long; read -r session </run/session; kill -KILL -$session'

# Runs one job and tells the host how it ended. The guard stands in the background and not the job,
# because the shell lets background processes ignore SIGINT.
job() {
    index=$1 limit=$2 stdin=$3 terminal=
    shift 3
    mark start "$index"
    setsid sh -c "$guard" guard "$limit" <&5 >/dev/null 2>&1 3>&- 4>&- 5>&- &
    guardian=$!
    case $stdin in
    none) session "$@" <&5 >&3 2>&1 ;;
    port) session "$@" <"$(port_named corten.stdin)" >&3 2>&1 ;;
    terminal)
        terminal=-c
        # Its size is forgotten when nobody has it open.
        exec 6<>/dev/hvc0
        [ -n "$size" ] && stty $size <&6
        session "$@" <&6 >&6 2>&1 6>&-
        exec 6>&-
        ;;
    esac
    status=$?
    # By its own number too: its setsid may not have come that far.
    kill -KILL -$guardian $guardian 2>/dev/null
    wait $guardian 2>/dev/null
    if [ -e /run/too-long ]; then
        rm /run/too-long
        status=limit
    fi
    mark end "$index" "$status"
}

setup_network() {
    modprobe virtio_net
    until [ -e /sys/class/net/eth0 ]; do usleep 10000; done
    ip address add "$address" dev eth0
    ip link set eth0 up
}

# Device files that bring their drivers when they are opened: /dev/loop-control, /dev/fuse and others.
# A driver that is not loaded yet has none, so a system makes them beforehand (modules.devname,
# kmod(8)); without the first, `mount -o loop` fails with "Operation not permitted".
static_nodes() {
    awk '$2 ~ /^devname:/ { name[$3] = substr($2, 9) }
         $2 ~ /^char-major-[0-9]+-[0-9]+$/ { split($2, part, "-"); number[$3] = part[3] " " part[4] }
         END { for (m in name) if (m in number) print name[m], number[m] }' \
        "/lib/modules/$(uname -r)/modules.alias" | while read -r name major minor; do
        case $name in */*) mkdir -p "/dev/${name%/*}" ;; esac
        [ -e "/dev/$name" ] || mknod "/dev/$name" c "$major" "$minor"
    done
}

nonce= cgroup=v2 address= size= scratch=
settings=$(sed -n '/^job /q;p' /run/jobs)
eval "$settings"
jobs=$(sed -n '/^job /,$p' /run/jobs)
rm /run/jobs
static_nodes
setup_cgroups
[ -n "$address" ] && setup_network
if [ -n "$scratch" ]; then
    mkdir -p /scratch
    mount -t ext4 /dev/vdb /scratch
fi
cd /root || exit 1
read -r uptime _ </proc/uptime
mark boot "$uptime" "$(uname -r)"
eval "$jobs"
[ -n "$scratch" ] && umount -l /scratch
sync
mark done
# The host answers when it has read everything; without an answer it will cut the power anyway.
read -r -t 10 _ <&4
poweroff -f
