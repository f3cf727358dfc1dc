/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Other ports in an SCTP packet, and the checksum they make. The checksum is a CRC (RFC 9260, 6.8), which is
 * linear: the change of the first four bytes of a packet of n bytes changes it by that times x^8n modulo the polynomial, so
 * nothing else of the packet is read. Addresses are not covered.
 *
 * Polynomials are words with x^0 in the highest bit, as the CRC has its bytes; the checksum lies in the packet with its
 * lowest byte first.
 */
#ifndef HEADGATE_CRC32C_H
#define HEADGATE_CRC32C_H

#include "maps.h"
#include "parse.h"

#define CRC32C_POLYNOMIAL 0x82f63b78

/* x^(8 d 16^k) for each digit d of a length in bytes, by its place k. */
const __u32 crc32c_powers[4][16] = {
	{
		0x80000000, 0x00800000, 0x00008000, 0x00000080, 0x82f63b78, 0xfbc3faf9, 0x8b277743, 0x52a0c93f,
		0x6ea2d55c, 0x1c08b7d6, 0xf56e0ef4, 0x34019664, 0xa66805eb, 0x7a1f6b24, 0xe75d06aa, 0xc94ec098,
	},
	{
		0x80000000, 0x18b8ea18, 0x510ac59a, 0xb2dea967, 0xb82be955, 0x36c41f1c, 0x19b29a35, 0xc9e90b9e,
		0xb8fdb1e7, 0xe55ef1f3, 0x1fe0b5c3, 0xe0553f1e, 0x18e4a304, 0x2b830011, 0x56993a31, 0x0246e2e6,
	},
	{
		0x80000000, 0x88e56f72, 0x74c360a4, 0x631bb273, 0xe4172b16, 0x71892b1b, 0x835305c9, 0x196b1eae,
		0x0d65762a, 0xafc81338, 0xb5a50ab7, 0xf373c3ac, 0x5f60970f, 0xd46d3063, 0x3a5275ea, 0x02331c01,
	},
	{
		0x80000000, 0x35d73a62, 0x28461564, 0x43eefc9f, 0xbf455269, 0x5edcdeb9, 0x65059450, 0x4e6f41a4,
		0xe2ea32dc, 0xf5b95b32, 0x695a4c87, 0xf204502c, 0x9a4f01b6, 0x941a0916, 0x4303cb97, 0x4c3d3d65,
	},
};

/*
 * By how much a change of its first four bytes changes the checksum of a packet of so many bytes. In line, where a call of
 * its own would be simpler: stack is scarce.
 */
static __always_inline __u32 crc32c_change(__u32 change, __u32 length)
{
	__u32 place, bit;

	for (place = 0; place < 4 && length; place++) {
		__u32 power = crc32c_powers[place][length & 15], product = 0;

#pragma clang loop unroll(disable)
		for (bit = 0; bit < 32; bit++) {
			product ^= power & -(change >> 31);
			change <<= 1;
			power = power >> 1 ^ (CRC32C_POLYNOMIAL & -(power & 1));
		}
		change = product;
		length >>= 4;
	}
	return change;
}

/*
 * The length of what the checksum of a packet covers, 0: not known. The first fragment of a packet tells it where its first
 * chunk goes on in the others: what does not fit the path comes alone (RFC 9260, 6.9 and 6.10).
 */
static __always_inline __u32 sctp_length(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 here = packet->length - (packet->l4 - packet->l3), length;
	struct sctp_chunk chunk;

	if (packet->fragment == FRAGMENT_NONE)
		return here;
	if (bpf_skb_load_bytes(skb, packet->l4 + sizeof(struct sctp_header), &chunk, sizeof(chunk)))
		return 0;
	length = sizeof(struct sctp_header) + ((bpf_ntohs(chunk.length) + 3) & ~3);
	return length > here ? length : 0;
}

/*
 * Gives an SCTP packet another source or destination port. A checksum that the device is to make stays for it to be made.
 * 0: the packet could not be changed.
 */
__noinline int change_sctp_port(struct __sk_buff *skb, const struct packet *packet, __u32 port, __u32 source)
{
	struct {
		union {
			__be16 port[2];
			__u32 word;
		};
		__be32 tag;
		__u32 checksum;
	} head;
	__u32 before, length;

	if (!packet || bpf_skb_load_bytes(skb, packet->l4, &head, sizeof(head)))
		return 0;
	before = head.word;
	if (source)
		head.port[0] = port;
	else
		head.port[1] = port;
	if (before == head.word)
		return 1;
	if (!packet->unfinished || packet->again) {
		length = sctp_length(skb, packet);
		if (!length) {
			count_event(EVENT_FRAGMENT_UNKNOWN);
			return 0;
		}
		head.checksum ^= crc32c_change(before ^ head.word, length);
	}
	return !bpf_skb_store_bytes(skb, packet->l4, &head, sizeof(head), 0);
}

#endif
