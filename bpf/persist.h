/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Persistence: a client's next connections go where its first one went (ip_vs_sched_persist, ip_vs_check_template). */
#ifndef HEADGATE_PERSIST_H
#define HEADGATE_PERSIST_H

#include "enter.h"
#include "schedule.h"
#include "template.h"

#define INVALID_PORT 0xffff      /* both ports of a template that serves no more */
#define LONGEST_TIMEOUT 0xffe00000 /* jiffies, as much as is_expired() tells apart */

/* 1 when the template of a packet is for the one port of its service. FTP's is for all, so that data follow control. */
static __always_inline int has_own_port(const struct service *service, const struct packet *packet)
{
	return packet->destination_port == service->port && service->port != bpf_htons(FTP_PORT);
}

/* The part of an IPv6 mask of `bits` that covers one word. */
static __always_inline __be32 mask_word(__s32 bits)
{
	if (bits <= 0)
		return 0;
	return bits >= 32 ? 0xffffffff : bpf_htonl(~(0xffffffff >> bits));
}

/*
 * What the template of a packet's client is found by, as if it were a packet: from the client's network, port 0. With the
 * engine sip it has been read, and is found by its Call-ID too.
 */
static __always_inline void template_key(const struct service *service, const struct packet *packet,
					 struct packet *key)
{
	__s32 bits = service->netmask;
	int i;

	key->source = packet->source;
	key->family = packet->family;
	if (service->engine)
		key->source_port = imprint_of(0);
	if (service->flags & SERVICE_FWMARK) {
		/* One template for all addresses, ports and protocols of a mark; the kernel's union has it in the first word. */
		key->destination.word[packet->family == 4 ? 3 : 0] = bpf_htonl(service->fwmark);
	} else {
		key->destination = packet->destination;
		key->destination_port = has_own_port(service, packet) ? service->port : 0;
		key->protocol = packet->protocol;
	}
	if (packet->family == 4) {
		key->source.word[3] &= bpf_htonl(service->netmask);
		return;
	}
#pragma unroll
	for (i = 0; i < 4; i++)
		key->source.word[i] &= mask_word(bits - 32 * i);
}

/* 1 when templates bring clients to a destination; its load does not matter for that, nor does weight 0 by itself. */
static __always_inline int takes_back(const struct destination *destination)
{
	if (!(destination->flags & DESTINATION_AVAILABLE))
		return 0;
	return destination->weight != 0 ||
	       !(settings.expire_quiescent_template || destination->flags & DESTINATION_EXPIRES_TEMPLATES);
}

/*
 * The slot of the template of a packet's client, its time started over; 0 when there is none. One whose destination
 * serves no more is made to match nothing, and stays until its time is up.
 */
__noinline __u32 recall_client(__u32 service_slot, const struct packet *packet, __u32 now)
{
	struct service *service = service_at(service_slot);
	struct destination *destination;
	struct connection *template;
	struct packet key = {};
	__u32 slot, *first;

	if (!service || !packet)
		return 0;
	template_key(service, packet, &key);
	first = chain_of(&key, 0);
	slot = first ? find_template(&key, *first) : 0;
	template = connection_at(slot);
	if (!slot || !template)
		return 0;
	destination = destination_at(template->destination);
	if (!destination || !takes_back(destination)) {
		template->virtual_port = INVALID_PORT;
		template->real_port = INVALID_PORT;
		return 0;
	}
	/* The sweeper has not come by since its time was up. */
	if (is_expired(template, now))
		prolong_ruler(template, slot, now);
	template->seen = now;
	return slot;
}

/* Enters a template for a packet's client. Returns its slot, or that of another CPU's; 0 when there is no room. */
__noinline __u32 enter_template(__u32 service_slot, const struct packet *packet, __u32 destination_slot)
{
	struct service *service = service_at(service_slot);
	struct destination *destination = destination_at(destination_slot);
	__u32 now = now_jiffies(), slot, same, word;
	struct connection *template;
	struct packet key = {};
	__u64 timeout;

	if (!service || !packet || !destination)
		return 0;
	template_key(service, packet, &key);
	slot = take_slot();
	template = connection_at(slot);
	if (!slot || !template)
		return 0;
	word = WORD_LIVE | WORD_TEMPLATE | destination->method << WORD_METHOD_SHIFT;
	if (!write_entry(template, slot, &key, destination, destination_slot, now))
		return 0;
	if (key.source_port && !note_call(slot, 0)) {
		count_event(EVENT_TABLE_FULL);
		free_slot(slot, template);
		return 0;
	}
	template->real_port = has_own_port(service, packet) ? destination->port : 0;
	timeout = (__u64)service->timeout * settings.hz;
	template->timeout = timeout < LONGEST_TIMEOUT ? timeout : LONGEST_TIMEOUT;
	count_entry(template, destination, word);
	same = push_entry(slot, &key, 1, now);
	if (same == slot) {
		if (settings.sync)
			tell(slot);
		return slot;
	}
	forget_call(template, slot, word);
	take_back_entry(template, slot, destination, word);
	return same;
}

#endif
