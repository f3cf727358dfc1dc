/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What happens to a packet: to the destination, to the client, or the first of a new connection. */
#ifndef HEADGATE_FLOW_H
#define HEADGATE_FLOW_H

#include "choose.h"
#include "cut.h"
#include "defence.h"
#include "encapsulate.h"
#include "enter.h"
#include "fate.h"
#include "forward.h"
#include "fragment.h"
#include "ftp.h"
#include "full-nat.h"
#include "icmp.h"
#include "lease.h"
#include "leave.h"
#include "mark.h"
#include "persist.h"
#include "reply.h"
#include "sound.h"

/* Rewrites a packet and sends it to its next hop. */
static __always_inline int transmit(struct __sk_buff *skb, const struct packet *packet,
				    const struct rewrite *rewrite, struct hop *hop)
{
	/* Zero MAC addresses make it a packet for the loopback device. */
	if (hop->kind == HOP_LOCAL)
		__builtin_memset(hop->mac, 0, MAC_LENGTH);
	if (!rewrite_packet(skb, packet, rewrite,
			    packet->l3 && (hop->kind == HOP_LOCAL || hop->neighbour == NEIGHBOUR_CACHED) ? hop->mac
													 : NULL))
		return VERDICT_DROP;
	return send_to_hop(skb, packet, hop);
}

/* Sends a packet through the tunnel to its destination. */
static __always_inline int transmit_tunnel(struct __sk_buff *skb, const struct packet *packet, __u32 slot,
					   const struct destination *destination, struct hop *hop)
{
	/* The route was looked up a moment ago, so the source address is due too. */
	if (hop->neighbour != NEIGHBOUR_CACHED)
		refresh_tunnel_source(skb, slot);
	if (!encapsulate(skb, packet, slot, destination, hop))
		return VERDICT_DROP;
	return send_to_hop(skb, packet, hop);
}

/* A packet from the client, on to its destination; or what meet_fate answers of its connection. */
__noinline int forward_request(struct __sk_buff *skb, struct packet *packet, __u32 slot, __u32 now)
{
	struct connection *connection = connection_at(slot);
	struct destination *destination;
	struct rewrite rewrite = {};
	struct hop hop = {};

	if (!connection || !packet)
		return VERDICT_DROP;
	destination = destination_at(connection->destination);
	if (!destination)
		return drop(EVENT_DESTINATION_GONE);
	if (!(destination->flags & DESTINATION_AVAILABLE)) {
		int fate = meet_fate(skb, packet, slot);

		if (fate != VERDICT_KEEP)
			return fate;
	}
	if (!packet->again) {
		count_packet(connection->destination, packet->length, 0);
		pass_state(connection, packet, DIRECTION_INPUT, slot, now);
		connection->packets++;
		if (settings.sync == SYNC_BY_PACKETS)
			tell_by_packets(connection, slot);
	}
	if (packet->fragment == FRAGMENT_FIRST) {
		remember_fragment(packet, slot, 0);
		packet->more = 1;
	}

	hop_to_destination(skb, packet, destination, &hop, now);
	rewrite.address = &destination->address;
	if (connection->word >> WORD_METHOD_SHIFT == METHOD_MASQUERADE) {
		rewrite.translate = 1;
		rewrite.port = connection->real_port;
	}
	if (hop.kind == HOP_LOCAL) {
		if (!runtime.local_destinations)
			runtime.local_destinations = 1;
		if (rewrite.translate && !rewrite_packet(skb, packet, &rewrite, NULL))
			return VERDICT_DROP;
		return is_marked(slot) ? bring_home(skb, packet) : VERDICT_PASS;
	}
	if (packet->ttl <= 1) {
		count_event(EVENT_TTL);
		return report(skb, packet, REPORT_TIME_EXCEEDED, 0);
	}
	if (hop.kind == HOP_UNKNOWN)
		return drop(EVENT_NO_ROUTE);
	if (connection->word >> WORD_METHOD_SHIFT == METHOD_TUNNEL) {
		if (hop.mtu && !(hop.mtu = mtu_in_tunnel(destination, hop.mtu)))
			return drop(EVENT_TOO_BIG);
		/* What the sender says is not listened to, inside or outside (ensure_mtu_is_adequate, ip_vs_tunnel_xmit). */
		if (packet->family == 4 && !settings.pmtu_disc)
			packet->do_not_fragment = 0;
	}
	if (is_too_big(skb, packet, hop.mtu)) {
		if (!may_be_cut(packet, hop.mtu))
			return refuse_too_big(skb, packet, hop.mtu);
		if (!packet->again) {
			if (connection->word & WORD_ONE_PACKET)
				remember_fragment(packet, slot, 0);
			packet->more = 1;
			return send_to_be_cut(skb, packet);
		}
		if (!cut_to_fit(skb, packet, hop.mtu, slot, 0))
			return VERDICT_DROP;
	}
	if (connection->word >> WORD_METHOD_SHIFT == METHOD_TUNNEL && needs_segments(skb, packet, destination))
		return send_to_turn(skb, packet, turn_mark(TURN_CUT, 0));
	if (connection->word >> WORD_METHOD_SHIFT == METHOD_TUNNEL)
		return transmit_tunnel(skb, packet, connection->destination, destination, &hop);
	rewrite.forward = 1;
	return transmit(skb, packet, &rewrite, &hop);
}

