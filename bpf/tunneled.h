/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Sysctl ignore_tunneled: what comes out of a tunnel that ends on this host is not looked at (ip_vs_in). So a director that is a
 * real server of another one as well takes what that one has sent it, and does not balance it once more. A packet of a
 * protocol that is none of ours gets a note in tc_index before the tunnel's device unpacks it: the device leaves that field alone,
 * nothing else in the kernel reads it, and users' marks stay theirs.
 */
#ifndef HEADGATE_TUNNELED_H
#define HEADGATE_TUNNELED_H

#include "maps.h"

#define TUNNELED 0x4847

/* Notes it about an IP packet, unless its protocol is one that IPVS knows: what those carry is looked at there as well. */
static __always_inline void note_tunnel(struct __sk_buff *skb, __u8 protocol)
{
	if (settings.ignore_tunneled && protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP &&
	    protocol != IPPROTO_AH && protocol != IPPROTO_ESP)
		skb->tc_index = TUNNELED;
}

/* The same at a glance: of an IPv4 packet that is for no service. */
static __always_inline void note_tunnel_passing(struct __sk_buff *skb, __u32 l3)
{
	const struct iphdr *ip = (void *)(long)skb->data + l3;

	if (settings.ignore_tunneled && (void *)(ip + 1) <= (void *)(long)skb->data_end)
		note_tunnel(skb, ip->protocol);
}

/* 1 when a packet has come out of a tunnel and is not to be looked at. */
static __always_inline int is_tunneled(const struct __sk_buff *skb)
{
	return settings.ignore_tunneled && skb->tc_index == TUNNELED;
}

#endif
