// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The connection store against a plain HASH: the same records, found, entered and expired. Each program does one
 * operation on the next flow of a set; HEADGATE is the path of headgate.bpf.c.
 */
#include HEADGATE

struct flow_key {
	__be32 client;
	__be32 far;
	__be16 client_port;
	__be16 far_port;
	__u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct connection);
} requests SEC(".maps");

/* Masquerading with a HASH: the key of replies -> the key of requests. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow_key);
} replies SEC(".maps");

struct work {
	__u32 base;                  /* client address of flow 0, host order */
	__u32 mask;                  /* flows - 1 */
	__u32 multiplier;            /* flow = flow * multiplier + increment */
	__u32 increment;
	__u32 flow;
	__u32 timeout;               /* jiffies that entered connections live */
	__u32 destination;           /* slot of the destination */
	__u32 missing;               /* flows that were not found, or for which there was no room */
	__u64 longest;               /* ns of the longest sweep */
	__u32 expired;               /* connections the sweeps ended */
	__u32 unfinished;            /* the last sweep stopped at its budget */
};

struct work work;

#define VIRTUAL bpf_htonl(0x0a630002)
#define REAL bpf_htonl(0x0a620003)

static __always_inline __u32 next_flow(void)
{
	work.flow = (work.flow * work.multiplier + work.increment) & work.mask;
	return work.flow;
}

static __always_inline void packet_of(__u32 flow, struct packet *packet)
{
	packet->family = 4;
	packet->protocol = IPPROTO_TCP;
	packet->source.word[3] = bpf_htonl(work.base + (flow & 0xffff));
	packet->source_port = bpf_htons(20000 + (flow >> 16));
	packet->destination.word[3] = VIRTUAL;
	packet->destination_port = bpf_htons(80);
}

static __always_inline void flow_key_of(__u32 flow, struct flow_key *key, __be32 far, __u16 port)
{
	key->client = bpf_htonl(work.base + (flow & 0xffff));
	key->client_port = bpf_htons(20000 + (flow >> 16));
	key->far = far;
	key->far_port = bpf_htons(port);
	key->protocol = IPPROTO_TCP;
}

SEC("tc")
int store_bare(struct __sk_buff *skb)
{
	return next_flow() >> 31;
}

SEC("tc")
int store_find(struct __sk_buff *skb)
{
	struct packet packet = {};
	__u32 *first, slot;

	packet_of(next_flow(), &packet);
	first = chain_of(&packet, 0);
	slot = first ? find_from(&packet, *first, 0, now_jiffies()) : 0;
	if (!slot)
		work.missing++;
	return 0;
}

SEC("tc")
int store_enter(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct connection *connection;
	__u32 slot;

	packet_of(next_flow(), &packet);
	slot = enter_connection(&packet, work.destination, LOOPBACK_IFINDEX, bpf_htons(8080), 0);
	connection = connection_at(slot);
	if (!slot || !connection) {
		work.missing++;
		return 0;
	}
	connection->timeout = work.timeout;
	note_expiry(slot, expiry_moment(connection->seen, work.timeout));
	return 0;
}

/* One tick of the sweeper. */
SEC("tc")
int store_sweep(struct __sk_buff *skb)
{
	__u64 start = bpf_ktime_get_ns(), taken;
	struct sweep sweep = { .started = start, .now = now_jiffies() };
	__u32 before = runtime.entries;

	bpf_loop(LIMBO_BATCH, leave_limbo_step, &sweep, 0);
	bpf_loop(slice_count + 1, visit_slice, &sweep, 0);
	taken = bpf_ktime_get_ns() - start;
	if (taken > work.longest)
		work.longest = taken;
	work.expired += before - runtime.entries;
	work.unfinished = sweep.unfinished;
	return 0;
}

SEC("tc")
int hash_find(struct __sk_buff *skb)
{
	__u32 now = now_jiffies(), flow = next_flow();
	struct connection *connection;
	struct flow_key key;

	flow_key_of(flow, &key, VIRTUAL, 80);
	connection = bpf_map_lookup_elem(&requests, &key);
	if (!connection || is_expired(connection, now))
		work.missing++;
	return 0;
}

static __always_inline int hash_enter(int both)
{
	struct connection connection = {};
	struct destination *destination;
	struct flow_key key, reply;
	__u32 flow = next_flow();

	flow_key_of(flow, &key, VIRTUAL, 80);
	connection.client = key.client;
	connection.virtual = key.far;
	connection.real = REAL;
	connection.client_port = key.client_port;
	connection.virtual_port = key.far_port;
	connection.real_port = bpf_htons(8080);
	connection.protocol = IPPROTO_TCP;
	connection.family = 4;
	connection.word = WORD_LIVE | WORD_INACTIVE;
	connection.seen = now_jiffies();
	connection.timeout = work.timeout;
	connection.destination = work.destination;
	if (bpf_map_update_elem(&requests, &key, &connection, BPF_NOEXIST)) {
		work.missing++;
		return 0;
	}
	if (both) {
		flow_key_of(flow, &reply, REAL, 8080);
		if (bpf_map_update_elem(&replies, &reply, &key, BPF_NOEXIST)) {
			bpf_map_delete_elem(&requests, &key);
			work.missing++;
			return 0;
		}
	}
	destination = destination_at(work.destination);
	if (destination)
		count_in(destination, connection.word);
	return 0;
}

SEC("tc")
int hash_enter_one(struct __sk_buff *skb)
{
	return hash_enter(0);
}

SEC("tc")
int hash_enter_two(struct __sk_buff *skb)
{
	return hash_enter(1);
}

static __always_inline int hash_leave(struct flow_key *key, struct connection *connection, __u32 now, int both)
{
	struct destination *destination;
	struct flow_key reply;

	if (!is_expired(connection, now))
		return 0;
	destination = destination_at(connection->destination);
	if (destination)
		count_out(destination, connection->word);
	if (both) {
		reply = *key;
		reply.far = REAL;
		reply.far_port = bpf_htons(8080);
		bpf_map_delete_elem(&replies, &reply);
	}
	bpf_map_delete_elem(&requests, key);
	work.expired++;
	return 0;
}

static long hash_visit_one(void *map, struct flow_key *key, struct connection *connection, __u32 *now)
{
	return hash_leave(key, connection, *now, 0);
}

static long hash_visit_two(void *map, struct flow_key *key, struct connection *connection, __u32 *now)
{
	return hash_leave(key, connection, *now, 1);
}

static __always_inline int hash_sweep(void *visit)
{
	__u64 start = bpf_ktime_get_ns(), taken;
	__u32 now = now_jiffies();

	bpf_for_each_map_elem(&requests, visit, &now, 0);
	taken = bpf_ktime_get_ns() - start;
	if (taken > work.longest)
		work.longest = taken;
	return 0;
}

SEC("tc")
int hash_sweep_one(struct __sk_buff *skb)
{
	return hash_sweep(hash_visit_one);
}

SEC("tc")
int hash_sweep_two(struct __sk_buff *skb)
{
	return hash_sweep(hash_visit_two);
}
