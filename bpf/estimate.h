/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Rates of the destinations, estimated as the kernel does it (net/netfilter/ipvs/ip_vs_est.c). */
#ifndef HEADGATE_ESTIMATE_H
#define HEADGATE_ESTIMATE_H

#include "connection.h"

#define ESTIMATE_SECONDS 2
#define ESTIMATE_BUDGET_NS (100 * 1000ULL)
#define MOST_CPUS 8192
#define MOST_DESTINATIONS 16384

struct estimation {
	__u64 started;
	__u32 now;
	__u32 slot;
	struct counters sum;
};

static long add_cpu(__u32 cpu, struct estimation *estimation)
{
	struct counters *counters = bpf_map_lookup_percpu_elem(&destination_counters, &estimation->slot, cpu);

	if (!counters)
		return 1;
	estimation->sum.connections += counters->connections;
	estimation->sum.packets_in += counters->packets_in;
	estimation->sum.packets_out += counters->packets_out;
	estimation->sum.bytes_in += counters->bytes_in;
	estimation->sum.bytes_out += counters->bytes_out;
	return 0;
}

/* A quarter of the way from the rate to what two seconds brought; `shift` is the unit's, doubled by the two seconds. */
static __always_inline __u64 approach(__u64 rate, __u64 counted, __u32 shift)
{
	__s64 distance = (__s64)(counted << shift) - (__s64)rate;

	return rate + (distance >> 2);
}

static __always_inline void estimate(struct estimation *estimation)
{
	struct estimate *estimate = bpf_map_lookup_elem(&destination_estimates, &estimation->slot);
	struct counters *sum = &estimation->sum;

	if (!estimate)
		return;
	__builtin_memset(sum, 0, sizeof(*sum));
	bpf_loop(MOST_CPUS, add_cpu, estimation, 0);
	if (estimate->seen) {
		const struct counters *last = &estimate->last;

		estimate->connections = approach(estimate->connections, sum->connections - last->connections, 9);
		estimate->packets_in = approach(estimate->packets_in, sum->packets_in - last->packets_in, 9);
		estimate->packets_out = approach(estimate->packets_out, sum->packets_out - last->packets_out, 9);
		estimate->bytes_in = approach(estimate->bytes_in, sum->bytes_in - last->bytes_in, 4);
		estimate->bytes_out = approach(estimate->bytes_out, sum->bytes_out - last->bytes_out, 4);
	} else {
		estimate->connections = 0;
		estimate->packets_in = 0;
		estimate->packets_out = 0;
		estimate->bytes_in = 0;
		estimate->bytes_out = 0;
	}
	estimate->last = *sum;
	estimate->seen = estimation->now | 1;
}

static long estimate_step(__u32 index, struct estimation *estimation)
{
	__u32 slot = runtime.estimate_cursor;
	struct destination *destination = destination_at(slot);

	if (!destination || slot > settings.destination_slots) {
		runtime.estimate_cursor = 0;
		return 1;
	}
	if (bpf_ktime_get_ns() - estimation->started > ESTIMATE_BUDGET_NS)
		return 1;
	if (destination->flags & DESTINATION_AVAILABLE) {
		estimation->slot = slot;
		estimate(estimation);
	}
	runtime.estimate_cursor = slot + 1;
	return 0;
}

/* Begins a round over all destinations when it is due, or goes on with one; 1 when it is not through. */
static __always_inline int estimate_rates(__u32 now)
{
	struct estimation estimation = { .started = bpf_ktime_get_ns(), .now = now };

	if (!runtime.estimate_cursor) {
		__u32 period = ESTIMATE_SECONDS * settings.hz;

		if (now - runtime.estimate_round < period)
			return 0;
		/* Ticks are coarse: counted from when it was due, rounds are two seconds apart on average. */
		runtime.estimate_round = now - runtime.estimate_round < 2 * period ? runtime.estimate_round + period : now;
		runtime.estimate_cursor = 1;
	}
	bpf_loop(MOST_DESTINATIONS, estimate_step, &estimation, 0);
	return runtime.estimate_cursor != 0;
}

#endif
