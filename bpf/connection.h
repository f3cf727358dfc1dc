/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The connection table: chains of slots, hashed by the client's side of a connection alone, so that one entry is
 * found from both directions and "both keys or neither" needs no second insert.
 *
 * Entering is a compare-and-swap at the head of the chain. Leaving has two phases: whoever turns LIVE into DEAD
 * adjusts the counts; the sweeper, alone, takes dead slots out of their chains and frees them after a grace in
 * which no reader can still hold them. An entry whose time is up is not found, swept or not.
 */
#ifndef HEADGATE_CONNECTION_H
#define HEADGATE_CONNECTION_H

#include "maps.h"
#include "parse.h"

#define SHORT_CHAIN 4            /* entries looked at in the packet path itself */
#define LONG_CHAIN 4096          /* entries looked at in all */
#define FREE_TRIES 32
#define INSERT_TRIES 8
#define HOP_SHIFT 6
#define FTP_PORT 21              /* the one that persistence and services know FTP by (ip_vs_service_find) */

#define rol32(word, shift) (((word) << (shift)) | ((word) >> (32 - (shift))))

static __always_inline __u32 now_jiffies(void)
{
	return (__u32)bpf_jiffies64();
}

/* 1 when what is said on connections to a port is FTP's. Of most others the filter says that at once. */
static __always_inline int is_ftp(__be16 port)
{
	int i;

	if (!(settings.ftp_filter >> (bpf_ntohs(port) & 63) & 1))
		return 0;
#pragma unroll
	for (i = 0; i < FTP_PORTS; i++) {
		if (port && settings.ftp_ports[i] == port)
			return 1;
	}
	return 0;
}

static __always_inline struct connection *connection_at(__u32 slot)
{
	return bpf_map_lookup_elem(&connections, &slot);
}

static __always_inline struct connection_detail *detail_at(__u32 slot)
{
	return bpf_map_lookup_elem(&connection_details, &slot);
}

static __always_inline struct destination *destination_at(__u32 slot)
{
	return bpf_map_lookup_elem(&destinations, &slot);
}

static __always_inline __u32 *bucket_at(__u32 hash)
{
	__u32 line = (hash & bucket_mask) >> BUCKET_LINE_BITS;
	struct bucket_line *bucket = bpf_map_lookup_elem(&buckets, &line);

	return bucket ? &bucket->first[hash & ((1 << BUCKET_LINE_BITS) - 1)] : NULL;
}

#define GOLDEN_RATIO_32 0x61c88647
#define HASH_TABLE_BITS 8

/* The kernel's hash_32. */
static __always_inline __u32 hash_32(__u32 value)
{
	return value * GOLDEN_RATIO_32 >> (32 - HASH_TABLE_BITS);
}

/* An address as one number in host order (ip_vs: IPv6 words are folded by xor). */
static __always_inline __u32 fold(const struct address *address)
{
	return bpf_ntohl(address->word[0] ^ address->word[1] ^ address->word[2] ^ address->word[3]);
}

/* 1 when a filter may contain an address that folds to this. */
static __always_inline int has_bit(const __u32 *filter, __u32 folded)
{
	__u32 bit = folded * GOLDEN_RATIO_32 >> 20;

	return filter[bit >> 5] >> (bit & 31) & 1;
}

/* 1 when a filter may contain the address. */
static __always_inline int in_filter(const __u32 *filter, const struct address *address)
{
	return has_bit(filter, fold(address));
}

/* The final mix of Bob Jenkins' lookup3, as in the kernel's jhash. */
static __always_inline __u32 mix(__u32 a, __u32 b, __u32 c)
{
	c ^= b; c -= rol32(b, 14);
	a ^= c; a -= rol32(c, 11);
	b ^= a; b -= rol32(a, 25);
	c ^= b; c -= rol32(b, 16);
	a ^= c; a -= rol32(c, 4);
	b ^= a; b -= rol32(a, 14);
	c ^= b; c -= rol32(b, 24);
	return c;
}

/* Hash of a client: address, port, protocol. */
static __always_inline __u32 client_hash(const struct address *client, __be16 port, __u8 protocol, __u8 family)
{
	__u32 salt = settings.salt;

	if (family == 6)
		salt = mix(client->word[0], client->word[1], client->word[2] ^ salt);
	return mix(client->word[3], port << 16 | protocol, salt);
}

/* 1 when nothing was seen of the entry for its timeout. A moment noted by another CPU may lie just ahead of ours. */
static __always_inline int is_expired(const struct connection *connection, __u32 now)
{
	__u32 age = now - connection->seen;

	return age >= connection->timeout && age < 0xfff00000;
}

