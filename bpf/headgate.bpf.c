// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The ebpf data plane at tc. Entry points:
 *   headgate_ethernet, headgate_raw   ingress of every interface with and without Ethernet headers
 *   headgate_egress, headgate_raw_egress
 *                                     egress of the same: replies of destinations on the director itself
 *   headgate_report                   ingress of the internal veth: builds ICMP errors, cuts packets into fragments
 *   headgate_routed                   ingress of its other end: packets that a firewall mark brings there
 *   headgate_xdp                      XDP of physical interfaces that asked for it: the fast path alone
 *   headgate_start                    run once by user space: starts the sweeper
 *   headgate_take                     called by user space: enters what another director says of a connection
 *   headgate_alive                    sk_lookup program whose link tells whether the namespace still exists
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "connection.h"
#include "state.h"
#include "enter.h"
#include "template.h"
#include "sweep.h"
#include "schedule.h"
#include "locality.h"
#include "choose.h"
#include "persist.h"
#include "forward.h"
#include "icmp.h"
#include "encapsulate.h"
#include "fragment.h"
#include "ftp.h"
#include "tunneled.h"
#include "cut.h"
#include "flow.h"
#include "lease.h"
#include "reset.h"
#include "stray.h"
#include "caller.h"
#include "error.h"
#include "full-error.h"
#include "tunnel-error.h"
#include "xdp.h"
#include "take.h"

#define PACKET_HOST 0
#define PACKET_MULTICAST 2 /* behind PACKET_BROADCAST */
#define PULL_LENGTH 256
#define GSO_BY_FRAGS 0xffff  /* gso_size of a super-packet of SCTP: a list of packets (include/linux/skbuff.h) */

static __always_inline int is_icmp(const struct packet *packet)
{
	return packet->family == 4 ? packet->protocol == IPPROTO_ICMP : packet->protocol == NEXT_ICMPV6;
}

/*
 * 1 when the lengths in the headers agree with the packet's (ip_rcv, ipv6_rcv). Super-packets over 64 KiB carry none:
 * theirs is the buffer's.
 */
static __always_inline int has_length(const struct __sk_buff *skb, struct packet *packet)
{
	__u32 most = skb->len - packet->l3, headers = packet->l4 - packet->l3;

	if (skb->gso_size && packet->length <= (packet->family == 4 ? 0 : sizeof(struct ipv6hdr)))
		packet->length = most;
	if (packet->fragment != FRAGMENT_LATER)
		headers += packet->protocol == IPPROTO_TCP    ? sizeof(struct tcphdr)
			   : packet->protocol == IPPROTO_SCTP ? sizeof(struct sctp_header) + sizeof(struct sctp_chunk)
							      : sizeof(struct udphdr);
	return packet->length <= most && packet->length >= headers;
}

/*
 * What an SCTP packet says by its first chunk; but an ABORT behind a COOKIE-ECHO or COOKIE-ACK goes before that
 * (set_sctp_state).
 */
static __always_inline void read_chunks(struct __sk_buff *skb, struct packet *packet)
{
	__u32 at = packet->l4 + sizeof(struct sctp_header);
	struct sctp_chunk chunk;

	if (bpf_skb_load_bytes(skb, at, &chunk, sizeof(chunk)))
		return;
	packet->sctp_event = chunk.type < sizeof(sctp_events) ? sctp_events[chunk.type] : SCTP_EVENT_DATA;
	if ((packet->sctp_event != SCTP_EVENT_COOKIE_ECHO && packet->sctp_event != SCTP_EVENT_COOKIE_ACK) ||
	    bpf_ntohs(chunk.length) < sizeof(chunk))
		return;
	at += (bpf_ntohs(chunk.length) + 3) & ~3;
	if (at + sizeof(chunk) <= packet->l3 + packet->length && !bpf_skb_load_bytes(skb, at, &chunk, sizeof(chunk)) &&
	    chunk.type == SCTP_CHUNK_ABORT)
		packet->sctp_event = SCTP_EVENT_LATE_ABORT;
}

/* Reads the headers; when they are not all in the linear part, pulls them there and reads again. */
__noinline int read_packet(struct __sk_buff *skb, __u32 l3, struct packet *packet)
{
	int result;

	if (!packet)
		return PARSED_MALFORMED;
	/* Two values, of which a verifier knows the bounds wherever the compiler keeps it meanwhile. */
	l3 = l3 ? ETHERNET_LENGTH : 0;
	result = parse((void *)(long)skb->data, (void *)(long)skb->data_end, l3, skb->protocol, packet);
	if (result == PARSED_SHORT) {
		/* Pulled out of their list, packets stop the kernel where they are cut again (skb_segment of Linux 6.1). */
		if (skb->gso_size == GSO_BY_FRAGS ||
		    bpf_skb_pull_data(skb, skb->len < PULL_LENGTH ? skb->len : PULL_LENGTH))
			return PARSED_MALFORMED;
		__builtin_memset(packet, 0, sizeof(*packet));
		result = parse((void *)(long)skb->data, (void *)(long)skb->data_end, l3, skb->protocol, packet);
	}
	if ((result == PARSED || (result == PARSED_NOT_OURS && is_icmp(packet))) && !has_length(skb, packet))
		result = PARSED_MALFORMED;
	if (result == PARSED && packet->protocol == IPPROTO_SCTP && packet->fragment != FRAGMENT_LATER)
		read_chunks(skb, packet);
	return result;
}

