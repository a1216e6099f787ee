#!/usr/bin/env bash
# Runs a command as if on a machine of its own, so that several can run side by side and what one leaves is not taken for another's:
#
#   tests/e2e/apart.sh COMMAND...
#
# It gets a network with loopback and one link that leads nowhere, control groups below its own, its own /run, and a /var/lib on which nobody else sees
# what it writes. Processes, other files and the disk are shared.
set -euo pipefail

# Where the hierarchies of control groups are mounted, and how: `PATH TYPE OPTIONS` each.
hierarchies() {
    awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) ~ /^cgroup2?$/) print $5, $(i + 1), $(i + 3) }' /proc/self/mountinfo
}

# What mounts the same hierarchy again: the controllers, or the name of one that has none.
as_option() {
    local chosen=() option
    for option in ${1//,/ }; do
        case "$option" in rw|ro|xattr|clone_children|release_agent=*) ;; *) chosen+=("$option") ;; esac
    done
    ( IFS=,; echo "${chosen[*]}" )
}

enter() {
    local path kind options
    umount -R /sys
    mount -t sysfs sysfs /sys
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/over/upper /run/over/work
    mount -t overlay -o lowerdir=/var/lib,upperdir=/run/over/upper,workdir=/run/over/work overlay /var/lib
    if [ "$(head -n 1 "$1" | cut -d' ' -f2)" != cgroup2 ] || [ "$(wc -l < "$1")" -gt 1 ]; then
        mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    fi
    while read -r path kind options; do
        mkdir -p "$path"
        if [ "$kind" = cgroup2 ]; then
            mount -t cgroup2 cgroup2 "$path"
            # A group with processes gives no controllers to those below it.
            mkdir "$path/tests"
            echo $$ > "$path/tests/cgroup.procs"
        else
            mount -t cgroup -o "$(as_option "$options")" cgroup "$path"
        fi
    done < "$1"
    ip link set lo up
    ip link add uplink type veth peer name beyond
    ip address add 192.0.2.2/24 dev uplink
    ip link set uplink up
    ip link set beyond up
    ip route add default via 192.0.2.1
    shift
    exec "$@"
}

if [ "${1:-}" = --enter ]; then
    shift
    enter "$@"
fi

group="berth-tests-$$"
list="$(mktemp)"
hierarchies > "$list"

leave() {
    local path kind options below
    while read -r path kind options; do
        for below in "$path/$group/tests" "$path/$group"; do
            [ ! -d "$below" ] || rmdir "$below" || true
        done
    done < "$list"
    rm -f "$list"
}
trap leave EXIT

while read -r path kind options; do
    mkdir "$path/$group"
    # A set of processors begins without any.
    for file in cpuset.mems cpuset.cpus; do
        [ "$kind" = cgroup2 ] || [ ! -e "$path/$group/$file" ] || cat "$path/$file" > "$path/$group/$file"
    done
done < "$list"
(
    while read -r path kind options; do
        echo "$BASHPID" > "$path/$group/cgroup.procs"
    done < "$list"
    exec unshare --net --mount --cgroup --propagation slave "$0" --enter "$list" "$@"
)
