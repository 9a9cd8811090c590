#!/bin/sh
# Run a command on a host that has a folder by NFS 4.2, with a delay on the wire: bench/nfs.sh DELAY DISK COMMAND...
#
#   sudo bench/nfs.sh 0.5ms /srv/disk .venv/bin/python bench/store.py --cold --folder @ --name "NFS 4.2, 1 ms"
#
# A server and a host in network namespaces. DELAY is that of one way, on both ends of the wire. DISK, a folder on ext4 or xfs, is
# what the server exports (sync). The command runs on the host, with the mounted folder for each @. Takes root and a kernel with
# nfsd, NFS, veth and netem. Everything is removed in the end.
set -eu
delay=$1 disk=$2
shift 2
top=$(mktemp -d)
key=$(basename "$top" | tr -dc a-zA-Z0-9 | tail -c 6)

on() {
    where=/run/netns/$key$1
    shift
    nsenter --net="$where" "$@"
}

end() {
    umount -f "$top/a" 2> /dev/null || true
    if [ -e "$top/mountd.pid" ]; then kill "$(cat "$top/mountd.pid")" || true; fi
    on s rpc.nfsd 0 2> /dev/null || true
    for host in s a; do ip netns del "$key$host" 2> /dev/null || true; done
    rm -f "$top/mountd.pid"
    for folder in "$top/a" "$top"; do rmdir "$folder" 2> /dev/null || true; done
}
trap end EXIT
trap 'exit 130' INT TERM

for host in s a; do
    ip netns add "$key$host"
    ip -n "$key$host" link set lo up
done
ip -n "${key}s" link add wire type veth peer name eth0 netns "${key}a"
ip -n "${key}s" addr add 10.77.1.1/24 dev wire
ip -n "${key}s" link set wire up
ip -n "${key}a" addr add 10.77.1.2/24 dev eth0
ip -n "${key}a" link set eth0 up
on s tc qdisc add dev wire root netem delay "$delay" limit 100000
on a tc qdisc add dev eth0 root netem delay "$delay" limit 100000

# nfsd's files and those of its helpers are of a namespace of mounts that ends with them
on s unshare --mount sh -eu -c '
    mount -t nfsd nfsd /proc/fs/nfsd
    echo 10 > /proc/fs/nfsd/nfsv4gracetime  # seconds in which a new server opens no files
    exportfs -o rw,sync,no_root_squash,fsid=0,no_subtree_check "*:$1"
    rpc.nfsd --no-nfs-version 3 8
    rpc.mountd --no-nfs-version 3 --foreground 2> /dev/null & echo $! > "$2"
' sh "$disk" "$top/mountd.pid"
sleep 12

mkdir "$top/a"
# with a name of its own: a server takes two clients of one name for one that was started again
on a unshare --uts sh -euc 'hostname "$1"; mount -t nfs4 -o vers=4.2 "$2" "$3"' sh "${key}a" 10.77.1.1:/ "$top/a"
for argument; do
    shift
    if [ "$argument" = @ ]; then argument=$top/a; fi
    set -- "$@" "$argument"
done
on a "$@"