#define ENDED_STATES (1 << STATE_TIME_WAIT | 1 << STATE_CLOSE | 1 << STATE_SCTP_CLOSED)

/*
 * 1 when a SYN or INIT opens a new connection in place of one: that has ended and no template rules (conn_reuse_mode,
 * is_new_conn_expected; with 2 also one that only the client has ended, as far as is seen), whose destination gets no
 * new ones (expire_nodest_conn), or that another director has scheduled anew, to this host.
 */
static __always_inline int is_reuse(struct __sk_buff *skb, const struct packet *packet,
				    const struct connection *connection)
{
	__u32 state = connection->word & WORD_STATE;

	return begins_anew(packet) &&
	       (leaves_quiescent(connection) ||
		(settings.conn_reuse_mode && !(connection->word & WORD_RULED) &&
		 (1 << (state & (STATE_PLACES - 1)) & ENDED_STATES ||
		  (settings.conn_reuse_mode & 2 && state == STATE_FIN_WAIT && connection->word & WORD_NO_OUTPUT))) ||
		is_for_resident(skb, packet));
}

/* From which sides a packet may belong to a service, as the filters tell. */
enum side {
	SIDE_NONE = 0,
	SIDE_REQUEST = 1,            /* its destination may be a virtual address */
	SIDE_REPLY = 2,              /* its source may be that of replies */
	SIDE_UNKNOWN = 4,
};

/*
 * The sides of an IPv4 packet by a look at its first bytes: most of what only passes by needs no more. ICMP stays
 * unknown: an error's addresses are not those of the packet it is about.
 */
static __always_inline __u32 sides_at_a_glance(const struct __sk_buff *skb, __u32 l3)
{
	const struct iphdr *ip = (void *)(long)skb->data + l3;

	if (skb->protocol != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > (void *)(long)skb->data_end ||
	    ip->protocol == IPPROTO_ICMP)
		return SIDE_UNKNOWN;
	return has_bit(settings.virtual_filter, bpf_ntohl(ip->daddr)) * SIDE_REQUEST +
	       has_bit(settings.reply_filter, bpf_ntohl(ip->saddr)) * SIDE_REPLY;
}

/* What no connection has answered: the packet of a client. */
static __always_inline int take_request(struct __sk_buff *skb, struct packet *packet, __u32 now)
{
	__u32 slot, *first;
	int result;

	if (packet->fragment == FRAGMENT_LATER)
		return pass_fragment(skb, packet, 0);
	first = chain_of(packet, 0);
	slot = first ? find_from(packet, *first, 0, now) : 0;
	if (!slot && may_be_expected(packet, now))
		slot = enter_from_client(packet, came_in(skb, packet), now);
	if (slot) {
		struct connection *connection = connection_at(slot);

		if (packet->protocol == IPPROTO_UDP && is_for_resident(skb, packet))
			return pass_by(packet);
		if (!connection || !is_reuse(skb, packet, connection)) {
			if (is_ftp(packet->destination_port))
				hear_client(skb, packet, slot);
			result = is_full_nat(connection ? connection->word : 0)
					 ? forward_full_request(skb, packet, slot, now)
					 : forward_request(skb, packet, slot, now);
			if (result == VERDICT_THROUGH)
				result = pass_through(skb, packet, slot, now);
			if (result != VERDICT_ANEW)
				return result;
		} else if (end_connection(connection, connection->word)) {
			note_expiry(slot, now);
		}
	}
	return schedule(skb, packet, now);
}

