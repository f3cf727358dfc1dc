/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * ICMP errors about packets that carried others to a real server: the sender of what was inside gets one about it
 * (ip_vs_in_icmp, RFC 2473 section 8, which has it so for every pair of families).
 */
#ifndef HEADGATE_TUNNEL_ERROR_H
#define HEADGATE_TUNNEL_ERROR_H

#include "encapsulate.h"
#include "flow.h"

#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP_TIME_EXCEEDED 11
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_TOO_BIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define QUOTE_LENGTH 256
#define ETHERNET_TYPE_AT 12

/* An ICMP error that came in. */
struct came {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

/* What an error says to the sender of the inner packet. */
struct passed_on {
	__u32 kind;                  /* enum turn; 0: nothing */
	__u32 value;
};

/* 1 for the errors that are passed on. */
static __always_inline int is_passed_on(const struct came *came, __u8 family)
{
	return family == 4 ? came->type == ICMP_UNREACHABLE || came->type == ICMP_TIME_EXCEEDED
			   : came->type >= ICMPV6_UNREACHABLE && came->type <= ICMPV6_TIME_EXCEEDED;
}

static __always_inline void pass_on(const struct came *came, __u8 outer, const struct packet *inner, __u32 overhead,
				    struct passed_on *passed)
{
	__u32 mtu;

	passed->kind = REPORT_SAME;
	passed->value = came->type << 8 | came->code;
	if (outer != inner->family)
		/* To the sender the tunnel is one hop (RFC 2473, 8.2): its host cannot be reached. */
		passed->value = inner->family == 4 ? ICMP_UNREACHABLE << 8 | 1 : ICMPV6_UNREACHABLE << 8 | 3;
	if (outer == 4 && !(came->type == ICMP_UNREACHABLE && came->code == ICMP_FRAGMENTATION_NEEDED))
		return;
	if (outer == 6 && came->type != ICMPV6_TOO_BIG)
		return;
	mtu = bpf_ntohl(came->rest);
	if (outer == 4 || mtu > 0xffff)
		mtu &= 0xffff;
	if (mtu > LEAST_MTU_IN_IPV4 + overhead)
		mtu -= overhead;
	if (inner->family == 6 && mtu < LEAST_MTU_IN_IPV6)
		mtu = LEAST_MTU_IN_IPV6;
	passed->kind = inner->do_not_fragment ? REPORT_TOO_BIG : 0;
	passed->value = mtu;
}

/* 1 when the checksum of an ICMP message is right. */
static __always_inline int is_icmp_intact(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 length = packet->length - (packet->l4 - packet->l3);
	__be32 pseudo[2] = { bpf_htonl(length), bpf_htonl(NEXT_ICMPV6) };
	__s64 sum = 0;

	if (length > ICMPV6_LIMIT)
		return 0;
	if (packet->family == 6) {
		sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), 0);
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&packet->source, sizeof(packet->source), sum);
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&packet->destination, sizeof(packet->destination), sum);
	}
	return !fold_sum(sum_packet(skb, packet->l4, length, sum));
}

/* What begins behind UDP and GUE, or GRE, at an offset; 0: neither. */
static __always_inline __u32 behind_shim(struct __sk_buff *skb, __u32 at, __u32 *type, __u8 *protocol)
{
	struct shim shim = {};

	if (*protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, at, &shim, sizeof(struct udphdr) + GUE_LENGTH) || shim.gue.head || shim.gue.flags)
			return 0;
		*type = TUNNEL_GUE;
		*protocol = shim.gue.protocol;
		return at + sizeof(struct udphdr) + GUE_LENGTH;
	}
	if (bpf_skb_load_bytes(skb, at, &shim, GRE_LENGTH) || shim.gre.flags & ~bpf_htons(GRE_HAS_CHECKSUM))
		return 0;
	*type = TUNNEL_GRE;
	*protocol = shim.gre.protocol == bpf_htons(ETH_P_IP) ? PROTOCOL_IPV4_IN_IP :
		    shim.gre.protocol == bpf_htons(ETH_P_IPV6) ? PROTOCOL_IPV6_IN_IP : 0;
	return at + GRE_LENGTH + (shim.gre.flags ? GRE_CHECKSUM_LENGTH : 0);
}

/* Where the inner packet starts in the quoted outer one, which went to `end_of_tunnel`; 0: it is not about a tunnel. */
static __always_inline __u32 find_inner(struct __sk_buff *skb, const struct packet *error,
					struct address *end_of_tunnel, __u32 *type, __u8 *protocol)
{
	__u32 l3 = error->l4 + ICMP_HEADER;

