/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The real server's end of a tunnel: IP in IP (RFC 2003, RFC 2473, RFC 4213), all four pairs of IPv4 and IPv6, for
 * inner packets to virtual addresses only. It sits at tc ingress; what comes out goes on as if it had arrived so.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PACKET_HOST 0
#define FAMILY_IPV4 2
#define FAMILY_IPV6 10
#define ETHERNET_LENGTH 14
#define ETHERNET_TYPE 12
#define PROTOCOL_IPV4 4
#define PROTOCOL_IPV6 41
#define NEXT_DESTINATION 60
#define FRAGMENTED 0x3fff
#define ECN_MASK 3
#define ECN_CE 3
/* BPF_F_ADJ_ROOM_DECAP_L3_IPV4 and _IPV6 of linux/bpf.h since 6.3 */
#define LEAVES_IPV4 (1ULL << 7)
#define LEAVES_IPV6 (1ULL << 8)
#define EINVAL 22

#define VERDICT_PASS TC_ACT_UNSPEC
#define VERDICT_DROP TC_ACT_SHOT

/* IPv4 addresses stand in the last word, as IPv4-mapped ones do. */
struct address {
	__be32 word[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct address);
	__type(value, __u8);
} vips SEC(".maps");

/* What became of packets, by number. */
enum outcome {
	OUTCOME_DECAPSULATED = 0,
	OUTCOME_FRAGMENT,            /* an outer fragment: left to the kernel */
	OUTCOME_DROPPED,
	OUTCOMES,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

static __always_inline void count(__u32 outcome)
{
	__u64 *counter = bpf_map_lookup_elem(&outcomes, &outcome);

	if (counter)
		++*counter;
}

struct outer {
	struct address destination;
	__u32 family;
	__u32 length;                /* of the header with what follows it before the inner packet */
	__u8 protocol;               /* of the inner packet */
	__u8 tos;
};

/* RFC 1071: over a header with its own right checksum the sum is all ones. */
static __always_inline int is_intact(struct iphdr *ip)
{
	__u32 sum = bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

/* Outer headers with options are left to the kernel. */
static __always_inline int read_outer_ipv4(struct __sk_buff *skb, __u32 l3, struct outer *outer)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl != 5)
		return 0;
	if (ip.protocol != PROTOCOL_IPV4 && ip.protocol != PROTOCOL_IPV6)
		return 0;
	if (!is_intact(&ip))
		return 0;
	if (ip.frag_off & bpf_htons(FRAGMENTED)) {
		count(OUTCOME_FRAGMENT);
		return 0;
	}
	outer->family = FAMILY_IPV4;
	outer->length = sizeof(ip);
	outer->protocol = ip.protocol;
	outer->tos = ip.tos;
	outer->destination.word[3] = ip.daddr;
	return 1;
}

/* Linux's own tunnels put a destination option first, the encapsulation limit (RFC 2473, 4.1.1). */
static __always_inline int read_outer_ipv6(struct __sk_buff *skb, __u32 l3, struct outer *outer)
{
	struct ipv6hdr ip;
	struct ipv6_opt_hdr option;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.version != 6)
		return 0;
	outer->length = sizeof(ip);
	outer->protocol = ip.nexthdr;
	if (ip.nexthdr == NEXT_DESTINATION) {
		if (bpf_skb_load_bytes(skb, l3 + sizeof(ip), &option, sizeof(option)))
			return 0;
		outer->length += (option.hdrlen + 1) * 8;
		outer->protocol = option.nexthdr;
	}
	if (outer->protocol != PROTOCOL_IPV4 && outer->protocol != PROTOCOL_IPV6)
		return 0;
	outer->family = FAMILY_IPV6;
	outer->tos = ip.priority << 4 | ip.flow_lbl[0] >> 4;
	__builtin_memcpy(&outer->destination, &ip.daddr, sizeof(outer->destination));
	return 1;
}

/* Whether the inner packet goes to a virtual address; its congestion bits. */
static __always_inline int read_inner(struct __sk_buff *skb, __u32 at, __u8 protocol, __u8 *ecn)
{
	struct address destination = {};

	if (protocol == PROTOCOL_IPV4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.version != 4)
			return 0;
		destination.word[2] = bpf_htonl(0xffff);
		destination.word[3] = ip.daddr;
		*ecn = ip.tos & ECN_MASK;
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.version != 6)
			return 0;
		__builtin_memcpy(&destination, &ip.daddr, sizeof(destination));
		*ecn = ip.flow_lbl[0] >> 4 & ECN_MASK;
	}
	return bpf_map_lookup_elem(&vips, &destination) != 0;
}

/*
 * Whether the outer packet has arrived. A host that does not forward here has no other use for it; on one that does, the
 * kernel says that it would not forward it.
 */
static __always_inline int is_for_us(struct __sk_buff *skb, const struct outer *outer)
{
	struct bpf_fib_lookup fib = { .ifindex = skb->ifindex, .family = outer->family };
	long result;

	if (outer->family == FAMILY_IPV4)
		fib.ipv4_dst = outer->destination.word[3];
	else
		__builtin_memcpy(fib.ipv6_dst, &outer->destination, sizeof(fib.ipv6_dst));
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return result == BPF_FIB_LKUP_RET_NOT_FWDED || result == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

static __always_inline int decapsulate(struct __sk_buff *skb, __u32 l3)
{
	struct outer outer = {};
	__u8 ecn = 0, becomes_ipv4;
	__be16 type;
	long result;
	int reenter = 0;

	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return VERDICT_PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!read_outer_ipv4(skb, l3, &outer))
			return VERDICT_PASS;
	} else if (skb->protocol != bpf_htons(ETH_P_IPV6) || !read_outer_ipv6(skb, l3, &outer)) {
		return VERDICT_PASS;
	}
	if (!read_inner(skb, l3 + outer.length, outer.protocol, &ecn) || !is_for_us(skb, &outer))
		return VERDICT_PASS;
	/* RFC 6040, 4.2: congestion that the inner packet cannot carry on means loss. */
	if ((outer.tos & ECN_MASK) == ECN_CE && !ecn)
		goto drop;

	becomes_ipv4 = outer.protocol == PROTOCOL_IPV4;
	type = becomes_ipv4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	result = bpf_skb_adjust_room(skb, -(__s32)outer.length, BPF_ADJ_ROOM_MAC,
				     BPF_F_ADJ_ROOM_FIXED_GSO | (becomes_ipv4 ? LEAVES_IPV4 : LEAVES_IPV6));
	if (result == -EINVAL) {
		/* Before Linux 6.3 the family stays: a second arrival reads it from the Ethernet header. */
		result = bpf_skb_adjust_room(skb, -(__s32)outer.length, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
		reenter = becomes_ipv4 != (outer.family == FAMILY_IPV4);
	}
	if (result || (reenter && !l3))
		goto drop;
	if (l3 && bpf_skb_store_bytes(skb, ETHERNET_TYPE, &type, sizeof(type), 0))
		goto drop;
	count(OUTCOME_DECAPSULATED);
	if (reenter)
		return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	if ((outer.tos & ECN_MASK) == ECN_CE)
		bpf_skb_ecn_set_ce(skb);
	return VERDICT_PASS;
drop:
	count(OUTCOME_DROPPED);
	return VERDICT_DROP;
}

SEC("tc")
int decapsulate_ethernet(struct __sk_buff *skb)
{
	return decapsulate(skb, ETHERNET_LENGTH);
}

SEC("tc")
int decapsulate_raw(struct __sk_buff *skb)
{
	return decapsulate(skb, 0);
}

char decapsulate_license[] SEC("license") = "Dual MIT/GPL";