/* 1 when a packet of FTP's is to be read that has not been. */
static __always_inline int is_unheard(const struct packet *packet)
{
	return !packet->heard && !packet->again && packet->fragment == FRAGMENT_NONE;
}

/* A packet of a masqueraded connection, or for a client on the director itself, on to the client; or VERDICT_HEAR. */
__noinline int forward_reply(struct __sk_buff *skb, struct packet *packet, __u32 slot, __u32 now, __u32 egress)
{
	struct connection *connection = connection_at(slot);
	struct destination *destination;
	struct address address = {};
	struct rewrite rewrite = { .address = &address, .reply = 1 };
	struct hop hop = {};
	int too_big = 0, result;

	if (!connection || !packet)
		return VERDICT_DROP;
	if (connection->word >> WORD_METHOD_SHIFT == METHOD_MASQUERADE) {
		rewrite.translate = 1;
		rewrite.port = connection->virtual_port;
		if (is_ftp(rewrite.port) && is_unheard(packet))
			return VERDICT_HEAR;
		virtual_address(connection, slot, &address);
	}
	if (!egress) {
		/* Brought to the loopback device by an earlier pass, or sent there: it has arrived. */
		if (!rewrite.translate && skb->ifindex == LOOPBACK_IFINDEX)
			return VERDICT_PASS;
		hop_to_client(skb, packet, rewrite.translate ? &address : &packet->source, &packet->destination,
			      connection, &hop, now);
		if (rewrite.translate && hop.kind != HOP_LOCAL) {
			result = may_forward(skb, packet, &hop, &too_big);
			if (result != VERDICT_KEEP)
				return result;
			rewrite.forward = 1;
		}
	}
	destination = destination_at(connection->destination);
	result = settle_reply(skb, packet, connection, slot, destination, &hop, too_big, now);
	if (result != VERDICT_KEEP)
		return result;
	if (egress) {
		if (rewrite.translate && !rewrite_packet(skb, packet, &rewrite, NULL))
			return VERDICT_DROP;
		return VERDICT_PASS;
	}
	/* Replies that only pass by on their way to another host need no help. */
	if (!rewrite.translate && hop.kind != HOP_LOCAL)
		return VERDICT_PASS;
	return transmit(skb, packet, &rewrite, &hop);
}

/* The same, what it says of FTP being read first. A call beside the other, not below it: stack is scarce. */
static __always_inline int pass_reply(struct __sk_buff *skb, struct packet *packet, __u32 slot, __u32 now, __u32 egress)
{
	int result = forward_reply(skb, packet, slot, now, egress);

	if (result != VERDICT_HEAR)
		return result;
	hear_server(skb, packet, slot);
	packet->heard = 1;
	return forward_reply(skb, packet, slot, now, egress);
}

