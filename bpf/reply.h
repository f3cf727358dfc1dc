/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What every reply passes on its way to the client, masqueraded or of full NAT. */
#ifndef HEADGATE_REPLY_H
#define HEADGATE_REPLY_H

#include "cut.h"
#include "fate.h"
#include "fragment.h"
#include "icmp.h"

/* What the kernel's ip_forward looks at before IPVS sees a reply. VERDICT_KEEP: it goes on, in pieces when it is `too_big`. */
static __always_inline int may_forward(struct __sk_buff *skb, struct packet *packet, const struct hop *hop, int *too_big)
{
	if (packet->ttl <= 1) {
		count_event(EVENT_TTL);
		return report(skb, packet, REPORT_TIME_EXCEEDED, 0);
	}
	if (hop->kind == HOP_UNKNOWN)
		return drop(EVENT_NO_ROUTE);
	*too_big = is_too_big(skb, packet, hop->mtu);
	if (*too_big && !may_be_cut(packet, hop->mtu))
		return refuse_too_big(skb, packet, hop->mtu);
	return VERDICT_KEEP;
}

/* Counts a reply, moves its connection on and cuts what is too big for its next hop. VERDICT_KEEP: it goes on. */
static __always_inline int settle_reply(struct __sk_buff *skb, struct packet *packet, struct connection *connection,
					__u32 slot, struct destination *destination, const struct hop *hop, int too_big,
					__u32 now)
{
	if (!packet->again) {
		if (destination && destination->flags & DESTINATION_AVAILABLE)
			count_packet(connection->destination, packet->length, 1);
		pass_state(connection, packet, DIRECTION_OUTPUT, slot, now);
	}
	if (packet->fragment == FRAGMENT_FIRST)
		remember_fragment(packet, slot, 1);
	if (too_big) {
		if (!packet->again)
			return send_to_be_cut(skb, packet);
		if (!cut_to_fit(skb, packet, hop->mtu, slot, 1))
			return VERDICT_DROP;
	}
	return VERDICT_KEEP;
}

#endif
