/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The client's address for a real server behind full NAT, as a TCP option: kind 254, the length, the client's port and its
 * address (8 bytes, with IPv6 20), as the modules `toa` of LVS's full NAT and of DPVS read it from the segment that ends the
 * handshake. Kind 254 is one for experiments (RFC 4727); real servers without such a module ignore it (RFC 9293, 3.1).
 *
 * Each segment of the client has it until the real server has answered one: then that one has got the address. The server's
 * SYN leaves the clients room for it, so that no segment becomes too long.
 */
#ifndef HEADGATE_CLIENT_OPTION_H
#define HEADGATE_CLIENT_OPTION_H

#include "forward.h"

#define OPTION_CLIENT 254
#define OPTION_END 0
#define OPTION_NOTHING 1
#define OPTION_MSS 2
#define MSS_OPTION_LENGTH 4
#define MOST_TCP_HEADER 60
#define LEAST_MSS 88             /* RFC 9293, 3.7.1 has none; as the kernel's TCP_MIN_MSS */
#define OPTIONS_LOOKED_AT 6

struct client_option {
	__u8 kind;
	__u8 length;
	__be16 port;
	__be32 address[4];           /* IPv4: the first one alone */
};

static __always_inline __u32 client_option_length(__u8 family)
{
	return family == 4 ? 8 : 20;
}

/* 1 when a segment is to carry the client's address, and has room for it. */
static __always_inline int wants_client_option(const struct __sk_buff *skb, const struct packet *packet, __u32 local,
					       const struct destination *destination, __u32 mtu)
{
	__u32 length = client_option_length(packet->family);
	__u32 header = packet->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);

	return destination->full_nat & FULL_NAT_TCP_OPTION && packet->protocol == IPPROTO_TCP &&
	       !(local & LOCAL_ANSWERED) && (packet->tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK &&
	       packet->fragment == FRAGMENT_NONE && packet->l4 - packet->l3 == header &&
	       packet->l4_header >= sizeof(struct tcphdr) && packet->l4_header + length <= MOST_TCP_HEADER &&
	       (!mtu || segment_length(skb, packet) + length <= mtu);
}

/* 1 when a segment must be whole, its checksum finished, before bytes can be put into it. */
static __always_inline int is_unfinished(struct __sk_buff *skb)
{
	return skb->gso_size || bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) < 0;
}

/* The length in the IP header grows. */
static __always_inline int grow_ip(struct __sk_buff *skb, const struct packet *packet, __u32 by)
{
	__be16 length;

	if (packet->family == 4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)))
			return 0;
		length = bpf_htons(bpf_ntohs(ip.tot_len) + by);
		ip.check = checksum_add(ip.check, (__u64)(__u16)~ip.tot_len + length);
		ip.tot_len = length;
		return !bpf_skb_store_bytes(skb, packet->l3, &ip, sizeof(ip), 0);
	}
	length = bpf_htons(packet->length - sizeof(struct ipv6hdr) + by);
	return !bpf_skb_store_bytes(skb, packet->l3 + 4, &length, sizeof(length), 0);
}

/*
 * Puts the option before the others of a segment whose checksum is finished; its source is still the client. 0: the packet
 * could not be changed.
 */
__noinline int add_client_option(struct __sk_buff *skb, struct packet *packet)
{
	struct {
		__be16 word[10];
		struct client_option option;
	} head = {};
	__u32 length, segment, i;
	__u64 difference;
	__be16 first;

	if (!packet)
		return 0;
	length = client_option_length(packet->family);
	segment = packet->length - (packet->l4 - packet->l3);
	if (bpf_skb_load_bytes(skb, packet->l4, head.word, sizeof(head.word)) ||
	    bpf_skb_adjust_room(skb, length, BPF_ADJ_ROOM_NET, 0) || !grow_ip(skb, packet, length))
		return 0;
	head.option.kind = OPTION_CLIENT;
	head.option.length = length;
	head.option.port = packet->source_port;
	if (packet->family == 4)
		head.option.address[0] = packet->source.word[3];
	else
		__builtin_memcpy(head.option.address, packet->source.word, sizeof(head.option.address));
	/* What the checksum covers more of: the data offset, the option, the length in the pseudo header. */
	first = head.word[6];
	head.word[6] = bpf_htons(bpf_ntohs(first) + (length / 4 << 12));
	difference = (__u64)(__u16)~first + head.word[6] + (__u16)~bpf_htons(segment) + bpf_htons(segment + length) +
		     bpf_htons(OPTION_CLIENT << 8 | length) + head.option.port;
#pragma unroll
	for (i = 0; i < 4; i++)
		difference += head.option.address[i];
	head.word[8] = checksum_add(head.word[8], difference);
	packet->length += length;
	packet->l4_header += length;
	return !bpf_skb_store_bytes(skb, packet->l4, &head, packet->family == 4 ? 28 : 40, 0);
}

/* Makes the largest segment that a server's SYN asks for smaller by the option. */
__noinline int leave_room_for_option(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 at, end, i;

	if (!packet)
		return 0;
	at = packet->l4 + sizeof(struct tcphdr);
	end = packet->l4 + packet->l4_header;
	for (i = 0; i < OPTIONS_LOOKED_AT && at + MSS_OPTION_LENGTH <= end; i++) {
		struct {
			__u8 kind;
			__u8 length;
			__be16 size;
		} option;
		__be16 size;

		if (bpf_skb_load_bytes(skb, at, &option, sizeof(option)) || option.kind == OPTION_END)
			return 0;
		if (option.kind == OPTION_NOTHING) {
			at++;
			continue;
		}
		if (option.kind != OPTION_MSS) {
			at += option.length;
			continue;
		}
		size = bpf_htons(bpf_ntohs(option.size) - client_option_length(packet->family));
		/* At an odd place its bytes are those of two words of the sum. */
		if ((at - packet->l4) & 1 || bpf_ntohs(option.size) < LEAST_MSS ||
		    bpf_l4_csum_replace(skb, packet->l4 + 16, option.size, size, sizeof(size)) ||
		    bpf_skb_store_bytes(skb, at + 2, &size, sizeof(size), 0))
			return 0;
		return 1;
	}
	return 0;
}

#endif
