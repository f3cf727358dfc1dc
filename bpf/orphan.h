/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Connections whose destination is deleted, and what their service says about them. */
#ifndef HEADGATE_ORPHAN_H
#define HEADGATE_ORPHAN_H

#include "connection.h"

static __always_inline struct service *service_of(const struct destination *destination)
{
	__u32 slot = destination->service;

	return bpf_map_lookup_elem(&services, &slot);
}

/* What a service says; the record of a deleted one still does. */
static __always_inline __u32 fate_said(const struct destination *destination)
{
	struct service *service = service_of(destination);

	return service ? service->flags >> SERVICE_FATE_SHIFT & FATE_MASK : FATE_DROP;
}

/* What becomes of its connections. */
static __always_inline __u32 fate_of(const struct destination *destination)
{
	__u32 fate = fate_said(destination);

	return fate == FATE_DROP && settings.expire_nodest_conn ? FATE_EXPIRE : fate;
}

/*
 * 1 when a connection ends without waiting for a packet, and a template when it rules none any more: with expire_nodest_conn,
 * where their service follows the kernel's rule (ip_vs_expire_nodest_conn_flush).
 */
static __always_inline int is_flushed(const struct connection *connection)
{
	struct destination *destination;

	if (!settings.expire_nodest_conn || !connection->destination)
		return 0;
	destination = destination_at(connection->destination);
	return destination && !(destination->flags & DESTINATION_AVAILABLE) && fate_said(destination) == FATE_DROP;
}

#endif
