/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The sweeper: one timer that ends connections whose time is up, takes dead ones out of their chains and frees
 * their slots after a grace; every two seconds it estimates rates. It looks only at slices in which something may be
 * due, works at most 200 us a tick, and runs on one CPU at a time: the lists that it alone writes need no lock.
 */
#ifndef HEADGATE_SWEEP_H
#define HEADGATE_SWEEP_H

#include "connection.h"
#include "defence.h"
#include "estimate.h"
#include "local.h"
#include "orphan.h"
#include "template.h"

#define CLOCK_MONOTONIC 1
#define TICK_NS (100 * 1000 * 1000ULL)
#define CONTINUE_NS (200 * 1000ULL)
#define BUDGET_NS (200 * 1000ULL)
#define LIMBO_BATCH 2048

struct sweep {
	__u64 started;
	__u32 now;
	__u32 slice;
	__u32 due;                   /* earliest expiry left in the slice, 0: none */
	__u32 unfinished;
};

struct unlink {
	__u32 slot;
	__u32 next;
	__u32 at;
	__u32 done;
};

static long unlink_step(__u32 index, struct unlink *unlink)
{
	struct connection *connection = connection_at(unlink->at);

	if (!unlink->at || !connection)
		return 1;
	if (connection->next == unlink->slot) {
		*(volatile __u32 *)&connection->next = unlink->next;
		unlink->done = 1;
		return 1;
	}
	unlink->at = connection->next;
	return 0;
}

/* Takes a dead entry out of its chain. New entries may be pushed before it meanwhile, nobody else removes. */
static __noinline int unlink_connection(struct connection *connection, __u32 slot)
{
	struct unlink unlink = { .slot = slot };
	struct address client = {};
	__u32 *first, head;

	if (!connection)
		return 0;
	client.word[3] = connection->client;
	if (connection->family == 6) {
		struct connection_detail *detail = detail_at(slot);

		if (!detail)
			return 0;
		__builtin_memcpy(client.word, detail->client_head, sizeof(detail->client_head));
	}
	first = bucket_at(client_hash(&client, connection->client_port, connection->protocol, connection->family));
	if (!first)
		return 0;
	unlink.next = connection->next;
	head = __sync_val_compare_and_swap(first, slot, unlink.next);
	if (head == slot)
		return 1;
	unlink.at = head;
	bpf_loop(1 << 20, unlink_step, &unlink, 0);
	return unlink.done;
}

/* Puts an unlinked slot at the end of the limbo list. A reader that found it before may still look at all but `word`. */
static __always_inline void enter_limbo(struct connection *connection, __u32 slot, __u32 now)
{
	struct connection_detail *last = runtime.limbo_last ? detail_at(runtime.limbo_last) : NULL;

	connection->word = 0;
	connection->seen = now;
	if (last)
		last->limbo = slot;
	else
		runtime.limbo_first = slot;
	runtime.limbo_last = slot;
}

static long leave_limbo_step(__u32 index, struct sweep *sweep)
{
	__u32 slot = runtime.limbo_first;
	struct connection *connection = connection_at(slot);
	struct connection_detail *detail = detail_at(slot);
	__u32 next, generation;

	if (!slot || !connection || !detail || sweep->now - connection->seen <= settings.hz / 8)
		return 1;
	next = detail->limbo;
	generation = detail->generation + 1;
	__builtin_memset(detail, 0, sizeof(*detail));
	detail->generation = generation;
	if (!free_slot(slot, connection)) {
		detail->limbo = next;
		return 1;
	}
	runtime.limbo_first = next;
	if (!next)
		runtime.limbo_last = 0;
	return 0;
}

/* A connection that has left the table leaves what rules it. */
static __always_inline void leave_own_ruler(__u32 slot)
{
	struct connection_detail *detail = detail_at(slot);

	if (detail)
		leave_ruler(detail->control);
}

/*
 * How long before its time is up an entry is looked at. Packets find no entry whose time is up: a control connection of FTP,
 * silent while its data flow, is prolonged before that.
 */
static __always_inline __u32 ahead_of_expiry(const struct connection *connection)
{
	return is_ftp(connection->virtual_port) ? settings.hz : 0;
}