static __always_inline int equal_head(const __be32 *head, const struct address *address)
{
	return head[0] == address->word[0] && head[1] == address->word[1] && head[2] == address->word[2];
}

/* 1 when the entry is the one for a packet from the client. */
static __always_inline int matches_request(const struct connection *connection, __u32 slot,
					   const struct packet *packet)
{
	struct connection_detail *detail;

	if (connection->client != packet->source.word[3] || connection->virtual != packet->destination.word[3] ||
	    connection->client_port != packet->source_port || connection->virtual_port != packet->destination_port ||
	    connection->protocol != packet->protocol || connection->family != packet->family)
		return 0;
	if (packet->family == 4)
		return 1;
	detail = detail_at(slot);
	return detail && equal_head(detail->client_head, &packet->source) &&
	       equal_head(detail->virtual_head, &packet->destination);
}

/* 1 when the entry is the one for a packet to the client: from the real server's address and port when they are
 * translated, from the virtual ones otherwise (ip_vs_conn_out_get). */
static __always_inline int matches_reply(const struct connection *connection, __u32 slot, const struct packet *packet)
{
	int translated = connection->word >> WORD_METHOD_SHIFT == METHOD_MASQUERADE;
	struct connection_detail *detail;

	if (connection->client != packet->destination.word[3] || connection->client_port != packet->destination_port ||
	    (translated ? connection->real : connection->virtual) != packet->source.word[3] ||
	    (translated ? connection->real_port : connection->virtual_port) != packet->source_port ||
	    connection->protocol != packet->protocol || connection->family != packet->family)
		return 0;
	if (packet->family == 4)
		return 1;
	detail = detail_at(slot);
	return detail && equal_head(detail->client_head, &packet->destination) &&
	       equal_head(translated ? detail->real_head : detail->virtual_head, &packet->source);
}

/* 1 when a packet belongs to the entry and the entry lives. */
static __always_inline int is_found(const struct connection *connection, __u32 slot, const struct packet *packet,
				    __u32 reply, __u32 now)
{
	__u32 word = connection->word;

	if ((word & (WORD_LIVE | WORD_TEMPLATE)) != WORD_LIVE)
		return 0;
	if (reply ? !matches_reply(connection, slot, packet) : !matches_request(connection, slot, packet))
		return 0;
	return !is_expired(connection, now);
}

/* A walk along a chain. */
struct lookup {
	const struct packet *packet;
	__u32 reply;
	__u32 now;
	__u32 slot;                  /* where to go on */
	__u32 found;
};

static long long_chain_step(__u32 index, struct lookup *lookup)
{
	struct connection *connection = connection_at(lookup->slot);

	if (!lookup->slot || !connection)
		return 1;
	if (is_found(connection, lookup->slot, lookup->packet, lookup->reply, lookup->now)) {
		lookup->found = lookup->slot;
		return 1;
	}
	lookup->slot = connection->next;
	return 0;
}

/* As find_from, for chains of any length. */
__noinline __u32 find_in_long_chain(const struct packet *packet, __u32 slot, __u32 reply)
{
	struct lookup lookup = { .packet = packet, .reply = reply, .now = now_jiffies(), .slot = slot };

	if (!packet)
		return 0;
	bpf_loop(LONG_CHAIN, long_chain_step, &lookup, 0);
	return lookup.found;
}

/*
 * The slot of the live connection a packet belongs to, 0 for none. New entries stand first in their chain, so
 * among several that fit a reply the newest is found, as in the kernel.
 */
static __always_inline __u32 find_from(const struct packet *packet, __u32 slot, __u32 reply, __u32 now)
{
	int i;

#pragma unroll
	for (i = 0; i < SHORT_CHAIN; i++) {
		struct connection *connection;

		if (!slot)
			return 0;
		connection = connection_at(slot);
		if (!connection)
			return 0;
		if (is_found(connection, slot, packet, reply, now))
			return slot;
		slot = connection->next;
	}
	return slot ? find_in_long_chain(packet, slot, reply) : 0;
}

static __always_inline __u32 *chain_of(const struct packet *packet, __u32 reply)
{
	if (reply)
		return bucket_at(client_hash(&packet->destination, packet->destination_port, packet->protocol,
					     packet->family));
	return bucket_at(client_hash(&packet->source, packet->source_port, packet->protocol, packet->family));
}

