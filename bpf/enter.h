/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How a connection gets into the table. */
#ifndef HEADGATE_ENTER_H
#define HEADGATE_ENTER_H

#include "local.h"
#include "state.h"
#include "template.h"

#define QUOTED_SECONDS 3         /* until a packet of the client's own moves a connection on (ip_vs_conn_new) */

/*
 * A slot for a new entry, 0 when the table is full or too many CPUs want one at once. Like push_entry a call of its own: the
 * verifier follows the ways out of a loop apart, and would follow each of them to the end of whoever has the loop in line.
 */
__noinline __u32 take_slot(void)
{
	__u64 old = runtime.free;
	__u32 fresh;
	int i;

	for (i = 0; i < FREE_TRIES; i++) {
		struct connection *connection;
		__u32 slot = (__u32)old;
		__u64 seen;

		if (!slot)
			break;
		connection = connection_at(slot);
		if (!connection)
			return 0;
		seen = __sync_val_compare_and_swap(&runtime.free, old, ((old >> 32) + 1) << 32 | connection->next);
		if (seen == old)
			return slot;
		old = seen;
	}
	if (runtime.fresh < connection_limit) {
		fresh = __sync_fetch_and_add(&runtime.fresh, 1);
		if (fresh < connection_limit)
			return fresh + 1;
	}
	count_event(EVENT_TABLE_FULL);
	return 0;
}

/* Writes all of an entry but its word, timeout and real port: whom it is between, nothing seen yet. 0: it cannot. */
static __always_inline int write_entry(struct connection *connection, __u32 slot, const struct packet *packet,
				       const struct destination *destination, __u32 destination_slot, __u32 now)
{
	connection->client = packet->source.word[3];
	connection->virtual = packet->destination.word[3];
	connection->real = destination->address.word[3];
	connection->client_port = packet->source_port;
	connection->virtual_port = packet->destination_port;
	connection->protocol = packet->protocol;
	connection->family = packet->family;
	connection->seen = now;
	connection->destination = destination_slot;
	connection->packets = 0;
	connection->hop_ifindex = 0;
	connection->hop_seen = (now >> HOP_SHIFT) - 0x4000;
	connection->hop_mtu = 0;
	if (packet->family == 6) {
		struct connection_detail *detail = detail_at(slot);

		if (!detail)
			return 0;
		__builtin_memcpy(detail->client_head, packet->source.word, sizeof(detail->client_head));
		__builtin_memcpy(detail->virtual_head, packet->destination.word, sizeof(detail->virtual_head));
		__builtin_memcpy(detail->real_head, destination->address.word, sizeof(detail->real_head));
	}
	return 1;
}

/* Brings a written entry to life, and counts it. */
static __always_inline void count_entry(struct connection *connection, struct destination *destination, __u32 word)
{
	/* A full barrier: whoever sees the word sees the rest. */
	__sync_lock_test_and_set(&connection->word, word);
	count_in(destination, word);
	__sync_fetch_and_add(&runtime.entries, 1);
}

/* Takes an entry back that no chain holds, so that nobody else can have changed its word. */
static __always_inline void take_back_entry(struct connection *connection, __u32 slot,
					    struct destination *destination, __u32 word)
{
	count_out(destination, word);
	__sync_fetch_and_add(&runtime.entries, -1);
	connection->word = 0;
	free_slot(slot, connection);
}

/* Puts an entry at the head of its chain. Returns its slot, that of the same entry by another CPU, 0 under contention. */
__noinline __u32 push_entry(__u32 slot, const struct packet *packet, __u32 template, __u32 now)
{
	struct connection *connection = connection_at(slot);
	__u32 *first;
	int i;

	if (!connection || !packet)
		return 0;
	first = chain_of(packet, 0);
	if (!first)
		return 0;
	for (i = 0; i < INSERT_TRIES; i++) {
		__u32 head = *(volatile __u32 *)first, same;

		same = template ? find_template(packet, head) : find_from(packet, head, 0, now);
		if (same)
			return same;
		connection->next = head;
		if (__sync_val_compare_and_swap(first, head, slot) == head) {
			note_expiry(slot, expiry_moment(now, connection->timeout));
			return slot;
		}
	}
	count_event(EVENT_CONTENTION);
	return 0;
}

/* The method of a new connection; without a destination it passes through. */
static __always_inline __u32 method_of(const struct destination *destination, __u32 slot)
{
	if (!slot)
		return METHOD_BYPASS;
	if (destination->method == METHOD_FULL_NAT && destination->full_nat & FULL_NAT_HERE)
		return METHOD_MASQUERADE;
	return destination->method;
}