/* The slot of the connection that a packet of a real server belongs to, 0: of none. */
static __always_inline __u32 find_reply(struct packet *packet, __u32 now)
{
	__u32 *first = chain_of(packet, 1);
	__u32 slot = first ? find_from(packet, *first, 1, now) : 0;

	return slot || !may_be_expected(packet, now) ? slot : enter_from_server(packet, now);
}

static __always_inline int has_full_nat(__u32 slot)
{
	struct connection *connection = connection_at(slot);

	return connection && is_full_nat(connection->word);
}

/* A packet from the client of a connection, as its method has it. */
static __always_inline int pass_request(struct __sk_buff *skb, struct packet *packet, __u32 slot, __u32 now)
{
	return has_full_nat(slot) ? forward_full_request(skb, packet, slot, now) : forward_request(skb, packet, slot, now);
}

/* 1 when the virtual address is the director's own; asked of the kernel once a second. */
__noinline int is_local(struct __sk_buff *skb, __u32 service_slot, const struct address *address, __u32 family)
{
	struct service *service = service_at(service_slot);
	__u32 now = now_jiffies();
	struct hop hop = {};

	if (!service || !address)
		return 0;
	if (service->local_seen && now - service->local_seen <= settings.hz)
		return service->local;
	find_hop(skb, NULL, address, &hop, family);
	if (!hop.refused)
		service->local = hop.kind == HOP_LOCAL;
	service->local_seen = now | 1;
	return service->local;
}

/* 1 when a packet may belong to a passive data connection of an FTP service (ip_vs_service_find). */
static __always_inline int may_be_ftp_data(const struct packet *packet)
{
	return settings.catch_all & CATCH_FTP && packet->protocol == IPPROTO_TCP &&
	       (packet->destination_port == bpf_htons(FTP_DATA_PORT) ||
		bpf_ntohs(packet->destination_port) >= FIRST_UNPRIVILEGED_PORT);
}

/* Slot of the virtual service a packet is for, 0 when there is none: by its port, as FTP data, or for every port. */
__noinline __u32 find_service(const struct packet *packet)
{
	struct service_key key = {};
	__u32 *slot;

	if (!packet)
		return 0;
	key.address = packet->destination;
	key.port = packet->destination_port;
	key.protocol = packet->protocol;
	key.family = packet->family;
	slot = bpf_map_lookup_elem(&service_index, &key);
	if (!slot && may_be_ftp_data(packet)) {
		key.port = bpf_htons(FTP_PORT);
		slot = bpf_map_lookup_elem(&service_index, &key);
	}
	if (!slot && settings.catch_all & CATCH_ANY) {
		key.port = 0;
		slot = bpf_map_lookup_elem(&service_index, &key);
	}
	return slot ? *slot : 0;
}

static __always_inline __u32 destination_of(__u32 slot)
{
	struct connection *connection = connection_at(slot);

	return slot && connection ? connection->destination : 0;
}

/*
 * The real server's port for a packet: its own where it stands for the service's, else the packet's. A mark has no port,
 * so without persistence it stands for every one (ip_vs_schedule, ip_vs_sched_persist).
 */
static __always_inline __be16 real_port(const struct service *service, const struct packet *packet, __u32 slot)
{
	struct destination *destination = destination_at(slot);
	int stands = packet->destination_port == service->port ||
		     (service->flags & (SERVICE_FWMARK | SERVICE_PERSISTENT)) == SERVICE_FWMARK;

	return destination && destination->port && stands
		       ? destination->port
		       : packet->destination_port;
}

/* Nobody serves a new connection, and its client hears of it; no error answers an error (ip_vs_leave). */
static __always_inline int refuse(struct __sk_buff *skb, const struct packet *packet)
{
	count_event(EVENT_NO_DESTINATION);
	return packet->quoted ? VERDICT_DROP : report(skb, packet, REPORT_PORT_UNREACHABLE, 0);
}

/* A packet to another port than that of its service, which has no persistence: nobody serves it (ip_vs_leave). */
static __always_inline int leave_to_others(struct __sk_buff *skb, const struct packet *packet,
					   const struct service *service)
{
	if (service->port)
		return pass_by(packet);
	return refuse(skb, packet);
}

