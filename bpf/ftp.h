/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * FTP behind masquerade, what the kernel's ip_vs_ftp is for: its two ends agree on data connections by text. What they say
 * on a control connection is read, and the data connection is expected: from the client to the virtual address and the real
 * server's port, or from the real server to the client's port. It is entered when its SYN comes, ruled by the control
 * connection, which so outlives it.
 *
 * A reply that names the real server's address is made to name the virtual one in as many bytes: no sequence number changes
 * that both ends would have to be kept from seeing. The text before the address gives or takes the difference: it is for
 * people (RFC 959, 5.4; RFC 1123, 4.1.2.6 has clients look for the digits).
 *
 * All of this is hostile input. What is not understood passes on as it is. An expected connection is always one between the
 * client and the real server of the control connection themselves, whatever address the text names, and never one to a
 * privileged port of the real server; there is a bounded number of them.
 */
#ifndef HEADGATE_FTP_H
#define HEADGATE_FTP_H

#include "enter.h"
#include "forward.h"
#include "persist.h"

#define FTP_TEXT 128             /* bytes of a segment that are looked at */
#define LEAST_FTP_TEXT 12        /* in fewer nobody says where data go */
#define COMMAND_LENGTH 5         /* of "PORT " and "EPRT " */
#define REPLY_LENGTH 4           /* of "227 " and "229 " */
#define PORT_NUMBERS 6
#define MOST_PORT_DIGITS 5
#define FTP_DATA_PORT 20         /* of control connections at FTP_PORT */
#define FIRST_UNPRIVILEGED_PORT 1024

/* A text and how far it has been read. */
struct ftp_text {
	__u8 text[FTP_TEXT];
	__u8 before[FTP_TEXT];       /* as it was, when it changes */
	__u64 length;
	__u32 done;                  /* 1: what was looked for is there */
	__u32 begin;                 /* six numbers: the first byte of the first */
	__u32 comma;                 /* and the comma behind the address */
	__u32 count;                 /* numbers, or fields, that are complete */
	__u32 digits;                /* of the number that is being read */
	__u32 value;
	__u32 delimiter;             /* of fields, 0: none yet */
	__u32 name_begin;            /* where the new address is to stand */
	__u8 number[8];
	__u8 name[16];               /* the new address, with commas */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ftp_text);
} ftp_texts SEC(".maps");

struct ftp_reading {
	struct ftp_text *said;
};

static __always_inline int is_digit(__u32 byte)
{
	return byte >= '0' && byte <= '9';
}

/* One byte of a text in which six numbers between commas stand somewhere: four of an address, two of a port. */
static long numbers_step(__u32 index, struct ftp_reading *reading)
{
	struct ftp_text *said = reading->said;
	__u32 byte;

	if (!said || index >= said->length)
		return 1;
	byte = said->text[index & (FTP_TEXT - 1)];
	if (is_digit(byte)) {
		if (!said->digits && !said->count)
			said->begin = index;
		said->digits++;
		said->value = said->value * 10 + byte - '0';
		/* Too much for a number: nor are the others next to it any. */
		if (said->digits > 3 || said->value > 255)
			said->count = PORT_NUMBERS;
		return 0;
	}
	if (byte == ',' && said->digits) {
		said->number[said->count & 7] = said->value;
		if (said->count < PORT_NUMBERS)
			said->count++;
		if (said->count == 4)
			said->comma = index;
	} else if (said->digits && said->count == PORT_NUMBERS - 1) {
		said->number[PORT_NUMBERS - 1] = said->value;
		said->done = 1;
		return 1;
	} else {
		said->count = 0;
	}
	said->digits = 0;
	said->value = 0;
	return 0;
}

/*
 * One byte of a text with fields behind a delimiter each (RFC 2428): a protocol, an address, a port, and the delimiter again.
 * The first delimiter stands at `begin` or, where that is 0, behind a parenthesis.
 */
