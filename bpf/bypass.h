/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Sysctl cache_bypass: connections of a mark that no real server serves, and that go on to where their client has sent
 * them (a transparent cache whose caches are all gone). They have no destination. Part of flow.h, behind what it sends
 * packets with.
 */
#ifndef HEADGATE_BYPASS_H
#define HEADGATE_BYPASS_H

#include "ttl.h"

static __always_inline int is_bypass(const struct connection *connection)
{
	return connection->word >> WORD_METHOD_SHIFT == METHOD_BYPASS;
}

/* A packet of a connection without a destination, on to where its client has sent it (ip_vs_bypass_xmit). */
__noinline int pass_through(struct __sk_buff *skb, struct packet *packet, __u32 slot, __u32 now)
{
	struct connection *connection = connection_at(slot);
	struct hop hop = {};

	if (!connection || !packet)
		return VERDICT_DROP;
	if (!packet->again) {
		pass_state(connection, packet, DIRECTION_INPUT, slot, now);
		connection->packets++;
	}
	if (packet->fragment == FRAGMENT_FIRST) {
		remember_fragment(packet, slot, 0);
		packet->more = 1;
	}
	hop.length = segment_length(skb, packet);
	find_hop(skb, NULL, &packet->destination, &hop, packet->family);
	if (hop.kind == HOP_LOCAL)
		return VERDICT_PASS;
	if (packet->ttl <= 1) {
		count_event(EVENT_TTL);
		return report(skb, packet, REPORT_TIME_EXCEEDED, 0);
	}
	if (hop.kind == HOP_UNKNOWN)
		return drop(EVENT_NO_ROUTE);
	if (is_too_big(skb, packet, hop.mtu)) {
		if (!may_be_cut(packet, hop.mtu))
			return refuse_too_big(skb, packet, hop.mtu);
		if (!packet->again) {
			packet->more = 1;
			return send_to_be_cut(skb, packet);
		}
		if (!cut_to_fit(skb, packet, hop.mtu, slot, 0))
			return VERDICT_DROP;
	}
	if (!move_ttl(skb, packet, -1))
		return VERDICT_DROP;
	__builtin_memset(hop.mac, 0, MAC_LENGTH);
	hop.neighbour = NEIGHBOUR_VIA;
	return send_to_hop(skb, packet, &hop);
}

/*
 * 1 when a packet that nobody of its service serves goes on to where it was sent (ip_vs_leave): a mark's, not for this
 * host.
 */
__noinline int passes_through(struct __sk_buff *skb, const struct packet *packet, __u32 service_slot)
{
	struct service *service = service_at(service_slot);
	struct hop hop = {};

	if (!packet || !service || !settings.cache_bypass || !(service->flags & SERVICE_FWMARK) || packet->quoted)
		return 0;
	find_hop(skb, NULL, &packet->destination, &hop, packet->family);
	return hop.kind != HOP_LOCAL;
}

#endif
