/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* From bytes to struct packet: IPv4 and IPv6 headers, ports of TCP, UDP and SCTP, fragments. */
#ifndef HEADGATE_PARSE_H
#define HEADGATE_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "layout.h"
#include "sctp.h"

#define IP_FRAGMENT_OFFSET 0x1fff
#define IP_MORE_FRAGMENTS 0x2000
#define IP_DO_NOT_FRAGMENT 0x4000
#define NEXT_HOP_BY_HOP 0
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_DESTINATION 60
#define NEXT_ICMPV6 58
#define MAX_EXTENSIONS 6

enum tcp_flag {
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_ACK = 16,
};

enum fragment_kind {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST,
	FRAGMENT_LATER,
};

/* What the program knows about a packet. Ports are 0 for later fragments. */
struct packet {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 length;                /* of the IP packet (of the whole super-packet under GSO) */
	__u32 l3;                    /* offset of the IP header */
	__u32 l4;                    /* offset of the transport header */
	__be32 identification;       /* of the datagram; IPv6: fragments only */
	__u8 family;                 /* 4 or 6 */
	__u8 protocol;
	__u8 ttl;
	union {
		__u8 tcp_flags;
		__u8 sctp_event;
	};
	__u8 fragment;
	__u8 do_not_fragment : 1;
	__u8 more : 1;               /* more of the same datagram will come by: its fragments, or itself to be cut */
	__u8 again : 1;              /* on its way back from the internal veth, seen and counted before */
	__u8 routed : 1;             /* brought to the internal veth by its mark */
	__u8 unfinished : 1;         /* SCTP: the checksum is left to the device, of a super-packet or a single one */
	__u8 quoted : 1;             /* what an ICMP error is about, its ends swapped: as the client would have sent it */
	__u8 heard : 1;              /* what it says of FTP has been read */
	__u8 told : 1;               /* the key of what another director tells */
	__u8 l4_header;              /* length of the transport header */
	__u8 tos;
};

enum parsed {
	PARSED = 0,
	PARSED_NOT_OURS,             /* neither TCP nor UDP nor SCTP nor ICMP */
	PARSED_MALFORMED,
	PARSED_SHORT,                /* more bytes are wanted in the linear part */
};

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;               /* in units of 8 bytes << 3, | more fragments */
	__be32 identification;
};

struct extension_header {
	__u8 next;
	__u8 length;                 /* in units of 8 bytes, not counting the first */
};

static __always_inline int has_ports(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_SCTP;
}

/* 1 when a later fragment may belong to a packet with ports: IPv6 may have options between, in the first fragment. */
static __always_inline int may_carry_transport(const struct packet *packet)
{
	return has_ports(packet) ||
	       (packet->family == 6 && packet->protocol == NEXT_DESTINATION);
}

/* Ports, TCP flags. */
static __always_inline int parse_transport(void *data, void *end, struct packet *packet)
{
	if (packet->fragment == FRAGMENT_LATER)
		return may_carry_transport(packet) ? PARSED : PARSED_NOT_OURS;
	if (packet->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = data + packet->l4;

		if ((void *)(tcp + 1) > end)
			return PARSED_SHORT;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->dest;
		packet->tcp_flags = ((__u8 *)tcp)[13];
		packet->l4_header = tcp->doff * 4;
		return PARSED;
	}
	if (packet->protocol == IPPROTO_UDP) {
		struct udphdr *udp = data + packet->l4;

		if ((void *)(udp + 1) > end)
			return PARSED_SHORT;
		packet->source_port = udp->source;
		packet->destination_port = udp->dest;
		packet->l4_header = sizeof(*udp);
		return PARSED;
	}
	if (packet->protocol == IPPROTO_SCTP) {
		struct sctp_header *sctp = data + packet->l4;

		/* Nothing behind it: the chunks of a super-packet are in packets of its list, and stay there (GSO_BY_FRAGS). */
		if ((void *)(sctp + 1) > end)
			return PARSED_SHORT;
		packet->source_port = sctp->source;
		packet->destination_port = sctp->destination;
		packet->l4_header = sizeof(*sctp);
		packet->unfinished = !sctp->checksum && packet->fragment == FRAGMENT_NONE;
		return PARSED;
	}
	return PARSED_NOT_OURS;
}

