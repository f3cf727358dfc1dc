/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a tunnel of type gue or gre has between the outer IP header and the inner packet (ipvs_gue_encap, ipvs_gre_encap of
 * net/netfilter/ipvs/ip_vs_xmit.c; draft-ietf-intarea-gue, RFC 2784): UDP and GUE, or GRE, with checksums where wanted.
 *
 * Remote checksum offload (remcsum) is for packets whose checksum is yet to be made, which the program cannot tell: they go
 * as those with a checksum do, as IPVS sends all others.
 */
#ifndef HEADGATE_SHIM_H
#define HEADGATE_SHIM_H

#include "forward.h"
#include "icmp.h"

enum tunnel_type {
	TUNNEL_IPIP = 0,
	TUNNEL_GUE,
	TUNNEL_GRE,
};

#define PROTOCOL_IPV4_IN_IP 4
#define PROTOCOL_IPV6_IN_IP 41
#define PROTOCOL_GRE 47
#define GUE_LENGTH 4
#define GRE_LENGTH 4
#define GRE_CHECKSUM_LENGTH 4
#define GRE_HAS_CHECKSUM 0x8000
/* net.ipv4.ip_local_port_range as the kernel has it: source ports of UDP tunnels (udp_flow_src_port) */
#define FIRST_SOURCE_PORT 32768
#define LAST_SOURCE_PORT 60999
#define INNER_CHUNK 32           /* less stack than CHUNK: this one stands at the end of the longest row of calls */
#define MOST_INNER_CHUNKS (0x10000 / INNER_CHUNK)
#define HOP_LESS ((__u16)~bpf_htons(1)) /* what one hop less adds to the sum of an IPv6 header; that of IPv4 stays */

static __always_inline __u32 tunnel_type(const struct destination *destination)
{
	return destination->tunnel & 0xff;
}

static __always_inline int has_tunnel_checksum(const struct destination *destination)
{
	return tunnel_type(destination) != TUNNEL_IPIP && destination->tunnel >> 8 & 0xff;
}

/* Bytes between the outer IP header and the inner packet. */
static __always_inline __u32 shim_length(const struct destination *destination)
{
	switch (tunnel_type(destination)) {
	case TUNNEL_GUE:
		return sizeof(struct udphdr) + GUE_LENGTH;
	case TUNNEL_GRE:
		return has_tunnel_checksum(destination) ? GRE_LENGTH + GRE_CHECKSUM_LENGTH : GRE_LENGTH;
	default:
		return 0;
	}
}

/* The outer header's protocol. */
static __always_inline __u8 tunnel_protocol(const struct destination *destination, const struct packet *packet)
{
	switch (tunnel_type(destination)) {
	case TUNNEL_GUE:
		return IPPROTO_UDP;
	case TUNNEL_GRE:
		return PROTOCOL_GRE;
	default:
		return packet->family == 4 ? PROTOCOL_IPV4_IN_IP : PROTOCOL_IPV6_IN_IP;
	}
}

/* Everything a shim may be, and how much of it is. */
struct shim {
	union {
		struct {
			struct udphdr udp;
			__u8 head;           /* version 0, no control message, no options */
			__u8 protocol;
			__be16 flags;
		} gue;
		struct {
			__be16 flags;
			__be16 protocol;
			__u16 checksum;
			__be16 reserved;
		} gre;
		__be32 word[3];
	};
};

/* The transport checksum as it is written in the packet, 0 for none over a pseudo header. */
static __always_inline __u16 written_checksum(struct __sk_buff *skb, const struct packet *packet)
{
	__u16 checksum = 0;

	if (packet->fragment != FRAGMENT_NONE)
		return 0;
	if (packet->protocol == IPPROTO_TCP)
		return 1;
	if (packet->protocol != IPPROTO_UDP)
		return 0;
	if (bpf_skb_load_bytes(skb, packet->l4 + 6, &checksum, sizeof(checksum)))
		return 0;
	return checksum;
}

/* sum_chunk of icmp.h in smaller steps. */
static long sum_inner_chunk(__u32 index, struct sum *sum)
{
	__be32 chunk[INNER_CHUNK / 4] = {};
	__u32 length = sum->left < INNER_CHUNK ? sum->left : INNER_CHUNK;

	if (!length)
		return 1;
	asm volatile("" : "+r"(length));
	length = ((length - 1) & (INNER_CHUNK - 1)) + 1;
	if (bpf_skb_load_bytes(sum->skb, sum->offset, chunk, length))
		return 1;
	sum->value = bpf_csum_diff(NULL, 0, chunk, INNER_CHUNK, sum->value);
	sum->offset += length;
	sum->left -= length;
	return 0;
}

