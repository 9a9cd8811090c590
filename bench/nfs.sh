#!/bin/sh
# Run a command on a host that has a folder by NFS 4.2, with a delay on the wire: bench/nfs.sh DELAY DISK COMMAND...
#
#   sudo bench/nfs.sh 0.5ms /srv/disk .venv/bin/python bench/store.py --cold --folder @ --name "NFS 4.2, 1 ms"
#
# A server and two hosts, `a` and `b`, in network namespaces; each host has its own NFS client, so that neither knows what the
# other's caches hold. DELAY is that of one way, on both ends of each wire. DISK, a folder on ext4 or xfs, is what the server
# exports (sync). The command runs on host `a`, with the mounted folder for each @, and that of host `b`, for programs that ask
# for it, in OTHER_HOST. Takes root and a kernel with nfsd, NFS, veth and netem. Everything is removed in the end.
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
    for host in a b; do umount -f "$top/$host" 2> /dev/null || true; done
    if [ -e "$top/mountd.pid" ]; then kill "$(cat "$top/mountd.pid")" || true; fi
    on s rpc.nfsd 0 2> /dev/null || true
    for host in s a b; do ip netns del "$key$host" 2> /dev/null || true; done
    rm -f "$top/mountd.pid"
    for folder in "$top/a" "$top/b" "$top"; do rmdir "$folder" 2> /dev/null || true; done
}
trap end EXIT
trap 'exit 130' INT TERM

for host in s a b; do
    ip netns add "$key$host"
    ip -n "$key$host" link set lo up
done
net=0
for host in a b; do
    net=$((net + 1))
    ip -n "${key}s" link add "port$host" type veth peer name eth0 netns "$key$host"
    ip -n "${key}s" addr add "10.77.$net.1/24" dev "port$host"
    ip -n "${key}s" link set "port$host" up
    ip -n "$key$host" addr add "10.77.$net.2/24" dev eth0
    ip -n "$key$host" link set eth0 up
    on s tc qdisc add dev "port$host" root netem delay "$delay" limit 100000
    on "$host" tc qdisc add dev eth0 root netem delay "$delay" limit 100000
done

# nfsd's files and those of its helpers are of a namespace of mounts that ends with them
on s unshare --mount sh -eu -c '
    mount -t nfsd nfsd /proc/fs/nfsd
    echo 10 > /proc/fs/nfsd/nfsv4gracetime  # seconds in which a new server opens no files
    exportfs -o rw,sync,no_root_squash,fsid=0,no_subtree_check "*:$1"
    rpc.nfsd --no-nfs-version 3 8
    rpc.mountd --no-nfs-version 3 --foreground 2> /dev/null & echo $! > "$2"
' sh "$disk" "$top/mountd.pid"
sleep 12

net=0
for host in a b; do
    net=$((net + 1))
    mkdir "$top/$host"
    # with a name of its own: a server takes two clients of one name for one that was started again
    on "$host" unshare --uts sh -euc 'hostname "$1"; mount -t nfs4 -o vers=4.2 "$2" "$3"' sh "$key$host" "10.77.$net.1:/" "$top/$host"
done
for argument; do
    shift
    if [ "$argument" = @ ]; then argument=$top/a; fi
    set -- "$@" "$argument"
done
OTHER_HOST=$top/b on a "$@"
