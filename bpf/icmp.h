/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * ICMP errors of our own, built from packets that took a turn through the internal veth pair, whose switched-off
 * offloads leave a packet with finished checksums and no segments to be cut.
 */
#ifndef HEADGATE_ICMP_H
#define HEADGATE_ICMP_H

#include "forward.h"

#define ICMP_HEADER 8
#define ICMPV4_LIMIT 576         /* RFC 1812 4.3.2.3: length of an error message */
#define ICMPV6_LIMIT 1280        /* RFC 4443 2.4 (c) */
#define ICMPV4_ROOM (ICMPV4_LIMIT - 20 - ICMP_HEADER)
#define ICMPV6_ROOM (ICMPV6_LIMIT - 40 - ICMP_HEADER)
#define CHUNK 64
#define TURN_MAGIC 0x48000000
#define GLOBAL_RATE 1000         /* net.ipv4.icmp_msgs_per_sec */
#define GLOBAL_BURST 50          /* net.ipv4.icmp_msgs_burst */
#define PEER_BURST 6             /* XRLIM_BURST_FACTOR */

/*
 * Why a packet takes the turn: what the ICMP error says, both families' type and code; to be fragmented (cut.h); or for
 * resets (reset.h).
 */
enum turn {
	REPORT_PORT_UNREACHABLE = 1,
	REPORT_TIME_EXCEEDED,
	REPORT_TOO_BIG,
	TURN_CUT,
	REPORT_SAME,                 /* type << 8 | code as they are in the mark */
	TURN_RESET,                  /* to become resets for both ends of its connection */
	TURN_ONWARD,                 /* to go on to the destination whose slot is in the mark */
	TURN_TUNNEL,                 /* the same through a tunnel */
	REPORT_STRAY,                /* port unreachable, to a real server that no connection is with */
};

/* The director's address towards the masqueraded real server that a packet comes from; NULL: it comes from none. */
static __noinline struct address *stray_source(const struct packet *packet)
{
	struct service_key key = {};

	if (!packet)
		return NULL;
	key.address = packet->source;
	key.port = packet->source_port;
	key.protocol = packet->protocol;
	key.family = packet->family;
	return bpf_map_lookup_elem(&real_services, &key);
}

/* The kernel's two limits: one for all (icmp_global_allow), one per receiver (inet_peer_xrlim_allow). */
__noinline int icmp_allowed(const struct address *receiver)
{
	struct icmp_peer fresh = {}, *peer;
	struct address key;
	__u32 now = now_jiffies(), hz = settings.hz, tokens;
	__u64 old, new;
	__u32 credit, elapsed;

	if (!receiver || !hz)
		return 0;
	old = *(volatile __u64 *)&runtime.icmp_tokens;
	credit = (__u32)old;
	elapsed = now - (__u32)(old >> 32);
	new = old;
	if (elapsed >= hz / 50) {
		if (elapsed > hz)
			elapsed = hz;
		credit += GLOBAL_RATE * elapsed / hz;
		if (credit > GLOBAL_BURST)
			credit = GLOBAL_BURST;
		new = (__u64)now << 32;
	}
	if (!credit)
		return 0;
	new = (new & 0xffffffff00000000ULL) | (credit - 1);
	__sync_val_compare_and_swap(&runtime.icmp_tokens, old, new);

	key = *receiver;
	peer = bpf_map_lookup_elem(&icmp_peers, &key);
	tokens = peer ? peer->tokens + (now - peer->seen) : PEER_BURST * hz;
	if (tokens > PEER_BURST * hz)
		tokens = PEER_BURST * hz;
	fresh.seen = now;
	fresh.tokens = tokens >= hz ? tokens - hz : tokens;
	if (peer)
		*peer = fresh;
	else
		bpf_map_update_elem(&icmp_peers, &key, &fresh, BPF_ANY);
	return tokens >= hz;
}

static __always_inline __u32 turn_mark(__u32 kind, __u32 value)
{
	return TURN_MAGIC | kind << 16 | (value & 0xffff);
}

/* Sends the packet to the internal veth. */
static __always_inline int send_to_turn(struct __sk_buff *skb, const struct packet *packet, __u32 mark)
{
	const __u8 mac[MAC_LENGTH] = {};

	skb->mark = mark;
	if (!packet->l3 && !add_ethernet(skb, mac))
		return VERDICT_DROP;
	return bpf_redirect(settings.internal_ifindex, 0);
}

/*
 * Sends the packet to the internal veth, to come back as an ICMP error to its source. No error is about a later
 * fragment (RFC 1122 3.2.2); path MTU messages are not limited (icmpv4_mask_allow, icmpv6_mask_allow).
 */