/*
 * The sum that the inner packet will have once its time to live is counted down. A transport header whose checksum is
 * right, or will be when the device has made it, sums up to the complement of its pseudo header (lco_csum of
 * linux/skbuff.h), an IPv4 header to nothing: most packets need not be read.
 */
__noinline __u64 sum_of_inner(struct __sk_buff *skb, const struct packet *packet)
{
	struct sum sum = { .skb = skb };
	__be32 pseudo[2];
	__s64 value;
	__u32 header;

	if (!packet)
		return 0;
	header = packet->l4 - packet->l3;
	if (!written_checksum(skb, packet)) {
		sum.offset = packet->l3;
		sum.left = packet->length;
		bpf_loop(MOST_INNER_CHUNKS, sum_inner_chunk, &sum, 0);
		return (__u32)sum.value + (packet->family == 6 ? HOP_LESS : 0);
	}
	pseudo[0] = bpf_htonl(packet->length - header);
	pseudo[1] = bpf_htonl(packet->protocol);
	value = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), 0);
	value = bpf_csum_diff(NULL, 0, (__be32 *)&packet->source, sizeof(packet->source), value);
	value = bpf_csum_diff(NULL, 0, (__be32 *)&packet->destination, sizeof(packet->destination), value);
	value = fold_sum(value);
	if (packet->family == 4)
		return (__u32)value;
	sum.offset = packet->l3;
	sum.left = header;
	sum.value = value;
	bpf_loop(MOST_INNER_CHUNKS, sum_inner_chunk, &sum, 0);
	return (__u32)sum.value + HOP_LESS;
}

/* Makes the shim for a packet that goes from `source` through a tunnel; `inner` is sum_of_inner where that is wanted. */
static __always_inline void fill_shim(struct shim *shim, const struct packet *packet, const struct destination *destination,
				      __u64 inner)
{
	__u32 length = packet->length + sizeof(struct udphdr) + GUE_LENGTH;
	__u64 sum = inner;

	if (tunnel_type(destination) == TUNNEL_GUE) {
		__u32 hash = client_hash(&packet->source, packet->source_port, packet->protocol, packet->family);
		__u32 port = ((__u64)hash * (LAST_SOURCE_PORT - FIRST_SOURCE_PORT) >> 32) + FIRST_SOURCE_PORT;
		__u16 check;

		shim->gue.udp.source = bpf_htons(port);
		shim->gue.udp.dest = bpf_htons(destination->tunnel >> 16);
		shim->gue.udp.len = bpf_htons(length);
		shim->gue.protocol = packet->family == 4 ? PROTOCOL_IPV4_IN_IP : PROTOCOL_IPV6_IN_IP;
		if (!has_tunnel_checksum(destination))
			return;
		sum += (__u64)shim->word[0] + shim->word[1] + shim->word[2];
		sum += (__u64)bpf_htonl(length) + bpf_htonl(IPPROTO_UDP);
		sum += (__u64)destination->tunnel_source.word[3] + destination->address.word[3];
		if (destination->family == 6) {
			sum += (__u64)destination->tunnel_source.word[0] + destination->tunnel_source.word[1] +
			       destination->tunnel_source.word[2];
			sum += (__u64)destination->address.word[0] + destination->address.word[1] +
			       destination->address.word[2];
		}
		check = fold_sum64(sum);
		shim->gue.udp.check = check ? check : 0xffff;
		return;
	}
	shim->gre.protocol = packet->family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	if (!has_tunnel_checksum(destination))
		return;
	shim->gre.flags = bpf_htons(GRE_HAS_CHECKSUM);
	sum += (__u64)shim->word[0] + shim->word[1];
	shim->gre.checksum = fold_sum64(sum);
}

/* Writes the shim behind an outer header that ends at `at`: lengths are constants, as the verifier wants them. */
static __always_inline int store_shim(struct __sk_buff *skb, __u32 at, const struct destination *destination,
				      const struct shim *shim)
{
	if (tunnel_type(destination) == TUNNEL_GUE)
		return !bpf_skb_store_bytes(skb, at, shim, sizeof(struct udphdr) + GUE_LENGTH, 0);
	if (has_tunnel_checksum(destination))
		return !bpf_skb_store_bytes(skb, at, shim, GRE_LENGTH + GRE_CHECKSUM_LENGTH, 0);
	return !bpf_skb_store_bytes(skb, at, shim, GRE_LENGTH, 0);
}

/*
 * 1 when a super-packet must be cut into its segments before it gets an outer header: the kernel makes checksums of outer
 * headers for tunnels it knows of itself alone.
 */
static __always_inline int needs_segments(const struct __sk_buff *skb, const struct packet *packet,
					  const struct destination *destination)
{
	return skb->gso_size && has_tunnel_checksum(destination) && !packet->again && settings.internal_ifindex;
}

#endif
