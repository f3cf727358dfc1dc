/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The second look at a packet, after the firewall: its mark has brought it through the internal pair. What no service takes
 * goes on as if it had no mark, to this host or to others.
 */
#ifndef HEADGATE_ROUTED_H
#define HEADGATE_ROUTED_H

#include "flow.h"
#include "ttl.h"
#include "tunneled.h"

#define IPV4_DESTINATION_AT 16
#define IPV6_DESTINATION_AT 24

/* Sends a packet to where it would have gone without a mark. */
__noinline int hand_back(struct __sk_buff *skb, const struct packet *packet)
{
	struct address target = {};
	struct hop hop = {};

	if (!packet)
		return VERDICT_DROP;
	/* Its address may have been translated for a destination on this host. */
	if (packet->family == 4 ? bpf_skb_load_bytes(skb, ETHERNET_LENGTH + IPV4_DESTINATION_AT, &target.word[3], 4)
				: bpf_skb_load_bytes(skb, ETHERNET_LENGTH + IPV6_DESTINATION_AT, &target, sizeof(target)))
		return VERDICT_DROP;
	find_hop(skb, NULL, &target, &hop, packet->family);
	if (hop.kind == HOP_LOCAL)
		return VERDICT_PASS;
	if (hop.kind != HOP_NEIGHBOUR)
		return drop(EVENT_NO_ROUTE);
	if (packet->ttl <= 1) {
		count_event(EVENT_TTL);
		return VERDICT_DROP;
	}
	if (!move_ttl(skb, packet, -1))
		return VERDICT_DROP;
	return bpf_redirect_neigh(hop.ifindex, &hop.via, sizeof(hop.via), 0);
}

static __always_inline int routed(struct __sk_buff *skb)
{
	struct packet packet = {};
	__u8 mac[MAC_LENGTH];
	int result;

	if (bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)))
		return VERDICT_DROP;
	/* Sent home by the program: nobody else's frames have no source. */
	if (!(mac[6] | mac[7] | mac[8] | mac[9] | mac[10] | mac[11]))
		return VERDICT_PASS;
	result = read_packet(skb, ETHERNET_LENGTH, &packet);
	if (!packet.family)
		return VERDICT_DROP;
	packet.routed = 1;
	/* What this host has sent itself may be at the top. */
	if (packet.ttl < 255) {
		if (!move_ttl(skb, &packet, 1))
			return VERDICT_DROP;
		packet.ttl++;
	}
	if (result != PARSED || is_tunneled(skb))
		return hand_back(skb, &packet);
	result = take_request(skb, &packet, now_jiffies());
	return result == VERDICT_PASS ? hand_back(skb, &packet) : result;
}

#endif
