/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The director's ends of connections with full NAT: an address of its own and a port that no other connection to the same
 * real server has. Real servers answer there, so what a reply belongs to is found by that end and theirs alone.
 *
 * A port is claimed by being the first to enter the pair of ends, and free again when the sweeper has taken the connection
 * out of its chain. The ports are none that the kernel gives to connections of the director's own.
 */
#ifndef HEADGATE_LOCAL_H
#define HEADGATE_LOCAL_H

#include "connection.h"

#define LOCAL_TRIES 16

static __always_inline int is_full_nat(__u32 word)
{
	return word >> WORD_METHOD_SHIFT == METHOD_FULL_NAT;
}

/* What a connection's replies are found by. 0: it has no local end. */
static __always_inline int key_of_local_end(const struct connection *connection, __u32 slot, struct local_end *key)
{
	struct connection_detail *detail = detail_at(slot);
	struct address *local;
	__u32 place;

	if (!detail)
		return 0;
	place = detail->local >> LOCAL_ADDRESS_SHIFT & LOCAL_ADDRESS_MASK;
	local = bpf_map_lookup_elem(&local_addresses, &place);
	if (!place || !local)
		return 0;
	key->local = *local;
	key->real.word[3] = connection->real;
	if (connection->family == 6)
		__builtin_memcpy(key->real.word, detail->real_head, sizeof(detail->real_head));
	key->local_port = detail->local & LOCAL_PORT;
	key->real_port = connection->real_port;
	key->protocol = connection->protocol;
	key->family = connection->family;
	return 1;
}

/* Finds a local end for a connection to a destination that is written already but for that. 0: there is none. */
__noinline int claim_local_end(__u32 slot, __u32 destination_slot)
{
	struct destination *destination = destination_at(destination_slot);
	struct connection_detail *detail = detail_at(slot);
	struct connection *connection = connection_at(slot);
	struct local_end key = {};
	__u32 i, seed;

	if (!connection || !destination || !detail)
		return 0;
	key.real = destination->address;
	key.real_port = connection->real_port;
	key.protocol = connection->protocol;
	key.family = connection->family;
	/* By chance too: a client that comes again tries other ports. */
	seed = bpf_get_prandom_u32();
	for (i = 0; i < LOCAL_TRIES; i++) {
		__u32 pick = mix(connection->client, (__u32)connection->client_port << 16 | i, seed);
		__u32 place = destination->local[pick >> 16 & (LOCAL_PLACES - 1)];
		struct address *local = bpf_map_lookup_elem(&local_addresses, &place);

		if (!place || !local)
			break;
		key.local = *local;
		key.local_port = bpf_htons(settings.local_port_first + ((pick & 0xffff) * settings.local_ports >> 16));
		if (bpf_map_update_elem(&local_ends, &key, &slot, BPF_NOEXIST))
			continue;
		detail->local = place << LOCAL_ADDRESS_SHIFT | key.local_port;
		return 1;
	}
	count_event(EVENT_NO_LOCAL_END);
	return 0;
}

/*
 * Gives a connection that is written already the local end that another director had for it, enum local_word. 0: it is none, or another
 * live connection has it.
 */
__noinline int take_local_end(__u32 slot, __u32 local)
{
	struct connection *connection = connection_at(slot), *other;
	struct connection_detail *detail = detail_at(slot);
	struct local_end key = {};
	__u32 *holder;

	if (!connection || !detail)
		return 0;
	detail->local = local;
	if (!key_of_local_end(connection, slot, &key))
		return 0;
	if (!bpf_map_update_elem(&local_ends, &key, &slot, BPF_NOEXIST))
		return 1;
	/* One that has ended and was not swept yet, that of this connection before it was told otherwise. */
	holder = bpf_map_lookup_elem(&local_ends, &key);
	other = holder ? connection_at(*holder) : NULL;
	if (other && other->word & WORD_LIVE)
		return 0;
	return !bpf_map_update_elem(&local_ends, &key, &slot, BPF_ANY);
}

/* Gives the local end of a connection back. */
__noinline int release_local_end(__u32 slot)
{
	struct connection *connection = connection_at(slot);
	struct local_end key = {};
	__u32 *holder;

	if (!connection || !key_of_local_end(connection, slot, &key))
		return 0;
	holder = bpf_map_lookup_elem(&local_ends, &key);
	if (holder && *holder == slot)
		bpf_map_delete_elem(&local_ends, &key);
	return 1;
}

/* The slot of the live connection that a packet of a real server to a local end belongs to, 0 for none. */
__noinline __u32 find_by_local_end(const struct packet *packet, __u32 now)
{
	struct connection *connection;
	struct local_end key = {};
	__u32 *slot;

	if (!packet)
		return 0;
	key.local = packet->destination;
	key.real = packet->source;
	key.local_port = packet->destination_port;
	key.real_port = packet->source_port;
	key.protocol = packet->protocol;
	key.family = packet->family;
	slot = bpf_map_lookup_elem(&local_ends, &key);
	if (!slot)
		return 0;
	connection = connection_at(*slot);
	if (!connection || !(connection->word & WORD_LIVE) || is_expired(connection, now))
		return 0;
	return *slot;
}

#endif
