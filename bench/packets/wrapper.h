/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What surrounds a measured call: BPF_PROG_TEST_RUN hands the packet on as the last run left it, so every run first
 * writes all headers anew, for the next flow of the set. The same wrapper without the call is what gets subtracted.
 */
#ifndef BENCH_WRAPPER_H
#define BENCH_WRAPPER_H

#define FRAME_WORDS 10

struct plan {
	__u64 frame[FRAME_WORDS];    /* headers as they come in, flow 0 */
	__u32 client;                /* last word of the client's address in flow 0, host order */
	__u32 port;                  /* its port, host order */
	__u32 address_at;            /* where that word and the port stand in the frame */
	__u32 port_at;
	__u32 mask;                  /* flows - 1 */
	__u32 multiplier;            /* of the order in which flows come: flow = flow * multiplier + increment */
	__u32 increment;
	__u32 flow;
	__u32 verdict;               /* what the program must answer */
	__u32 wrong;                 /* answers that differed, and frames that could not be written */
	__u32 verified;              /* tc: 1 for a checksum that the interface has verified, as most do */
	__u32 other;                 /* the last answer that differed */
	__u32 ip_checksum_at;        /* 0: IPv6 has none */
	__u32 checksum_at;
	__u32 undone;                /* outer headers taken off without a call */
};

struct plan plan;

/* Moves the checksum at an offset by what a flow's address and port differ from the first one's. */
static __always_inline int move_checksum(void *data, void *end, __u32 at, __u64 difference)
{
	__be16 *checksum = data + (at & 127);
	__u64 sum;

	if ((void *)(checksum + 1) > end)
		return 0;
	sum = (__u16)~*checksum + difference;
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*checksum = ~sum;
	return 1;
}

/* Writes the first `words` * 8 bytes of the next packet. The flow's low 16 bits go into the address, the others into the port. */
static __always_inline int write_frame(void *data, void *end, int words)
{
	__u32 address_at = plan.address_at & 63, port_at = plan.port_at & 63, flow;
	__be32 *address;
	__u64 difference;
	__be16 *port;
	__u64 *to = data;
	int i;

	if (data + words * 8 > end)
		return 0;
#pragma unroll
	for (i = 0; i < words; i++)
		to[i] = plan.frame[i];
	flow = (plan.flow * plan.multiplier + plan.increment) & plan.mask;
	plan.flow = flow;
	address = data + address_at;
	port = data + port_at;
	if ((void *)(address + 1) > end || (void *)(port + 1) > end)
		return 0;
	difference = (__u64)(__u32)~*address + bpf_htonl(plan.client + (flow & 0xffff));
	*address = bpf_htonl(plan.client + (flow & 0xffff));
	if (plan.ip_checksum_at && !move_checksum(data, end, plan.ip_checksum_at, difference))
		return 0;
	difference += (__u16)~*port + bpf_htons(plan.port + (flow >> 16));
	*port = bpf_htons(plan.port + (flow >> 16));
	return move_checksum(data, end, plan.checksum_at, difference);
}

/* Notes what the program answered. */
static __always_inline void check_verdict(__u32 verdict)
{
	if (verdict != plan.verdict) {
		plan.wrong++;
		plan.other = verdict;
	}
}

/* Words that hold all headers: 14 + 20 + 20 and 14 + 40 + 20 bytes. */
#define WORDS_V4 7
#define WORDS_V6 10

#endif
