/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What floods are met with, away from the packets of established connections: a share of the table for half-open ones,
 * and the kernel's three defences (update_defense_level of net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_random_dropentry of
 * ip_vs_conn.c).
 */
#ifndef HEADGATE_DEFENCE_H
#define HEADGATE_DEFENCE_H

#include "state.h"

#define PLACES_A_PAGE 32         /* places of the table in 4,096 bytes: amemthresh is in pages */
#define SECONDS_UNTOUCHED 60     /* todrop_entry */
#define TICKS_A_ROUND 320        /* drop_entry looks at 1/32 of the table a second, in ten ticks */
#define MOST_SLICES_A_TICK 256

enum defence_mode {
	DEFENCE_OFF = 0,
	DEFENCE_WHEN_LOW,            /* 2 is the same: the kernel's word for one that is on */
	DEFENCE_ALWAYS = 3,
};

#define HALF_OPEN_STATES                                                                                                    \
	(1 << STATE_SYN_RECV | 1 << STATE_SYNACK | 1 << STATE_SCTP_NONE | 1 << STATE_SCTP_INIT1 | 1 << STATE_SCTP_INIT)

/* 1 when nothing but SYNs or INITs has been seen from the client, or is being looked at. */
static __always_inline int is_half_open(__u32 word)
{
	return (word & (WORD_LIVE | WORD_TEMPLATE)) == WORD_LIVE && 1 << (word & (STATE_PLACES - 1)) & HALF_OPEN_STATES;
}

/* What tells a connection from the others that have had its slot. */
static __always_inline __u32 imprint(const struct connection *connection)
{
	return connection->client ^ rol32((__u32)connection->client_port, 7) ^ rol32(connection->virtual, 16) ^
	       connection->virtual_port;
}

/* Ends an entry, and its template where nobody was ever answered by it and no other connection is ruled by it. */
static __always_inline int end_with_template(struct connection *connection, __u32 slot, __u32 word, __u32 now)
{
	struct connection_detail *detail;
	struct connection *template;

	if (!end_connection(connection, word))
		return 0;
	note_expiry(slot, now);
	detail = word & WORD_RULED ? detail_at(slot) : NULL;
	template = detail ? connection_at(detail->control) : NULL;
	if (template && is_template(template->word) && !(template->word & TEMPLATE_ASSURED) &&
	    ruled_by(detail->control) <= 1 && end_connection(template, template->word))
		note_expiry(detail->control, now);
	return 1;
}

/*
 * A new connection takes the next place of a ring; whoever had it goes if it is half-open still. So there are never more
 * half-open connections than places, the one that goes is the oldest, and nobody has to look for it.
 */
__noinline int limit_half_open(__u32 slot)
{
	__u32 places = (__u64)connection_limit * settings.half_open_share / 100, index;
	struct connection *connection = connection_at(slot);
	__u64 *place, before;
	__u32 word;

	if (!places || !connection || !is_half_open(connection->word))
		return 0;
	index = __sync_fetch_and_add(&runtime.half_open_ticket, 1) % places;
	place = bpf_map_lookup_elem(&half_open, &index);
	if (!place)
		return 0;
	before = __sync_lock_test_and_set(place, (__u64)imprint(connection) << 32 | slot);
	slot = before;
	connection = connection_at(slot);
	if (!slot || !connection)
		return 0;
	word = connection->word;
	if (is_half_open(word) && imprint(connection) == before >> 32 &&
	    end_with_template(connection, slot, word, now_jiffies()))
		count_event(EVENT_HALF_OPEN_ENDED);
	return 0;
}

/* 1 for the new connections that drop_packet refuses, every so many of them (ip_vs_todrop). */
static __always_inline int is_refused(void)
{
	__u32 rate = runtime.drop_rate;

	return rate && (__sync_fetch_and_add(&runtime.drop_counter, 1) + 1) % rate == 0;
}

/* 1 when an entry that nobody uses may go: of those with as many packets, every so many'th (todrop_entry). */
static __always_inline int is_droppable(const struct connection *connection, __u32 now)
{
	__u32 packets = connection->packets;

	if (now - connection->seen < SECONDS_UNTOUCHED * settings.hz || packets < 1 || packets > 8)
		return 0;
	return ++runtime.spared[packets & 15] % packets == 0;
}

struct defence {
	__u64 until;
	__u32 now;
	__u32 slice;
};

static long consider_slot(__u32 index, struct defence *defence)
{
	__u32 slot = defence->slice << SLICE_BITS | index, word;
	struct connection *connection = connection_at(slot);

	if (!connection || !slot)
		return 0;
	word = connection->word;
	if (!(word & WORD_LIVE) || ruled_by(slot))
		return 0;
	if (word & WORD_TEMPLATE) {
		if (word & TEMPLATE_ASSURED)
			return 0;
	} else if (!is_half_open(word)) {
		if (!(1 << (word & (STATE_PLACES - 1)) & (ESTABLISHED_STATES | 1 << STATE_UDP)))
			return 0;
		if (!is_droppable(connection, defence->now))
			return 0;
	}
	if (end_with_template(connection, slot, word, defence->now))
		count_event(EVENT_ENTRY_DROPPED);
	return 0;
}

static long consider_slice(__u32 index, struct defence *defence)
{
	if (runtime.drop_debt < TICKS_A_ROUND || bpf_ktime_get_ns() > defence->until)
		return 1;
	runtime.drop_debt -= TICKS_A_ROUND;
	defence->slice = bpf_get_prandom_u32() % slice_count;
	bpf_loop(SLICE_SIZE, consider_slot, defence, 0);
	return 0;
}

static __always_inline int is_on(__u32 mode, int low)
{
	return mode == DEFENCE_ALWAYS || (mode != DEFENCE_OFF && low);
}

/*
 * Decides which defences are on: `low` is when fewer places of the table are left than amemthresh pages hold, or than a
 * quarter of them. Drops entries of random slices while that one is.
 */
static __noinline int defend(__u32 now)
{
	struct defence defence = { .now = now };
	__u32 used = runtime.entries, left, least = settings.amemthresh;
	int low;

	if (!(settings.drop_entry | settings.drop_packet | settings.secure_tcp | runtime.drop_rate | settings.secure))
		return 0;
	least = least < connection_limit / 4 / PLACES_A_PAGE ? least * PLACES_A_PAGE : connection_limit / 4;
	left = used < connection_limit ? connection_limit - used : 0;
	low = left < least;
	runtime.low = low;
	settings.secure = is_on(settings.secure_tcp, low);
	if (settings.drop_packet == DEFENCE_ALWAYS)
		runtime.drop_rate = settings.am_droprate;
	else
		runtime.drop_rate = is_on(settings.drop_packet, low) ? least / (least - left) : 0;
	if (!is_on(settings.drop_entry, low)) {
		runtime.drop_debt = 0;
		return 0;
	}
	if (runtime.drop_debt < TICKS_A_ROUND * MOST_SLICES_A_TICK)
		runtime.drop_debt += slice_count;
	defence.until = bpf_ktime_get_ns() + 200 * 1000;
	bpf_loop(MOST_SLICES_A_TICK, consider_slice, &defence, 0);
	return 0;
}

#endif
