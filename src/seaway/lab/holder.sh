#!/bin/sh
# The first process of a lab host: makes the host's file systems its own, then holds its
# namespaces. Started by holders.py as process 1 of a process namespace, with all mounts private.
#
#   holder.sh NAME STORE [KEEP...]
#
# NAME is the host's name; STORE an empty folder, covered by a tmpfs that holds all that the host
# writes; KEEP are folders of the machine that stay visible even if they lie under /etc, /opt, /var.
set -eu
name=$1 store=$2
shift 2

mount -t proc proc /proc
mount -t tmpfs -o mode=755 seaway-lab "$store"
cd "$store"

i=0
for keep in "$@"; do
	mkdir -p "keep/$i"
	mount --rbind "$keep" "keep/$i"
	i=$((i + 1))
done

# Writes to these stay in the host; what the machine holds there is seen.
for tree in etc opt var; do
	mkdir -p "$tree/upper" "$tree/work"
	mount -t overlay seaway-lab -o "lowerdir=/$tree,upperdir=$tree/upper,workdir=$tree/work" "/$tree"
done

i=0
for keep in "$@"; do
	mkdir -p "$keep"
	mount --rbind "keep/$i" "$keep"
	i=$((i + 1))
done

# These begin empty, whatever the machine holds there. No overlay: container engines need their
# layers on a file system that can itself be below an overlay.
for private in etc/cni etc/seaway etc/docker opt/cni var/lib/seaway var/lib/cni \
	var/lib/containerd var/lib/containers var/lib/docker var/log/seaway; do
	mkdir -p "private/$private" "/$private"
	mount --bind "private/$private" "/$private"
done

mount -t tmpfs -o mode=755 run /run
mkdir /run/netns /run/lock
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=700 bpf /sys/fs/bpf
hostname "$name"
ip link set lo up
echo 0 > /proc/sys/net/ipv4/ip_forward # a new namespace inherits the machine's

echo ready
# Ignored, so that orphans of the host are reaped by the kernel; dash cannot ignore it by a trap.
exec env --ignore-signal=CHLD sleep infinity > /dev/null 2>&1
