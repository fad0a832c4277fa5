# usage: sh -ec "$(cat peers_in_c.sh)" sh OBJECT CGROUP KEY.. (a key is four bytes: `10 211 0 2`)
# Attaches what a source in C was compiled to. In a mount namespace of its own: nothing stays pinned. Not in a directory of
# its own: libbpf has no dots in the path of a pin.
object=$1 cgroup=$2 pins=/sys/fs/bpf
shift 2
mount -t bpf bpf $pins
mkdir $pins/maps
bpftool prog loadall "$object" $pins/programs pinmaps $pins/maps
for key; do
    bpftool map update pinned $pins/maps/allowed key $key value 1 0 0 0
done
for hook in sock_create connect4 sendmsg4 egress ingress; do
    bpftool cgroup attach "$cgroup" $hook pinned $pins/programs/at_$hook multi
done
