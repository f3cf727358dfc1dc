/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Next hops and header rewriting at tc. Headers are written with bpf_skb_store_bytes: a direct store would make the
 * kernel copy every cloned packet that merely passes by.
 */
#ifndef HEADGATE_FORWARD_H
#define HEADGATE_FORWARD_H

#include "crc32c.h"
#include "state.h"

#define AF_INET 2
#define AF_INET6 10
#define LOOPBACK_IFINDEX 1
#define VERDICT_PASS (-1)        /* TC_ACT_UNSPEC, TCX_NEXT: on to the next program and the stack */
#define VERDICT_DROP 2           /* TC_ACT_SHOT */
#define MAC_LENGTH 12
#define ETHERNET_LENGTH 14
#define BPF_F_CSUM_IPV6 (1ULL << 7) /* BPF_F_IPV6 of linux/bpf.h since 6.16 */

/* Who finds the MAC address of the next hop. */
enum neighbour_layer {
	NEIGHBOUR_CACHED = 0,        /* hop.mac is good */
	NEIGHBOUR_VIA,               /* the kernel, for hop.via */
	NEIGHBOUR_ROUTE,             /* the kernel, after a route lookup of its own */
};

/* Where a packet goes next. */
struct hop {
	__u32 kind;                  /* enum hop_kind; HOP_UNKNOWN: no route */
	__u32 ifindex;
	__u32 mtu;                   /* 0: not known yet */
	__u32 neighbour;             /* enum neighbour_layer */
	__u32 length;                /* in: bytes of the packet or of its longest segment, 0: not known */
	__u32 refused;               /* 1: the kernel gives no answer, somebody switched forwarding off since */
	struct bpf_redir_neigh via;
	__u8 mac[MAC_LENGTH];
};

/*
 * Looks up the way to an address; 1 when the MAC addresses are known too. `source` may be NULL. The lookup starts at the
 * loopback device, whose forwarding flag user space has set, so that it answers with ip_forward off as well; whoever
 * writes ip_forward later clears that flag, and what is known then stays in use. A packet that caused a lookup goes
 * through the neighbour layer: that keeps the kernel's neighbour entry alive and checked.
 */
__noinline int find_hop(struct __sk_buff *skb, const struct address *source, const struct address *target,
			       struct hop *hop, __u32 family)
{
	struct bpf_fib_lookup fib = { .ifindex = LOOPBACK_IFINDEX };
	long result;

