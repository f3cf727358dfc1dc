/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Templates: entries of the connection table that say where a client's next connections go, and the connections they
 * rule. A connection joins its template before it enters the table and leaves it when the sweeper has taken it out, so
 * the slot of a template stays its own as long as a connection refers to it. In the same way the control connections of FTP
 * rule those of their data.
 */
#ifndef HEADGATE_TEMPLATE_H
#define HEADGATE_TEMPLATE_H

#include "connection.h"
#include "sip.h"

#define RULER_GRACE_SECONDS 60   /* of an entry whose time is up while it rules connections (ip_vs_conn_expire) */

static __always_inline int is_template(__u32 word)
{
	return (word & (WORD_LIVE | WORD_TEMPLATE)) == (WORD_LIVE | WORD_TEMPLATE);
}

/* How many connections an entry rules. */
static __always_inline __u32 ruled_by(__u32 slot)
{
	struct connection_detail *detail = detail_at(slot);

	return detail ? *(volatile __u32 *)&detail->ruled : 0;
}

/* A connection comes under the rule of an entry; 0 when that one has ended meanwhile. */
static __always_inline int join_ruler(__u32 slot)
{
	struct connection_detail *detail = detail_at(slot);
	struct connection *connection = connection_at(slot);

	if (!connection || !detail)
		return 0;
	/* With the result looked at it is a full barrier: the sweeper sees the connection, or we see the ruler's end. */
	if (__sync_fetch_and_add(&detail->ruled, 1) != 0xffffffff && *(volatile __u32 *)&connection->word & WORD_LIVE)
		return 1;
	__sync_fetch_and_add(&detail->ruled, -1);
	return 0;
}

static __always_inline void leave_ruler(__u32 slot)
{
	struct connection_detail *detail = detail_at(slot);

	if (detail)
		__sync_fetch_and_add(&detail->ruled, -1);
}

/* Notes at the template of a connection that the real server answers its client (ip_vs_control_assure_ct). */
static __noinline int assure_template(__u32 connection_slot)
{
	struct connection_detail *detail = detail_at(connection_slot);
	struct connection *template = detail ? connection_at(detail->control) : NULL;
	int i;

	if (!template)
		return 0;
	for (i = 0; i < 4; i++) {
		__u32 word = template->word;

		if (!is_template(word) || word & TEMPLATE_ASSURED)
			return 0;
		if (__sync_val_compare_and_swap(&template->word, word, word | TEMPLATE_ASSURED) == word)
			return 0;
	}
	return 0;
}

/* An entry whose time is up goes on while it rules connections: 1 when it does. */
static __always_inline int prolong_ruler(struct connection *ruler, __u32 slot, __u32 now)
{
	if (!ruled_by(slot))
		return 0;
	ruler->timeout = RULER_GRACE_SECONDS * settings.hz;
	ruler->seen = now;
	return 1;
}

static long template_step(__u32 index, struct lookup *lookup)
{
	struct connection *connection = connection_at(lookup->slot);

	if (!lookup->slot || !connection)
		return 1;
	if (is_template(connection->word) && matches_request(connection, lookup->slot, lookup->packet) &&
	    (!is_expired(connection, lookup->now) || ruled_by(lookup->slot)) &&
	    (!connection->client_port || is_of_call(lookup->slot, lookup->packet->told))) {
		lookup->found = lookup->slot;
		return 1;
	}
	lookup->slot = connection->next;
	return 0;
}

/* The slot of the template with a key, in the chain that begins at `slot`; 0 for none. */
__noinline __u32 find_template(const struct packet *key, __u32 slot)
{
	struct lookup lookup = { .packet = key, .now = now_jiffies(), .slot = slot };

	if (!key)
		return 0;
	bpf_loop(LONG_CHAIN, template_step, &lookup, 0);
	return lookup.found;
}

#endif