static long fields_step(__u32 index, struct ftp_reading *reading)
{
	struct ftp_text *said = reading->said;
	__u32 byte;

	if (!said || index >= said->length)
		return 1;
	byte = said->text[index & (FTP_TEXT - 1)];
	if (!said->delimiter) {
		if (said->begin ? index < said->begin : byte == '(') {
			if (!said->begin)
				said->begin = index + 1;
			return 0;
		}
		if (!said->begin)
			return 0;
		said->delimiter = byte;
		return byte <= ' ' || byte > '~' || is_digit(byte);
	}
	if (byte == said->delimiter) {
		said->count++;
		said->done = said->count == 3 && said->digits;
		if (said->count == 3)
			return 1;
		said->digits = 0;
		said->value = 0;
		return 0;
	}
	if (said->count < 2)
		return 0;
	said->digits++;
	said->value = said->value * 10 + byte - '0';
	return !is_digit(byte) || said->digits > MOST_PORT_DIGITS;
}

/* 1 when the text begins with four letters, in capitals or not, and a space. */
static __always_inline int is_command(const struct ftp_text *said, __u32 letters)
{
	return (*(__u32 *)said->text & bpf_htonl(0xdfdfdfdf)) == bpf_htonl(letters) && said->text[4] == ' ';
}

static __always_inline int is_reply(const struct ftp_text *said, __u32 code)
{
	return *(__u32 *)said->text == bpf_htonl(code);
}

/* What a segment of a control connection begins with; NULL when it is nothing to read. */
static __always_inline struct ftp_text *hear(struct __sk_buff *skb, const struct packet *packet,
					     const struct connection *control)
{
	__u32 key = 0, at = packet->l4 + packet->l4_header;
	__u64 length = packet->l3 + packet->length - at;
	struct ftp_text *said;

	if (packet->protocol != IPPROTO_TCP || packet->fragment != FRAGMENT_NONE ||
	    control->word >> WORD_METHOD_SHIFT != METHOD_MASQUERADE ||
	    (control->word & WORD_STATE) != STATE_ESTABLISHED || packet->l4_header < sizeof(struct tcphdr) ||
	    at + LEAST_FTP_TEXT > packet->l3 + packet->length)
		return NULL;
	said = bpf_map_lookup_elem(&ftp_texts, &key);
	if (!said)
		return NULL;
	__builtin_memset(said, 0, sizeof(*said));
	if (length > FTP_TEXT)
		length = FTP_TEXT;
	/* What is compared is what is passed on: Linux 6.1 sees no bounds otherwise. */
	asm volatile("" : "+r"(length));
	if (length < LEAST_FTP_TEXT || length > FTP_TEXT || bpf_skb_load_bytes(skb, at, said->text, length))
		return NULL;
	said->length = length;
	return said;
}

/* Reads six numbers; the port they end with, 0: there are none. */
static __always_inline __u32 read_numbers(struct ftp_text *said)
{
	struct ftp_reading reading = { .said = said };

	bpf_loop(FTP_TEXT, numbers_step, &reading, 0);
	return said->done ? said->number[4] << 8 | said->number[5] : 0;
}

/* Reads fields; the port they end with, 0: there is none. */
static __always_inline __u32 read_fields(struct ftp_text *said, __u32 begin)
{
	struct ftp_reading reading = { .said = said };

	said->begin = begin;
	bpf_loop(FTP_TEXT, fields_step, &reading, 0);
	return said->done && said->value <= 0xffff ? said->value : 0;
}

/* A data connection is expected: the other end of it is in the key. */
static __always_inline void expect(__u32 control, const struct expected_key *key, __u32 port, __u32 now)
{
	struct connection_detail *detail = detail_at(control);
	struct expected expected = { .control = control, .port = bpf_htons(port), .seen = now };

	if (!detail)
		return;
	expected.generation = detail->generation;
	if (!bpf_map_update_elem(&expectations, key, &expected, BPF_ANY) && runtime.expecting != (now | 1))
		runtime.expecting = now | 1;
}

/*
 * A segment of the client on a control connection. "PORT h1,h2,h3,h4,p1,p2" and "EPRT |1|h1.h2.h3.h4|p|" say where it waits
 * for the real server; which address they name does not matter: the only one that is translated for is the client's own.
 */
