/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The fast path at XDP, for physical interfaces: packets of established connections whose next hop is known and fresh
 * are rewritten in place and sent on. Every other packet passes unchanged to the program at tc, which is always
 * attached: new connections, state changes, fragments, options, ICMP, errors and next hops are its business alone.
 */
#ifndef HEADGATE_XDP_H
#define HEADGATE_XDP_H

#include "forward.h"
#include "persist.h"
#include "tell.h"

#define PORT_SLOTS 256
#define IPV4_HEADER 20
#define IPV6_HEADER 40

/* An interface that runs the program at XDP; it stands at its ifindex modulo PORT_SLOTS. */
struct port {
	__u32 ifindex;               /* (user) 0: none */
	__u8 mac[6];                 /* (user) frames to other addresses are not ours */
	__u16 spare;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PORT_SLOTS);
	__type(key, __u32);
	__type(value, struct port);
} ports SEC(".maps");

static __always_inline struct port *port_at(__u32 ifindex)
{
	__u32 slot = ifindex % PORT_SLOTS;
	struct port *port = bpf_map_lookup_elem(&ports, &slot);

	return port && port->ifindex == ifindex ? port : NULL;
}

/* 1 when a packet leaves its connection as it is but for the time it was last seen, and says nothing of FTP. */
static __always_inline int keeps_state(const struct connection *connection, const struct packet *packet,
				       __u32 direction)
{
	__u32 word = connection->word, state = word & WORD_STATE;

	if (connection->timeout != settings.timeout[state & (STATE_PLACES - 1)] ||
	    is_ftp(connection->virtual_port))
		return 0;
	if (packet->protocol != IPPROTO_TCP)
		return state == STATE_UDP && !(direction == DIRECTION_OUTPUT && word & WORD_NO_OUTPUT);
	if (packet->tcp_flags & TCP_SYN)
		return 0;
	if (word & WORD_NO_OUTPUT) {
		if (direction == DIRECTION_OUTPUT)
			return 0;
		direction = DIRECTION_INPUT_ONLY;
	}
	return next_tcp_state(packet->tcp_flags, direction, state) == state;
}

/* Rewrites the headers in place. The packet was read before: only the verifier needs the comparisons. */
static __always_inline int edit_headers(void *l3, void *end, const struct packet *packet,
					const struct rewrite *rewrite)
{
	void *l4 = l3 + (packet->family == 4 ? IPV4_HEADER : IPV6_HEADER);

	if (packet->family == 4) {
		if (l3 + sizeof(struct iphdr) > end)
			return 0;
		edit_ipv4(l3, rewrite);
	} else {
		if (l3 + sizeof(struct ipv6hdr) > end)
			return 0;
		edit_ipv6(l3, rewrite);
	}
	if (!rewrite->translate)
		return 1;
	if (packet->protocol == IPPROTO_TCP) {
		if (l4 + sizeof(struct tcphdr) > end)
			return 0;
		edit_tcp(l4, packet, rewrite);
	} else {
		if (l4 + sizeof(struct udphdr) > end)
			return 0;
		edit_udp(l4, packet, rewrite);
	}
	return 1;
}

/* Rewrites the headers and sends the packet; nothing is changed before this is certain to work. */
static __always_inline int send_on(struct xdp_md *xdp, const struct packet *packet, const struct rewrite *rewrite,
				   __u32 ifindex, const __u8 *mac)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;

	if (data + ETHERNET_LENGTH > end)
		return XDP_PASS;
	if (!edit_headers(data + ETHERNET_LENGTH, end, packet, rewrite))
		return XDP_DROP;
	__builtin_memcpy(data, mac, MAC_LENGTH);
	return ifindex == xdp->ingress_ifindex ? XDP_TX : bpf_redirect(ifindex, 0);
}

