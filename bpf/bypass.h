/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Sysctl cache_bypass: connections of a mark that no real server serves, and that go on to where their client has sent
 * them (a transparent cache whose caches are all gone). They have no destination. Part of flow.h, behind what it
 * forwards packets with.
 */
#ifndef HEADGATE_BYPASS_H
#define HEADGATE_BYPASS_H

#include "ttl.h"

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

/* A packet from the client, on to where its connection goes. A call beside the other, not below it: stack is scarce. */
static __always_inline int forward(struct __sk_buff *skb, struct packet *packet, __u32 slot, __u32 now)
{
	int result = pass_request(skb, packet, slot, now);

	return result == VERDICT_THROUGH ? pass_through(skb, packet, slot, now) : result;
}

/*
 * The first packet of a connection that nobody of its service serves: a mark's that is not for this host goes on to where it
 * was sent, if sysctl cache_bypass lets it; others hear of it (ip_vs_leave).
 */
__noinline int pass_unserved(struct __sk_buff *skb, struct packet *packet, __u32 service_slot, __u32 now)
{
	struct service *service = service_at(service_slot);
	__u32 slot, one_packet;
	struct hop hop = {};
	int result;

	if (!packet || !service)
		return VERDICT_DROP;
	if (!settings.cache_bypass || !(service->flags & SERVICE_FWMARK) || packet->quoted)
		return refuse(skb, packet);
	find_hop(skb, NULL, &packet->destination, &hop, packet->family);
	if (hop.kind == HOP_LOCAL)
		return refuse(skb, packet);
	one_packet = service->flags & SERVICE_ONE_PACKET && packet->protocol == IPPROTO_UDP;
	slot = one_packet ? enter_datagram(packet, 0, came_in(skb, packet), 0)
			  : enter_connection(packet, 0, came_in(skb, packet), 0, 0);
	if (!slot)
		return VERDICT_DROP;
	if (!one_packet)
		note_mark(packet, slot, skb->mark);
	if (packet->protocol != IPPROTO_UDP)
		limit_half_open(slot);
	result = pass_through(skb, packet, slot, now);
	if (one_packet)
		leave_datagram(packet, slot);
	return result;
}

#endif
