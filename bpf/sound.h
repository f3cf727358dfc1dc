/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the kernel's stack looks at before anybody else sees a packet. */
#ifndef HEADGATE_SOUND_H
#define HEADGATE_SOUND_H

#include "icmp.h"

/*
 * 1 when the stack would take the packet (ip_rcv, ip_route_input, ipv6_rcv): a source that can be answered, an intact
 * IPv4 header. Asked before a connection is created.
 */
__noinline int is_sound(struct __sk_buff *skb, const struct packet *packet)
{
	const __be32 *source;

	if (!packet)
		return 0;
	source = packet->source.word;
	if (packet->family == 4) {
		__u8 first = bpf_ntohl(source[3]) >> 24;

		if (first == 0 || first == 127 || first >= 224)
			return 0;
	} else if ((bpf_ntohl(source[0]) >> 24) == 0xff ||
		   (!source[0] && !source[1] && !source[2] && bpf_ntohl(source[3]) <= 1)) {
		return 0;
	}
	/* A packet from its own destination can only come from this host itself. */
	if (skb->ifindex != LOOPBACK_IFINDEX && source[3] == packet->destination.word[3] &&
	    source[2] == packet->destination.word[2] && source[1] == packet->destination.word[1] &&
	    source[0] == packet->destination.word[0])
		return 0;
	if (packet->family == 6)
		return 1;
	if (packet->l4 - packet->l3 == sizeof(struct iphdr)) {
		__be32 *word = (void *)(long)skb->data + (packet->l3 ? ETHERNET_LENGTH : 0);

		if ((void *)(word + 5) > (void *)(long)skb->data_end)
			return 0;
		return !fold_sum64((__u64)word[0] + word[1] + word[2] + word[3] + word[4]);
	}
	return !fold_sum(sum_packet(skb, packet->l3, packet->l4 - packet->l3, 0));
}

#endif
