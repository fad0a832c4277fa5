// What a tool needs at least: at each hook that enforcer has for this traffic one look into one hash map, and what is in
// it is allowed. It knows no names, ports, protocols or IPv6, keeps nothing of a flow and tells nobody.
#include "shared.bpf.h"

SEC("cgroup/connect4") int at_connect4(struct bpf_sock_addr *named)
{
    return is_allowed(named->user_ip4);
}

SEC("cgroup/sendmsg4") int at_sendmsg4(struct bpf_sock_addr *named)
{
    return is_allowed(named->user_ip4);
}

SEC("cgroup_skb/egress") int at_egress(struct __sk_buff *skb)
{
    struct iphdr *ip = (void *)(long)skb->data;
    return (void *)(ip + 1) <= (void *)(long)skb->data_end && is_allowed(ip->daddr);
}
