/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The time to live alone, in a packet that nothing else is rewritten in. */
#ifndef HEADGATE_TTL_H
#define HEADGATE_TTL_H

#include "forward.h"

#define TTL_AT 8                 /* in the IPv4 header, as the high byte of a word that the checksum covers */
#define IPV4_CHECKSUM_AT 10
#define HOP_LIMIT_AT 7

/* Changes the time to live: one hop more for what the kernel's routing took off, which is no hop; or less again. */
static __always_inline int move_ttl(struct __sk_buff *skb, const struct packet *packet, __s32 by)
{
	__u8 word[2];
	__be16 before, after;

	if (packet->family == 6) {
		word[0] = packet->ttl + by;
		return !bpf_skb_store_bytes(skb, packet->l3 + HOP_LIMIT_AT, word, 1, 0);
	}
	word[0] = packet->ttl;
	word[1] = packet->protocol;
	__builtin_memcpy(&before, word, sizeof(before));
	word[0] += by;
	__builtin_memcpy(&after, word, sizeof(after));
	return !bpf_l3_csum_replace(skb, packet->l3 + IPV4_CHECKSUM_AT, before, after, sizeof(after)) &&
	       !bpf_skb_store_bytes(skb, packet->l3 + TTL_AT, word, 1, 0);
}

#endif
