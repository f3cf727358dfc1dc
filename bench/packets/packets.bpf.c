// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The data plane at tc inside the wrapper. HEADGATE is the path of headgate.bpf.c. */
#include <linux/bpf.h>
/*
 * What a tunnel tells the kernel for segmentation later, a few stores, sticks to the packet: it would be refused a second
 * time. Everything else about an outer header can be undone.
 */
#define BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 0
#define BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 0
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

static __always_inline int grow(struct __sk_buff *skb, __s32 bytes)
{
	return !bpf_skb_adjust_room(skb, bytes, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET);
}

/*
 * The outer header is taken off again after each call. Without the call the same is taken off a packet that is grown by
 * 64 headers at once, which costs next to nothing by packet: so the undoing is subtracted too.
 */
static __always_inline int run_tunnel(struct __sk_buff *skb, int words, __s32 header, int call)
{
	int verdict;

	if (!call && !(plan.undone++ & 63) && !grow(skb, 64 * header))
		plan.wrong++;
	verdict = run(skb, words, call);
	if (!grow(skb, -header))
		plan.wrong++;
	return verdict;
}

SEC("tc")
int tunnel_v4(struct __sk_buff *skb)
{
	return run_tunnel(skb, WORDS_V4, sizeof(struct iphdr), 1);
}

SEC("tc")
int tunnel_v6(struct __sk_buff *skb)
{
	return run_tunnel(skb, WORDS_V6, sizeof(struct ipv6hdr), 1);
}

SEC("tc")
int tunnel_bare_v4(struct __sk_buff *skb)
{
	return run_tunnel(skb, WORDS_V4, sizeof(struct iphdr), 0);
}

SEC("tc")
int tunnel_bare_v6(struct __sk_buff *skb)
{
	return run_tunnel(skb, WORDS_V6, sizeof(struct ipv6hdr), 0);
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
