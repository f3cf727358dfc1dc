/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* SCTP: what its packets say, and the states they lead to (RFC 9260; net/netfilter/ipvs/ip_vs_proto_sctp.c). */
#ifndef HEADGATE_SCTP_H
#define HEADGATE_SCTP_H

#include "layout.h"

#define SCTP_CHUNK_ABORT 6

struct sctp_header {
	__be16 source;
	__be16 destination;
	__be32 tag;
	__le32 checksum;             /* CRC32c; 0 until the device or the stack makes it */
};

struct sctp_chunk {
	__u8 type;
	__u8 flags;
	__be16 length;               /* of header and value, without the padding to a multiple of four */
};

enum sctp_event {
	SCTP_EVENT_DATA = 0,         /* and every chunk that changes no state */
	SCTP_EVENT_INIT,
	SCTP_EVENT_INIT_ACK,
	SCTP_EVENT_COOKIE_ECHO,
	SCTP_EVENT_COOKIE_ACK,
	SCTP_EVENT_SHUTDOWN,
	SCTP_EVENT_SHUTDOWN_ACK,
	SCTP_EVENT_SHUTDOWN_COMPLETE,
	SCTP_EVENT_ERROR,
	SCTP_EVENT_ABORT,
	SCTP_EVENT_LATE_ABORT = 16 | SCTP_EVENT_ABORT, /* an ABORT behind a COOKIE-ECHO or COOKIE-ACK */
};

/* The event of the first chunk of a packet by its type (RFC 9260, 3.2); padded to 16. */
const __u8 sctp_events[16] = {
	SCTP_EVENT_DATA, SCTP_EVENT_INIT, SCTP_EVENT_INIT_ACK, SCTP_EVENT_DATA,
	SCTP_EVENT_DATA, SCTP_EVENT_DATA, SCTP_EVENT_ABORT, SCTP_EVENT_SHUTDOWN,
	SCTP_EVENT_SHUTDOWN_ACK, SCTP_EVENT_ERROR, SCTP_EVENT_COOKIE_ECHO, SCTP_EVENT_COOKIE_ACK,
	SCTP_EVENT_DATA, SCTP_EVENT_DATA, SCTP_EVENT_SHUTDOWN_COMPLETE, SCTP_EVENT_DATA,
};

#define NO STATE_SCTP_NONE
#define I1 STATE_SCTP_INIT1
#define IN STATE_SCTP_INIT
#define CS STATE_SCTP_COOKIE_SENT
#define CR STATE_SCTP_COOKIE_REPLIED
#define CW STATE_SCTP_COOKIE_WAIT
#define CO STATE_SCTP_COOKIE
#define CE STATE_SCTP_COOKIE_ECHOED
#define ES STATE_SCTP_ESTABLISHED
#define SS STATE_SCTP_SHUTDOWN_SENT
#define SR STATE_SCTP_SHUTDOWN_RECEIVED
#define SA STATE_SCTP_SHUTDOWN_ACK_SENT
#define RJ STATE_SCTP_REJECTED
#define CL STATE_SCTP_CLOSED

#define SCTP_EVENTS 10

/* Next state by direction, event and state; padded to 16 states and, so that an index needs only a mask, to 512. */
const __u8 sctp_transitions[512] = {
	/* from the client:       NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL */
	/* data */                ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* init */                I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN, 0, 0,
	/* init-ack */            CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* cookie-echo */         CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* cookie-ack */          ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* shutdown */            SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL, 0, 0,
	/* shutdown-ack */        CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL, 0, 0,
	/* shutdown-complete */   CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL, 0, 0,
	/* error */               CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* abort */               CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, 0, 0,
	/* to the client */
	/* data */                ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* init */                CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW, 0, 0,
	/* init-ack */            CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* cookie-echo */         CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* cookie-ack */          ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* shutdown */            SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL, 0, 0,
	/* shutdown-ack */        SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL, 0, 0,
	/* shutdown-complete */   CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* error */               CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* abort */               CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, 0, 0,
	/* from the client, replies not seen */
	/* data */                ES, I1, IN, CS, CR, ES, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* init */                I1, IN, IN, IN, IN, IN, CO, CE, ES, SS, SR, SA, IN, IN, 0, 0,
	/* init-ack */            CE, CE, CE, CE, CE, CE, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* cookie-echo */         ES, ES, ES, ES, ES, ES, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* cookie-ack */          ES, I1, IN, ES, ES, CW, ES, ES, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* shutdown */            SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL, 0, 0,
	/* shutdown-ack */        CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL, 0, 0,
	/* shutdown-complete */   CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, CL, CL, RJ, CL, 0, 0,
	/* error */               CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL, 0, 0,
	/* abort */               CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, 0, 0,
};

#undef NO
#undef I1
#undef IN
#undef CS
#undef CR
#undef CW
#undef CO
#undef CE
#undef ES
#undef SS
#undef SR
#undef SA
#undef RJ
#undef CL

/* The state after a packet; `state` may be STATE_NONE for the first. */
static __always_inline __u32 next_sctp_state(__u8 event, __u32 direction, __u32 state)
{
	__u32 index = (direction * SCTP_EVENTS + (event & 15)) * 16 + (state & 15);

	/* The mask stays the last step, as in next_tcp_state. */
	asm volatile("" : "+r"(index));
	return sctp_transitions[index & 511];
}

#endif
