/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * TCP states of a connection as its packets pass (net/netfilter/ipvs/ip_vs_proto_tcp.c), and UDP's single one; those of SCTP
 * are in sctp.h.
 */
#ifndef HEADGATE_STATE_H
#define HEADGATE_STATE_H

#include "connection.h"
#include "tell.h"
#include "template.h"

enum direction {
	DIRECTION_INPUT = 0,
	DIRECTION_OUTPUT,
	DIRECTION_INPUT_ONLY,
	DIRECTION_COUNT,
};

enum tcp_event {
	TCP_EVENT_SYN = 0,
	TCP_EVENT_FIN,
	TCP_EVENT_ACK,
	TCP_EVENT_RST,
	TCP_EVENT_COUNT,
};

#define TCP_STATES 11
#define NO STATE_NONE
#define ES STATE_ESTABLISHED
#define SS STATE_SYN_SENT
#define SR STATE_SYN_RECV
#define FW STATE_FIN_WAIT
#define TW STATE_TIME_WAIT
#define CL STATE_CLOSE
#define CW STATE_CLOSE_WAIT
#define LA STATE_LAST_ACK
#define LI STATE_LISTEN
#define SA STATE_SYNACK

/* Next state by direction, event and state; padded to 16 states and four directions so that an index needs only a mask. */
const __u8 tcp_transitions[2 * 4 * 4 * 16] = {
	/* from the client:  NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA */
	/* syn */            SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR, 0, 0, 0, 0, 0,
	/* fin */            CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW, 0, 0, 0, 0, 0,
	/* ack */            ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES, 0, 0, 0, 0, 0,
	/* rst */            CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR, 0, 0, 0, 0, 0,
	/* to the client */
	/* syn */            SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR, 0, 0, 0, 0, 0,
	/* fin */            TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW, 0, 0, 0, 0, 0,
	/* ack */            ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES, 0, 0, 0, 0, 0,
	/* rst */            CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL, 0, 0, 0, 0, 0,
	/* from the client, replies not seen */
	/* syn */            SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR, 0, 0, 0, 0, 0,
	/* fin */            CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW, 0, 0, 0, 0, 0,
	/* ack */            ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES, 0, 0, 0, 0, 0,
	/* rst */            CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL, 0, 0, 0, 0, 0,
	[256] =
	/* with secure_tcp (tcp_states_dos), the same again */
	/* syn */            SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SA, 0, 0, 0, 0, 0,
	/* fin */            CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, SA, 0, 0, 0, 0, 0,
	/* ack */            ES, ES, SS, SR, FW, TW, CL, CW, CL, LI, SA, 0, 0, 0, 0, 0,
	/* rst */            CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL, 0, 0, 0, 0, 0,
	/* syn */            SS, ES, SS, SA, SS, SS, SS, SS, SS, LI, SA, 0, 0, 0, 0, 0,
	/* fin */            TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW, 0, 0, 0, 0, 0,
	/* ack */            ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES, 0, 0, 0, 0, 0,
	/* rst */            CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL, 0, 0, 0, 0, 0,
	/* syn */            SA, ES, ES, SR, SA, SA, SA, SA, SA, SA, SA, 0, 0, 0, 0, 0,
	/* fin */            CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW, 0, 0, 0, 0, 0,
	/* ack */            ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES, 0, 0, 0, 0, 0,
	/* rst */            CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL, 0, 0, 0, 0, 0,
};

/* 1 for the states that count as active (tcp_state_active_table, set_sctp_state). */
static __always_inline int is_active(__u32 state)
{
	return 1 << state & (1 << ES | 1 << SS | 1 << SR | 1 << SA | 1 << STATE_SCTP_ESTABLISHED);
}