static long visit_slot(__u32 index, struct sweep *sweep)
{
	__u32 slot = sweep->slice << SLICE_BITS | index;
	struct connection *connection = connection_at(slot);
	__u32 word, moment, flushed, ahead;

	if (!connection || !slot)
		return 0;
	word = connection->word;
	if (!word)
		return 0;
	flushed = word & WORD_LIVE && is_flushed(connection);
	ahead = ahead_of_expiry(connection);
	if (flushed ? !ruled_by(slot)
		    : word & WORD_LIVE && is_expired(connection, sweep->now + ahead) &&
			      !prolong_ruler(connection, slot, sweep->now) && is_expired(connection, sweep->now)) {
		end_connection(connection, word);
		word = connection->word;
	}
	if (word & WORD_ONE_PACKET && is_expired(connection, sweep->now)) {
		enter_limbo(connection, slot, sweep->now);
		return 0;
	}
	if (word & WORD_DEAD) {
		/* A connection may have joined it in the moment of its end: the slot waits for it. */
		if (!ruled_by(slot) && unlink_connection(connection, slot)) {
			if (word & WORD_RULED)
				leave_own_ruler(slot);
			if (is_full_nat(word) && !(word & WORD_TEMPLATE))
				release_local_end(slot);
			forget_call(connection, slot, word);
			enter_limbo(connection, slot, sweep->now);
			return 0;
		}
		moment = sweep->now;
	} else {
		/* What rules connections and is to be flushed waits for them, which end now. */
		moment = flushed ? sweep->now : expiry_moment(connection->seen, connection->timeout) - ahead;
	}
	moment |= 1;
	if (!sweep->due || (__s32)(moment - sweep->due) < 0)
		sweep->due = moment;
	return 0;
}

static long visit_slice(__u32 index, struct sweep *sweep)
{
	__u32 slice = runtime.cursor;
	__u32 *due = bpf_map_lookup_elem(&slices, &slice);
	__u32 old;

	if (!due || slice >= slice_count) {
		runtime.cursor = 0;
		return 0;
	}
	old = *due;
	if (old && (__s32)(old - sweep->now) <= 0) {
		if (bpf_ktime_get_ns() - sweep->started > BUDGET_NS) {
			sweep->unfinished = 1;
			return 1;
		}
		/* Entries that come in during the visit note their own expiry over this one. */
		__sync_val_compare_and_swap(due, old, 0);
		sweep->slice = slice;
		sweep->due = 0;
		bpf_loop(SLICE_SIZE, visit_slot, sweep, 0);
		if (sweep->due)
			note_expiry(slice << SLICE_BITS, sweep->due);
	}
	runtime.cursor = slice + 1;
	return 0;
}

static int sweep_tick(void *map, __u32 *key, struct sweeper *sweeper)
{
	struct sweep sweep = { .started = bpf_ktime_get_ns(), .now = now_jiffies() };

	/* While the table is held for a conversion its chains and lists stand still. */
	if (settings.hold != HOLD_DROP) {
		bpf_loop(LIMBO_BATCH, leave_limbo_step, &sweep, 0);
		bpf_loop(slice_count + 1, visit_slice, &sweep, 0);
		if (!sweep.unfinished)
			defend(sweep.now);
	}
	if (estimate_rates(sweep.now))
		sweep.unfinished = 1;
	runtime.sweeps += 1;
	runtime.tick_jiffies = sweep.now;
	runtime.tick_ns = sweep.started;
	bpf_timer_start(&sweeper->timer, sweep.unfinished ? CONTINUE_NS : TICK_NS, 0);
	return 0;
}

/* Starts the sweeper, or hands a running one over to this program. Returns 0 or a negative error. */
static __always_inline int start_sweeper(void)
{
	__u32 key = 0;
	struct sweeper *sweeper = bpf_map_lookup_elem(&sweepers, &key);

	if (!sweeper)
		return -1;
	bpf_timer_init(&sweeper->timer, &sweepers, CLOCK_MONOTONIC);
	if (bpf_timer_set_callback(&sweeper->timer, sweep_tick))
		return -2;
	return bpf_timer_start(&sweeper->timer, 0, 0);
}

#endif
