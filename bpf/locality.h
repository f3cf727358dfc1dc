/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * lblc and lblcr, for clusters of caches (net/netfilter/ipvs/ip_vs_lblc.c, ip_vs_lblcr.c): a destination address stays
 * with the destinations that have served it. What is remembered lies in one bounded map that forgets what was unused
 * for longest, where the kernel has a table a service and a minutely check.
 */
#ifndef HEADGATE_LOCALITY_H
#define HEADGATE_LOCALITY_H

#include "schedule.h"

static long idle_step(__u32 index, struct walk *walk)
{
	struct destination *destination = destination_at(walk->at);

	if (!walk->at || !destination)
		return 1;
	walk->at = destination->next;
	if ((__s64)destination->active * 2 >= destination->weight)
		return 0;
	walk->best = 1;
	return 1;
}

/* 1 when a destination has more active connections than its weight and another one fewer than half of its own. */
static __always_inline int is_crowded(const struct service *service, const struct destination *destination)
{
	struct walk walk = { .at = service->first };

	if ((__s64)destination->active <= destination->weight)
		return 0;
	bpf_loop(MAX_DESTINATIONS, idle_step, &walk, 0);
	return walk.best;
}

static __always_inline int is_listed(const struct destination *destination, __u32 service_slot)
{
	return destination->flags & DESTINATION_AVAILABLE && destination->service == service_slot;
}

static __always_inline void key_of(struct locality_key *key, const struct service *service, __u32 service_slot,
				   const struct packet *packet)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->service = service_slot;
	key->term = service->turn >> 32;
	key->address = packet->destination;
}

static __always_inline struct locality *recall(const struct locality_key *key, __u32 expiration)
{
	struct locality *locality = bpf_map_lookup_elem(&localities, key);

	if (locality && now_jiffies() - locality->used > expiration * settings.hz)
		locality->count = 0;
	return locality;
}

static __always_inline void remember(const struct locality_key *key, struct locality *locality, __u32 choice)
{
	struct locality fresh = {};

	if (!locality || locality->count == 0) {
		fresh.count = 1;
		fresh.member[0] = choice;
		fresh.used = fresh.modified = now_jiffies();
		bpf_map_update_elem(&localities, key, &fresh, BPF_ANY);
	}
}

/* lblc: the destination that had the address last, while it serves and is not crowded; else a new one by wlc. */
__noinline __u32 choose_local(__u32 service_slot, const struct packet *packet)
{
	struct service *service = service_at(service_slot);
	struct destination *destination;
	struct locality *locality;
	struct locality_key key;
	__u32 choice;

	if (!service || !packet)
		return 0;
	key_of(&key, service, service_slot, packet);
	locality = recall(&key, settings.lblc_expiration);
	if (locality && locality->count) {
		locality->used = now_jiffies();
		choice = locality->member[0];
		destination = destination_at(choice);
		/* Overload of a remembered destination is not looked at. */
		if (destination && is_listed(destination, service_slot) && destination->weight > 0 &&
		    !is_crowded(service, destination))
			return choice;
	}
	choice = choose_least(service_slot);
	if (!choice)
		return 0;
	if (locality && locality->count) {
		locality->member[0] = choice;
		locality->modified = now_jiffies();
	} else {
		remember(&key, locality, choice);
	}
	return choice;
}

/* A walk along the members of an address, the latest first. */
struct membership {
	struct locality *locality;
	__u32 service;
	__u32 wanted;                /* is_member_step: the slot looked for */
	__u32 most;                  /* extreme_step: 1 for the most loaded, 0 for the least */
	__u32 best;                  /* position + 1, 0: none */
	__u64 best_load;
	__s64 best_weight;
};

static __always_inline __u32 *member_at(struct locality *locality, __u32 position)
{
	return &locality->member[position & (LOCALITY_MEMBERS - 1)];
}

