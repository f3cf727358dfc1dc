/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a masqueraded real server of a service with the persistence engine sip sends of its own accord, or in answer to a
 * datagram that no connection is remembered for: as if its client had opened the connection (ip_vs_new_conn_out).
 */
#ifndef HEADGATE_CALLER_H
#define HEADGATE_CALLER_H

#include "flow.h"

/* The slot of the template that binds a call to a destination, made where there is none; 0: there is no room. */
static __always_inline __u32 bind_call(__u32 service_slot, const struct packet *packet, __u32 destination, __u32 now)
{
	__u32 slot = recall_client(service_slot, packet, now);
	struct connection *template = connection_at(slot);

	if (slot && template) {
		if (template->destination == destination)
			return slot;
		template->virtual_port = INVALID_PORT;
		template->real_port = INVALID_PORT;
	}
	return enter_template(service_slot, packet, destination);
}

/* The packet of a real server as its client would have sent it, to `virtual` and its port. */
static __always_inline void turn_round(struct packet *packet, const struct address *virtual, __be16 port)
{
	packet->source = packet->destination;
	packet->source_port = packet->destination_port;
	packet->destination = *virtual;
	packet->destination_port = port;
}

/*
 * Enters the connection of a datagram that no connection claims. Its slot; 0: it is of no such real server, or has no
 * Call-ID.
 */
__noinline __u32 enter_from_caller(struct __sk_buff *skb, struct packet *packet, __u32 now)
{
	struct service_key key = {};
	struct destination *destination;
	struct counters *counters;
	struct service *service;
	__u32 *found, slot, place, control;

	if (!packet || settings.hold)
		return 0;
	key.address = packet->source;
	key.port = packet->source_port;
	key.protocol = packet->protocol;
	key.family = packet->family;
	found = bpf_map_lookup_elem(&callers, &key);
	if (!found)
		return 0;
	place = *found;
	destination = destination_at(place);
	service = destination ? service_at(destination->service) : NULL;
	if (!service || !(destination->flags & DESTINATION_AVAILABLE) || !hear_call(skb, packet))
		return 0;
	turn_round(packet, &service->address, service->port);
	control = bind_call(destination->service, packet, place, now);
	slot = 0;
	if (control)
		slot = service->flags & SERVICE_ONE_PACKET ? enter_datagram(packet, place, 0, key.port)
							   : enter_connection(packet, place, 0, key.port, control);
	packet->destination = packet->source;
	packet->destination_port = packet->source_port;
	packet->source = key.address;
	packet->source_port = key.port;
	counters = slot ? bpf_map_lookup_elem(&destination_counters, &place) : NULL;
	if (counters)
		counters->connections++;
	return slot;
}

/* The datagram of a real server on to its client. */
static __always_inline int pass_call(struct __sk_buff *skb, struct packet *packet, __u32 slot, __u32 now)
{
	struct connection *connection = connection_at(slot);
	__u32 word = connection ? connection->word : 0;
	int result = forward_reply(skb, packet, slot, now, 0);

	if (word & WORD_ONE_PACKET) {
		if (packet->fragment == FRAGMENT_FIRST)
			packet->more = 1;
		leave_datagram(packet, slot);
	}
	return result;
}

#endif
