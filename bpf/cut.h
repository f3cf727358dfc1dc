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

/*
 * 1 when a packet may take the turn on which it is finished and cut; those with options are not cut: which of them each
 * fragment needs is not looked into.
 */
static __always_inline int may_be_cut(const struct packet *packet, __u32 mtu)
{
	if (must_be_finished(packet))
		return 1;
	return packet->family == 4 && !packet->do_not_fragment && packet->l4 - packet->l3 == sizeof(struct iphdr) &&
	       mtu >= LEAST_MTU_OF_IPV4 && settings.internal_ifindex;
}

static __always_inline int store_ipv4(struct __sk_buff *skb, __u32 l3, struct iphdr *ip)
{
	ip->check = 0;
	ip->check = fold_sum(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
	return !bpf_skb_store_bytes(skb, l3, ip, sizeof(*ip), 0);
}

/* Lets a packet be fragmented that did not want to be; nothing set its identification apart (RFC 6864, 4.1). */
__noinline int allow_cut(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr ip;

	if (!packet || bpf_skb_load_bytes(skb, ETHERNET_LENGTH, &ip, sizeof(ip)))
		return 0;
	if (!(ip.frag_off & bpf_htons(IP_DO_NOT_FRAGMENT)))
		return 1;
	ip.frag_off &= ~bpf_htons(IP_DO_NOT_FRAGMENT);
	ip.id = bpf_get_prandom_u32();
	packet->identification = ip.id;
	return store_ipv4(skb, ETHERNET_LENGTH, &ip);
}

/* Leaves of a packet what `mtu` bytes hold, and sends the rest on another turn. 0: it could not be done. */
__noinline int cut(struct __sk_buff *skb, struct packet *packet, __u32 mtu)
{
	struct iphdr ip;
	__u32 room = (mtu - sizeof(ip)) & ~7;
	long result;

	if (!packet || bpf_skb_load_bytes(skb, ETHERNET_LENGTH, &ip, sizeof(ip)))
		return 0;
	if (room > MOST_CUT)
		room = MOST_CUT;
	skb->mark = turn_mark(TURN_CUT, room);
	result = bpf_clone_redirect(skb, settings.internal_ifindex, 0);
	skb->mark = 0;
	packet->length = sizeof(ip) + room;
	if (result || bpf_skb_change_tail(skb, ETHERNET_LENGTH + packet->length, 0))
		return 0;
	ip.tot_len = bpf_htons(packet->length);
	ip.frag_off |= bpf_htons(IP_MORE_FRAGMENTS);
	return store_ipv4(skb, ETHERNET_LENGTH, &ip);
}

/*
 * Makes a packet that came from the internal veth the first piece of it that fits; the rest finds its connection by what
 * is remembered. The calls stand side by side: nested, they take more stack than a verifier of Linux 6.1 allows.
 */
static __always_inline int cut_to_fit(struct __sk_buff *skb, struct packet *packet, __u32 mtu, __u32 slot, __u32 reply)
{
	if (!allow_cut(skb, packet))
		return 0;
	if (packet->fragment == FRAGMENT_NONE)
		packet->fragment = FRAGMENT_FIRST;
	if (packet->fragment == FRAGMENT_FIRST)
		remember_fragment(packet, slot, reply);
	return cut(skb, packet, mtu);
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
