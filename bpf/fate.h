/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What becomes of a connection whose destination is deleted, as its service says, when the client's next packet comes:
 * the kernel's rule is ip_vs_in_hook (net/netfilter/ipvs/ip_vs_core.c), silence or, with expire_nodest_conn, another
 * connection. Nothing of this is asked of a packet whose destination is there.
 */
#ifndef HEADGATE_FATE_H
#define HEADGATE_FATE_H

#include "icmp.h"
#include "orphan.h"
#include "tell.h"

/* Answers of forward_request and meet_fate beside verdicts. */
#define VERDICT_ANEW 0x100       /* the connection has ended: the packet is one without a connection */
#define VERDICT_KEEP 0x101       /* the packet goes on */
#define VERDICT_THROUGH 0x102    /* the packet goes on to where its client has sent it */
#define VERDICT_HEAR 0x103       /* the packet is one of FTP's, and waits for what it says to be read */
#define END_TRIES 4

/* 1 for a connection that never had a destination (sysctl cache_bypass). */
static __always_inline int is_bypass(const struct connection *connection)
{
	return connection->word >> WORD_METHOD_SHIFT == METHOD_BYPASS;
}

/* 1 for a packet that says by itself that a connection begins: a SYN, an INIT. */
static __always_inline int begins_anew(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_TCP)
		return (packet->tcp_flags & (TCP_SYN | TCP_RST)) == TCP_SYN;
	return packet->protocol == IPPROTO_SCTP && packet->sctp_event == SCTP_EVENT_INIT;
}

/*
 * 1 when a SYN or INIT of a connection whose destination has weight 0 opens another one (ip_vs_in_hook): with
 * expire_nodest_conn, and where the service follows the kernel's rule.
 */
static __always_inline int leaves_quiescent(const struct connection *connection)
{
	struct destination *destination;

	if (!settings.expire_nodest_conn || !connection->destination)
		return 0;
	destination = destination_at(connection->destination);
	return destination && !destination->weight && fate_said(destination) == FATE_DROP;
}

/* Ends a connection whatever state it changes to meanwhile; 1 for the caller that ended it. */
static __always_inline int end_surely(struct connection *connection, __u32 slot)
{
	int i;

	for (i = 0; i < END_TRIES; i++) {
		if (end_connection(connection, connection->word)) {
			note_expiry(slot, now_jiffies());
			return 1;
		}
	}
	return 0;
}

/*
 * A packet of the client whose connection's destination is deleted, or never was: a verdict, or one of those above. A new
 * connection is never refused for an old one's sake: a SYN or INIT is scheduled anew also where connections are reset.
 */
__noinline int meet_fate(struct __sk_buff *skb, const struct packet *packet, __u32 slot)
{
	struct connection *connection = connection_at(slot);
	struct destination *destination;
	__u32 fate;

	if (!packet || !connection)
		return VERDICT_DROP;
	if (is_bypass(connection))
		return VERDICT_THROUGH;
	destination = destination_at(connection->destination);
	if (!destination)
		return VERDICT_DROP;
	fate = connection->destination ? fate_of(destination) : FATE_DROP;
	if (fate == FATE_KEEP)
		return VERDICT_KEEP;
	/* What comes behind another packet of its datagram has no headers to go by. */
	if (fate == FATE_DROP || packet->fragment == FRAGMENT_LATER || packet->again) {
		count_event(EVENT_DESTINATION_GONE);
		return VERDICT_DROP;
	}
	if (fate == FATE_RESET && packet->protocol == IPPROTO_TCP && !begins_anew(packet)) {
		if (!settings.internal_ifindex)
			return VERDICT_DROP;
		return send_to_turn(skb, packet, turn_mark(TURN_RESET, 0));
	}
	end_surely(connection, slot);
	if (fate == FATE_RESET && !begins_anew(packet)) {
		count_event(EVENT_CONNECTION_RESET);
		if (settings.sync)
			tell(slot);
		return report(skb, packet, REPORT_PORT_UNREACHABLE, 0);
	}
	count_event(EVENT_CONNECTION_ENDED);
	return VERDICT_ANEW;
}

#endif