static __always_inline int ingress(struct __sk_buff *skb, __u32 l3)
{
	struct packet packet = {};
	__u32 now, slot, sides;
	int result;

	if (skb->vlan_present)
		return VERDICT_PASS;
	if (skb->pkt_type != PACKET_HOST)
		return skb->pkt_type <= PACKET_MULTICAST && speaks_in_vain(skb, l3, 0) ? VERDICT_DROP : VERDICT_PASS;
	sides = sides_at_a_glance(skb, l3);
	if (sides == SIDE_NONE && !may_be_marked(skb)) {
		note_tunnel_passing(skb, l3);
		return VERDICT_PASS;
	}
	result = read_packet(skb, l3, &packet);
	if (result == PARSED_NOT_OURS && speaks_in_vain(skb, l3, 0))
		return VERDICT_DROP;
	if (result == PARSED_NOT_OURS && is_icmp(&packet)) {
		result = pass_tunnel_error(skb, &packet);
		if (result != VERDICT_PASS)
			return result;
		if (settings.schedule_icmp) {
			if (becomes_quoted(skb, &packet) && schedule(skb, &packet, now_jiffies()) == VERDICT_DROP)
				return VERDICT_DROP;
			__builtin_memset(&packet, 0, sizeof(packet));
			read_packet(skb, l3, &packet);
		}
		result = settings.local_ports ? pass_full_error(skb, &packet) : VERDICT_PASS;
		return result == VERDICT_PASS ? pass_error(skb, &packet, 0) : result;
	}
	if (result == PARSED_NOT_OURS && packet.family)
		note_tunnel(skb, packet.protocol);
	if (result == PARSED_MALFORMED || result == PARSED_SHORT)
		count_event(EVENT_MALFORMED);
	if (result != PARSED)
		return VERDICT_PASS;
	if (sides == SIDE_UNKNOWN)
		sides = in_filter(settings.virtual_filter, &packet.destination) * SIDE_REQUEST +
			in_filter(settings.reply_filter, &packet.source) * SIDE_REPLY;
	if (may_be_marked(skb))
		sides |= SIDE_REQUEST;
	now = now_jiffies();
	if (sides & SIDE_REPLY) {
		if (packet.fragment == FRAGMENT_LATER)
			return pass_fragment(skb, &packet, 0);
		slot = find_reply(&packet, now);
		if (slot)
			return pass_reply(skb, &packet, slot, now, 0);
		slot = settings.local_ports ? find_by_local_end(&packet, now) : 0;
		if (slot)
			return forward_full_reply(skb, &packet, slot, now);
		if (settings.callers && packet.protocol == IPPROTO_UDP) {
			slot = enter_from_caller(skb, &packet, now);
			if (slot)
				return pass_call(skb, &packet, slot, now);
		}
		if (settings.nat_icmp_send && is_stray(&packet) && !is_awaited(&packet))
			return refuse_stray(skb, &packet);
		if (!(sides & SIDE_REQUEST)) {
			if (!is_awaited(&packet) || is_of_this_host(skb, &packet))
				return pass_by(&packet);
			count_event(EVENT_AWAITED);
			return VERDICT_DROP;
		}
	}
	if (!(sides & SIDE_REQUEST))
		return VERDICT_PASS;
	return take_request(skb, &packet, now);
}

#include "routed.h"

SEC("tc")
int headgate_ethernet(struct __sk_buff *skb)
{
	return ingress(skb, ETHERNET_LENGTH);
}

SEC("tc")
int headgate_raw(struct __sk_buff *skb)
{
	return is_tunneled(skb) ? VERDICT_PASS : ingress(skb, 0);
}

static __always_inline int egress(struct __sk_buff *skb, __u32 l3)
{
	struct packet packet = {};
	__u32 now, slot;
	int result;

	if (skb->protocol != bpf_htons(ETH_P_IP) && leasing() && speaks_in_vain(skb, l3, 1))
		return VERDICT_DROP;
	if (!runtime.local_destinations)
		return VERDICT_PASS;
	result = read_packet(skb, l3, &packet);
	if (result == PARSED_NOT_OURS && is_icmp(&packet))
		return pass_error(skb, &packet, 1);
	if (result != PARSED || !in_filter(settings.reply_filter, &packet.source))
		return VERDICT_PASS;
	if (packet.fragment == FRAGMENT_LATER)
		return pass_fragment(skb, &packet, 1);
	now = now_jiffies();
	slot = find_reply(&packet, now);
	return slot ? pass_reply(skb, &packet, slot, now, 1) : VERDICT_PASS;
}

SEC("tc")
int headgate_egress(struct __sk_buff *skb)
{
	return egress(skb, ETHERNET_LENGTH);
}

SEC("tc")
int headgate_raw_egress(struct __sk_buff *skb)
{
	return egress(skb, 0);
}

SEC("tc")
int headgate_report(struct __sk_buff *skb)
{
	__u32 kind = skb->mark >> 16 & 0xff, value = skb->mark & 0xffff;

	if ((skb->mark & 0xff000000) != TURN_MAGIC)
		return VERDICT_DROP;
	switch (kind) {
	case TURN_CUT:
		return forward_again(skb, value);
	case TURN_RESET:
		skb->mark = 0;
		return make_reset(skb);
	case TURN_ONWARD:
	case TURN_TUNNEL:
		skb->mark = 0;
		return send_onward(skb, value, kind == TURN_TUNNEL);
	default:
		return make_report(skb, kind, value);
	}
}

SEC("tc")
int headgate_routed(struct __sk_buff *skb)
{
	return routed(skb);
}

SEC("tc")
int headgate_start(struct __sk_buff *skb)
{
	return start_sweeper();
}

SEC("xdp")
int headgate_xdp(struct xdp_md *xdp)
{
	return fast_path(xdp);
}

SEC("syscall")
int headgate_take(struct sync_entry *entry)
{
	return take_entry(entry);
}

SEC("sk_lookup")
int headgate_alive(struct bpf_sk_lookup *lookup)
{
	return SK_PASS;
}

char headgate_license[] SEC("license") = "Dual MIT/GPL";
