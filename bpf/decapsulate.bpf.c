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

/* Packets of one way that were found to be for us, and when: asking the kernel for each costs more than all the rest. */
struct arrival {
	struct address outer;
	struct address inner;
	__u64 seen;                  /* jiffies */
	__u32 ifindex;
	__u32 padding;
};

#define ARRIVALS 16
/* How long that holds: between 64 ms and 640 ms. Other virtual addresses come with a program of their own. */
#define ARRIVAL_JIFFIES 64

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ARRIVALS);
	__type(key, __u32);
	__type(value, struct arrival);
} arrivals SEC(".maps");

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

/* A header of the packet, brought into its linear part if it is not there. */
static __always_inline void *header_at(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	void *start = (void *)(long)skb->data + offset;

	/* One register for what is compared and for what is read, or the verifier does not know that they are the same. */
	asm volatile("" : "+r"(start));
	if (start + length <= (void *)(long)skb->data_end)
		return start;
	if (bpf_skb_pull_data(skb, offset + length))
		return NULL;
	start = (void *)(long)skb->data + offset;
	asm volatile("" : "+r"(start));
	return start + length <= (void *)(long)skb->data_end ? start : NULL;
}

/* RFC 1071: over a header with its own right checksum the sum is all ones. */
static __always_inline int is_intact(const struct iphdr *ip)
{
	const __be32 *word = (const __be32 *)ip;
	__u64 sum = (__u64)word[0] + word[1] + word[2] + word[3] + word[4];

	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

static __always_inline void map_ipv4(struct address *address, __be32 word)
{
	address->word[2] = bpf_htonl(0xffff);
	address->word[3] = word;
}

/* Outer headers with options are left to the kernel. */
static __always_inline int read_outer_ipv4(struct __sk_buff *skb, __u32 l3, struct outer *outer)
{
	const struct iphdr *ip = header_at(skb, l3, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl != 5)
		return 0;
	if (ip->protocol != PROTOCOL_IPV4 && ip->protocol != PROTOCOL_IPV6)
		return 0;
	if (!is_intact(ip))
		return 0;
	if (ip->frag_off & bpf_htons(FRAGMENTED)) {
		count(OUTCOME_FRAGMENT);
		return 0;
	}
	outer->family = FAMILY_IPV4;
	outer->length = sizeof(*ip);
	outer->protocol = ip->protocol;
	outer->tos = ip->tos;
	map_ipv4(&outer->destination, ip->daddr);
	return 1;
}

/* Linux's own tunnels put a destination option first, the encapsulation limit (RFC 2473, 4.1.1). */
static __always_inline int read_outer_ipv6(struct __sk_buff *skb, __u32 l3, struct outer *outer)
{
	const struct ipv6hdr *ip = header_at(skb, l3, sizeof(*ip));

	if (!ip || ip->version != 6)
		return 0;
	outer->family = FAMILY_IPV6;
	outer->length = sizeof(*ip);
	outer->protocol = ip->nexthdr;
	outer->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	__builtin_memcpy(&outer->destination, &ip->daddr, sizeof(outer->destination));
	if (outer->protocol == NEXT_DESTINATION) {
		const struct ipv6_opt_hdr *option = header_at(skb, l3 + sizeof(*ip), sizeof(*option));

		if (!option)
			return 0;
		outer->length += (option->hdrlen + 1) * 8;
		outer->protocol = option->nexthdr;
	}
	return outer->protocol == PROTOCOL_IPV4 || outer->protocol == PROTOCOL_IPV6;
}

/* Where the inner packet goes, and its congestion bits; 0 when it is none. */
static __always_inline int read_inner(struct __sk_buff *skb, __u32 at, __u8 protocol, struct address *destination, __u8 *ecn)
{
	if (protocol == PROTOCOL_IPV4) {
		const struct iphdr *ip = header_at(skb, at, sizeof(*ip));

		if (!ip || ip->version != 4)
			return 0;
		map_ipv4(destination, ip->daddr);
		*ecn = ip->tos & ECN_MASK;
	} else {
		const struct ipv6hdr *ip = header_at(skb, at, sizeof(*ip));

		if (!ip || ip->version != 6)
			return 0;
		__builtin_memcpy(destination, &ip->daddr, sizeof(*destination));
		*ecn = ip->flow_lbl[0] >> 4 & ECN_MASK;
	}
	return 1;
}

/*
 * Whether the outer packet has arrived. A host that does not forward here has no other use for it; on one that does, the
 * kernel says that it would not forward it.
 */
static __always_inline int has_arrived(struct __sk_buff *skb, const struct outer *outer)
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

static __always_inline int is_same(const struct address *one, const struct address *other)
{
	return one->word[3] == other->word[3] && one->word[2] == other->word[2] && one->word[1] == other->word[1] &&
	       one->word[0] == other->word[0];
}

/* Whether the inner packet goes to a virtual address and the outer one has arrived. */
static __always_inline int is_for_us(struct __sk_buff *skb, const struct outer *outer, const struct address *inner)
{
	__u32 mixed = bpf_ntohl(outer->destination.word[3] ^ inner->word[3]) ^ skb->ifindex;
	__u32 place = mixed % ARRIVALS;
	struct arrival *arrival = bpf_map_lookup_elem(&arrivals, &place);
	__u64 now = bpf_jiffies64();

	if (!arrival)
		return 0;
	if (now - arrival->seen < ARRIVAL_JIFFIES && arrival->ifindex == skb->ifindex &&
	    is_same(&arrival->inner, inner) && is_same(&arrival->outer, &outer->destination))
		return 1;
	if (!bpf_map_lookup_elem(&vips, inner) || !has_arrived(skb, outer))
		return 0;
	arrival->outer = outer->destination;
	arrival->inner = *inner;
	arrival->ifindex = skb->ifindex;
	arrival->seen = now;
	return 1;
}

static __always_inline int decapsulate(struct __sk_buff *skb, __u32 l3)
{
	struct outer outer = {};
	struct address inner = {};
	__u8 ecn = 0, becomes_ipv4, changes;
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
	if (!read_inner(skb, l3 + outer.length, outer.protocol, &inner, &ecn) || !is_for_us(skb, &outer, &inner))
		return VERDICT_PASS;
	/* RFC 6040, 4.2: congestion that the inner packet cannot carry on means loss. */
	if ((outer.tos & ECN_MASK) == ECN_CE && !ecn)
		goto drop;

	becomes_ipv4 = outer.protocol == PROTOCOL_IPV4;
	changes = becomes_ipv4 != (outer.family == FAMILY_IPV4);
	type = becomes_ipv4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	result = bpf_skb_adjust_room(skb, -(__s32)outer.length, BPF_ADJ_ROOM_MAC,
				     BPF_F_ADJ_ROOM_FIXED_GSO | (becomes_ipv4 ? LEAVES_IPV4 : LEAVES_IPV6));
	if (result == -EINVAL) {
		/* Before Linux 6.3 the family stays: a second arrival reads it from the Ethernet header. */
		result = bpf_skb_adjust_room(skb, -(__s32)outer.length, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
		reenter = changes;
	}
	if (result || (reenter && !l3))
		goto drop;
	if (changes && l3 && bpf_skb_store_bytes(skb, ETHERNET_TYPE, &type, sizeof(type), 0))
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
