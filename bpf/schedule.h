/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The schedulers, with the kernel's rules (net/netfilter/ipvs/ip_vs_<name>.c): destinations in list order, newest
 * first; comparisons by cross-multiplication, strict, so that ties keep the earlier one.
 */
#ifndef HEADGATE_SCHEDULE_H
#define HEADGATE_SCHEDULE_H

#include "connection.h"

#define MAX_DESTINATIONS 16384

static __always_inline struct service *service_at(__u32 slot)
{
	return bpf_map_lookup_elem(&services, &slot);
}

/* 1 when a destination may get a new connection. */
static __always_inline int can_serve(const struct destination *destination)
{
	return destination->weight > 0 &&
	       (destination->flags & (DESTINATION_AVAILABLE | DESTINATION_OVERLOAD)) == DESTINATION_AVAILABLE;
}

/* A walk along a service's list. */
struct walk {
	__u32 at;                    /* slot to look at next */
	__u32 best;                  /* slot of the choice so far, 0: none */
	__u64 best_load;
	__s64 best_weight;
	__u32 scheduler;
	__u32 first;
	__u32 stop;                  /* rr and wrr: slot of the last choice, where a turn ends */
	__s32 threshold;             /* wrr: weight wanted */
	__s32 highest;               /* wrr: highest weight that may serve */
	__u32 wrapped;
	__s64 draw[2];               /* twos: what is left of the two random numbers */
	__u32 drawn[2];
};

/* Load of a destination as the scheduler sees it: compared after multiplying with the other one's weight. */
static __always_inline __u64 load_of(const struct destination *destination, __u32 scheduler)
{
	if (scheduler == SCHEDULER_SED || scheduler == SCHEDULER_NQ)
		return (__u64)destination->active + 1;
	return ((__u64)destination->active << 8) + destination->active + destination->inactive;
}

static long least_step(__u32 index, struct walk *walk)
{
	struct destination *destination = destination_at(walk->at);
	__u32 slot = walk->at;
	__u64 load;
	__s64 weight;

	if (!slot || !destination)
		return 1;
	walk->at = destination->next;
	if (!can_serve(destination))
		return 0;
	weight = walk->scheduler == SCHEDULER_LC ? 1 : destination->weight;
	if (walk->scheduler == SCHEDULER_NQ && destination->active == 0) {
		walk->best = slot;
		return 1;
	}
	if (walk->scheduler == SCHEDULER_FO || walk->scheduler == SCHEDULER_OVF) {
		if (walk->scheduler == SCHEDULER_OVF && destination->active > destination->weight)
			return 0;
		if (!walk->best || weight > walk->best_weight) {
			walk->best = slot;
			walk->best_weight = weight;
		}
		return 0;
	}
	load = load_of(destination, walk->scheduler);
	if (!walk->best || walk->best_load * weight > load * walk->best_weight) {
		walk->best = slot;
		walk->best_load = load;
		walk->best_weight = weight;
	}
	return 0;
}

/* lc, wlc, sed, nq, fo, ovf: one walk, the best by the scheduler's measure. */
__noinline __u32 choose_least(__u32 service_slot)
{
	struct service *service = service_at(service_slot);
	struct walk walk = {};

	if (!service)
		return 0;
	walk.at = service->first;
	walk.scheduler = service->scheduler;
	bpf_loop(MAX_DESTINATIONS, least_step, &walk, 0);
	return walk.best;
}

static long next_step(__u32 index, struct walk *walk)
{
	struct destination *destination;
	__u32 slot = walk->at;

	if (!slot) {
		/* The list's end: once more from its start, up to the last choice. */
		if (walk->wrapped)
			return 1;
		walk->wrapped = 1;
		walk->at = walk->first;
		return 0;
	}
	destination = destination_at(slot);
	if (!destination)
		return 1;
	walk->at = destination->next;
	if (can_serve(destination)) {
		if (destination->weight > walk->highest)
			walk->highest = destination->weight;
		if (destination->weight >= walk->threshold) {
			walk->best = slot;
			return 1;
		}
	}
	return slot == walk->stop && walk->wrapped ? 1 : 0;
}

