/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Later fragments carry no ports: they follow their first, whose fate is remembered for half a minute. */
#ifndef HEADGATE_FRAGMENT_H
#define HEADGATE_FRAGMENT_H

#include "forward.h"

#define FRAGMENT_SECONDS 30

/* What later fragments are found by. IPv6 leaves the protocol out: it may differ between fragments (RFC 8200 4.5). */
static __always_inline void fragment_key(const struct packet *packet, struct fragment_key *key)
{
	key->source = packet->source;
	key->destination = packet->destination;
	key->identification = packet->identification;
	key->protocol = packet->family == 4 ? packet->protocol : 0;
	key->family = packet->family;
}

/* Remembers which connection the later fragments of a datagram belong to; slot 0: to none, they pass as the first did. */
static __noinline void remember_fragment(const struct packet *packet, __u32 slot, __u32 reply)
{
	struct connection_detail *detail = detail_at(slot);
	struct fragment_key key = {};
	struct fragment fragment = {};

	if (!packet || !detail)
		return;
	fragment_key(packet, &key);
	fragment.slot = slot;
	fragment.generation = detail->generation;
	fragment.reply = reply;
	fragment.seen = now_jiffies();
	bpf_map_update_elem(&fragments, &key, &fragment, BPF_ANY);
}

/* What became of the first fragment of a later one's datagram; NULL when none passed or its connection has gone. */
static __noinline struct fragment *find_fragment(const struct packet *packet)
{
	struct connection_detail *detail;
	struct fragment_key key = {};
	struct connection *connection;
	struct fragment *fragment;

	if (!packet)
		return NULL;
	fragment_key(packet, &key);
	fragment = bpf_map_lookup_elem(&fragments, &key);
	if (!fragment || now_jiffies() - fragment->seen > FRAGMENT_SECONDS * settings.hz)
		return NULL;
	if (!fragment->slot)
		return fragment;
	connection = connection_at(fragment->slot);
	detail = detail_at(fragment->slot);
	if (!connection || !detail || detail->generation != fragment->generation ||
	    !(connection->word & (WORD_LIVE | WORD_ONE_PACKET)))
		return NULL;
	return fragment;
}

/* A packet that is not for us; later fragments of its datagram are not either. */
static __always_inline int pass_by(const struct packet *packet)
{
	if (packet->fragment == FRAGMENT_FIRST)
		remember_fragment(packet, 0, 0);
	return VERDICT_PASS;
}

#endif