/* The event of a TCP segment: the first of RST, SYN, FIN, ACK; none of them closes. */
static __always_inline __u32 next_tcp_state(__u8 flags, __u32 direction, __u32 state)
{
	__u32 event, index;

	if (flags & TCP_RST)
		event = TCP_EVENT_RST;
	else if (flags & TCP_SYN)
		event = TCP_EVENT_SYN;
	else if (flags & TCP_FIN)
		event = TCP_EVENT_FIN;
	else if (flags & TCP_ACK)
		event = TCP_EVENT_ACK;
	else
		return STATE_CLOSE;
	index = settings.secure * 256 + direction * 64 + event * 16 + state;
	/* The mask stays the last step: of parts put together Linux 6.1 knows no bounds. */
	asm volatile("" : "+r"(index));
	return tcp_transitions[index & 511];
}

/* The state a packet leads to from another one. */
static __always_inline __u32 state_after(const struct packet *packet, __u32 direction, __u32 state)
{
	if (packet->protocol == IPPROTO_TCP)
		return next_tcp_state(packet->tcp_flags, direction, state);
	return packet->protocol == IPPROTO_SCTP ? next_sctp_state(packet->sctp_event, direction, state) : STATE_UDP;
}

/*
 * Swaps in the word of a new state and moves the connection between the counts; the loser of a race tries again. `sign` is
 * the packet's TCP flags or SCTP event.
 */
__noinline int change_state(__u32 slot, __u32 sign, __u32 direction)
{
	struct connection *connection = connection_at(slot);
	struct destination *destination;
	int i;

	if (!connection)
		return 0;
	for (i = 0; i < 4; i++) {
		__u32 word = connection->word, next = word, state, timeout;
		__u32 table = direction;

		if (!(word & WORD_LIVE))
			return 0;
		if (word & WORD_NO_OUTPUT) {
			if (direction == DIRECTION_OUTPUT)
				next &= ~WORD_NO_OUTPUT;
			else
				table = DIRECTION_INPUT_ONLY;
		}
		state = STATE_UDP;
		if (connection->protocol == IPPROTO_TCP)
			state = next_tcp_state(sign, table, word & WORD_STATE);
		else if (connection->protocol == IPPROTO_SCTP)
			state = next_sctp_state(sign, table, word & WORD_STATE);
		next = (next & ~WORD_STATE) | state;
		if (is_active(state))
			next &= ~WORD_INACTIVE;
		else
			next |= WORD_INACTIVE;
		timeout = settings.timeout[state & (STATE_PLACES - 1)];
		if (next != word) {
			if (__sync_val_compare_and_swap(&connection->word, word, next) != word)
				continue;
			if ((next ^ word) & WORD_INACTIVE) {
				destination = destination_at(connection->destination);
				if (destination)
					add_counts(destination, share_of(next) - share_of(word));
			}
			if (word & WORD_RULED &&
			    (state == STATE_ESTABLISHED || state == STATE_SCTP_ESTABLISHED ||
			     (state == STATE_UDP && direction == DIRECTION_OUTPUT)))
				assure_template(slot);
			if (settings.sync && (next ^ word) & WORD_STATE)
				tell_state(slot, state);
		}
		if (timeout != connection->timeout) {
			connection->timeout = timeout;
			note_expiry(slot, expiry_moment(connection->seen, timeout));
		}
		return 0;
	}
	return 0;
}

/* Runs the state machine for a packet and restarts the entry's timer. */
static __always_inline void pass_state(struct connection *connection, const struct packet *packet, __u32 direction,
				       __u32 slot, __u32 now)
{
	__u32 word = connection->word, state = word & WORD_STATE, table = direction;

	if (connection->seen != now)
		connection->seen = now;
	if (packet->fragment == FRAGMENT_LATER)
		return;
	if (word & WORD_NO_OUTPUT && direction == DIRECTION_INPUT)
		table = DIRECTION_INPUT_ONLY;
	if (state_after(packet, table, state) == state &&
	    connection->timeout == settings.timeout[state & (STATE_PLACES - 1)] &&
	    !(word & WORD_NO_OUTPUT && direction == DIRECTION_OUTPUT))
		return;
	change_state(slot, packet->tcp_flags, direction);
}

#undef NO
#undef ES
#undef SS
#undef SR
#undef FW
#undef TW
#undef CL
#undef CW
#undef LA
#undef LI
#undef SA

#endif