__noinline int hear_client(struct __sk_buff *skb, const struct packet *packet, __u32 slot)
{
	struct connection *control = connection_at(slot);
	struct expected_key key = {};
	struct ftp_text *said;
	__u32 port = 0;

	if (!packet || !control)
		return 0;
	said = hear(skb, packet, control);
	if (!said)
		return 0;
	if (is_command(said, 'P' << 24 | 'O' << 16 | 'R' << 8 | 'T')) {
		port = read_numbers(said);
		if (said->begin != COMMAND_LENGTH)
			return 0;
	} else if (is_command(said, 'E' << 24 | 'P' << 16 | 'R' << 8 | 'T')) {
		port = read_fields(said, COMMAND_LENGTH);
	}
	if (!port)
		return 0;
	key.client = packet->source;
	key.address.word[3] = control->real;
	if (control->family == 6) {
		struct connection_detail *detail = detail_at(slot);

		if (!detail)
			return 0;
		__builtin_memcpy(key.address.word, detail->real_head, sizeof(detail->real_head));
	}
	key.port = bpf_htons(port);
	key.family = control->family;
	key.from_server = 1;
	expect(slot, &key, 0, now_jiffies());
	return 0;
}

/* Writes an IPv4 address with commas into said->name; its length. */
static __always_inline __u32 write_name(struct ftp_text *said, __be32 address)
{
	__u32 left = bpf_ntohl(address), at = 0;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		__u32 number = left >> 24;

		if (i)
			said->name[at++ & 15] = ',';
		if (number >= 100)
			said->name[at++ & 15] = '0' + number / 100;
		if (number >= 10)
			said->name[at++ & 15] = '0' + number / 10 % 10;
		said->name[at++ & 15] = '0' + number % 10;
		left <<= 8;
	}
	return at;
}

/*
 * One byte of the text up to the comma behind the address: the new address ends there, the byte before the old one (a
 * parenthesis, mostly) stands before it, and what was before that is cut, behind a space, or padded with spaces.
 */
static long rename_step(__u32 index, struct ftp_reading *reading)
{
	struct ftp_text *said = reading->said;
	__u32 at, lead, byte = ' ';

	if (!said)
		return 1;
	at = index + REPLY_LENGTH;
	if (at >= said->comma)
		return 1;
	lead = said->before[(said->begin - 1) & (FTP_TEXT - 1)];
	if (at >= said->name_begin)
		byte = said->name[(at - said->name_begin) & 15];
	else if (at + 1 == said->name_begin)
		byte = lead;
	else if (at + 1 < said->begin && (at + 2 != said->name_begin || said->name_begin >= said->begin || lead == ' '))
		byte = said->before[at & (FTP_TEXT - 1)];
	said->text[at & (FTP_TEXT - 1)] = byte;
	return 0;
}

/* Makes a reply with six numbers name the virtual address. 0: it has no room for it, or cannot be changed. */
static __always_inline int name_virtual(struct __sk_buff *skb, const struct packet *packet, struct ftp_text *said,
					__be32 virtual)
{
	struct ftp_reading reading = { .said = said };
	__u64 length = said->length;
	__u32 name = write_name(said, virtual);
	__s64 difference;

	/* The byte before the address stays, unless the one before that is a space as well. */
	if (said->comma < REPLY_LENGTH + 1 + name &&
	    !(said->comma == REPLY_LENGTH + name && said->text[(said->begin - 1) & (FTP_TEXT - 1)] == ' '))
		return 0;
	said->name_begin = said->comma - name;
	__builtin_memcpy(said->before, said->text, sizeof(said->before));
	bpf_loop(FTP_TEXT, rename_step, &reading, 0);
	difference = bpf_csum_diff((__be32 *)said->before, FTP_TEXT, (__be32 *)said->text, FTP_TEXT, 0);
	asm volatile("" : "+r"(length));
	if (length < LEAST_FTP_TEXT || length > FTP_TEXT)
		return 0;
	return !bpf_l4_csum_replace(skb, packet->l4 + 16, 0, difference, 0) &&
	       !bpf_skb_store_bytes(skb, packet->l4 + packet->l4_header, said->text, length, 0);
}

/*
 * A segment of the real server on a control connection. "227 text (h1,h2,h3,h4,p1,p2)" and "229 text (|||p|)" say where it
 * waits for the client; the parentheses of the first may be missing.
 */