static long extreme_step(__u32 index, struct membership *walk)
{
	__u32 position = walk->locality->count - 1 - index;
	struct destination *destination;
	__s64 weight;
	__u64 load;

	if (index >= walk->locality->count)
		return 1;
	destination = destination_at(*member_at(walk->locality, position));
	if (!destination || !is_listed(destination, walk->service) || destination->weight <= 0)
		return 0;
	if (!walk->most && !can_serve(destination))
		return 0;
	load = load_of(destination, SCHEDULER_WLC);
	weight = destination->weight;
	if (walk->best && (walk->most ? load * walk->best_weight <= walk->best_load * weight
				      : walk->best_load * weight <= load * walk->best_weight))
		return 0;
	walk->best = position + 1;
	walk->best_load = load;
	walk->best_weight = weight;
	return 0;
}

/* Position + 1 of the least or most loaded member that counts, 0 for none; of equals the latest. */
static __always_inline __u32 extreme_member(struct locality *locality, __u32 service_slot, __u32 most)
{
	struct membership walk = { .locality = locality, .service = service_slot, .most = most };

	bpf_loop(LOCALITY_MEMBERS, extreme_step, &walk, 0);
	return walk.best;
}

static long is_member_step(__u32 index, struct membership *walk)
{
	if (index >= walk->locality->count)
		return 1;
	if (*member_at(walk->locality, index) != walk->wanted)
		return 0;
	walk->best = index + 1;
	return 1;
}

static long absent_step(__u32 index, struct membership *walk)
{
	struct destination *destination;

	if (index >= walk->locality->count)
		return 1;
	destination = destination_at(*member_at(walk->locality, index));
	if (!destination || is_listed(destination, walk->service))
		return 0;
	walk->best = index + 1;
	return 1;
}

static long move_up_step(__u32 index, struct membership *walk)
{
	if (index + 1 >= walk->locality->count)
		return 1;
	if (index + 1 >= walk->best)
		*member_at(walk->locality, index) = *member_at(walk->locality, index + 1);
	return 0;
}

static __always_inline void leave_set(struct locality *locality, __u32 place)
{
	struct membership walk = { .locality = locality, .best = place };

	bpf_loop(LOCALITY_MEMBERS, move_up_step, &walk, 0);
	locality->count--;
	locality->modified = now_jiffies();
}

/* A full set loses its oldest member, of those that left the service if there is one. */
static __always_inline void join_set(struct locality *locality, __u32 service_slot, __u32 choice)
{
	struct membership walk = { .locality = locality, .service = service_slot, .wanted = choice };

	bpf_loop(LOCALITY_MEMBERS, is_member_step, &walk, 0);
	if (walk.best)
		return;
	if (locality->count >= LOCALITY_MEMBERS) {
		bpf_loop(LOCALITY_MEMBERS, absent_step, &walk, 0);
		leave_set(locality, walk.best ? walk.best : 1);
	}
	*member_at(locality, locality->count) = choice;
	locality->count++;
	locality->modified = now_jiffies();
}

/* lblcr: the least loaded of the destinations that share the address; while it is crowded one more joins, by wlc. */
__noinline __u32 choose_replicated(__u32 service_slot, const struct packet *packet)
{
	struct service *service = service_at(service_slot);
	struct destination *destination;
	struct locality *locality;
	struct locality_key key;
	__u32 choice = 0, place, now = now_jiffies();

	if (!service || !packet)
		return 0;
	key_of(&key, service, service_slot, packet);
	locality = recall(&key, settings.lblcr_expiration);
	if (locality && locality->count) {
		locality->used = now;
		place = extreme_member(locality, service_slot, 0);
		if (place)
			choice = *member_at(locality, place - 1);
		if (locality->count > 1 && now - locality->modified > settings.lblcr_expiration * settings.hz) {
			place = extreme_member(locality, service_slot, 1);
			if (place)
				leave_set(locality, place);
		}
		destination = destination_at(choice);
		if (choice && destination && !is_crowded(service, destination))
			return choice;
	}
	choice = choose_least(service_slot);
	if (!choice)
		return 0;
	if (locality && locality->count)
		join_set(locality, service_slot, choice);
	else
		remember(&key, locality, choice);
	return choice;
}

#endif
