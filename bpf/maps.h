/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps. Sizes given here are the demonstration's; user space sets them when it makes the maps. */
#ifndef HEADGATE_MAPS_H
#define HEADGATE_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "layout.h"

/* Connection slots; slot 0 is never used: it means "none". */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65537);
	__type(key, __u32);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65537);
	__type(key, __u32);
	__type(value, struct connection_detail);
} connection_details SEC(".maps");

#define BUCKET_LINE_BITS 4

/* First slots of sixteen hash chains: a cache line of them, as array values are padded to eight bytes. */
struct bucket_line {
	__u32 first[1 << BUCKET_LINE_BITS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 32768 >> BUCKET_LINE_BITS);
	__type(key, __u32);
	__type(value, struct bucket_line);
} buckets SEC(".maps");

#define SLICE_BITS 8
#define SLICE_SIZE (1 << SLICE_BITS)

/* For each slice of 256 connection slots a moment (jiffies) before which none of them expires; 0: nothing there. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 257);
	__type(key, __u32);
	__type(value, __u32);
} slices SEC(".maps");

/* Slot 0 is never used. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct destination);
} destinations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct counters);
} destination_counters SEC(".maps");

/* Their rates, by the sweeper. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct estimate);
} destination_estimates SEC(".maps");

/* (user) Where counting started: subtracted from the counters when they are shown. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct counters);
} destination_baselines SEC(".maps");

/* Slot 0 is never used. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct service);
} services SEC(".maps");

/* (user) The same for the sum over a service's destinations. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct counters);
} service_baselines SEC(".maps");

/* Key of a virtual service -> its slot. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct service_key);
	__type(value, __u32);
} service_index SEC(".maps");

/* (user) With nat_icmp_send: address and port of each masqueraded real server -> the director's address towards it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 32768);
	__type(key, struct service_key);
	__type(value, struct address);
} real_services SEC(".maps");

/* (user) Address and port of each masqueraded real server of a service with the persistence engine sip -> its slot. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct service_key);
	__type(value, __u32);
} callers SEC(".maps");

/* The director's end of each connection with full NAT -> its slot. As many as the table has connections. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65537);
	__type(key, struct local_end);
	__type(value, __u32);
} local_ends SEC(".maps");

/* (user) The director's own addresses that full NAT takes; place 0 is never used, and what stands in a place stays. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LOCAL_ADDRESS_MASK + 1);
	__type(key, __u32);
	__type(value, struct address);
} local_addresses SEC(".maps");

struct hash_table {
	__u32 destination[HASH_TABLE_SIZE]; /* (user) slots, 0: none */
};

/* Tables of the services with a hash scheduler: one for dh and sh, as many in a row for mh as maglev_size fills. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct hash_table);
} hash_tables SEC(".maps");

#define LOCALITY_MEMBERS 32

struct locality_key {
	__u32 service;               /* slot */
	__u32 term;                  /* of the scheduler in that service: another one starts without memories */
	struct address address;
};

/* Who has served an address: the latest last. */
struct locality {
	__u32 member[LOCALITY_MEMBERS]; /* slots */
	__u32 count;
	__u32 modified;              /* jiffies */
	__u32 used;                  /* jiffies */
};

/* What lblc and lblcr remember; as many as the kernel's hard limit. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 24576);
	__type(key, struct locality_key);
	__type(value, struct locality);
} localities SEC(".maps");

/* First fragments seen lately; losing one only costs the datagram. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

/* Data connections that FTP's control connections have spoken of; losing one only costs a transfer. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct expected_key);
	__type(value, struct expected);
} expectations SEC(".maps");

/*
 * Slot of each template of the persistence engine sip -> its Call-ID; (user) slot 0: what another director says. As many as
 * the table has connections.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65537);
	__type(key, __u32);
	__type(value, struct call_id);
} call_ids SEC(".maps");

/* Who got ICMP errors lately (inet_peer of the kernel). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct address);
	__type(value, struct icmp_peer);
} icmp_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} events SEC(".maps");

struct sweeper {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sweeper);
} sweepers SEC(".maps");

/* The latest half-open connections: slot, | imprint << 32. Half as many places as the table has. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u64);
} half_open SEC(".maps");

/* Slots of connections that other directors shall hear of; only filled while settings.sync says so. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} sync_ring SEC(".maps");

struct settings settings SEC(".data.settings");
struct runtime runtime SEC(".data.runtime");

/* Puts the shared enumerations and records into the object's type information. */
const struct {
	enum connection_word connection_word;
	enum destination_flag destination_flag;
	enum hop_kind hop_kind;
	enum scheduler scheduler;
	enum service_flag service_flag;
	enum fate fate;
	enum event event;
	enum state state;
	enum method method;
	enum connection_hash connection_hash;
	enum catch catch;
	enum hold hold;
	enum sync sync;
	enum full_nat full_nat;
	enum local_word local_word;
} vocabulary;

/* Fixed when the program is loaded. */
const volatile __u32 bucket_mask = 32767;
const volatile __u32 connection_limit = 65536;   /* slots 1..limit */
const volatile __u32 slice_count = 257;
const volatile __u32 maglev_size = 4093;         /* buckets of mh: a prime, by CONFIG_IP_VS_MH_TAB_INDEX */

/* Counts an event. */
static __always_inline void count_event(__u32 event)
{
	__u64 *count = bpf_map_lookup_elem(&events, &event);

	if (count)
		*count += 1;
}

#endif