__noinline int hear_server(struct __sk_buff *skb, const struct packet *packet, __u32 slot)
{
	struct connection *control = connection_at(slot);
	struct expected_key key = {};
	struct ftp_text *said;
	__be32 named;
	__u32 port;

	if (!packet || !control)
		return 0;
	said = hear(skb, packet, control);
	if (!said)
		return 0;
	if (is_reply(said, '2' << 24 | '2' << 16 | '9' << 8 | ' ')) {
		port = read_fields(said, 0);
		named = control->real;
	} else if (control->family == 4 && is_reply(said, '2' << 24 | '2' << 16 | '7' << 8 | ' ')) {
		port = read_numbers(said);
		named = *(__be32 *)said->number;
	} else {
		return 0;
	}
	if (!port)
		return 0;
	if (port < FIRST_UNPRIVILEGED_PORT || (named != control->real && named != control->virtual)) {
		count_event(EVENT_FTP_REFUSED);
		return 0;
	}
	if (said->comma && named != control->virtual && !name_virtual(skb, packet, said, control->virtual)) {
		count_event(EVENT_FTP_NO_ROOM);
		return 0;
	}
	key.client = packet->destination;
	virtual_address(control, slot, &key.address);
	key.port = bpf_htons(port);
	key.family = control->family;
	expect(slot, &key, port, now_jiffies());
	return 0;
}

/* The slot of the control connection that a data connection is expected on, 0: of none any more. */
static __always_inline __u32 ruler_of(const struct expected *expected, __u32 now)
{
	struct connection *control = connection_at(expected->control);
	struct connection_detail *detail = detail_at(expected->control);

	if (!control || !detail || detail->generation != expected->generation ||
	    (control->word & (WORD_LIVE | WORD_STATE)) != (WORD_LIVE | STATE_ESTABLISHED) || is_expired(control, now) ||
	    now - expected->seen > settings.timeout[STATE_LISTEN])
		return 0;
	return expected->control;
}

/* 1 when a packet without a connection may be the first of a data connection. */
static __always_inline int may_be_expected(const struct packet *packet, __u32 now)
{
	return runtime.expecting && (__s32)(now - runtime.expecting) <= (__s32)settings.timeout[STATE_LISTEN] &&
	       bpf_ntohs(packet->destination_port) >= FIRST_UNPRIVILEGED_PORT && packet->protocol == IPPROTO_TCP &&
	       (packet->tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_SYN && !settings.hold;
}

/* Enters the data connection that a client opens; its slot, 0: it is not expected. */
__noinline __u32 enter_from_client(const struct packet *packet, __u32 ifindex, __u32 now)
{
	struct expected_key key = {};
	struct expected *expected;
	struct connection *control;
	__u32 slot;

	if (!packet)
		return 0;
	key.client = packet->source;
	key.address = packet->destination;
	key.port = packet->destination_port;
	key.family = packet->family;
	expected = bpf_map_lookup_elem(&expectations, &key);
	if (!expected)
		return 0;
	slot = ruler_of(expected, now);
	control = connection_at(slot);
	if (slot && control)
		slot = enter_connection(packet, control->destination, ifindex, expected->port, slot);
	bpf_map_delete_elem(&expectations, &key);
	return slot;
}

/* Where data are sent from, of control connections at a port (RFC 959, 3.2). */
static __always_inline __be16 data_port_of(__be16 port)
{
	return bpf_htons(bpf_ntohs(port) - 1);
}

/*
 * Enters the data connection that a real server opens, as if its client had: from the port before that of the service if the
 * real server's is the one before its own, as it is to be (RFC 959, 3.2), else from the same one. Its slot, 0: it is not
 * expected.
 */
__noinline __u32 enter_from_server(struct packet *packet, __u32 now)
{
	struct expected_key key = {};
	struct expected *expected;
	struct connection *control;
	__be16 from, to;
	__u32 slot;

	if (!packet)
		return 0;
	key.client = packet->destination;
	key.address = packet->source;
	key.port = packet->destination_port;
	key.family = packet->family;
	key.from_server = 1;
	expected = bpf_map_lookup_elem(&expectations, &key);
	if (!expected)
		return 0;
	slot = ruler_of(expected, now);
	control = connection_at(slot);
	if (slot && control) {
		from = packet->source_port;
		to = packet->destination_port;
		packet->source = key.client;
		virtual_address(control, slot, &packet->destination);
		packet->source_port = to;
		packet->destination_port =
			from == data_port_of(control->real_port) ? data_port_of(control->virtual_port) : from;
		slot = enter_connection(packet, control->destination, 0, from, slot);
		packet->source = key.address;
		packet->destination = key.client;
		packet->source_port = from;
		packet->destination_port = to;
	}
	bpf_map_delete_elem(&expectations, &key);
	return slot;
}

#endif
