/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The tunnel method: a packet in another IP packet, to the real server (ip_vs_tunnel_xmit, ip_vs_tunnel_xmit_v6). */
#ifndef HEADGATE_ENCAPSULATE_H
#define HEADGATE_ENCAPSULATE_H

#include "forward.h"
#include "icmp.h"
#include "shim.h"
#include "ttl.h"

/* What must be left for the inner packet, or nothing goes through (__ip_vs_get_out_rt, __ip_vs_get_out_rt_v6). */
#define LEAST_MTU_IN_IPV4 68
#define LEAST_MTU_IN_IPV6 1280
#define FIB_LOOKUP_SRC (1U << 4) /* BPF_FIB_LOOKUP_SRC of linux/bpf.h since 6.7 */
#define ECN_MASK 3
#define ECN_ECT_0 2
#define ECN_CE 3

/* Bytes that the outer headers take. */
static __always_inline __u32 tunnel_overhead(const struct destination *destination)
{
	return (destination->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) + shim_length(destination);
}

/* What is left of the next hop's MTU for the inner packet, 0 when that is too little. */
static __always_inline __u32 mtu_in_tunnel(const struct destination *destination, __u32 mtu)
{
	__u32 least = destination->family == 4 ? LEAST_MTU_IN_IPV4 : LEAST_MTU_IN_IPV6;

	return mtu < least + tunnel_overhead(destination) ? 0 : mtu - tunnel_overhead(destination);
}

/*
 * Asks the kernel which source address it takes for the way to an IPv4 destination. Kernels before 6.7 refuse the question:
 * there the address that user space has found when the destination was added stays, and so it does for IPv6
 * (src/dataplane/ebpf/tunnel-source.ts says why).
 */
__noinline int refresh_tunnel_source(struct __sk_buff *skb, __u32 slot)
{
	struct destination *destination = destination_at(slot);
	struct bpf_fib_lookup fib = { .ifindex = LOOPBACK_IFINDEX, .family = AF_INET, .tot_len = 1 };
	long result;

	if (!destination || destination->family != 4)
		return 0;
	fib.ipv4_dst = destination->address.word[3];
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), FIB_LOOKUP_SRC);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return 0;
	destination->tunnel_source.word[3] = fib.ipv4_src;
	return 1;
}

/* The outer DS field: the inner one's, congestion marks as RFC 3168 9.1.1 has them for full functionality. */
static __always_inline __u8 outer_tos(__u8 tos)
{
	return (tos & ECN_MASK) == ECN_CE ? (tos & ~ECN_MASK) | ECN_ECT_0 : tos;
}

/*
 * Whether an outer IPv4 header says "do not fragment": as the inner one does, if sysctl pmtu_disc lets it. IPv6 packets have
 * none to give; those that IPv6 does not promise to get through get it, so that a router says what fits (RFC 4213, 3.2.2).
 * IPVS leaves those to be fragmented on the way, and for the real server to put together outside.
 */
static __always_inline int may_not_be_fragmented(const struct __sk_buff *skb, const struct packet *packet)
{
	if (packet->family == 4)
		return packet->do_not_fragment;
	return settings.pmtu_disc && segment_length(skb, packet) > LEAST_MTU_IN_IPV6;
}

/* The longest inner header that is written together with the outer one. */
#define INNER_WORDS (sizeof(struct ipv6hdr) / 4)

struct outer_ipv4 {
	__u8 padding[2];             /* brings the IP header to a multiple of four */
	__u8 ethernet[ETHERNET_LENGTH];
	struct iphdr ip;
	__be32 inner[INNER_WORDS];
};

struct outer_ipv6 {
	__u8 padding[2];
	__u8 ethernet[ETHERNET_LENGTH];
	struct ipv6hdr ip;
	__be32 inner[INNER_WORDS];
};

