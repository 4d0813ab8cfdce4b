#!/bin/sh
# Runs one test in the lab VM: trial USER BINARY TEST SECONDS
#
# Ends with 0 where the test has passed; with 90 where its process ended with 0 though libtest has not
# said that this test is over. libtest says so in a file, whose name nobody knows beforehand; what the test
# prints decides nothing. Ends with 91 where two tests before this one have not ended: nobody waits a minute
# for each of them.
user=$1 binary=$2 test=$3 seconds=$4

set -- /run/unfinished.*
[ $# -ge 2 ] && exit 91
: >/run/unfinished.$$

# What is seen from outside of the test: processes, mounts and control groups of the machine.
count() {
    processes=0
    for process in /proc/[0-9]*; do
        # The kernel's own have no arguments.
        words=
        read -r words <"$process/cmdline"
        # Nor counts what ends this test at its limit, which comes when it comes.
        case $words in '' | "sleep$seconds") continue ;; esac
        processes=$((processes + 1))
    done 2>/dev/null
    mounts=0
    while read -r _; do mounts=$((mounts + 1)); done </proc/1/mountinfo
    groups=$(find /sys/fs/cgroup -type d | wc -l)
}

count
before="$processes $mounts $groups"
# prlimit and setpriv by their paths: busybox has commands of these names, which know less.
log=$(mktemp /run/trial.XXXXXXXX)
set -- "$binary" --exact "$test" --include-ignored --test-threads=1 --nocapture --logfile "$log"
case $user in
root) set -- /usr/bin/prlimit --as=2147483648 --fsize=1073741824 --core=0 "$@" ;;
*)
    chown nobody "$log"
    set -- /usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all \
        /usr/bin/prlimit --as=805306368 --fsize=268435456 --nproc=64 --core=0 "$@"
    ;;
esac
HOME=/tmp "$@"
status=$?
if [ $status = 0 ] && ! grep -Fqx "ok $test" "$log"; then status=90; fi
rm -f "$log" /run/unfinished.$$
# What is ending may take a moment.
for _ in 1 2 3 4 5; do
    count
    [ "${before%% *}" -ge "$processes" ] && break
    usleep 100000
done
printf '\n\036outside %s %s -> %s %s %s\n' "$status" "$before" "$processes" "$mounts" "$groups"
exit $status
