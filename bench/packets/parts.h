/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Where the time of a packet from the client goes: the steps of the path, each program going one step further than
 * the one before it. The last step is the data plane itself (packets.bpf.c).
 */
#ifndef BENCH_PARTS_H
#define BENCH_PARTS_H

enum step { STEP_PARSE = 1, STEP_FIND, STEP_DESTINATION, STEP_COUNT_PACKET, STEP_STATE, STEP_HOP };

/* What keeps the compiler from leaving a step out. */
struct hop chosen;

static __always_inline __u32 walk(struct __sk_buff *skb, int steps)
{
	struct packet packet = {};
	__u32 now, slot = 0, *first;
	struct connection *connection;
	struct destination *destination;
	struct hop hop = {};

	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return 1;
	if (read_packet(skb, ETHERNET_LENGTH, &packet) != PARSED)
		return 1;
	now = now_jiffies();
	/* A few clients hit this filter by chance. */
	if (in_filter(settings.reply_filter, &packet.source))
		chosen.kind++;
	if (!in_filter(settings.virtual_filter, &packet.destination))
		return 1;
	if (steps == STEP_PARSE)
		return plan.verdict;
	first = chain_of(&packet, 0);
	slot = first ? find_from(&packet, *first, 0, now) : 0;
	connection = connection_at(slot);
	if (!slot || !connection)
		return 1;
	if (steps == STEP_FIND)
		return plan.verdict;
	destination = destination_at(connection->destination);
	if (!destination || !(destination->flags & DESTINATION_AVAILABLE))
		return 1;
	if (steps == STEP_DESTINATION)
		return plan.verdict;
	count_packet(connection->destination, packet.length, 0);
	if (steps == STEP_COUNT_PACKET)
		return plan.verdict;
	pass_state(connection, &packet, DIRECTION_INPUT, slot, now);
	connection->packets++;
	if (steps == STEP_STATE)
		return plan.verdict;
	hop_to_destination(skb, &packet, destination, &hop, now);
	if (packet.ttl <= 1 || is_too_big(skb, &packet, hop.mtu))
		return 1;
	chosen = hop;
	return plan.verdict;
}

static __always_inline int run_part(struct __sk_buff *skb, int steps)
{
	if (!write_frame((void *)(long)skb->data, (void *)(long)skb->data_end, WORDS_V4) ||
	    walk(skb, steps) != plan.verdict)
		plan.wrong++;
	return plan.verdict;
}

SEC("tc")
int part_parse(struct __sk_buff *skb)
{
	return run_part(skb, STEP_PARSE);
}

SEC("tc")
int part_find(struct __sk_buff *skb)
{
	return run_part(skb, STEP_FIND);
}

SEC("tc")
int part_destination(struct __sk_buff *skb)
{
	return run_part(skb, STEP_DESTINATION);
}

SEC("tc")
int part_count(struct __sk_buff *skb)
{
	return run_part(skb, STEP_COUNT_PACKET);
}

SEC("tc")
int part_state(struct __sk_buff *skb)
{
	return run_part(skb, STEP_STATE);
}

SEC("tc")
int part_hop(struct __sk_buff *skb)
{
	return run_part(skb, STEP_HOP);
}

#endif