/* The inner header (without options or extension headers) as it goes on, its time to live counted down. */
static __always_inline int copy_inner(const struct __sk_buff *skb, const struct packet *packet, __be32 *inner)
{
	const struct rewrite rewrite = { .forward = 1 };
	void *ip = (void *)(long)skb->data + (packet->l3 ? ETHERNET_LENGTH : 0);
	void *end = (void *)(long)skb->data_end;

	if (packet->family == 4) {
		if (ip + sizeof(struct iphdr) > end)
			return 0;
		__builtin_memcpy(inner, ip, sizeof(struct iphdr));
		edit_ipv4((struct iphdr *)inner, &rewrite);
	} else {
		if (ip + sizeof(struct ipv6hdr) > end)
			return 0;
		__builtin_memcpy(inner, ip, sizeof(struct ipv6hdr));
		edit_ipv6((struct ipv6hdr *)inner, &rewrite);
	}
	return 1;
}

/* Writes all headers from the Ethernet header on; `header` is the length of the IP headers. */
static __always_inline int store_outer(struct __sk_buff *skb, const struct packet *packet, __u8 *ethernet,
				       const __u8 *mac, __be16 type, __u32 header)
{
	if (!packet->l3)
		return !bpf_skb_store_bytes(skb, 0, ethernet + ETHERNET_LENGTH, header, 0);
	__builtin_memcpy(ethernet, mac, MAC_LENGTH);
	*(__be16 *)(ethernet + MAC_LENGTH) = type;
	return !bpf_skb_store_bytes(skb, 0, ethernet, ETHERNET_LENGTH + header, 0);
}

/* Both IP headers: lengths are constants, as the verifier wants them. */
static __always_inline int store_headers(struct __sk_buff *skb, const struct packet *packet, __u8 *ethernet,
					 const __u8 *mac, __be16 type, __u32 outer)
{
	if (packet->family == 4)
		return store_outer(skb, packet, ethernet, mac, type, outer + sizeof(struct iphdr));
	return store_outer(skb, packet, ethernet, mac, type, outer + sizeof(struct ipv6hdr));
}

static __always_inline void fill_outer_ipv4(struct iphdr *ip, const struct __sk_buff *skb, const struct packet *packet,
					    const struct destination *destination)
{
	const __be32 *word = (const __be32 *)ip;

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = outer_tos(packet->tos);
	ip->tot_len = bpf_htons(packet->length + tunnel_overhead(destination));
	if (may_not_be_fragmented(skb, packet))
		ip->frag_off = bpf_htons(0x4000);
	else
		ip->id = bpf_get_prandom_u32();
	ip->ttl = packet->ttl - 1;
	ip->protocol = tunnel_protocol(destination, packet);
	ip->saddr = destination->tunnel_source.word[3];
	ip->daddr = destination->address.word[3];
	ip->check = fold_sum64((__u64)word[0] + word[1] + word[2] + word[3] + word[4]);
}

static __always_inline void fill_outer_ipv6(struct ipv6hdr *ip, const struct packet *packet,
					    const struct destination *destination)
{
	__u8 tos = outer_tos(packet->tos);

	ip->version = 6;
	ip->priority = tos >> 4;
	ip->flow_lbl[0] = tos << 4;
	ip->payload_len = bpf_htons(packet->length + shim_length(destination));
	ip->nexthdr = tunnel_protocol(destination, packet);
	ip->hop_limit = packet->ttl - 1;
	__builtin_memcpy(&ip->saddr, destination->tunnel_source.word, 16);
	__builtin_memcpy(&ip->daddr, destination->address.word, 16);
}