	if (error->family == 4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl != 5 ||
		    ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
			return 0;
		end_of_tunnel->word[3] = ip.daddr;
		*protocol = ip.protocol;
		l3 += sizeof(ip);
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.version != 6)
			return 0;
		__builtin_memcpy(end_of_tunnel, &ip.daddr, sizeof(*end_of_tunnel));
		*protocol = ip.nexthdr;
		l3 += sizeof(ip);
	}
	if (*protocol == IPPROTO_UDP || *protocol == PROTOCOL_GRE)
		l3 = behind_shim(skb, l3, type, protocol);
	return *protocol == PROTOCOL_IPV4_IN_IP || *protocol == PROTOCOL_IPV6_IN_IP ? l3 : 0;
}

/* The destination of the tunnel that carried the inner packet of a connection to an address; NULL: there is none. */
static __always_inline struct connection *find_tunnelled(const struct packet *inner, const struct address *end_of_tunnel,
							 __u32 type)
{
	struct connection *connection;
	struct destination *destination;
	__u32 slot, *first = chain_of(inner, 0);

	slot = first ? find_from(inner, *first, 0, now_jiffies()) : 0;
	connection = connection_at(slot);
	if (!slot || !connection || connection->word >> WORD_METHOD_SHIFT != METHOD_TUNNEL)
		return NULL;
	destination = destination_at(connection->destination);
	if (!destination || tunnel_type(destination) != type ||
	    destination->address.word[3] != end_of_tunnel->word[3] ||
	    destination->address.word[2] != end_of_tunnel->word[2] ||
	    destination->address.word[1] != end_of_tunnel->word[1] ||
	    destination->address.word[0] != end_of_tunnel->word[0])
		return NULL;
	return connection;
}

/* An ICMP error about a packet of a tunnel: to the client, about its own packet. VERDICT_PASS: it is about none. */
__noinline int pass_tunnel_error(struct __sk_buff *skb, const struct packet *error)
{
	const __u8 nobody[MAC_LENGTH] = {};
	struct packet inner = {};
	struct address end_of_tunnel = {};
	struct passed_on passed;
	struct connection *connection;
	struct came came;
	void *data, *end;
	__u32 at, l3, tunnel = TUNNEL_IPIP;
	__be16 type;
	__u8 protocol;

	if (!error || error->fragment != FRAGMENT_NONE || !settings.internal_ifindex ||
	    bpf_skb_load_bytes(skb, error->l4, &came, sizeof(came)) || !is_passed_on(&came, error->family))
		return VERDICT_PASS;
	at = find_inner(skb, error, &end_of_tunnel, &tunnel, &protocol);
	if (!at || bpf_skb_pull_data(skb, skb->len < QUOTE_LENGTH ? skb->len : QUOTE_LENGTH))
		return VERDICT_PASS;
	/* Compared here and in this register: the verifier of Linux 6.1 forgets it over a call. */
	asm volatile("" : "+r"(at));
	if (at > QUOTE_LENGTH)
		return VERDICT_PASS;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if ((protocol == PROTOCOL_IPV4_IN_IP ? parse_ipv4_header(data, end, at, &inner)
					     : parse_ipv6_header(data, end, at, &inner)) != PARSED ||
	    parse_ports(data, end, &inner) != PARSED)
		return VERDICT_PASS;
	connection = find_tunnelled(&inner, &end_of_tunnel, tunnel);
	if (!connection)
		return VERDICT_PASS;
	if (!is_icmp_intact(skb, error))
		return VERDICT_DROP;
	pass_on(&came, error->family, &inner, at - error->l4 - ICMP_HEADER, &passed);
	if (!passed.kind)
		return VERDICT_DROP;
	if (passed.kind != REPORT_TOO_BIG && !icmp_allowed(&inner.source)) {
		count_event(EVENT_ICMP_LIMITED);
		return VERDICT_DROP;
	}
	/* What is left is the inner packet as far as it was quoted. */
	l3 = error->l3;
	if (bpf_skb_change_tail(skb, l3 + error->length, 0) ||
	    bpf_skb_adjust_room(skb, -(__s32)(at - l3), BPF_ADJ_ROOM_MAC, 0))
		return VERDICT_DROP;
	count_packet(connection->destination, error->length - (at - l3), 1);
	type = inner.family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	skb->mark = turn_mark(passed.kind, passed.value);
	if (!l3 && !add_ethernet(skb, nobody))
		return VERDICT_DROP;
	if (bpf_skb_store_bytes(skb, ETHERNET_TYPE_AT, &type, sizeof(type), 0))
		return VERDICT_DROP;
	return bpf_redirect(settings.internal_ifindex, 0);
}

#endif
