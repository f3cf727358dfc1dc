/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* A plain HASH lookup for a flow's five-tuple: what the machine's memory costs today. */
#ifndef BENCH_YARDSTICK_H
#define BENCH_YARDSTICK_H

struct flow_key {
	__be32 client;
	__be32 virtual;
	__be16 client_port;
	__be16 virtual_port;
	__u32 protocol;
};

struct flow_value {
	__u64 word[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 655360);
	__type(key, struct flow_key);
	__type(value, struct flow_value);
} yardstick SEC(".maps");

static __always_inline __u32 next_flow(struct flow_key *key)
{
	__u32 flow = (plan.flow * plan.multiplier + plan.increment) & plan.mask;

	plan.flow = flow;
	key->client = bpf_htonl(plan.client + (flow & 0xffff));
	key->virtual = bpf_htonl(0x0a630001);
	key->client_port = bpf_htons(plan.port + (flow >> 16));
	key->virtual_port = bpf_htons(80);
	key->protocol = IPPROTO_TCP;
	return flow;
}

SEC("tc")
int yardstick_fill(struct __sk_buff *skb)
{
	struct flow_key key;
	struct flow_value value = {};

	next_flow(&key);
	if (bpf_map_update_elem(&yardstick, &key, &value, BPF_ANY))
		plan.wrong++;
	return plan.verdict;
}

SEC("tc")
int yardstick_find(struct __sk_buff *skb)
{
	struct flow_value *value;
	struct flow_key key;

	next_flow(&key);
	value = bpf_map_lookup_elem(&yardstick, &key);
	if (value)
		plan.verdict += value->word[0];
	else
		plan.wrong++;
	return plan.verdict;
}

SEC("tc")
int yardstick_bare(struct __sk_buff *skb)
{
	struct flow_key key;

	plan.verdict += next_flow(&key) >> 31;
	return plan.verdict;
}

#endif
