// What a tool needs at least: at each hook that enforcer has for this traffic one look into one hash map, and what is in
// it is allowed. It knows no names, ports, protocols or IPv6, keeps nothing of a flow and tells nobody.
#include <linux/bpf.h>
#include <linux/ip.h>

#define SEC(name) __attribute__((section(name), used))

static void *(*lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;

// IPv4 addresses in network order, and families of sockets.
struct {
    int (*type)[BPF_MAP_TYPE_HASH];
    int (*max_entries)[1024];
    __u32 *key;
    __u32 *value;
} allowed SEC(".maps");

static inline __attribute__((always_inline)) int is_allowed(__u32 key)
{
    return lookup(&allowed, &key) != 0;
}

SEC("cgroup/sock_create") int at_sock_create(struct bpf_sock *socket)
{
    return is_allowed(socket->family);
}

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

// Who sent it is whom it would be answered to.
SEC("cgroup_skb/ingress") int at_ingress(struct __sk_buff *skb)
{
    struct iphdr *ip = (void *)(long)skb->data;
    return (void *)(ip + 1) <= (void *)(long)skb->data_end && is_allowed(ip->saddr);
}

char gpl[] SEC("license") = "GPL";
