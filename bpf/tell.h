/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What other directors shall hear of goes into a ring, as the slot of the connection: whoever reads the ring tells what
 * stands there by then. A full ring loses events and counts them; whoever reads it goes through the table as well.
 */
#ifndef HEADGATE_TELL_H
#define HEADGATE_TELL_H

#include "connection.h"

static __noinline int tell(__u32 slot)
{
	if (bpf_ringbuf_output(&sync_ring, &slot, sizeof(slot), 0))
		__sync_fetch_and_add(&runtime.untold, 1);
	return 0;
}

/*
 * The states in which the kernel tells of a TCP or SCTP connection (ip_vs_sync_conn_needed); entering ESTABLISHED is not among
 * the reasons there.
 */
#define TOLD_STATES                                                                                                         \
	(1 << STATE_FIN_WAIT | 1 << STATE_CLOSE | 1 << STATE_CLOSE_WAIT | 1 << STATE_TIME_WAIT |                            \
	 1 << STATE_SCTP_SHUTDOWN_SENT | 1 << STATE_SCTP_SHUTDOWN_RECEIVED | 1 << STATE_SCTP_SHUTDOWN_ACK_SENT |            \
	 1 << STATE_SCTP_CLOSED)
#define ESTABLISHED_STATES (1 << STATE_ESTABLISHED | 1 << STATE_SCTP_ESTABLISHED)

static __always_inline void tell_state(__u32 slot, __u32 state)
{
	if (1 << state & TOLD_STATES || (1 << state & ESTABLISHED_STATES && settings.sync == SYNC_ALL))
		tell(slot);
}

/* 1 when the kernel tells of a connection at its packet of this number. */
static __always_inline int is_due_by_packets(__u32 packets)
{
	__u32 period = settings.sync_period;

	return (period ? packets % period : packets) == settings.sync_threshold;
}

static __always_inline void tell_by_packets(const struct connection *connection, __u32 slot)
{
	__u32 state = connection->word & WORD_STATE;

	if (is_due_by_packets(connection->packets) &&
	    1 << state & (TOLD_STATES | ESTABLISHED_STATES | 1 << STATE_UDP))
		tell(slot);
}

#endif