/* Where a packet came in; of a routed one that is forgotten. */
static __always_inline __u32 came_in(const struct __sk_buff *skb, const struct packet *packet)
{
	return packet->routed ? 0 : skb->ifindex;
}

#include "bypass.h"

enum say {
	SAY_NONE = 0,                /* the packet is for somebody else */
	SAY_OWN,
	SAY_LAPSED,                  /* it was this director's to schedule, and is its successor's now */
};

/* Whether this director is the one to schedule a new connection to a service. In a call of its own: stack is scarce. */
__noinline int say_over(struct __sk_buff *skb, struct packet *packet, __u32 service_slot)
{
	struct service *service = service_at(service_slot);
	__u32 tenure;

	if (!packet || !service)
		return SAY_NONE;
	tenure = tenure_of(&packet->destination, packet->family, skb->ifindex);
	/* What was local a moment ago may be its successor's by now. */
	if (tenure == TENURE_LAPSED)
		service->local_seen = 0;
	if (tenure == TENURE_RESIDENT)
		return SAY_NONE;
	if (!(service->flags & SERVICE_FWMARK) &&
	    ((!packet->quoted && !is_sound(skb, packet)) ||
	     (tenure != TENURE_HELD && !is_local(skb, service_slot, &packet->destination, packet->family))))
		return SAY_NONE;
	return tenure == TENURE_LAPSED ? SAY_LAPSED : SAY_OWN;
}

/* A packet that no connection claims and that opens none: dropped as long as its connection may yet be told of. */
__noinline int leave_unknown(struct __sk_buff *skb, struct packet *packet)
{
	if (!packet)
		return VERDICT_PASS;
	if (is_awaited(packet) && !is_given_up(tenure_of(&packet->destination, packet->family, skb->ifindex)) &&
	    (find_marked_service(skb->mark, packet->family) || find_service(packet)))
		return drop(EVENT_AWAITED);
	return pass_by(packet);
}

/* 1 when a packet that no connection claims may open one (tcp_conn_schedule, udp_conn_schedule, sctp_conn_schedule). */
static __always_inline int may_open(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_TCP)
		return !(packet->tcp_flags & TCP_RST) &&
		       (packet->tcp_flags & TCP_SYN || (settings.sloppy_tcp && !is_awaited(packet)));
	if (packet->protocol == IPPROTO_SCTP)
		return packet->sctp_event == SCTP_EVENT_INIT ||
		       (settings.sloppy_sctp && packet->sctp_event != SCTP_EVENT_ABORT && !is_awaited(packet));
	return 1;
}

/*
 * A packet that no connection claims: a new connection if it may open one and a virtual service wants it. VERDICT_KEEP:
 * what an error is about has its connection now.
 */
