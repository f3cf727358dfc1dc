/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * TCP resets for a connection whose destination is deleted, made of a segment of the client that took the turn through
 * the internal veth: one for the client, in the name of the virtual address, and one for the real server, in the name of
 * the client. The second takes the turn once more, for a next hop of its own.
 */
#ifndef HEADGATE_RESET_H
#define HEADGATE_RESET_H

#include "flow.h"

#define RESET_TTL 64

/* A segment without data, from one end to the other. */
struct reset {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__be32 sequence;
	__be32 acknowledgement;
	__u32 flags;
	__u32 family;
};

struct reset_ipv4 {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct reset_ipv6 {
	struct ipv6hdr ip;
	struct tcphdr tcp;
};

static __always_inline void fill_tcp(struct tcphdr *tcp, const struct reset *reset)
{
	tcp->source = reset->source_port;
	tcp->dest = reset->destination_port;
	tcp->seq = reset->sequence;
	tcp->ack_seq = reset->acknowledgement;
	((__u8 *)tcp)[12] = sizeof(*tcp) / 4 << 4;
	((__u8 *)tcp)[13] = reset->flags;
}

/* Makes the packet this segment and nothing else. 0: it could not be changed. */
__noinline int become_reset(struct __sk_buff *skb, const struct reset *reset)
{
	__be32 pseudo[2] = { bpf_htonl(sizeof(struct tcphdr)), bpf_htonl(IPPROTO_TCP) };
	__s64 sum;

	if (!reset)
		return 0;
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), 0);
	if (reset->family == 4) {
		struct reset_ipv4 packet = {};

		if (bpf_skb_change_tail(skb, ETHERNET_LENGTH + sizeof(packet), 0))
			return 0;
		packet.ip.version = 4;
		packet.ip.ihl = 5;
		packet.ip.tot_len = bpf_htons(sizeof(packet));
		packet.ip.frag_off = bpf_htons(IP_DO_NOT_FRAGMENT);
		packet.ip.ttl = RESET_TTL;
		packet.ip.protocol = IPPROTO_TCP;
		packet.ip.saddr = reset->source.word[3];
		packet.ip.daddr = reset->destination.word[3];
		packet.ip.check = fold_sum(bpf_csum_diff(NULL, 0, (__be32 *)&packet.ip, sizeof(packet.ip), 0));
		fill_tcp(&packet.tcp, reset);
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&packet.ip.saddr, 8, sum);
		packet.tcp.check = fold_sum(bpf_csum_diff(NULL, 0, (__be32 *)&packet.tcp, sizeof(packet.tcp), sum));
		return !bpf_skb_store_bytes(skb, ETHERNET_LENGTH, &packet, sizeof(packet), 0);
	} else {
		struct reset_ipv6 packet = {};

		if (bpf_skb_change_tail(skb, ETHERNET_LENGTH + sizeof(packet), 0))
			return 0;
		packet.ip.version = 6;
		packet.ip.payload_len = bpf_htons(sizeof(packet.tcp));
		packet.ip.nexthdr = IPPROTO_TCP;
		packet.ip.hop_limit = RESET_TTL;
		__builtin_memcpy(&packet.ip.saddr, &reset->source, 16);
		__builtin_memcpy(&packet.ip.daddr, &reset->destination, 16);
		fill_tcp(&packet.tcp, reset);
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&packet.ip.saddr, 32, sum);
		packet.tcp.check = fold_sum(bpf_csum_diff(NULL, 0, (__be32 *)&packet.tcp, sizeof(packet.tcp), sum));
		return !bpf_skb_store_bytes(skb, ETHERNET_LENGTH, &packet, sizeof(packet), 0);
	}
}

/*
 * The client's own reset for the real server: it stands where the client's segment, which goes nowhere, would have stood
 * (RFC 9293, 3.10.5: SEQ=SND.NXT), so a server that has got what came before takes it at once (RFC 5961, 3.2).
 */
