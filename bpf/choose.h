/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* From a service's scheduler to its rule. */
#ifndef HEADGATE_CHOOSE_H
#define HEADGATE_CHOOSE_H

#include "locality.h"
#include "schedule.h"

/* The destination for a new connection, 0 for none. */
static __always_inline __u32 choose(const struct service *service, __u32 service_slot, const struct packet *packet)
{
	switch (service->scheduler) {
	case SCHEDULER_RR:
	case SCHEDULER_WRR:
		return choose_by_turn(service_slot, service->scheduler == SCHEDULER_WRR);
	case SCHEDULER_DH:
	case SCHEDULER_SH:
		return choose_hash(service_slot, packet);
	case SCHEDULER_LBLC:
		return choose_local(service_slot, packet);
	case SCHEDULER_LBLCR:
		return choose_replicated(service_slot, packet);
	case SCHEDULER_MH:
		return choose_maglev(service_slot, packet);
	case SCHEDULER_TWOS:
		return choose_twos(service_slot);
	case SCHEDULER_NONE:
		return 0;
	default:
		return choose_least(service_slot);
	}
}

#endif
