#!/bin/sh
# The init of the initramfs. It loads the driver of the root disk, mounts that disk and hands over
# to guest/init.sh on it. pivot_root(2) fails with EINVAL while `/` is the initramfs, so nothing
# that is tested may run here.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    [ -e "$module" ] && $bb insmod "$module"
done
# The kernel finds the disk in the background.
tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1))
    if [ $tries -gt 1000 ]; then echo "corten: no root disk /dev/vda"; exit 1; fi
    $bb usleep 10000
done
$bb mount -t ext4 /dev/vda /root || exit 1
$bb mv /jobs /root/run/jobs
$bb umount /proc /dev
exec $bb switch_root /root /sbin/init
