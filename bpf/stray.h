/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Packets of masqueraded real servers that belong to no connection: sysctl nat_icmp_send (ip_vs_out_hook). */
#ifndef HEADGATE_STRAY_H
#define HEADGATE_STRAY_H

#include "flow.h"

/* 1 for a packet from the address and port of a masqueraded real server, unless it ends a connection anyway. */
__noinline int is_stray(const struct packet *packet)
{
	if (!packet || (packet->protocol == IPPROTO_TCP && packet->tcp_flags & TCP_RST) ||
	    (packet->protocol == IPPROTO_SCTP && packet->sctp_event == SCTP_EVENT_ABORT))
		return 0;
	return stray_source(packet) != NULL;
}

/* The real server hears that nobody is there for what it has sent. */
static __always_inline int refuse_stray(struct __sk_buff *skb, const struct packet *packet)
{
	count_event(EVENT_STRAY);
	return report(skb, packet, REPORT_STRAY, 0);
}

#endif