__noinline int report(struct __sk_buff *skb, const struct packet *packet, __u32 kind, __u32 mtu)
{
	if (!packet || !settings.internal_ifindex || packet->fragment == FRAGMENT_LATER)
		return VERDICT_DROP;
	if (kind != REPORT_TOO_BIG && !icmp_allowed(&packet->source)) {
		count_event(EVENT_ICMP_LIMITED);
		return VERDICT_DROP;
	}
	return send_to_turn(skb, packet, turn_mark(kind, mtu));
}

struct icmp_message {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

struct icmpv4_error {
	struct iphdr ip;
	struct icmp_message icmp;
};

struct icmpv6_error {
	struct ipv6hdr ip;
	struct icmp_message icmp;
};

struct sum {
	struct __sk_buff *skb;
	__u32 offset;
	__u32 left;
	__s64 value;
};

static long sum_chunk(__u32 index, struct sum *sum)
{
	__be32 chunk[CHUNK / 4] = {};
	__u32 length = sum->left < CHUNK ? sum->left : CHUNK;

	if (!length)
		return 1;
	/* Bounds in a form that every verifier since 6.1 follows: 1 to 64, and the compiler must not know. */
	asm volatile("" : "+r"(length));
	length = ((length - 1) & (CHUNK - 1)) + 1;
	if (bpf_skb_load_bytes(sum->skb, sum->offset, chunk, length))
		return 1;
	sum->value = bpf_csum_diff(NULL, 0, chunk, CHUNK, sum->value);
	sum->offset += length;
	sum->left -= length;
	return 0;
}

static __always_inline __u16 fold_sum(__s64 sum)
{
	__u64 value = (__u32)sum;

	value = (value & 0xffff) + (value >> 16);
	value = (value & 0xffff) + (value >> 16);
	return ~value;
}

/* The same for a sum of 32-bit words. */
static __always_inline __u16 fold_sum64(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return fold_sum((sum & 0xffffffff) + (sum >> 32));
}

/* One's complement sum of `length` bytes of a packet, on top of `start`. */
static __always_inline __s64 sum_packet(struct __sk_buff *skb, __u32 offset, __u32 length, __s64 start)
{
	struct sum sum = { .skb = skb, .offset = offset, .left = length, .value = start };

	bpf_loop(ICMPV6_LIMIT / CHUNK + 1, sum_chunk, &sum, 0);
	return sum.value;
}

/* Sends a finished packet with an Ethernet header on to its IP destination. */
static __always_inline int send_away(struct __sk_buff *skb, const struct address *source,
				     const struct address *target, __u32 family)
{
	struct hop hop = {};

	find_hop(skb, source, target, &hop, family);
	if (hop.kind == HOP_LOCAL) {
		__u8 mac[MAC_LENGTH] = {};

		bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0);
		return bpf_redirect(LOOPBACK_IFINDEX, BPF_F_INGRESS);
	}
	if (hop.kind != HOP_NEIGHBOUR) {
		count_event(EVENT_NO_ROUTE);
		return VERDICT_DROP;
	}
	return bpf_redirect_neigh(hop.ifindex, &hop.via, sizeof(hop.via), 0);
}

__noinline int make_icmpv4(struct __sk_buff *skb, const struct packet *packet, const struct address *source,
			   __u32 kind, __u32 value)
{
	struct icmpv4_error error = {};
	__u32 quoted;
	__s64 sum;

	if (!packet || !source)
		return VERDICT_DROP;
	quoted = packet->length < ICMPV4_ROOM ? packet->length : ICMPV4_ROOM;
	if (bpf_skb_change_tail(skb, ETHERNET_LENGTH + quoted, 0) ||
	    bpf_skb_adjust_room(skb, sizeof(error), BPF_ADJ_ROOM_MAC, 0))
		return VERDICT_DROP;
	error.ip.version = 4;
	error.ip.ihl = 5;
	error.ip.tos = (packet->tos & 0x1e) | 0xc0; /* RFC 1812 4.3.2.5: internetwork control */
	error.ip.tot_len = bpf_htons(sizeof(error) + quoted);
	error.ip.ttl = 64;
	error.ip.protocol = IPPROTO_ICMP;
	error.ip.saddr = source->word[3];
	error.ip.daddr = packet->source.word[3];
	error.ip.check = fold_sum(bpf_csum_diff(NULL, 0, (__be32 *)&error.ip, sizeof(error.ip), 0));
	error.icmp.type = kind == REPORT_SAME ? value >> 8 : kind == REPORT_TIME_EXCEEDED ? 11 : 3;
	error.icmp.code = kind == REPORT_SAME ? value : kind == REPORT_PORT_UNREACHABLE ? 3 : kind == REPORT_TOO_BIG ? 4 : 0;
	error.icmp.rest = kind == REPORT_TOO_BIG ? bpf_htonl(value) : 0;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&error.icmp, sizeof(error.icmp), 0);
	error.icmp.checksum = fold_sum(sum_packet(skb, ETHERNET_LENGTH + sizeof(error), quoted, sum));
	if (bpf_skb_store_bytes(skb, ETHERNET_LENGTH, &error, sizeof(error), 0))
		return VERDICT_DROP;
	count_event(EVENT_ICMP_SENT);
	return send_away(skb, source, &packet->source, 4);
}

