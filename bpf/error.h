/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* ICMP errors that arrive about forwarded connections: to the side that caused them. */
#ifndef HEADGATE_ERROR_H
#define HEADGATE_ERROR_H

#include "flow.h"

#define MAX_HEADERS 4096        /* bytes before the transport header */

/* 1 for the error messages that IPVS follows: unreachable, source quench, time exceeded; every ICMPv6 error. */
static __always_inline int is_icmp_error(__u8 type, __u8 family)
{
	return family == 4 ? type == 3 || type == 4 || type == 11 : type < 128;
}

/*
 * Rewrites an error about a masqueraded connection: the outer address, the quoted address and port, checksums.
 * `quoted` is the quoted packet with its ends already swapped, as the connection it belongs to sees it.
 */
static __always_inline int translate_error(struct __sk_buff *skb, const struct packet *outer,
					   const struct packet *quoted, const struct rewrite *rewrite,
					   const __u8 *mac)
{
	/* An error from the client's side quotes a reply (source is ours), one from the server's side a request. */
	const struct address *old = rewrite->reply ? &quoted->source : &quoted->destination;
	__be16 old_port = rewrite->reply ? quoted->source_port : quoted->destination_port;
	__be16 port = rewrite->port;
	__u32 checksum = outer->l4 + 2;

	if (outer->family == 4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, quoted->l3, &ip, sizeof(ip)))
			return 0;
		ip.check = checksum_add(ip.check, difference_of(old->word[3], rewrite->address->word[3]));
		if (rewrite->reply)
			ip.daddr = rewrite->address->word[3];
		else
			ip.saddr = rewrite->address->word[3];
		if (bpf_skb_store_bytes(skb, quoted->l3, &ip, sizeof(ip), 0))
			return 0;
	} else {
		const struct address *old_outer = rewrite->reply ? &outer->source : &outer->destination;
		__s64 difference = bpf_csum_diff((__be32 *)old->word, 16, (__be32 *)rewrite->address->word, 16, 0);

		difference = bpf_csum_diff((__be32 *)old_outer->word, 16, (__be32 *)rewrite->address->word, 16, difference);
		if (bpf_l4_csum_replace(skb, checksum, 0, difference, 0) ||
		    bpf_skb_store_bytes(skb, quoted->l3 + (rewrite->reply ? 24 : 8), rewrite->address->word, 16, 0))
			return 0;
	}
	if (old_port != rewrite->port &&
	    (bpf_l4_csum_replace(skb, checksum, old_port, rewrite->port, 2) ||
	     bpf_skb_store_bytes(skb, quoted->l4 + (rewrite->reply ? 2 : 0), &port, 2, 0)))
		return 0;
	return outer->family == 4 ? rewrite_ipv4(skb, outer, rewrite, mac) : rewrite_ipv6(skb, outer, rewrite, mac);
}

/* Swaps source and destination. */
static __always_inline void turn(struct packet *packet)
{
	struct address address = packet->source;
	__be16 port = packet->source_port;

	packet->source = packet->destination;
	packet->destination = address;
	packet->source_port = packet->destination_port;
	packet->destination_port = port;
}

/*
 * Reads what an error is about, its ends swapped, as the connection it belongs to sees it; 0: nothing of ours. `quoted`
 * may be `outer` itself.
 */
static __always_inline int read_quoted(struct __sk_buff *skb, const struct packet *outer, struct packet *quoted)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 l4 = outer->l4, last = outer->l3 + outer->length;
	__u8 *type, family = outer->family;
	int result;

	if (outer->fragment != FRAGMENT_NONE || l4 > MAX_HEADERS)
		return 0;
	type = data + l4;
	if ((void *)(type + ICMP_HEADER) > end || !is_icmp_error(*type, family))
		return 0;
	__builtin_memset(quoted, 0, sizeof(*quoted));
	if (family == 4)
		result = parse_ipv4_header(data, end, l4 + ICMP_HEADER, quoted);
	else
		result = parse_ipv6_header(data, end, l4 + ICMP_HEADER, quoted);
	if (result != PARSED || parse_ports(data, end, quoted) != PARSED ||
	    quoted->l4 + 4 > last)
		return 0;
	turn(quoted);
	return 1;
}

/*
 * Sysctl schedule_icmp: what an error is about is scheduled as if the client had sent it, where no connection claims it
 * (ip_vs_in_icmp). So an error about a packet of a real server finds that one where a hash chooses, although this
 * director has not seen the connection. 1: the packet read is now what is to be scheduled, room on the stack being
 * scarce; else it is spoilt.
 */