/* A packet from the client of an established connection. */
static __always_inline int send_request(struct xdp_md *xdp, const struct packet *packet, __u32 slot, __u32 now)
{
	struct connection *connection = connection_at(slot);
	struct destination *destination;
	struct rewrite rewrite = { .forward = 1 };
	__u32 method, ifindex;

	if (!connection || !keeps_state(connection, packet, DIRECTION_INPUT))
		return XDP_PASS;
	method = connection->word >> WORD_METHOD_SHIFT;
	if (method != METHOD_MASQUERADE && method != METHOD_DIRECT_ROUTING)
		return XDP_PASS;
	destination = destination_at(connection->destination);
	if (!destination || !(destination->flags & DESTINATION_AVAILABLE) ||
	    destination->hop_kind != HOP_NEIGHBOUR || now - destination->hop_seen > settings.hz ||
	    !destination->hop_mtu || packet->length > destination->hop_mtu)
		return XDP_PASS;
	ifindex = destination->hop_ifindex;
	if (!port_at(ifindex) || (settings.sync == SYNC_BY_PACKETS && is_due_by_packets(connection->packets + 1)))
		return XDP_PASS;
	count_packet(connection->destination, packet->length, 0);
	if (connection->seen != now)
		connection->seen = now;
	connection->packets++;
	if (method == METHOD_MASQUERADE) {
		rewrite.translate = 1;
		rewrite.address = &destination->address;
		rewrite.port = connection->real_port;
	}
	return send_on(xdp, packet, &rewrite, ifindex, destination->hop_mac);
}

/* A packet from the real server of an established masqueraded connection. */
static __always_inline int send_reply(struct xdp_md *xdp, const struct packet *packet, __u32 slot, __u32 now)
{
	struct connection *connection = connection_at(slot);
	struct rewrite rewrite = { .translate = 1, .reply = 1, .forward = 1 };
	struct address address = {};
	struct destination *destination;
	__u32 ifindex;

	if (!connection || !keeps_state(connection, packet, DIRECTION_OUTPUT) ||
	    connection->word >> WORD_METHOD_SHIFT != METHOD_MASQUERADE)
		return XDP_PASS;
	ifindex = connection->hop_ifindex;
	if (!ifindex || ifindex == LOOPBACK_IFINDEX ||
	    (__u16)((now >> HOP_SHIFT) - connection->hop_seen) > settings.hz >> HOP_SHIFT ||
	    !connection->hop_mtu || packet->length > connection->hop_mtu || !port_at(ifindex))
		return XDP_PASS;
	rewrite.port = connection->virtual_port;
	virtual_address(connection, slot, &address);
	rewrite.address = &address;
	destination = destination_at(connection->destination);
	if (destination && destination->flags & DESTINATION_AVAILABLE)
		count_packet(connection->destination, packet->length, 1);
	if (connection->seen != now)
		connection->seen = now;
	return send_on(xdp, packet, &rewrite, ifindex, connection->hop_mac);
}

/* What XDP does with a frame. */
static __always_inline int fast_path(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *ethernet = data;
	struct packet packet = {};
	struct port *port;
	__u32 now, slot, *first;

	if ((void *)(ethernet + 1) > end)
		return XDP_PASS;
	port = port_at(xdp->ingress_ifindex);
	if (!port || __builtin_memcmp(ethernet->h_dest, port->mac, sizeof(port->mac)))
		return XDP_PASS;
	if (parse(data, end, ETHERNET_LENGTH, ethernet->h_proto, &packet) != PARSED)
		return XDP_PASS;
	if (packet.fragment != FRAGMENT_NONE || packet.ttl <= 1 ||
	    packet.l4 != ETHERNET_LENGTH + (packet.family == 4 ? IPV4_HEADER : IPV6_HEADER) ||
	    data + ETHERNET_LENGTH + packet.length > end)
		return XDP_PASS;
	now = now_jiffies();
	if (in_filter(settings.reply_filter, &packet.source)) {
		first = chain_of(&packet, 1);
		slot = first ? find_from(&packet, *first, 1, now) : 0;
		if (slot)
			return send_reply(xdp, &packet, slot, now);
	}
	if (!in_filter(settings.virtual_filter, &packet.destination))
		return XDP_PASS;
	first = chain_of(&packet, 0);
	slot = first ? find_from(&packet, *first, 0, now) : 0;
	return slot ? send_request(xdp, &packet, slot, now) : XDP_PASS;
}

#endif