/* The two ports of a quoted packet, of which an ICMP error need not carry more. */
static __always_inline int parse_ports(void *data, void *end, struct packet *packet)
{
	__be16 *ports = data + packet->l4;

	if (packet->fragment == FRAGMENT_LATER || !has_ports(packet))
		return PARSED_NOT_OURS;
	if ((void *)(ports + 2) > end)
		return PARSED_SHORT;
	packet->source_port = ports[0];
	packet->destination_port = ports[1];
	return PARSED;
}

/* The IPv4 header at offset l3. */
static __always_inline int parse_ipv4_header(void *data, void *end, __u32 l3, struct packet *packet)
{
	struct iphdr *ip = data + l3;
	__u32 header;

	if ((void *)(ip + 1) > end)
		return PARSED_SHORT;
	header = ip->ihl * 4;
	if (ip->version != 4 || header < sizeof(*ip))
		return PARSED_MALFORMED;
	packet->family = 4;
	packet->l3 = l3;
	packet->l4 = l3 + header;
	packet->protocol = ip->protocol;
	packet->ttl = ip->ttl;
	packet->tos = ip->tos;
	packet->length = bpf_ntohs(ip->tot_len);
	packet->source.word[3] = ip->saddr;
	packet->destination.word[3] = ip->daddr;
	packet->do_not_fragment = !!(ip->frag_off & bpf_htons(IP_DO_NOT_FRAGMENT));
	packet->identification = ip->id;
	if (ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET | IP_MORE_FRAGMENTS))
		packet->fragment = ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET) ? FRAGMENT_LATER : FRAGMENT_FIRST;
	return PARSED;
}

/* The IPv6 header at offset l3 and up to MAX_EXTENSIONS extension headers. */
static __always_inline int parse_ipv6_header(void *data, void *end, __u32 l3, struct packet *packet)
{
	struct ipv6hdr *ip = data + l3;
	__u32 offset = l3 + sizeof(*ip);
	__u8 next;
	int i;

	if ((void *)(ip + 1) > end)
		return PARSED_SHORT;
	if (ip->version != 6)
		return PARSED_MALFORMED;
	packet->family = 6;
	packet->l3 = l3;
	packet->ttl = ip->hop_limit;
	packet->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	packet->length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	packet->do_not_fragment = 1;
	__builtin_memcpy(&packet->source, &ip->saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, &ip->daddr, sizeof(packet->destination));
	next = ip->nexthdr;
	for (i = 0; i < MAX_EXTENSIONS; i++) {
		if (next == NEXT_HOP_BY_HOP || next == NEXT_ROUTING || next == NEXT_DESTINATION) {
			struct extension_header *extension = data + offset;

			if ((void *)(extension + 1) > end)
				return PARSED_SHORT;
			next = extension->next;
			offset += (extension->length + 1) * 8;
		} else if (next == NEXT_FRAGMENT) {
			struct fragment_header *fragment = data + offset;

			if ((void *)(fragment + 1) > end)
				return PARSED_SHORT;
			next = fragment->next;
			offset += sizeof(*fragment);
			if (fragment->offset & bpf_htons(0xfff9)) {
				packet->identification = fragment->identification;
				packet->fragment =
					fragment->offset & bpf_htons(0xfff8) ? FRAGMENT_LATER : FRAGMENT_FIRST;
			}
			if (packet->fragment == FRAGMENT_LATER)
				break;
		} else {
			break;
		}
	}
	packet->protocol = next;
	packet->l4 = offset;
	return PARSED;
}

/* Parses what starts at offset l3 into a zeroed packet; `protocol` is the Ethernet type, network order. */
static __always_inline int parse(void *data, void *end, __u32 l3, __be16 protocol, struct packet *packet)
{
	int result;

	if (protocol == bpf_htons(ETH_P_IP))
		result = parse_ipv4_header(data, end, l3, packet);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		result = parse_ipv6_header(data, end, l3, packet);
	else
		return PARSED_NOT_OURS;
	if (result != PARSED)
		return result;
	return parse_transport(data, end, packet);
}

#endif