__noinline int becomes_quoted(struct __sk_buff *skb, struct packet *packet)
{
	struct address to;
	__u32 *first;

	if (!packet || !is_sound(skb, packet))
		return 0;
	to = packet->destination;
	if (!read_quoted(skb, packet, packet) || to.word[3] != packet->destination.word[3] ||
	    !equal_head(to.word, &packet->destination))
		return 0;
	first = chain_of(packet, 0);
	if (first && find_in_long_chain(packet, *first, 0))
		return 0;
	first = chain_of(packet, 1);
	if (first && find_in_long_chain(packet, *first, 1))
		return 0;
	packet->quoted = 1;
	packet->fragment = FRAGMENT_NONE;
	return 1;
}

/*
 * An ICMP error: to the destination when it is about a reply, to the client when it is about a request. Those to a destination
 * that is deleted go on as well: what it may still send fares no better for its not being told (ip_vs_in_icmp).
 */
__noinline int pass_error(struct __sk_buff *skb, struct packet *outer, __u32 egress)
{
	struct packet quoted;
	struct destination *destination;
	struct rewrite rewrite = {};
	struct address address = {};
	struct connection *connection;
	struct hop hop = {};
	__u32 slot, reply = 0, now = now_jiffies();

	if (!outer || !read_quoted(skb, outer, &quoted))
		return VERDICT_PASS;
	slot = 0;
	if (!egress) {
		__u32 *first = chain_of(&quoted, 0);

		slot = first ? find_from(&quoted, *first, 0, now) : 0;
	}
	if (!slot) {
		__u32 *first = chain_of(&quoted, 1);

		reply = 1;
		slot = first ? find_from(&quoted, *first, 1, now) : 0;
	}
	connection = connection_at(slot);
	if (!slot || !connection)
		return VERDICT_PASS;
	destination = destination_at(connection->destination);
	if (!destination)
		return VERDICT_PASS;
	if (is_bypass(connection))
		return VERDICT_PASS;
	if (destination->flags & DESTINATION_AVAILABLE)
		count_packet(connection->destination, outer->length, reply);
	rewrite.reply = reply;
	rewrite.translate = connection->word >> WORD_METHOD_SHIFT == METHOD_MASQUERADE;
	if (reply && !rewrite.translate)
		return VERDICT_PASS;
	if (reply) {
		rewrite.port = connection->virtual_port;
		virtual_address(connection, slot, &address);
		rewrite.address = &address;
		if (!egress)
			find_hop(skb, &address, &outer->destination, &hop, outer->family);
	} else {
		rewrite.port = connection->real_port;
		rewrite.address = &destination->address;
		find_hop(skb, destination->family == outer->family ? &outer->source : NULL, &destination->address, &hop,
			 destination->family);
	}
	rewrite.forward = !egress && hop.kind == HOP_NEIGHBOUR;
	if (rewrite.forward && outer->ttl <= 1)
		return drop(EVENT_TTL);
	if (!egress && hop.kind == HOP_UNKNOWN)
		return drop(EVENT_NO_ROUTE);
	/* On its way through the tunnel it takes a turn: there is no stack left for the outer header here. */
	if (rewrite.forward && connection->word >> WORD_METHOD_SHIFT == METHOD_TUNNEL)
		return settings.internal_ifindex ? send_to_turn(skb, outer, turn_mark(TURN_TUNNEL, connection->destination))
						 : VERDICT_DROP;
	if (rewrite.translate) {
		if (!translate_error(skb, outer, &quoted, &rewrite, NULL))
			return VERDICT_DROP;
	} else if (rewrite.forward && !(outer->family == 4 ? rewrite_ipv4(skb, outer, &rewrite, NULL)
							   : rewrite_ipv6(skb, outer, &rewrite, NULL))) {
		return VERDICT_DROP;
	}
	if (egress || (hop.kind == HOP_LOCAL && !reply))
		return VERDICT_PASS;
	__builtin_memset(hop.mac, 0, MAC_LENGTH);
	if (outer->l3 ? bpf_skb_store_bytes(skb, 0, hop.mac, MAC_LENGTH, 0) : !add_ethernet(skb, hop.mac))
		return VERDICT_DROP;
	if (hop.kind == HOP_LOCAL)
		return bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
	return bpf_redirect_neigh(hop.ifindex, &hop.via, sizeof(hop.via), 0);
}

#endif
