// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The data plane at tc inside the wrapper. HEADGATE is the path of headgate.bpf.c. */
#include HEADGATE
#include "wrapper.h"
#ifdef BENCH_PARTS
#include "parts.h"
#endif
#include "yardstick.h"

static __always_inline int run(struct __sk_buff *skb, int words, int call)
{
	int verdict;

	if (!write_frame((void *)(long)skb->data, (void *)(long)skb->data_end, words)) {
		plan.wrong++;
		return 0;
	}
	/* From CHECKSUM_NONE, which test packets have, to CHECKSUM_UNNECESSARY. */
	if (plan.verified)
		bpf_csum_level(skb, BPF_CSUM_LEVEL_INC);
	verdict = call ? ingress(skb, ETHERNET_LENGTH) : plan.verdict;
	check_verdict(verdict);
	return verdict;
}

SEC("tc")
int bench_v4(struct __sk_buff *skb)
{
	return run(skb, WORDS_V4, 1);
}

SEC("tc")
int bench_v6(struct __sk_buff *skb)
{
	return run(skb, WORDS_V6, 1);
}

SEC("tc")
int bare_v4(struct __sk_buff *skb)
{
	return run(skb, WORDS_V4, 0);
}

SEC("tc")
int bare_v6(struct __sk_buff *skb)
{
	return run(skb, WORDS_V6, 0);
}

#ifdef HEADGATE_XDP_H

static __always_inline int run_xdp(struct xdp_md *xdp, int words, int call)
{
	int verdict;

	if (!write_frame((void *)(long)xdp->data, (void *)(long)xdp->data_end, words)) {
		plan.wrong++;
		return XDP_ABORTED;
	}
	verdict = call ? fast_path(xdp) : plan.verdict;
	check_verdict(verdict);
	return XDP_PASS;
}

SEC("xdp")
int xdp_v4(struct xdp_md *xdp)
{
	return run_xdp(xdp, WORDS_V4, 1);
}

SEC("xdp")
int xdp_v6(struct xdp_md *xdp)
{
	return run_xdp(xdp, WORDS_V6, 1);
}

SEC("xdp")
int xdp_bare_v4(struct xdp_md *xdp)
{
	return run_xdp(xdp, WORDS_V4, 0);
}

SEC("xdp")
int xdp_bare_v6(struct xdp_md *xdp)
{
	return run_xdp(xdp, WORDS_V6, 0);
}

#endif

SEC("xdp")
int xdp_empty(struct xdp_md *xdp)
{
	return XDP_PASS;
}

SEC("tc")
int empty(struct __sk_buff *skb)
{
	return 0;
}
