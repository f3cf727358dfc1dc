/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Full NAT: both ends of a packet are translated, so that real servers see a connection of the director's own and need no
 * way back through it. What happens to such a packet is what happens to a masqueraded one (flow.h), in calls of its own: the
 * other methods pay nothing for it.
 */
#ifndef HEADGATE_FULL_NAT_H
#define HEADGATE_FULL_NAT_H

#include "client-option.h"
#include "cut.h"
#include "fate.h"
#include "forward.h"
#include "fragment.h"
#include "icmp.h"
#include "leave.h"
#include "local.h"
#include "reply.h"

/* One end of a packet as it is to be. */
struct end {
	struct address address;
	__be16 port;
	__u8 source;                 /* 1: where it comes from, else where it goes */
	__u8 forward;                /* 1: the time to live goes down */
};

/* The director's end of a connection; 0: it has none. */
static __always_inline int local_end_of(const struct connection *connection, __u32 slot, struct end *end)
{
	struct local_end key = {};

	if (!key_of_local_end(connection, slot, &key))
		return 0;
	end->address = key.local;
	end->port = key.local_port;
	return 1;
}

/* Translates one end of a packet, for `mac` of its next hop where that is known. 0: the packet could not be changed. */
__noinline int translate_end(struct __sk_buff *skb, struct packet *packet, const struct end *end, struct hop *hop)
{
	struct rewrite rewrite = { .translate = 1 };

	if (!packet || !end || !hop)
		return 0;
	rewrite.address = &end->address;
	rewrite.port = end->port;
	rewrite.reply = end->source;
	rewrite.forward = end->forward;
	if (hop->kind == HOP_LOCAL)
		__builtin_memset(hop->mac, 0, MAC_LENGTH);
	if (!rewrite_packet(skb, packet, &rewrite,
			    packet->l3 && (hop->kind == HOP_LOCAL || hop->neighbour == NEIGHBOUR_CACHED) ? hop->mac
													 : NULL))
		return 0;
	if (end->source) {
		packet->source = end->address;
		packet->source_port = end->port;
	} else {
		packet->destination = end->address;
		packet->destination_port = end->port;
	}
	return 1;
}

/* A packet from the client, on to its destination; VERDICT_ANEW when its connection has ended with it. */
__noinline int forward_full_request(struct __sk_buff *skb, struct packet *packet, __u32 slot, __u32 now)
{
	struct connection *connection = connection_at(slot);
	struct connection_detail *detail = detail_at(slot);
	struct destination *destination;
	struct end end = { .source = 1 };
	struct hop hop = {};

	if (!connection || !packet || !detail)
		return VERDICT_DROP;
	destination = destination_at(connection->destination);
	if (!destination)
		return drop(EVENT_DESTINATION_GONE);
	if (!(destination->flags & DESTINATION_AVAILABLE)) {
		int fate = meet_fate(skb, packet, slot);

		if (fate != VERDICT_KEEP)
			return fate;
	}
	if (!packet->again) {
		count_packet(connection->destination, packet->length, 0);
		pass_state(connection, packet, DIRECTION_INPUT, slot, now);
		connection->packets++;
	}
	if (packet->fragment == FRAGMENT_FIRST) {
		remember_fragment(packet, slot, 0);
		packet->more = 1;
	}
	if (packet->ttl <= 1) {
		count_event(EVENT_TTL);
		return report(skb, packet, REPORT_TIME_EXCEEDED, 0);
	}
	hop_to_destination(skb, packet, destination, &hop, now);
	if (hop.kind != HOP_NEIGHBOUR)
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
	if (wants_client_option(skb, packet, detail->local, destination, hop.mtu)) {
		if (!packet->again && is_unfinished(skb))
			return settings.internal_ifindex ? send_to_turn(skb, packet, turn_mark(TURN_CUT, 0)) : VERDICT_DROP;
		if (!add_client_option(skb, packet))
			return VERDICT_DROP;
	}
	if (!local_end_of(connection, slot, &end) || !translate_end(skb, packet, &end, &hop))
		return VERDICT_DROP;
	end.address = destination->address;
	end.port = connection->real_port;
	end.source = 0;
	end.forward = 1;
	if (!translate_end(skb, packet, &end, &hop))
		return VERDICT_DROP;
	return send_to_hop(skb, packet, &hop);
}

/* Notes that the real server has taken the connection: whatever it sends after its SYN says so. */
static __always_inline void note_answer(struct __sk_buff *skb, const struct packet *packet, struct connection_detail *detail)
{
	if (packet->protocol != IPPROTO_TCP || packet->fragment != FRAGMENT_NONE)
		return;
	if (packet->tcp_flags & TCP_SYN)
		leave_room_for_option(skb, packet);
	else if (!(detail->local & LOCAL_ANSWERED))
		__sync_fetch_and_or(&detail->local, LOCAL_ANSWERED);
}

/* A packet of the real server to the local end of a connection, on to the client. */
__noinline int forward_full_reply(struct __sk_buff *skb, struct packet *packet, __u32 slot, __u32 now)
{
	struct connection *connection = connection_at(slot);
	struct connection_detail *detail = detail_at(slot);
	struct destination *destination;
	struct address client = {};
	struct end end = { .source = 1 };
	struct hop hop = {};
	int too_big = 0, result;

	if (!connection || !packet || !detail)
		return VERDICT_DROP;
	virtual_address(connection, slot, &end.address);
	client_address(connection, slot, &client);
	hop_to_client(skb, packet, &end.address, &client, connection, &hop, now);
	if (hop.kind != HOP_LOCAL) {
		result = may_forward(skb, packet, &hop, &too_big);
		if (result != VERDICT_KEEP)
			return result;
		end.forward = 1;
	}
	destination = destination_at(connection->destination);
	result = settle_reply(skb, packet, connection, slot, destination, &hop, too_big, now);
	if (result != VERDICT_KEEP)
		return result;
	if (destination && destination->full_nat & FULL_NAT_TCP_OPTION && !packet->again)
		note_answer(skb, packet, detail);
	end.port = connection->virtual_port;
	if (!translate_end(skb, packet, &end, &hop))
		return VERDICT_DROP;
	end.address = client;
	end.port = connection->client_port;
	end.source = 0;
	end.forward = 0;
	if (!translate_end(skb, packet, &end, &hop))
		return VERDICT_DROP;
	return send_to_hop(skb, packet, &hop);
}

#endif
