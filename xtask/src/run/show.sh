# Runs inside the container of `./x run` and says what a container is, from within.
if [ -t 1 ]; then bold='\033[1m' plain='\033[0m'; else bold='' plain=''; fi
row() { printf "  $bold%-11s$plain %s\n" "$1" "$2"; }
status() { sed -n "s/^$1:[[:space:]]*//p" /proc/self/status; }
limit() { awk -v name="$1" 'index($0, name) == 1 { print $(NF - 2) }' /proc/self/limits; }

echo
row 'host name'  "$(hostname)"
row 'user'       "$(id -un), uid $(id -u), gid $(id -g); uid map:$(awk '{ printf " %s is %s outside (%s)", $1, $2, $3 }' /proc/self/uid_map)"
row 'powers'     "capabilities $(status CapEff), seccomp mode $(status Seccomp), no_new_privs $(status NoNewPrivs)"
row 'pid 1'      "$(tr '\0' ' ' < /proc/1/cmdline | awk 'NR == 1 { print $1, $2, "(this script)" }')"
row 'processes'  "$(ls /proc | grep -c '^[0-9]') in sight, all of this container"
row 'interfaces' "$(ls /sys/class/net 2>/dev/null | tr '\n' ' ')"
row 'address'    "$(grep -w "$(hostname)" /etc/hosts 2>/dev/null | awk '{ print $1, "is", $2, "in /etc/hosts" }')"
row 'way out'    "$(ip route 2>/dev/null | awk '$1 == "default" { print "by", $3, "on", $5 }')"
row 'names from' "$(awk '$1 == "nameserver" { printf "%s ", $2 }' /etc/resolv.conf 2>/dev/null)"
row 'limits'     "$(limit 'Max open files') open files, $(limit 'Max processes') processes, stack $(limit 'Max stack size') bytes, core $(limit 'Max core file size')"
row 'kernel'     "$(uname -sr): the host's, for a container has none of its own"
row 'mounts'     "$(grep -c . /proc/self/mountinfo)"
awk '{ for (i = 7; $i != "-"; i++); printf "    %-28s %-9s %s\n", $5, $(i + 1), $6 }' /proc/self/mountinfo
echo