static __always_inline __u32 next_of(__u32 slot, __u32 first)
{
	struct destination *destination = slot ? destination_at(slot) : NULL;

	return destination ? destination->next : first;
}

/* What a turn answers when another CPU took one at the same time. */
#define TURN_LOST 0xffffffff

/* The first destination after `stop` that can serve, once round the list; 0 when nobody can. */
static __always_inline __u32 walk_turn(const struct service *service, __u32 stop)
{
	struct walk walk = { .threshold = 1, .stop = stop, .first = service->first, .wrapped = !stop };

	walk.at = next_of(stop, walk.first);
	bpf_loop(2 * MAX_DESTINATIONS, next_step, &walk, 0);
	return walk.best;
}

/* One turn of rr: the next one in the list after the last choice. */
__noinline __u32 turn_rr(__u32 service_slot, __u32 last)
{
	struct service *service = service_at(service_slot);
	struct destination *next;
	__u32 choice;
	__u64 turn;

	if (!service)
		return 0;
	turn = *(volatile __u64 *)&service->turn;
	choice = next_of((__u32)turn, service->first);
	if (!choice)
		choice = service->first;
	next = destination_at(choice);
	/* Mostly the next one serves; only else is the list walked. */
	if (!choice || !next || !can_serve(next))
		choice = walk_turn(service, (__u32)turn);
	if (!choice)
		return 0;
	if (__sync_val_compare_and_swap(&service->turn, turn, choice) == turn || last)
		return choice;
	return TURN_LOST;
}

/*
 * One turn of wrr: a wheel of weights. From the last choice on, the first destination whose weight reaches the
 * wheel's; at the end of the list the wheel turns down by one step, at the bottom it starts again at the top. Steps at
 * which nobody could serve are taken at once.
 */
__noinline __u32 turn_wrr(__u32 service_slot, __u32 last)
{
	struct service *service = service_at(service_slot);
	struct walk walk = {}, scan = { .wrapped = 1, .threshold = 0x7fffffff };
	__s32 wheel, step, top;
	__u64 turn;

	if (!service || !service->wheel_step)
		return 0;
	turn = *(volatile __u64 *)&service->turn;
	wheel = turn >> 32;
	step = service->wheel_step;
	top = service->wheel_top;
	if (wheel <= 0 || wheel > top)
		wheel = top;
	walk.first = service->first;
	walk.at = next_of((__u32)turn, walk.first);
	walk.threshold = wheel;
	walk.wrapped = 1;
	bpf_loop(MAX_DESTINATIONS, next_step, &walk, 0);
	if (!walk.best) {
		/* Nobody left at this step: down to the highest step that someone can serve. */
		scan.first = walk.first;
		scan.at = walk.first;
		bpf_loop(MAX_DESTINATIONS, next_step, &scan, 0);
		if (scan.highest <= 0)
			return 0;
		wheel -= step;
		if (wheel <= 0)
			wheel = top;
		if (wheel > scan.highest)
			wheel -= (__u32)(wheel - scan.highest + step - 1) / (__u32)step * step;
		if (wheel <= 0)
			wheel = top;
		walk.at = walk.first;
		walk.threshold = wheel;
		bpf_loop(MAX_DESTINATIONS, next_step, &walk, 0);
		if (!walk.best)
			return 0;
	}
	if (__sync_val_compare_and_swap(&service->turn, turn, (__u64)wheel << 32 | walk.best) == turn || last)
		return walk.best;
	return TURN_LOST;
}

static __always_inline __u32 take_turn(__u32 service_slot, __u32 weighted, __u32 last)
{
	return weighted ? turn_wrr(service_slot, last) : turn_rr(service_slot, last);
}

