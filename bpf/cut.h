/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * IPv4 packets that are too long for the next hop or the tunnel and may be fragmented (RFC 791, 2.3). A packet is cut
 * before it is rewritten or encapsulated: each fragment then goes through a tunnel whole, and whoever ends the tunnel
 * need not put anything together.
 *
 * It takes a turn through the internal veth pair, where checksums are finished and super-packets cut up. From there the
 * first piece that fits goes its way; the rest, a fragment itself, takes another turn.
 */
#ifndef HEADGATE_CUT_H
#define HEADGATE_CUT_H

#include "forward.h"
#include "fragment.h"
#include "icmp.h"

#define LEAST_MTU_OF_IPV4 68
#define MOST_CUT 4088            /* bpf_skb_adjust_room takes no more than 4,095 bytes away */

/* 1 when a packet may be cut; those with options are not: which of them each fragment needs is not looked into. */
static __always_inline int may_be_cut(const struct packet *packet, __u32 mtu)
{
	return packet->family == 4 && !packet->do_not_fragment && packet->l4 - packet->l3 == sizeof(struct iphdr) &&
	       mtu >= LEAST_MTU_OF_IPV4 && settings.internal_ifindex;
}

static __always_inline int store_ipv4(struct __sk_buff *skb, __u32 l3, struct iphdr *ip)
{
	ip->check = 0;
	ip->check = fold_sum(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
	return !bpf_skb_store_bytes(skb, l3, ip, sizeof(*ip), 0);
}

/*
 * Leaves of a packet that came from the internal veth what `mtu` bytes hold, and sends the rest on another turn. Both
 * sides find their connection again by the slot that is remembered. 0: it could not be done.
 */
__noinline int cut(struct __sk_buff *skb, struct packet *packet, __u32 mtu, __u32 slot, __u32 reply)
{
	struct iphdr ip;
	__u32 room = (mtu - sizeof(ip)) & ~7;
	long result;

	if (!packet || packet->l3 != ETHERNET_LENGTH || bpf_skb_load_bytes(skb, ETHERNET_LENGTH, &ip, sizeof(ip)))
		return 0;
	if (room > MOST_CUT)
		room = MOST_CUT;
	packet->fragment = ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET) ? FRAGMENT_LATER : FRAGMENT_FIRST;
	packet->length = sizeof(ip) + room;
	if (packet->fragment == FRAGMENT_FIRST)
		remember_fragment(packet, slot, reply);
	skb->mark = turn_mark(TURN_CUT, room);
	result = bpf_clone_redirect(skb, settings.internal_ifindex, 0);
	skb->mark = 0;
	if (result || bpf_skb_change_tail(skb, ETHERNET_LENGTH + sizeof(ip) + room, 0))
		return 0;
	ip.tot_len = bpf_htons(sizeof(ip) + room);
	ip.frag_off |= bpf_htons(IP_MORE_FRAGMENTS);
	return store_ipv4(skb, ETHERNET_LENGTH, &ip);
}

/* Takes the bytes off that went before. */
__noinline int take_off(struct __sk_buff *skb, __u32 bytes)
{
	struct iphdr ip;

	if (bytes > MOST_CUT || bpf_skb_load_bytes(skb, ETHERNET_LENGTH, &ip, sizeof(ip)) ||
	    bpf_ntohs(ip.tot_len) <= sizeof(ip) + bytes ||
	    bpf_skb_adjust_room(skb, -(__s32)bytes, BPF_ADJ_ROOM_NET, 0))
		return 0;
	ip.tot_len = bpf_htons(bpf_ntohs(ip.tot_len) - bytes);
	ip.frag_off = bpf_htons(bpf_ntohs(ip.frag_off) + bytes / 8);
	return store_ipv4(skb, ETHERNET_LENGTH, &ip);
}

#endif
