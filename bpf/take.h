/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What another director says of a connection, entered as the kernel's ip_vs_proc_conn() does it: a connection that is
 * known changes its state, one with another real server is replaced, all others are new. Their real server is looked up
 * by its address; without one they wait, and are said again by user space when destinations have come.
 */
#ifndef HEADGATE_TAKE_H
#define HEADGATE_TAKE_H

#include "enter.h"
#include "flow.h"

#define MOST_DESTINATIONS 16384
#define TAKE_TRIES 8

struct destination_search {
	const struct sync_entry *entry;
	__be16 port;
	__u16 any_port;              /* 1: the address is enough */
	__u32 slot;                  /* where to go on */
	__u32 found;
};

static long destination_step(__u32 index, struct destination_search *search)
{
	struct destination *destination = destination_at(search->slot);

	if (!search->slot || !destination)
		return 1;
	if ((search->any_port || destination->port == search->port) && destination->family == search->entry->family &&
	    destination->address.word[3] == search->entry->real.word[3] &&
	    equal_head(destination->address.word, &search->entry->real)) {
		search->found = search->slot;
		return 1;
	}
	search->slot = destination->next;
	return 0;
}

/* The slot of a connection's destination as it is listed now, 0: there is none (ip_vs_find_dest). */
static __always_inline __u32 find_destination(const struct sync_entry *entry, const struct packet *key)
{
	struct destination_search search = { .entry = entry, .port = entry->real_port };
	struct service *service;
	__u32 slot = 0;

	if (entry->fwmark) {
		slot = find_marked_service(entry->fwmark, entry->family);
		if (entry->word >> WORD_METHOD_SHIFT != METHOD_MASQUERADE)
			search.port = 0;
	}
	if (!slot)
		slot = find_service(key);
	service = service_at(slot);
	if (!slot || !service)
		return 0;
	search.slot = service->first;
	bpf_loop(MOST_DESTINATIONS, destination_step, &search, 0);
	if (!search.found) {
		search.port ^= entry->real_port;
		search.slot = service->first;
		bpf_loop(MOST_DESTINATIONS, destination_step, &search, 0);
	}
	/* FTP's data and what a mark's templates rule go to other ports than that of the service's destination. */
	if (!search.found &&
	    ((service->port == bpf_htons(FTP_PORT) && key->destination_port != service->port) ||
	     (service->flags & (SERVICE_FWMARK | SERVICE_PERSISTENT)) == (SERVICE_FWMARK | SERVICE_PERSISTENT))) {
		search.any_port = 1;
		search.slot = service->first;
		bpf_loop(MOST_DESTINATIONS, destination_step, &search, 0);
	}
	return search.found;
}

/* 1 when a connection goes where another director says, from the local end that it says. */
static __always_inline int goes_to(const struct connection *connection, __u32 slot, const struct sync_entry *entry)
{
	struct connection_detail *detail = detail_at(slot);

	if (!detail || connection->real != entry->real.word[3] || connection->real_port != entry->real_port)
		return 0;
	if (is_full_nat(connection->word) && !(connection->word & WORD_TEMPLATE) &&
	    (detail->local ^ entry->destination) & (LOCAL_PORT | LOCAL_ADDRESS_MASK << LOCAL_ADDRESS_SHIFT))
		return 0;
	return connection->family == 4 || equal_head(detail->real_head, &entry->real);
}

/* The time of a connection starts over. */
static __always_inline void start_over(struct connection *connection, __u32 slot, const struct sync_entry *entry,
				       __u32 now)
{
	struct connection_detail *detail = detail_at(slot);

	connection->timeout = entry->timeout;
	connection->seen = now;
	connection->packets = settings.sync_threshold;
	if (detail)
		detail->synced = now;
	note_expiry(slot, expiry_moment(now, entry->timeout));
}

/* A connection that is there changes its state; 0 when it has ended meanwhile. */
static __always_inline int change_entry(struct connection *connection, __u32 slot, const struct sync_entry *entry,
					__u32 now)
{
	struct destination *destination;
	int i;

	for (i = 0; i < TAKE_TRIES; i++) {
		__u32 word = connection->word;
		__u32 next = (word & ~(WORD_STATE | WORD_INACTIVE)) | (entry->word & (WORD_STATE | WORD_INACTIVE));

		if (!(word & WORD_LIVE))
			return 0;
		if (word != next) {
			if (__sync_val_compare_and_swap(&connection->word, word, next) != word)
				continue;
			destination = destination_at(connection->destination);
			if (destination && (next ^ word) & WORD_INACTIVE && !(word & WORD_TEMPLATE))
				add_counts(destination, share_of(next) - share_of(word));
		}
		start_over(connection, slot, entry, now);
		return 1;
	}
	return 0;
}