/* rr and wrr: turns until no other CPU comes between; the last one counts in any case. */
__noinline __u32 choose_by_turn(__u32 service_slot, __u32 weighted)
{
	__u32 choice = take_turn(service_slot, weighted, 0);

	if (choice == TURN_LOST)
		choice = take_turn(service_slot, weighted, 0);
	if (choice == TURN_LOST)
		choice = take_turn(service_slot, weighted, 0);
	if (choice == TURN_LOST)
		choice = take_turn(service_slot, weighted, 1);
	return choice;
}

static long sum_step(__u32 index, struct walk *walk)
{
	struct destination *destination = destination_at(walk->at);

	if (!walk->at || !destination)
		return 1;
	walk->at = destination->next;
	if (can_serve(destination))
		walk->best_weight += destination->weight;
	return 0;
}

static long draw_step(__u32 index, struct walk *walk)
{
	struct destination *destination = destination_at(walk->at);
	__u32 slot = walk->at;

	if (!slot || !destination)
		return 1;
	walk->at = destination->next;
	if (!can_serve(destination))
		return 0;
	walk->draw[0] -= destination->weight;
	if (walk->draw[0] <= 0 && !walk->drawn[0])
		walk->drawn[0] = slot;
	walk->draw[1] -= destination->weight;
	if (walk->draw[1] <= 0 && !walk->drawn[1])
		walk->drawn[1] = slot;
	return walk->drawn[0] && walk->drawn[1];
}

/* twos: the less loaded of two drawn at random by weight. */
__noinline __u32 choose_twos(__u32 service_slot)
{
	struct service *service = service_at(service_slot);
	struct destination *one, *other;
	struct walk walk = {};
	__u32 total;

	if (!service)
		return 0;
	walk.at = service->first;
	bpf_loop(MAX_DESTINATIONS, sum_step, &walk, 0);
	total = walk.best_weight;
	if (!total)
		return 0;
	walk.draw[0] = bpf_get_prandom_u32() % (total + 1);
	walk.draw[1] = bpf_get_prandom_u32() % (total + 1);
	walk.at = service->first;
	bpf_loop(MAX_DESTINATIONS, draw_step, &walk, 0);
	one = destination_at(walk.drawn[0]);
	other = destination_at(walk.drawn[1]);
	if (!one || !other || !walk.drawn[0])
		return walk.drawn[0] ? walk.drawn[0] : walk.drawn[1];
	if (walk.drawn[1] && load_of(one, SCHEDULER_WLC) * other->weight > load_of(other, SCHEDULER_WLC) * one->weight)
		return walk.drawn[1];
	return walk.drawn[0];
}

/* The destination of a bucket; tables larger than one entry of the map go on in the next ones. */
static __always_inline __u32 table_entry(const struct service *service, __u32 bucket)
{
	__u32 number = service->table - 1 + bucket / HASH_TABLE_SIZE;
	struct hash_table *table = bpf_map_lookup_elem(&hash_tables, &number);

	return table ? table->destination[bucket & (HASH_TABLE_SIZE - 1)] : 0;
}

/* A walk along the buckets that a fallback tries. */
struct fallback {
	__u32 service;
	__u32 value;                 /* mh: what the client's bucket is made from */
	__u32 start;
	__u32 found;
};

static long hash_fallback_step(__u32 index, struct fallback *fallback)
{
	struct service *service = service_at(fallback->service);
	__u32 offset = (index + fallback->start) & (HASH_TABLE_SIZE - 1);
	struct destination *destination;
	__u32 slot;

	if (!service)
		return 1;
	slot = table_entry(service, (offset + fallback->start) & (HASH_TABLE_SIZE - 1));
	destination = destination_at(slot);
	if (!slot)
		return 1;
	if (!destination || !can_serve(destination))
		return 0;
	fallback->found = slot;
	return 1;
}

