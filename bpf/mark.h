/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Firewall-mark services: packets whose mark says which service they are for. At ingress no mark is set yet, so such a
 * packet goes to the firewall first and is then routed through the internal pair, where the program sees it a second time
 * (headgate_routed; src/dataplane/ebpf/mark-routes.ts). Packets of established connections need no mark: the program
 * learns the addresses that clients speak to, and takes them at ingress like any other.
 */
#ifndef HEADGATE_MARK_H
#define HEADGATE_MARK_H

#include "forward.h"

/* 1 when a packet has a mark already: from this host itself, or by a program before this one. */
static __always_inline int may_be_marked(const struct __sk_buff *skb)
{
	return skb->mark && settings.catch_all & CATCH_MARK;
}

/* Slot of the service of a mark, 0 when there is none. */
__noinline __u32 find_marked_service(__u32 mark, __u32 family)
{
	struct service_key key = {};
	__u32 *slot;

	if (!mark || !(settings.catch_all & CATCH_MARK))
		return 0;
	key.address.word[3] = bpf_htonl(mark);
	key.family = family;
	slot = bpf_map_lookup_elem(&service_index, &key);
	return slot ? *slot : 0;
}

static __always_inline void open_filter(__u32 *filter, __u32 word, __u32 bit)
{
	if (!(filter[word] & bit))
		__sync_fetch_and_or(&filter[word], bit);
}

/*
 * Lets ingress look at packets to and from an address that no service names. It is learned first: user space, which may
 * write the filters at the same time, looks again at what was learned when it is through.
 */
static __always_inline void learn_address(const struct address *address)
{
	__u32 place = fold(address) * GOLDEN_RATIO_32 >> 20;
	__u32 word = place >> 5 & (FILTER_BITS / 32 - 1), bit = 1U << (place & 31);

	open_filter(runtime.learned_filter, word, bit);
	open_filter(settings.virtual_filter, word, bit);
	open_filter(settings.reply_filter, word, bit);
}

/* A connection that a mark has brought about. */
__noinline int note_mark(const struct packet *packet, __u32 slot, __u32 mark)
{
	struct connection_detail *detail = detail_at(slot);

	if (!packet || !detail)
		return 0;
	detail->fwmark = mark;
	learn_address(&packet->destination);
	return 1;
}

/* 1 for a connection that a mark has brought about. */
static __always_inline int is_marked(__u32 slot)
{
	struct connection_detail *detail = detail_at(slot);

	return detail && detail->fwmark;
}

/*
 * Delivers a packet to this host through the internal pair, for whose end local addresses go before marks. On its usual
 * way it would be marked and routed once more, which the kernel refuses to packets that have found their socket.
 */
static __always_inline int bring_home(struct __sk_buff *skb, const struct packet *packet)
{
	const __u8 mac[MAC_LENGTH] = { 0x02, 0x48, 0x47, 0, 0, 0 }; /* of hg0: src/dataplane/ebpf/mark-routes.ts */

	if (packet->l3 ? bpf_skb_store_bytes(skb, 0, mac, MAC_LENGTH, 0) : !add_ethernet(skb, mac))
		return VERDICT_DROP;
	return bpf_redirect(settings.internal_ifindex, BPF_F_INGRESS);
}

#endif