__noinline int encapsulate_in_ipv4(struct __sk_buff *skb, const struct packet *packet, __u32 slot, const struct hop *hop)
{
	struct destination *destination = destination_at(slot);
	struct outer_ipv4 outer = {};

	if (!packet || !hop || !destination || !copy_inner(skb, packet, outer.inner))
		return 0;
	if (bpf_skb_adjust_room(skb, sizeof(outer.ip), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return 0;
	fill_outer_ipv4(&outer.ip, skb, packet, destination);
	return store_headers(skb, packet, outer.ethernet, hop->mac, bpf_htons(ETH_P_IP), sizeof(outer.ip));
}

__noinline int encapsulate_in_ipv6(struct __sk_buff *skb, const struct packet *packet, __u32 slot, const struct hop *hop)
{
	struct destination *destination = destination_at(slot);
	struct outer_ipv6 outer = {};

	if (!packet || !hop || !destination || !copy_inner(skb, packet, outer.inner))
		return 0;
	if (bpf_skb_adjust_room(skb, sizeof(outer.ip), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return 0;
	fill_outer_ipv6(&outer.ip, packet, destination);
	return store_headers(skb, packet, outer.ethernet, hop->mac, bpf_htons(ETH_P_IPV6), sizeof(outer.ip));
}

/* The flags by which the kernel knows where the inner packet of a gue or gre tunnel begins. */
static __always_inline __u64 room_flags(const struct destination *destination)
{
	return BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET |
	       (destination->family == 4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6) |
	       (tunnel_type(destination) == TUNNEL_GUE ? BPF_F_ADJ_ROOM_ENCAP_L4_UDP : BPF_F_ADJ_ROOM_ENCAP_L4_GRE);
}

/* The outer headers of gue and gre, one after the other: which there are is known only now. */
__noinline int encapsulate_with_shim(struct __sk_buff *skb, const struct packet *packet, __u32 slot, const struct hop *hop,
				     __u64 inner)
{
	struct destination *destination = destination_at(slot);
	struct shim shim = {};
	__be16 type;
	__u32 l3;

	if (!packet || !hop || !destination || !move_ttl(skb, packet, -1))
		return 0;
	l3 = packet->l3 ? ETHERNET_LENGTH : 0;
	fill_shim(&shim, packet, destination, inner);
	if (bpf_skb_adjust_room(skb, tunnel_overhead(destination), BPF_ADJ_ROOM_MAC, room_flags(destination)))
		return 0;
	if (destination->family == 4) {
		struct iphdr ip = {};

		fill_outer_ipv4(&ip, skb, packet, destination);
		type = bpf_htons(ETH_P_IP);
		if (bpf_skb_store_bytes(skb, l3, &ip, sizeof(ip), 0) ||
		    !store_shim(skb, l3 + sizeof(ip), destination, &shim))
			return 0;
	} else {
		struct ipv6hdr ip = {};

		fill_outer_ipv6(&ip, packet, destination);
		type = bpf_htons(ETH_P_IPV6);
		if (bpf_skb_store_bytes(skb, l3, &ip, sizeof(ip), 0) ||
		    !store_shim(skb, l3 + sizeof(ip), destination, &shim))
			return 0;
	}
	return !l3 || (!bpf_skb_store_bytes(skb, 0, hop->mac, MAC_LENGTH, 0) &&
		       !bpf_skb_store_bytes(skb, MAC_LENGTH, &type, sizeof(type), 0));
}

/*
 * Counts down the inner time to live and puts the outer header before it. 0: the packet could not be changed. Sum and shim
 * stand side by side: nested, they take more stack than a verifier allows.
 */
static __always_inline int encapsulate(struct __sk_buff *skb, const struct packet *packet, __u32 slot,
				       const struct destination *destination, const struct hop *hop)
{
	if (tunnel_type(destination) != TUNNEL_IPIP) {
		__u64 inner = has_tunnel_checksum(destination) ? sum_of_inner(skb, packet) : 0;

		return encapsulate_with_shim(skb, packet, slot, hop, inner);
	}
	return destination->family == 4 ? encapsulate_in_ipv4(skb, packet, slot, hop)
					: encapsulate_in_ipv6(skb, packet, slot, hop);
}

#endif
