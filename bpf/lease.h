/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Virtual addresses on a lease: a process of the director's says until when it has them (src/ha/leases.ts). From that
 * moment on nobody speaks for them here and nothing new is scheduled, whether that process was killed or only stopped;
 * the connections that there are go on. Where nothing is leased, all of this is one look at the first lease.
 */
#ifndef HEADGATE_LEASE_H
#define HEADGATE_LEASE_H

#include <linux/if_ether.h>
#include <linux/ipv6.h>
#include "parse.h"

#define LEASES 1024
#define LEASED_ADDRESSES 4096

/*
 * (user) Slot 0: enum leasing. Slot 1: until when this director may yet be told of connections that whoever had its
 * addresses before has scheduled. Others: when the lease ends; 0: not held. Moments are nanoseconds since boot, time
 * asleep counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LEASES);
	__type(key, __u32);
	__type(value, __u64);
} leases SEC(".maps");

enum leasing {
	LEASING = 1,                 /* some address is leased */
	LEASING_TO_SERVER = 2,       /* some leased address is resident */
};

#define LEASE_SETTLES 1

struct leased_key {
	struct address address;
	__u32 ifindex;               /* IPv6 link-local: of the interface, else 0 */
};

struct leased {
	__u32 lease;                 /* slot */
	__u32 resident;              /* 1: the host has the address for good besides, as real servers have it */
};

/* (user) */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, LEASED_ADDRESSES);
	__type(key, struct leased_key);
	__type(value, struct leased);
} leased_addresses SEC(".maps");

enum tenure {
	TENURE_OWN = 0,              /* not leased */
	TENURE_HELD,
	TENURE_LAPSED,               /* leased and not held: another director has it, or nobody */
	TENURE_RESIDENT,             /* not held, and the host has the address for good: what comes is for the real server */
};

static __always_inline __u64 leasing(void)
{
	__u32 first = 0;
	__u64 *found = bpf_map_lookup_elem(&leases, &first);

	return found ? *found : 0;
}

/*
 * 1 while a connection of TCP or SCTP that is not known here may be one that is still to be told of: who sends of it again
 * finds it then, and must not be refused before.
 */
static __always_inline int is_awaited(const struct packet *packet)
{
	__u32 slot = LEASE_SETTLES;
	__u64 *until;
	int begins = packet->protocol == IPPROTO_TCP    ? (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN
		     : packet->protocol == IPPROTO_SCTP ? packet->sctp_event == SCTP_EVENT_INIT
							: 1;

	if (begins || !leasing())
		return 0;
	until = bpf_map_lookup_elem(&leases, &slot);
	return until && *until && *until > bpf_ktime_get_boot_ns();
}

/* 1 when the packet, over TCP, belongs to a connection that a program of this host has; who listens does not count. */
__noinline int is_of_this_host(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_sock_tuple ends = {};
	struct bpf_sock *socket;
	int found;

	if (!packet || packet->protocol != IPPROTO_TCP)
		return 0;
	if (packet->family == 6) {
		__builtin_memcpy(ends.ipv6.saddr, &packet->source, sizeof(ends.ipv6.saddr));
		__builtin_memcpy(ends.ipv6.daddr, &packet->destination, sizeof(ends.ipv6.daddr));
		ends.ipv6.sport = packet->source_port;
		ends.ipv6.dport = packet->destination_port;
		socket = bpf_skc_lookup_tcp(skb, &ends, sizeof(ends.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		ends.ipv4.saddr = packet->source.word[3];
		ends.ipv4.daddr = packet->destination.word[3];
		ends.ipv4.sport = packet->source_port;
		ends.ipv4.dport = packet->destination_port;
		socket = bpf_skc_lookup_tcp(skb, &ends, sizeof(ends.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!socket)
		return 0;
	found = socket->state != BPF_TCP_LISTEN;
	bpf_sk_release(socket);
	return found;
}

/* How the host has an address that a packet at an interface names. */
__noinline __u32 tenure_of(const struct address *address, __u32 family, __u32 ifindex)
{
	struct leased_key key = {};
	struct leased *leased;
	__u64 *end;

	if (!address || !leasing())
		return TENURE_OWN;
	key.address = *address;
	if (family == 6 && (address->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
		key.ifindex = ifindex;
	leased = bpf_map_lookup_elem(&leased_addresses, &key);
	if (!leased)
		return TENURE_OWN;
	end = bpf_map_lookup_elem(&leases, &leased->lease);
	if (end && *end > bpf_ktime_get_boot_ns())
		return TENURE_HELD;
	return leased->resident ? TENURE_RESIDENT : TENURE_LAPSED;
}

static __always_inline int is_given_up(__u32 tenure)
{
	return tenure == TENURE_LAPSED || tenure == TENURE_RESIDENT;
}

/* 1 when a packet is for the real server on this host, sent by the director that has the address now. */
__noinline int is_for_resident(struct __sk_buff *skb, const struct packet *packet)
{
	return packet && leasing() & LEASING_TO_SERVER &&
	       tenure_of(&packet->destination, packet->family, skb->ifindex) == TENURE_RESIDENT;
}

#define ARP_REQUEST 1
#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136

/* ARP for IPv4 over Ethernet (RFC 826). */
struct arp_message {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target[4];
};

/* A neighbour solicitation or advertisement behind its IPv6 header (RFC 4861, 4.3 and 4.4): no other one comes between. */
struct neighbour_message {
	struct ipv6hdr ip;
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 flags;
	struct address target;
};

/* The address that an ARP message asks for, or when it leaves speaks for, into `address`; 0 when there is none. */
static __always_inline int arp_subject(struct __sk_buff *skb, __u32 l3, int leaves, struct address *address)
{
	struct arp_message arp;

	if (bpf_skb_load_bytes(skb, l3, &arp, sizeof(arp)) || arp.protocol != bpf_htons(ETH_P_IP) ||
	    arp.hardware_length != ETH_ALEN || arp.protocol_length != 4)
		return 0;
	if (!leaves && arp.operation != bpf_htons(ARP_REQUEST))
		return 0;
	__builtin_memcpy(&address->word[3], leaves ? arp.sender : arp.target, 4);
	return 4;
}

/* The same of neighbour discovery: a solicitation that leaves speaks for its source, an advertisement for its target. */
static __always_inline int neighbour_subject(struct __sk_buff *skb, __u32 l3, int leaves, struct address *address)
{
	struct neighbour_message message;

	if (bpf_skb_load_bytes(skb, l3, &message, sizeof(message)) || message.ip.nexthdr != NEXT_ICMPV6)
		return 0;
	if (message.type == NEIGHBOUR_SOLICITATION && leaves)
		__builtin_memcpy(address, &message.ip.saddr, sizeof(*address));
	else if (message.type == (leaves ? NEIGHBOUR_ADVERTISEMENT : NEIGHBOUR_SOLICITATION))
		*address = message.target;
	else
		return 0;
	return 6;
}

/*
 * 1 when a frame asks for a leased address that is not held, or when it leaves speaks for one: then nobody must hear of it.
 * The kernel names an address it still has in its own solicitations as well.
 */
__noinline int speaks_in_vain(struct __sk_buff *skb, __u32 l3, __u32 leaves)
{
	struct address address = {};
	int family = 0;

	if (!leasing())
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		family = arp_subject(skb, l3, leaves, &address);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		family = neighbour_subject(skb, l3, leaves, &address);
	return family && is_given_up(tenure_of(&address, family, skb->ifindex));
}

#endif