/* dh and sh: the destination of the hash bucket, or nobody; with sh-fallback the next bucket that can serve. */
__noinline __u32 choose_hash(__u32 service_slot, const struct packet *packet)
{
	struct service *service = service_at(service_slot);
	struct fallback fallback = { .service = service_slot };
	struct destination *destination;
	__u32 slot, value;

	if (!service || !packet || !service->table)
		return 0;
	if (service->scheduler == SCHEDULER_DH) {
		slot = table_entry(service, hash_32(fold(&packet->destination)));
		destination = destination_at(slot);
		return slot && destination && can_serve(destination) ? slot : 0;
	}
	value = fold(&packet->source);
	if (service->flags & SERVICE_FLAG2)
		value += bpf_ntohs(packet->source_port);
	fallback.start = hash_32(value);
	slot = table_entry(service, fallback.start);
	destination = destination_at(slot);
	if (slot && destination && can_serve(destination))
		return slot;
	if (!slot || !(service->flags & SERVICE_FLAG1))
		return 0;
	bpf_loop(HASH_TABLE_SIZE, hash_fallback_step, &fallback, 0);
	return fallback.found;
}

#define rol64(word, shift) (((word) << (shift)) | ((word) >> (64 - (shift))))
#define MAGLEV_KEY 2654435761ULL

struct siphash {
	__u64 v0, v1, v2, v3;
};

static __always_inline void siphash_round(struct siphash *state)
{
	state->v0 += state->v1; state->v1 = rol64(state->v1, 13); state->v1 ^= state->v0; state->v0 = rol64(state->v0, 32);
	state->v2 += state->v3; state->v3 = rol64(state->v3, 16); state->v3 ^= state->v2;
	state->v0 += state->v3; state->v3 = rol64(state->v3, 21); state->v3 ^= state->v0;
	state->v2 += state->v1; state->v1 = rol64(state->v1, 17); state->v1 ^= state->v2; state->v2 = rol64(state->v2, 32);
}

/* Bucket of a client (ip_vs_mh_hashkey): SipHash-1-3 of one 32-bit word, low half. */
static __always_inline __u32 maglev_bucket(__u32 value)
{
	__u64 word = 4ULL << 56 | value;
	struct siphash state = {
		.v0 = 0x736f6d6570736575ULL ^ MAGLEV_KEY,
		.v1 = 0x646f72616e646f6dULL ^ MAGLEV_KEY,
		.v2 = 0x6c7967656e657261ULL ^ MAGLEV_KEY,
		.v3 = 0x7465646279746573ULL ^ MAGLEV_KEY,
	};

	state.v3 ^= word;
	siphash_round(&state);
	state.v0 ^= word;
	state.v2 ^= 0xff;
	siphash_round(&state);
	siphash_round(&state);
	siphash_round(&state);
	return (__u32)(state.v0 ^ state.v1 ^ state.v2 ^ state.v3) % maglev_size;
}

static long fallback_step(__u32 index, struct fallback *fallback)
{
	struct service *service = service_at(fallback->service);
	struct destination *destination;
	__u32 slot;

	if (!service)
		return 1;
	slot = table_entry(service, maglev_bucket(fallback->value + (index + fallback->start) % maglev_size));
	destination = destination_at(slot);
	if (!slot || !destination || !can_serve(destination))
		return 0;
	fallback->found = slot;
	return 1;
}

/* mh: the destination of the client's bucket, or nobody; with mh-fallback the first that can serve further on. */
__noinline __u32 choose_maglev(__u32 service_slot, const struct packet *packet)
{
	struct service *service = service_at(service_slot);
	struct fallback fallback = { .service = service_slot };
	struct destination *destination;
	__u32 slot;

	if (!service || !packet || !service->table)
		return 0;
	fallback.value = fold(&packet->source);
	if (service->flags & SERVICE_FLAG2)
		fallback.value += bpf_ntohs(packet->source_port);
	fallback.start = maglev_bucket(fallback.value);
	slot = table_entry(service, fallback.start);
	destination = destination_at(slot);
	if (slot && destination && can_serve(destination))
		return slot;
	if (!slot || !(service->flags & SERVICE_FLAG1))
		return 0;
	bpf_loop(maglev_size, fallback_step, &fallback, 0);
	return fallback.found;
}

#endif