__noinline int schedule(struct __sk_buff *skb, struct packet *packet, __u32 now)
{
	struct service *service;
	struct counters *counters;
	__u32 service_slot, destination, slot, port, one_packet, control = 0;
	int result;

	if (!packet)
		return VERDICT_PASS;
	if (!packet->quoted && !may_open(packet))
		return leave_unknown(skb, packet);
	if (packet->source_port == bpf_htons(FTP_DATA_PORT))
		return pass_by(packet);
	/* A mark goes before an address (ip_vs_service_find), wherever that is; the stack has looked at the packet. */
	service_slot = find_marked_service(skb->mark, packet->family);
	if (!service_slot)
		service_slot = find_service(packet);
	service = service_at(service_slot);
	if (!service_slot || !service)
		return pass_by(packet);
	result = say_over(skb, packet, service_slot);
	if (result != SAY_OWN)
		return result == SAY_LAPSED ? drop(EVENT_LEASE_LAPSED) : pass_by(packet);
	if (settings.hold)
		return settings.hold == HOLD_PASS ? pass_by(packet) : drop(EVENT_HELD);
	if (is_refused())
		return drop(EVENT_REFUSED);
	if (service->flags & SERVICE_PERSISTENT && service->engine && !hear_call(skb, packet))
		return drop(EVENT_NO_CALL_ID);
	if (service->flags & SERVICE_PERSISTENT)
		control = recall_client(service_slot, packet, now);
	else if (!(service->flags & SERVICE_FWMARK) && packet->destination_port != service->port)
		return leave_to_others(skb, packet, service);
	destination = control ? destination_of(control) : choose(service, service_slot, packet);
	if (!destination)
		return pass_unserved(skb, packet, service_slot, now);
	if (service->flags & SERVICE_PERSISTENT && !control) {
		control = enter_template(service_slot, packet, destination);
		destination = destination_of(control);
		if (!control || !destination)
			return VERDICT_DROP;
	}
	port = real_port(service, packet, destination);
	one_packet = service->flags & SERVICE_ONE_PACKET && packet->protocol == IPPROTO_UDP && !packet->quoted;
	slot = one_packet ? enter_datagram(packet, destination, came_in(skb, packet), port)
			  : enter_connection(packet, destination, came_in(skb, packet), port, control);
	if (!slot)
		return VERDICT_DROP;
	if (service->flags & SERVICE_FWMARK && !one_packet)
		note_mark(packet, slot, skb->mark);
	counters = bpf_map_lookup_elem(&destination_counters, &destination);
	if (counters)
		counters->connections++;
	if (packet->quoted)
		return VERDICT_KEEP;
	if (packet->protocol != IPPROTO_UDP)
		limit_half_open(slot);
	result = pass_request(skb, packet, slot, now);
	if (one_packet)
		leave_datagram(packet, slot);
	/* A destination that is deleted this very moment. */
	return result == VERDICT_ANEW ? VERDICT_DROP : result;
}

/* A later fragment follows its first. */
__noinline int pass_fragment(struct __sk_buff *skb, struct packet *packet, __u32 egress)
{
	struct fragment *fragment;

	if (!packet)
		return VERDICT_PASS;
	fragment = find_fragment(packet);
	if (!fragment)
		return egress ? VERDICT_PASS : drop(EVENT_FRAGMENT_LOST);
	if (!fragment->slot)
		return VERDICT_PASS;
	if (fragment->reply && has_full_nat(fragment->slot))
		return egress ? VERDICT_PASS : forward_full_reply(skb, packet, fragment->slot, now_jiffies());
	if (fragment->reply)
		return forward_reply(skb, packet, fragment->slot, now_jiffies(), egress);
	return egress ? VERDICT_PASS : forward(skb, packet, fragment->slot, now_jiffies());
}

/* A packet that comes back from the internal veth to be fragmented; the first `gone` bytes of it have gone their way. */
static __always_inline int forward_again(struct __sk_buff *skb, __u32 gone)
{
	struct packet packet = {};
	__u32 now = now_jiffies(), slot, *first;

	skb->mark = 0;
	if (gone && !take_off(skb, gone))
		return VERDICT_DROP;
	if (parse((void *)(long)skb->data, (void *)(long)skb->data_end, ETHERNET_LENGTH, skb->protocol, &packet) != PARSED)
		return VERDICT_DROP;
	packet.again = 1;
	if (packet.fragment == FRAGMENT_LATER)
		return pass_fragment(skb, &packet, 0);
	first = chain_of(&packet, 1);
	slot = first ? find_from(&packet, *first, 1, now) : 0;
	if (slot)
		return forward_reply(skb, &packet, slot, now, 0);
	slot = settings.local_ports ? find_by_local_end(&packet, now) : 0;
	if (slot)
		return forward_full_reply(skb, &packet, slot, now);
	first = chain_of(&packet, 0);
	slot = first ? find_from(&packet, *first, 0, now) : 0;
	if (!slot) {
		/* A datagram of a one-packet service is known by its identification alone. */
		struct fragment *fragment = find_fragment(&packet);

		slot = fragment && !fragment->reply ? fragment->slot : 0;
	}
	return slot ? forward(skb, &packet, slot, now) : VERDICT_DROP;
}

#endif
