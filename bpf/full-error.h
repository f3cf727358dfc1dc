/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * ICMP errors about connections with full NAT: both sides of what they quote are translated. The real server hears them
 * from the director, which it has a way to; the client from the virtual address.
 */
#ifndef HEADGATE_FULL_ERROR_H
#define HEADGATE_FULL_ERROR_H

#include "error.h"
#include "full-nat.h"

/*
 * Gives an error one end: its own source or destination, and what the quoted packet has on its other side. `quoted` has its
 * ends swapped. 0: the packet could not be changed.
 */
__noinline int translate_error_end(struct __sk_buff *skb, const struct packet *outer, const struct packet *quoted,
				   const struct end *end)
{
	struct rewrite rewrite = { .translate = 1 };

	if (!outer || !quoted || !end)
		return 0;
	rewrite.address = &end->address;
	rewrite.port = end->port;
	rewrite.reply = end->source;
	rewrite.forward = end->forward;
	return translate_error(skb, outer, quoted, &rewrite, NULL);
}

/* An error about a connection with full NAT, to the side that caused it; VERDICT_PASS: it is about none. */
__noinline int pass_full_error(struct __sk_buff *skb, struct packet *outer)
{
	struct packet quoted;
	struct connection *connection;
	struct destination *destination;
	struct end near = {}, far = {};
	struct hop hop = {};
	__u32 slot, reply = 0, now = now_jiffies(), *first;

	if (!outer || !read_quoted(skb, outer, &quoted))
		return VERDICT_PASS;
	first = chain_of(&quoted, 0);
	slot = first ? find_from(&quoted, *first, 0, now) : 0;
	if (!slot) {
		reply = 1;
		slot = find_by_local_end(&quoted, now);
	}
	connection = connection_at(slot);
	if (!slot || !connection || !is_full_nat(connection->word))
		return VERDICT_PASS;
	destination = destination_at(connection->destination);
	if (!destination || !local_end_of(connection, slot, &near))
		return VERDICT_PASS;
	if (destination->flags & DESTINATION_AVAILABLE)
		count_packet(connection->destination, outer->length, reply);
	if (reply) {
		virtual_address(connection, slot, &near.address);
		near.port = connection->virtual_port;
		client_address(connection, slot, &far.address);
		far.port = connection->client_port;
	} else {
		far.address = destination->address;
		far.port = connection->real_port;
	}
	find_hop(skb, &near.address, &far.address, &hop, outer->family);
	if (hop.kind == HOP_UNKNOWN)
		return drop(EVENT_NO_ROUTE);
	if (hop.kind == HOP_NEIGHBOUR && outer->ttl <= 1)
		return drop(EVENT_TTL);
	near.source = 1;
	far.forward = hop.kind == HOP_NEIGHBOUR;
	if (!translate_error_end(skb, outer, &quoted, &near) || !translate_error_end(skb, outer, &quoted, &far))
		return VERDICT_DROP;
	__builtin_memset(hop.mac, 0, MAC_LENGTH);
	if (outer->l3 ? bpf_skb_store_bytes(skb, 0, hop.mac, MAC_LENGTH, 0) : !add_ethernet(skb, hop.mac))
		return VERDICT_DROP;
	if (hop.kind == HOP_LOCAL)
		return bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
	return bpf_redirect_neigh(hop.ifindex, &hop.via, sizeof(hop.via), 0);
}

#endif