	if (!target || !hop)
		return 0;
	/* With a length the kernel answers with the MTU. */
	fib.tot_len = hop->length && hop->length <= 0xffff ? hop->length : 1;
	if (family == 4) {
		fib.family = AF_INET;
		if (source)
			fib.ipv4_src = source->word[3];
		fib.ipv4_dst = target->word[3];
	} else {
		fib.family = AF_INET6;
		if (source)
			__builtin_memcpy(fib.ipv6_src, source->word, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, target->word, sizeof(fib.ipv6_dst));
	}
	hop->kind = HOP_UNKNOWN;
	hop->ifindex = 0;
	hop->mtu = 0;
	hop->neighbour = NEIGHBOUR_VIA;
	hop->refused = 0;
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (result == BPF_FIB_LKUP_RET_NOT_FWDED) {
		hop->kind = HOP_LOCAL;
		hop->ifindex = LOOPBACK_IFINDEX;
		hop->mtu = 0xffff;
		return 0;
	}
	if (result == BPF_FIB_LKUP_RET_FWD_DISABLED)
		hop->refused = 1;
	if (result == BPF_FIB_LKUP_RET_SUCCESS || result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		hop->mtu = fib.mtu_result;
	else if (result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return 0;
	hop->kind = HOP_NEIGHBOUR;
	hop->ifindex = fib.ifindex;
	hop->via.nh_family = fib.family;
	if (fib.family == AF_INET)
		hop->via.ipv4_nh = fib.ipv4_dst;
	else
		__builtin_memcpy(hop->via.ipv6_nh, fib.ipv6_dst, sizeof(hop->via.ipv6_nh));
	__builtin_memcpy(hop->mac, fib.dmac, 6);
	__builtin_memcpy(hop->mac + 6, fib.smac, 6);
	return result == BPF_FIB_LKUP_RET_SUCCESS;
}

/* Length of the packet, or under GSO of each of its segments. */
static __always_inline __u32 segment_length(const struct __sk_buff *skb, const struct packet *packet)
{
	if (skb->gso_size)
		return packet->l4 - packet->l3 + packet->l4_header + skb->gso_size;
	return packet->length;
}

/* 1 when a packet is to be finished first: nothing tells how long the segments of an SCTP super-packet are. */
static __always_inline int must_be_finished(const struct packet *packet)
{
	return packet->unfinished && !packet->again && settings.internal_ifindex;
}

/* 1 when the packet, or each segment of a super-packet, is longer than the MTU, or may be. */
static __always_inline int is_too_big(const struct __sk_buff *skb, const struct packet *packet, __u32 mtu)
{
	return must_be_finished(packet) || (mtu && segment_length(skb, packet) > mtu);
}

/* The way to a destination, from its cache or looked up once a second. */
static __always_inline void hop_to_destination(struct __sk_buff *skb, const struct packet *packet,
					       struct destination *destination, struct hop *hop, __u32 now)
{
	if (destination->hop_kind == HOP_UNKNOWN || now - destination->hop_seen > settings.hz) {
		int complete;

		hop->length = segment_length(skb, packet);
		complete = find_hop(skb, NULL, &destination->address, hop, destination->family);

		if (!hop->refused) {
			destination->hop_kind = HOP_UNKNOWN;
			if (!complete && hop->kind != HOP_LOCAL)
				return;
			__builtin_memcpy(destination->hop_mac, hop->mac, MAC_LENGTH);
			__builtin_memcpy(&destination->hop_via, hop->via.ipv6_nh, sizeof(destination->hop_via));
			destination->hop_via_family = hop->via.nh_family;
			destination->hop_ifindex = hop->ifindex;
			destination->hop_mtu = hop->mtu;
			destination->hop_seen = now;
			destination->hop_kind = hop->kind;
			return;
		}
		if (destination->hop_kind == HOP_UNKNOWN)
			return;
		destination->hop_seen = now;
		hop->neighbour = NEIGHBOUR_VIA;
		hop->via.nh_family = destination->hop_via_family;
		__builtin_memcpy(hop->via.ipv6_nh, &destination->hop_via, sizeof(destination->hop_via));
	} else {
		hop->neighbour = NEIGHBOUR_CACHED;
	}
	hop->kind = destination->hop_kind;
	hop->ifindex = destination->hop_ifindex;
	hop->mtu = destination->hop_mtu;
	__builtin_memcpy(hop->mac, destination->hop_mac, MAC_LENGTH);
}

/* The way to the client of a connection, from its cache or looked up every second or so. */
static __always_inline void hop_to_client(struct __sk_buff *skb, const struct packet *packet,
					  const struct address *source, const struct address *client,
					  struct connection *connection, struct hop *hop, __u32 now)
{
	__u16 moment = now >> HOP_SHIFT;

	/* Without an MTU it was never looked up: the moment, of 16 bits, may look fresh by chance. */
	if (!connection->hop_mtu || (__u16)(moment - connection->hop_seen) > settings.hz >> HOP_SHIFT) {
		int complete;

		hop->length = segment_length(skb, packet);
		complete = find_hop(skb, source, client, hop, packet->family);

		if (!hop->refused) {
			if (!complete && hop->kind != HOP_LOCAL)
				return;
			__builtin_memcpy(connection->hop_mac, hop->mac, MAC_LENGTH);
			connection->hop_mtu = hop->mtu;
			connection->hop_ifindex = hop->ifindex;
			connection->hop_seen = moment;
			return;
		}
		/* Back to where the client's packets come from. */
		hop->neighbour = NEIGHBOUR_ROUTE;
	} else {
		hop->neighbour = NEIGHBOUR_CACHED;
	}
	hop->kind = connection->hop_ifindex == LOOPBACK_IFINDEX ? HOP_LOCAL : HOP_NEIGHBOUR;
	hop->ifindex = connection->hop_ifindex;
	hop->mtu = connection->hop_mtu;
	__builtin_memcpy(hop->mac, connection->hop_mac, MAC_LENGTH);
}

/* A checksum after the sum of what it covers has changed by `difference`, itself a sum of 16-bit words (RFC 1624). */
static __always_inline __u16 checksum_add(__u16 checksum, __u64 difference)
{
	__u64 sum = (__u16)~checksum + difference;

	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* What checksum_add takes when words replace each other. */
static __always_inline __u64 difference_of(__be32 old, __be32 new)
{
	return (__u64)(__u32)~old + new;
}

/* What is rewritten in a packet. */
struct rewrite {
	const struct address *address; /* new destination, or source for a reply */
	__be16 port;
	__u8 translate;              /* 1: address and port change */
	__u8 reply;                  /* 1: the source changes, else the destination */
	__u8 forward;                /* 1: the time to live goes down */
};

static __always_inline const struct address *address_before(const struct packet *packet, const struct rewrite *rewrite)
{
	return rewrite->reply ? &packet->source : &packet->destination;
}

static __always_inline __be16 port_before(const struct packet *packet, const struct rewrite *rewrite)
{
	return rewrite->reply ? packet->source_port : packet->destination_port;
}

static __always_inline void edit_ipv4(struct iphdr *ip, const struct rewrite *rewrite)
{
	__u64 difference = 0;

	if (rewrite->forward) {
		/* The time to live is the high byte of its word, which loses 0x0100. */
		difference = (__u16)~bpf_htons(0x0100);
		ip->ttl--;
	}
	if (rewrite->translate) {
		__be32 *address = rewrite->reply ? &ip->saddr : &ip->daddr;

		difference += difference_of(*address, rewrite->address->word[3]);
		*address = rewrite->address->word[3];
	}
	if (difference)
		ip->check = checksum_add(ip->check, difference);
}

static __always_inline void edit_ipv6(struct ipv6hdr *ip, const struct rewrite *rewrite)
{
	if (rewrite->forward)
		ip->hop_limit--;
	if (rewrite->translate)
		__builtin_memcpy(rewrite->reply ? &ip->saddr : &ip->daddr, rewrite->address->word, 16);
}

/* By how much a translation changes the sum that the transport checksum covers. */
static __always_inline __u64 translation_difference(const struct packet *packet, const struct rewrite *rewrite)
{
	const struct address *old = address_before(packet, rewrite);
	const struct address *new = rewrite->address;
	__u64 sum = difference_of(old->word[3], new->word[3]) + (__u16)~port_before(packet, rewrite) + rewrite->port;

	if (packet->family == 6)
		sum += difference_of(old->word[0], new->word[0]) + difference_of(old->word[1], new->word[1]) +
		       difference_of(old->word[2], new->word[2]);
	return sum;
}

/* Both ports are written: a choice between two places is more than the verifier follows. */
static __always_inline void edit_ports(__be16 *ports, const struct packet *packet, const struct rewrite *rewrite)
{
	ports[0] = rewrite->reply ? rewrite->port : packet->source_port;
	ports[1] = rewrite->reply ? packet->destination_port : rewrite->port;
}

static __always_inline void edit_tcp(struct tcphdr *tcp, const struct packet *packet, const struct rewrite *rewrite)
{
	edit_ports(&tcp->source, packet, rewrite);
	tcp->check = checksum_add(tcp->check, translation_difference(packet, rewrite));
}

static __always_inline void edit_udp(struct udphdr *udp, const struct packet *packet, const struct rewrite *rewrite)
{
	edit_ports(&udp->source, packet, rewrite);
	/* 0 stands for "no checksum" (RFC 768). */
	if (udp->check) {
		__u16 check = checksum_add(udp->check, translation_difference(packet, rewrite));

		udp->check = check ? check : 0xffff;
	}
}

/* The transport checksum for a translated address and port, whatever state the kernel has it in. */
static __always_inline int adjust_checksum(struct __sk_buff *skb, const struct packet *packet,
					   const struct rewrite *rewrite)
{
	const struct address *old = address_before(packet, rewrite);
	__u32 checksum = packet->l4 + (packet->protocol == IPPROTO_TCP ? 16 : 6);
	__u64 flags = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	if (packet->family == 4) {
		if (bpf_l4_csum_replace(skb, checksum, old->word[3], rewrite->address->word[3],
					flags | BPF_F_PSEUDO_HDR | 4))
			return 0;
	} else {
		__s64 difference = bpf_csum_diff((__be32 *)old->word, 16, (__be32 *)rewrite->address->word, 16, 0);

		if (bpf_l4_csum_replace(skb, checksum, 0, difference, flags | BPF_F_PSEUDO_HDR | BPF_F_CSUM_IPV6) &&
		    bpf_l4_csum_replace(skb, checksum, 0, difference, flags | BPF_F_PSEUDO_HDR))
			return 0;
	}
	if (port_before(packet, rewrite) == rewrite->port)
		return 1;
	return !bpf_l4_csum_replace(skb, checksum, port_before(packet, rewrite), rewrite->port, flags | 2);
}

/* What is written of the transport header together with the IP header, in bytes. */
enum transport_part {
	PART_NONE = 0,
	PART_PORTS = 4,
	PART_UDP = sizeof(struct udphdr),
	PART_TCP = sizeof(struct tcphdr),
};

static __always_inline void edit_transport(void *transport, const struct packet *packet,
					   const struct rewrite *rewrite, enum transport_part part)
{
	if (part == PART_PORTS)
		edit_ports(transport, packet, rewrite);
	else if (part == PART_UDP)
		edit_udp(transport, packet, rewrite);
	else if (part == PART_TCP)
		edit_tcp(transport, packet, rewrite);
}

struct ipv4_head {
	__u8 padding[2];             /* brings the IP header to a multiple of four */
	__u8 ethernet[ETHERNET_LENGTH];
	struct iphdr ip;
	__u8 transport[PART_TCP];
};

struct ipv6_head {
	__u8 padding[2];             /* brings the IP header to a multiple of four */
	__u8 ethernet[ETHERNET_LENGTH];
	struct ipv6hdr ip;
	__u8 transport[PART_TCP];
};

/* Rewrites the IP header, the Ethernet addresses with `mac` and a part of the transport header, in one store. */
static __always_inline int rewrite_ipv4_and(struct __sk_buff *skb, const struct packet *packet,
					    const struct rewrite *rewrite, const __u8 *mac, enum transport_part part)
{
	struct ipv4_head head;
	struct iphdr *ip = (void *)(long)skb->data + (packet->l3 ? ETHERNET_LENGTH : 0);

	if ((void *)(ip + 1) + part > (void *)(long)skb->data_end)
		return 0;
	__builtin_memcpy(&head.ip, ip, sizeof(*ip) + part);
	edit_ipv4(&head.ip, rewrite);
	edit_transport(head.transport, packet, rewrite, part);
	if (!mac)
		return !bpf_skb_store_bytes(skb, packet->l3, &head.ip, sizeof(head.ip) + part, 0);
	__builtin_memcpy(head.ethernet, mac, MAC_LENGTH);
	*(__be16 *)(head.ethernet + MAC_LENGTH) = bpf_htons(ETH_P_IP);
	return !bpf_skb_store_bytes(skb, 0, head.ethernet, ETHERNET_LENGTH + sizeof(head.ip) + part, 0);
}

static __always_inline int rewrite_ipv6_and(struct __sk_buff *skb, const struct packet *packet,
					    const struct rewrite *rewrite, const __u8 *mac, enum transport_part part)
{
	struct ipv6_head head;
	struct ipv6hdr *ip = (void *)(long)skb->data + (packet->l3 ? ETHERNET_LENGTH : 0);

	if ((void *)(ip + 1) + part > (void *)(long)skb->data_end)
		return 0;
	__builtin_memcpy(&head.ip, ip, sizeof(*ip) + part);
	edit_ipv6(&head.ip, rewrite);
	edit_transport(head.transport, packet, rewrite, part);
	if (!mac)
		return !bpf_skb_store_bytes(skb, packet->l3, &head.ip, sizeof(head.ip) + part, 0);
	__builtin_memcpy(head.ethernet, mac, MAC_LENGTH);
	*(__be16 *)(head.ethernet + MAC_LENGTH) = bpf_htons(ETH_P_IPV6);
	return !bpf_skb_store_bytes(skb, 0, head.ethernet, ETHERNET_LENGTH + sizeof(head.ip) + part, 0);
}

static __always_inline int rewrite_ipv4(struct __sk_buff *skb, const struct packet *packet,
					const struct rewrite *rewrite, const __u8 *mac)
{
	return rewrite_ipv4_and(skb, packet, rewrite, mac, PART_NONE);
}

static __always_inline int rewrite_ipv6(struct __sk_buff *skb, const struct packet *packet,
					const struct rewrite *rewrite, const __u8 *mac)
{
	return rewrite_ipv6_and(skb, packet, rewrite, mac, PART_NONE);
}

static __always_inline int rewrite_and(struct __sk_buff *skb, const struct packet *packet,
				       const struct rewrite *rewrite, const __u8 *mac, enum transport_part part)
{
	return packet->family == 4 ? rewrite_ipv4_and(skb, packet, rewrite, mac, part)
				   : rewrite_ipv6_and(skb, packet, rewrite, mac, part);
}

/*
 * Applies a rewrite. 0: the packet could not be changed.
 *
 * A checksum that the receiving interface has verified (CHECKSUM_UNNECESSARY) is a finished one, so it is adjusted
 * together with all else in one store. In any other state it may be half done (CHECKSUM_PARTIAL) or the kernel may
 * keep a sum beside it (CHECKSUM_COMPLETE): then the kernel's function must adjust it.
 */
static __always_inline int rewrite_packet(struct __sk_buff *skb, const struct packet *packet,
					  const struct rewrite *rewrite, const __u8 *mac)
{
	__u32 header = packet->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	int adjoining = packet->l4 - packet->l3 == header;
	__be16 port;

	if (!rewrite->translate || packet->fragment == FRAGMENT_LATER)
		return rewrite_and(skb, packet, rewrite, mac, PART_NONE);
	if (packet->protocol == IPPROTO_SCTP)
		return change_sctp_port(skb, packet, rewrite->port, rewrite->reply) &&
		       rewrite_and(skb, packet, rewrite, mac, PART_NONE);
	if (mac && adjoining && bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0)
		return packet->protocol == IPPROTO_TCP ? rewrite_and(skb, packet, rewrite, mac, PART_TCP)
						       : rewrite_and(skb, packet, rewrite, mac, PART_UDP);
	if (!adjust_checksum(skb, packet, rewrite))
		return 0;
	if (adjoining)
		return rewrite_and(skb, packet, rewrite, mac, PART_PORTS);
	port = rewrite->port;
	if (bpf_skb_store_bytes(skb, packet->l4 + (rewrite->reply ? 0 : 2), &port, sizeof(port), 0))
		return 0;
	return rewrite_and(skb, packet, rewrite, mac, PART_NONE);
}

/*
 * Gives a rewritten packet that has none its Ethernet header: redirecting wants one, and takes it off again for devices
 * without.
 */
static __always_inline int add_ethernet(struct __sk_buff *skb, const __u8 *mac)
{
	struct {
		__u8 mac[MAC_LENGTH];
		__be16 protocol;
	} head = { .protocol = skb->protocol };

	__builtin_memcpy(head.mac, mac, MAC_LENGTH);
	return !bpf_skb_change_head(skb, ETHERNET_LENGTH, 0) &&
	       !bpf_skb_store_bytes(skb, 0, &head, sizeof(head), 0);
}

/* Counts a packet of a destination. */
static __always_inline void count_packet(__u32 destination, __u32 bytes, __u32 reply)
{
	struct counters *counters = bpf_map_lookup_elem(&destination_counters, &destination);

	if (!counters)
		return;
	if (reply) {
		counters->packets_out++;
		counters->bytes_out += bytes;
	} else {
		counters->packets_in++;
		counters->bytes_in += bytes;
	}
}

#endif
