// What both tools in C have: one map of what is allowed, and the hooks at which they do nothing but look into it.
#include <linux/bpf.h>
#include <linux/ip.h>

#define SEC(name) __attribute__((section(name), used))
#define ALWAYS static inline __attribute__((always_inline))

static void *(*lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;

// IPv4 addresses in network order, and families of sockets.
struct {
    int (*type)[BPF_MAP_TYPE_HASH];
    int (*max_entries)[1024];
    __u32 *key;
    __u32 *value;
} allowed SEC(".maps");

ALWAYS int is_allowed(__u32 key)
{
    return lookup(&allowed, &key) != 0;
}

SEC("cgroup/sock_create") int at_sock_create(struct bpf_sock *socket)
{
    return is_allowed(socket->family);
}

// Who sent it is whom it would be answered to.
SEC("cgroup_skb/ingress") int at_ingress(struct __sk_buff *skb)
{
    struct iphdr *ip = (void *)(long)skb->data;
    return (void *)(ip + 1) <= (void *)(long)skb->data_end && is_allowed(ip->saddr);
}

char gpl[] SEC("license") = "GPL";