/* Enters a new connection or template. Returns 1, or 0 when there is no room. */
static __always_inline int enter_entry(const struct packet *key, const struct sync_entry *entry,
				       __u32 destination_slot, __u32 now)
{
	struct destination *destination = destination_at(destination_slot);
	__u32 slot, same, word, full;
	struct connection *connection;

	if (!destination)
		return 0;
	/* The real server knows such a connection by its local end alone. */
	full = destination->method == METHOD_FULL_NAT && !(entry->word & WORD_TEMPLATE);
	if (full && (!entry->destination || destination->full_nat & FULL_NAT_HERE))
		return 0;
	slot = take_slot();
	connection = connection_at(slot);
	if (!slot || !connection)
		return 0;
	word = entry->word;
	/* Connections inherit the method of their destination (ip_vs_bind_dest). */
	if (destination_slot)
		word = (word & 0xffff) | destination->method << WORD_METHOD_SHIFT;
	if (!(word & WORD_TEMPLATE) && !full && word >> WORD_METHOD_SHIFT != METHOD_MASQUERADE &&
	    word >> WORD_METHOD_SHIFT != METHOD_BYPASS)
		word |= WORD_NO_OUTPUT;
	word |= WORD_LIVE | WORD_SYNCED;
	if (!write_entry(connection, slot, key, destination, destination_slot, now))
		return 0;
	connection->real = entry->real.word[3];
	connection->real_port = entry->real_port;
	if (key->family == 6) {
		struct connection_detail *detail = detail_at(slot);

		if (detail)
			__builtin_memcpy(detail->real_head, entry->real.word, sizeof(detail->real_head));
	}
	if (key->source_port && word & WORD_TEMPLATE && !note_call(slot, 1)) {
		free_slot(slot, connection);
		return 0;
	}
	if (full && !take_local_end(slot, entry->destination)) {
		free_slot(slot, connection);
		return 0;
	}
	if (entry->fwmark && !(word & WORD_TEMPLATE))
		note_mark(key, slot, entry->fwmark);
	start_over(connection, slot, entry, now);
	count_entry(connection, destination, word);
	same = push_entry(slot, key, word & WORD_TEMPLATE, now);
	if (same == slot)
		return 1;
	if (full)
		release_local_end(slot);
	forget_call(connection, slot, word);
	take_back_entry(connection, slot, destination, word);
	return same != 0;
}

/* Returns 1 when the entry stands in the table as it was said, 0 when it does not. */
static __always_inline int take_entry(struct sync_entry *said)
{
	struct sync_entry entry = *said;
	struct packet key = {
		.source = entry.client,
		.destination = entry.virtual,
		.source_port = entry.client_port,
		.destination_port = entry.virtual_port,
		.protocol = entry.protocol,
		.family = entry.family,
	};
	__u32 now = now_jiffies(), slot, destination, template = entry.word & WORD_TEMPLATE;
	struct connection *connection;
	__u32 *first;

	if (template && entry.of_call) {
		take_call();
		key.told = 1;
		key.source_port = imprint_of(1);
	}
	first = chain_of(&key, 0);
	if (!first)
		return 0;
	slot = template ? find_template(&key, *first) : find_from(&key, *first, 0, now);
	connection = connection_at(slot);
	if (slot && connection) {
		int same = goes_to(connection, slot, &entry);

		/* What is said of a connection's end may come after the connection that took its place. */
		if (!same && !template && entry.word & WORD_INACTIVE) {
			said->destination = connection->destination;
			return 1;
		}
		if ((same || template) && connection->destination) {
			said->destination = connection->destination;
			return change_entry(connection, slot, &entry, now);
		}
	}
	destination = find_destination(&entry, &key);
	if (slot && connection) {
		if (!destination && goes_to(connection, slot, &entry)) {
			said->destination = 0;
			return change_entry(connection, slot, &entry, now);
		}
		if (!end_surely(connection, slot))
			return 0;
	}
	said->destination = destination;
	return enter_entry(&key, &entry, destination, now);
}

#endif
