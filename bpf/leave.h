/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How packets leave, whatever was done to them: to their next hop, to the internal veth, or not at all. */
#ifndef HEADGATE_LEAVE_H
#define HEADGATE_LEAVE_H

#include "forward.h"
#include "icmp.h"

static __always_inline int drop(__u32 event)
{
	count_event(event);
	return VERDICT_DROP;
}

/* Sends a finished packet to its next hop. */
static __always_inline int send_to_hop(struct __sk_buff *skb, const struct packet *packet, struct hop *hop)
{
	if (!packet->l3 && !add_ethernet(skb, hop->mac))
		return VERDICT_DROP;
	if (hop->kind == HOP_LOCAL)
		return bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
	switch (hop->neighbour) {
	case NEIGHBOUR_CACHED:
		return bpf_redirect(hop->ifindex, 0);
	case NEIGHBOUR_ROUTE:
		return bpf_redirect_neigh(hop->ifindex, NULL, 0, 0);
	default:
		return bpf_redirect_neigh(hop->ifindex, &hop->via, sizeof(hop->via), 0);
	}
}

static __always_inline int refuse_too_big(struct __sk_buff *skb, const struct packet *packet, __u32 mtu)
{
	count_event(EVENT_TOO_BIG);
	if (!packet->do_not_fragment)
		return VERDICT_DROP;
	return report(skb, packet, REPORT_TOO_BIG, mtu);
}

static __always_inline int send_to_be_cut(struct __sk_buff *skb, const struct packet *packet)
{
	if (!must_be_finished(packet))
		count_event(EVENT_FRAGMENTED);
	return send_to_turn(skb, packet, turn_mark(TURN_CUT, 0));
}

#endif
