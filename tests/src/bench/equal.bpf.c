// What a tool needs that does what enforcer has to: each connect is told to user space with who it is, each socket has a
// record of where it was allowed to go, and a packet that goes there costs one look at that record. It still knows no names,
// rules, ports, protocols or IPv6, nor the path of an executable.
#include "shared.bpf.h"

static void *(*storage)(void *map, void *socket, void *value, __u64 flags) = (void *)BPF_FUNC_sk_storage_get;
static struct bpf_sock *(*full)(struct bpf_sock *socket) = (void *)BPF_FUNC_sk_fullsock;
static void *(*reserve)(void *ring, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*submit)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;
static __u64 (*now)(void) = (void *)BPF_FUNC_ktime_get_boot_ns;
static __u64 (*ids)(void) = (void *)BPF_FUNC_get_current_pid_tgid;
static __u64 (*users)(void) = (void *)BPF_FUNC_get_current_uid_gid;
static __u64 (*cgroup)(void) = (void *)BPF_FUNC_get_current_cgroup_id;
static long (*comm)(void *to, __u32 size) = (void *)BPF_FUNC_get_current_comm;

// Nobody reads it: it has room for everything that is measured.
struct {
    int (*type)[BPF_MAP_TYPE_RINGBUF];
    int (*max_entries)[64 << 20];
} events SEC(".maps");

struct event {
    __u64 time, ids, users, cgroup;
    __u32 address, port;
    char comm[16];
};

struct flow {
    __u64 ids, users, cgroup;
    __u32 address, allowed;
    char comm[16];
};

struct {
    int (*type)[BPF_MAP_TYPE_SK_STORAGE];
    int (*map_flags)[BPF_F_NO_PREALLOC | BPF_F_CLONE];
    int *key;
    struct flow *value;
} flows SEC(".maps");

// Judges where a socket is to go, and writes it down with who wants that.
ALWAYS int judge(struct bpf_sock *socket, __u32 address)
{
    int verdict = is_allowed(address);
    struct flow *flow = socket ? storage(&flows, socket, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;
    if (flow) {
        flow->ids = ids();
        flow->users = users();
        flow->cgroup = cgroup();
        comm(flow->comm, sizeof(flow->comm));
        flow->address = address;
        flow->allowed = verdict;
    }
    return verdict;
}

SEC("cgroup/connect4") int at_connect4(struct bpf_sock_addr *named)
{
    int verdict = judge(named->sk, named->user_ip4);
    struct event *event = reserve(&events, sizeof(*event), 0);
    if (event) {
        event->time = now();
        event->ids = ids();
        event->users = users();
        event->cgroup = cgroup();
        event->address = named->user_ip4;
        event->port = named->user_port;
        comm(event->comm, sizeof(event->comm));
        submit(event, BPF_RB_NO_WAKEUP);
    }
    return verdict;
}

SEC("cgroup/sendmsg4") int at_sendmsg4(struct bpf_sock_addr *named)
{
    return judge(named->sk, named->user_ip4);
}

SEC("cgroup_skb/egress") int at_egress(struct __sk_buff *skb)
{
    struct iphdr *ip = (void *)(long)skb->data;
    if ((void *)(ip + 1) > (void *)(long)skb->data_end)
        return 0;
    struct bpf_sock *socket = skb->sk ? full(skb->sk) : 0;
    struct flow *flow = socket ? storage(&flows, socket, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;
    if (flow && flow->address == ip->daddr)
        return flow->allowed != 0;
    return is_allowed(ip->daddr);
}