/*
 * Enters the connection that a packet opens, in the state that packet brings about: ip_vs_conn_new enters it in state
 * NONE and the same packet moves it on at once, unless it is only quoted (SCTP: later). `ifindex` is where the packet came
 * in, `control` the slot of the entry that rules it, or 0. Returns its slot; the slot of the same connection when another
 * CPU entered it first; 0 when there is no room.
 */
__noinline __u32 enter_connection(const struct packet *packet, __u32 destination_slot, __u32 ifindex,
				  __u32 real_port, __u32 control)
{
	struct destination *destination = destination_at(destination_slot);
	__u32 now = now_jiffies();
	struct connection *connection;
	__u32 slot, same, word, state, method;

	if (!packet || !destination)
		return 0;
	slot = take_slot();
	connection = connection_at(slot);
	if (!slot || !connection)
		return 0;
	method = method_of(destination, destination_slot);
	word = WORD_LIVE | method << WORD_METHOD_SHIFT;
	/* Only a destination says that replies are not seen (ip_vs_bind_dest). */
	if (destination_slot && method != METHOD_MASQUERADE && method != METHOD_FULL_NAT)
		word |= WORD_NO_OUTPUT;
	/* Two INITs lead further than one: SCTP's first packet moves it on when it is forwarded. */
	state = packet->protocol == IPPROTO_SCTP ? STATE_SCTP_NONE : STATE_NONE;
	if (packet->protocol == IPPROTO_UDP || (packet->protocol == IPPROTO_TCP && !packet->quoted))
		state = state_after(packet, word & WORD_NO_OUTPUT ? DIRECTION_INPUT_ONLY : DIRECTION_INPUT, STATE_NONE);
	word |= state;
	if (!is_active(state))
		word |= WORD_INACTIVE;
	if (!write_entry(connection, slot, packet, destination, destination_slot, now))
		return 0;
	connection->real_port = real_port;
	connection->timeout = packet->quoted ? QUOTED_SECONDS * settings.hz : settings.timeout[state & (STATE_PLACES - 1)];
	connection->hop_ifindex = ifindex;
	if (is_full_nat(word) && !claim_local_end(slot, destination_slot)) {
		free_slot(slot, connection);
		return 0;
	}
	if (control && join_ruler(control)) {
		struct connection_detail *detail = detail_at(slot);

		if (!detail)
			return 0;
		detail->control = control;
		word |= WORD_RULED;
		/* The first reply changes the word, and the template hears of it. */
		if (packet->protocol == IPPROTO_UDP)
			word |= WORD_NO_OUTPUT;
	}
	count_entry(connection, destination, word);
	same = push_entry(slot, packet, 0, now);
	if (same == slot) {
		if (word & WORD_RULED && state == STATE_ESTABLISHED)
			assure_template(slot);
		if (settings.sync == SYNC_ALL)
			tell(slot);
		return slot;
	}
	if (word & WORD_RULED)
		leave_ruler(control);
	if (is_full_nat(word))
		release_local_end(slot);
	take_back_entry(connection, slot, destination, word);
	return same;
}

/*
 * A slot for a datagram that no connection is remembered for (IP_VS_CONN_F_ONE_PACKET): nobody finds it but the later
 * fragments. 0 when there is no room.
 */
__noinline __u32 enter_datagram(const struct packet *packet, __u32 destination_slot, __u32 ifindex, __u32 real_port)
{
	struct destination *destination = destination_at(destination_slot);
	struct connection *connection;
	__u32 slot;

	if (!packet || !destination)
		return 0;
	slot = take_slot();
	connection = connection_at(slot);
	if (!slot || !connection)
		return 0;
	if (!write_entry(connection, slot, packet, destination, destination_slot, now_jiffies()))
		return 0;
	connection->real_port = real_port;
	connection->timeout = settings.timeout[STATE_UDP];
	connection->hop_ifindex = ifindex;
	__sync_lock_test_and_set(&connection->word, WORD_ONE_PACKET | STATE_UDP |
						    method_of(destination, destination_slot) << WORD_METHOD_SHIFT);
	/* IPVS counts it while it passes, which is long enough to overload a destination. */
	if (destination->upper) {
		count_in(destination, STATE_UDP | WORD_INACTIVE);
		count_out(destination, STATE_UDP | WORD_INACTIVE);
	}
	return slot;
}

/* The datagram is on its way. Its slot is free, or will be when what follows of it has passed. */
static __always_inline void leave_datagram(const struct packet *packet, __u32 slot)
{
	struct connection *connection = connection_at(slot);

	if (!connection)
		return;
	if (!packet->more) {
		connection->word = 0;
		if (free_slot(slot, connection))
			return;
		connection->word = WORD_ONE_PACKET;
	}
	connection->timeout = settings.hz;
	note_expiry(slot, expiry_moment(connection->seen, connection->timeout));
}

#endif