/* The virtual address of a connection. */
static __always_inline void virtual_address(const struct connection *connection, __u32 slot, struct address *address)
{
	struct connection_detail *detail;

	address->word[3] = connection->virtual;
	if (connection->family == 4)
		return;
	detail = detail_at(slot);
	if (detail)
		__builtin_memcpy(address->word, detail->virtual_head, sizeof(detail->virtual_head));
}

/* The client's address of a connection. */
static __always_inline void client_address(const struct connection *connection, __u32 slot, struct address *address)
{
	struct connection_detail *detail;

	address->word[3] = connection->client;
	if (connection->family == 4)
		return;
	detail = detail_at(slot);
	if (detail)
		__builtin_memcpy(address->word, detail->client_head, sizeof(detail->client_head));
}

/* A destination's active (low half) and inactive connections (high half) as the one word they are changed by. */
typedef __u64 __attribute__((may_alias)) counts_word;

/* What one connection adds to its destination's counts. */
static __always_inline __u64 share_of(__u32 word)
{
	return word & WORD_INACTIVE ? 1ULL << 32 : 1;
}

/* Adds to a destination's counts; returns how many connections, active and inactive, it has then. */
static __always_inline __u32 add_counts(struct destination *destination, __u64 by)
{
	__u64 counts = __sync_fetch_and_add((counts_word *)&destination->active, by) + by;

	return (__u32)counts + (__u32)(counts >> 32);
}

/* Counts a new connection or template of a destination: it is overloaded from its upper threshold on (ip_vs_bind_dest). */
static __always_inline void count_in(struct destination *destination, __u32 word)
{
	__u32 total;

	if (word & WORD_TEMPLATE) {
		__sync_fetch_and_add(&destination->persistent, 1);
		return;
	}
	total = add_counts(destination, share_of(word));
	if (destination->upper && total >= destination->upper && !(destination->flags & DESTINATION_OVERLOAD))
		__sync_fetch_and_or(&destination->flags, DESTINATION_OVERLOAD);
}

/* Counts a connection or template no more; below its lower threshold, or 75 % of the upper, a destination serves again. */
static __always_inline void count_out(struct destination *destination, __u32 word)
{
	__u32 total, level;

	if (word & WORD_TEMPLATE) {
		__sync_fetch_and_add(&destination->persistent, -1);
		return;
	}
	total = add_counts(destination, -share_of(word));
	if (!(destination->flags & DESTINATION_OVERLOAD))
		return;
	level = destination->lower ? destination->lower : destination->upper - destination->upper / 4;
	if (total < level)
		__sync_fetch_and_and(&destination->flags, ~DESTINATION_OVERLOAD);
}

/* Tells the sweeper that a slot may expire at `moment` (jiffies). */
static __always_inline void note_expiry(__u32 slot, __u32 moment)
{
	__u32 slice = slot >> SLICE_BITS;
	__u32 *due = bpf_map_lookup_elem(&slices, &slice);
	__u32 old;
	int i;

	if (!due)
		return;
	moment |= 1;
	old = *due;
	for (i = 0; i < 4; i++) {
		__u32 seen;

		if (old && (__s32)(old - moment) <= 0)
			return;
		seen = __sync_val_compare_and_swap(due, old, moment);
		if (seen == old)
			return;
		old = seen;
	}
}

/* A moment `timeout` from now; far ones are brought near enough to compare, the sweeper then looks again. */
static __always_inline __u32 expiry_moment(__u32 now, __u32 timeout)
{
	return now + (timeout < 0x3fffffff ? timeout : 0x3fffffff);
}

/* Ends a connection: 1 for the caller that ended it. */
static __always_inline int end_connection(struct connection *connection, __u32 word)
{
	struct destination *destination;

	if (!(word & WORD_LIVE))
		return 0;
	if (__sync_val_compare_and_swap(&connection->word, word, (word & ~WORD_LIVE) | WORD_DEAD) != word)
		return 0;
	destination = destination_at(connection->destination);
	if (destination)
		count_out(destination, word);
	__sync_fetch_and_add(&runtime.entries, -1);
	return 1;
}

/* Puts a slot that no chain holds onto the free list. */
static __always_inline int free_slot(__u32 slot, struct connection *connection)
{
	__u64 old = runtime.free;
	int i;

	for (i = 0; i < FREE_TRIES; i++) {
		__u64 seen;

		connection->next = (__u32)old;
		seen = __sync_val_compare_and_swap(&runtime.free, old, ((old >> 32) + 1) << 32 | slot);
		if (seen == old)
			return 1;
		old = seen;
	}
	return 0;
}

#endif