static __always_inline void reset_server(struct __sk_buff *skb, const struct packet *packet, struct reset *reset,
					 const struct connection *connection, __u32 slot,
					 const struct destination *destination)
{
	__u32 method = connection->word >> WORD_METHOD_SHIFT;

	reset->source = packet->source;
	reset->source_port = packet->source_port;
	if (method == METHOD_FULL_NAT) {
		struct local_end key = {};

		if (!key_of_local_end(connection, slot, &key))
			return;
		reset->source = key.local;
		reset->source_port = key.local_port;
	}
	if (method == METHOD_MASQUERADE || method == METHOD_FULL_NAT) {
		reset->destination = destination->address;
		reset->destination_port = connection->real_port;
	} else {
		reset->destination = packet->destination;
		reset->destination_port = packet->destination_port;
	}
	reset->flags = TCP_RST | (packet->tcp_flags & TCP_ACK);
	if (!become_reset(skb, reset))
		return;
	skb->mark = turn_mark(method == METHOD_TUNNEL ? TURN_TUNNEL : TURN_ONWARD, connection->destination);
	bpf_clone_redirect(skb, settings.internal_ifindex, 0);
	skb->mark = 0;
}

/*
 * Resets the connection that a client's segment belongs to. Of several segments that took the turn the first one does it;
 * after that there is no such connection.
 */
__noinline int make_reset(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct reset reset = {};
	struct connection *connection;
	struct destination *destination;
	struct {
		__be32 sequence;
		__be32 acknowledgement;
	} segment;
	__u32 now = now_jiffies(), slot, length, *first;

	if (parse((void *)(long)skb->data, (void *)(long)skb->data_end, ETHERNET_LENGTH, skb->protocol, &packet) != PARSED ||
	    packet.protocol != IPPROTO_TCP || packet.fragment == FRAGMENT_LATER)
		return VERDICT_DROP;
	first = chain_of(&packet, 0);
	slot = first ? find_from(&packet, *first, 0, now) : 0;
	connection = connection_at(slot);
	if (!slot || !connection)
		return VERDICT_DROP;
	destination = destination_at(connection->destination);
	/* It may have come back meanwhile; then the client sends the segment again. */
	if (!destination || destination->flags & DESTINATION_AVAILABLE ||
	    bpf_skb_load_bytes(skb, packet.l4 + 4, &segment, sizeof(segment)) || !end_surely(connection, slot))
		return VERDICT_DROP;
	count_event(EVENT_CONNECTION_RESET);
	if (settings.sync)
		tell(slot);

	reset.family = packet.family;
	reset.sequence = segment.sequence;
	reset.acknowledgement = packet.tcp_flags & TCP_ACK ? segment.acknowledgement : 0;
	reset_server(skb, &packet, &reset, connection, slot, destination);

	/* RFC 9293, 3.10.7.1: what a segment gets that belongs to no connection. */
	if (packet.tcp_flags & TCP_RST)
		return VERDICT_DROP;
	length = packet.length - (packet.l4 - packet.l3) - packet.l4_header + (packet.tcp_flags & TCP_FIN);
	reset.source = packet.destination;
	reset.source_port = packet.destination_port;
	reset.destination = packet.source;
	reset.destination_port = packet.source_port;
	if (packet.tcp_flags & TCP_ACK) {
		reset.sequence = segment.acknowledgement;
		reset.acknowledgement = 0;
		reset.flags = TCP_RST;
	} else {
		reset.sequence = 0;
		reset.acknowledgement = bpf_htonl(bpf_ntohl(segment.sequence) + length);
		reset.flags = TCP_RST | TCP_ACK;
	}
	if (!become_reset(skb, &reset))
		return VERDICT_DROP;
	return send_away(skb, &reset.source, &reset.destination, packet.family);
}

/* A finished packet that comes back from the internal veth, a reset or an ICMP error, on to a destination. */
__noinline int send_onward(struct __sk_buff *skb, __u32 destination_slot, __u32 tunnel)
{
	struct destination *destination = destination_at(destination_slot);
	struct packet packet = {};
	struct hop hop = {};
	int parsed;

	if (!destination)
		return VERDICT_DROP;
	if (!tunnel)
		return send_away(skb, NULL, &destination->address, destination->family);
	parsed = parse((void *)(long)skb->data, (void *)(long)skb->data_end, ETHERNET_LENGTH, skb->protocol, &packet);
	if (parsed != PARSED && parsed != PARSED_NOT_OURS)
		return VERDICT_DROP;
	hop_to_destination(skb, &packet, destination, &hop, now_jiffies());
	if (hop.kind != HOP_NEIGHBOUR || (hop.mtu && !mtu_in_tunnel(destination, hop.mtu)))
		return VERDICT_DROP;
	return transmit_tunnel(skb, &packet, destination_slot, destination, &hop);
}

#endif