__noinline int make_icmpv6(struct __sk_buff *skb, const struct packet *packet, const struct address *source,
			   __u32 kind, __u32 value)
{
	struct icmpv6_error error = {};
	__be32 pseudo[2];
	__u32 quoted;
	__s64 sum;

	if (!packet || !source)
		return VERDICT_DROP;
	quoted = packet->length < ICMPV6_ROOM ? packet->length : ICMPV6_ROOM;
	if (bpf_skb_change_tail(skb, ETHERNET_LENGTH + quoted, 0) ||
	    bpf_skb_adjust_room(skb, sizeof(error), BPF_ADJ_ROOM_MAC, 0))
		return VERDICT_DROP;
	error.ip.version = 6;
	error.ip.payload_len = bpf_htons(sizeof(error.icmp) + quoted);
	error.ip.nexthdr = NEXT_ICMPV6;
	error.ip.hop_limit = 64;
	__builtin_memcpy(&error.ip.saddr, source, 16);
	__builtin_memcpy(&error.ip.daddr, &packet->source, 16);
	error.icmp.type = kind == REPORT_SAME ? value >> 8 : kind == REPORT_TIME_EXCEEDED ? 3 : kind == REPORT_TOO_BIG ? 2 : 1;
	error.icmp.code = kind == REPORT_SAME ? value : kind == REPORT_PORT_UNREACHABLE ? 4 : 0;
	error.icmp.rest = kind == REPORT_TOO_BIG ? bpf_htonl(value) : 0;
	pseudo[0] = bpf_htonl(sizeof(error.icmp) + quoted);
	pseudo[1] = bpf_htonl(NEXT_ICMPV6);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&error.ip.saddr, 32, sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&error.icmp, sizeof(error.icmp), sum);
	error.icmp.checksum = fold_sum(sum_packet(skb, ETHERNET_LENGTH + sizeof(error), quoted, sum));
	if (bpf_skb_store_bytes(skb, ETHERNET_LENGTH, &error, sizeof(error), 0))
		return VERDICT_DROP;
	count_event(EVENT_ICMP_SENT);
	return send_away(skb, source, &packet->source, 6);
}

/*
 * Makes a packet that comes back from the internal veth the ICMP error that its mark asks for. It comes from the virtual
 * address, which is the director's own: the client's packet was sent there, the real server's reply belongs to a
 * connection with it. What a real server sends to nobody has none, and is answered from the director's address towards it.
 */
static __always_inline int make_report(struct __sk_buff *skb, __u32 kind, __u32 value)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct address source = {};
	struct packet packet = {};
	__u32 slot, *first;
	struct connection *connection;
	int result = PARSED_NOT_OURS;

	skb->mark = 0;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		result = parse_ipv4_header(data, end, ETHERNET_LENGTH, &packet);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		result = parse_ipv6_header(data, end, ETHERNET_LENGTH, &packet);
	if (result != PARSED || parse_ports(data, end, &packet) != PARSED)
		return VERDICT_DROP;
	/* What an error about a tunnel has quoted is shorter than it says. */
	if (packet.length > skb->len - ETHERNET_LENGTH)
		packet.length = skb->len - ETHERNET_LENGTH;
	source = packet.destination;
	first = chain_of(&packet, 1);
	slot = first ? find_in_long_chain(&packet, *first, 1) : 0;
	connection = connection_at(slot);
	if (slot && connection)
		virtual_address(connection, slot, &source);
	if (kind == REPORT_STRAY) {
		struct address *own = stray_source(&packet);

		if (!own)
			return VERDICT_DROP;
		source = *own;
		kind = REPORT_PORT_UNREACHABLE;
	}
	return packet.family == 4 ? make_icmpv4(skb, &packet, &source, kind, value)
				  : make_icmpv6(skb, &packet, &source, kind, value);
}

#endif
