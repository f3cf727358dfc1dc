/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The persistence engine sip (ip_vs_pe_sip.c): a template is found by the Call-ID of a SIP message beside the client's
 * network, so that a call stays with its real server whatever port its messages come from. The Call-ID is looked for as the
 * kernel does (ct_sip_get_header): on lines behind the first, as "Call-ID" or "i", in any case; the blanks before its colon
 * and its value may fold the line once (RFC 3261, 7.3.1). Where no colon follows the name the message has no Call-ID,
 * whatever comes on other lines.
 */
#ifndef HEADGATE_SIP_H
#define HEADGATE_SIP_H

#include "connection.h"

#define SIP_CHUNK 64
#define MOST_DATAGRAM 0xffff
#define CALL_ID_NAME 0x64692d6c6c6163ULL /* "call-id", its first letter lowest */
#define CALL_ID_NAME_LENGTH 7
#define CALL_ID_WORDS (sizeof(struct call_id) / sizeof(__u64))

enum sip_place {
	SIP_WITHIN = 0,              /* a line that is not looked for */
	SIP_RETURN,                  /* behind a carriage return */
	SIP_LINE,                    /* at the beginning of a line */
	SIP_NAME,                    /* in the name, as far as it fits */
	SIP_COMPACT,                 /* behind an "i" that may be the name */
	SIP_BLANK,                   /* before the colon or, behind it, the value */
	SIP_FOLD_RETURN,             /* the same, behind a carriage return */
	SIP_FOLD_LINE,               /* the same, at the beginning of a line, which goes on if it begins with a blank */
	SIP_FOLD_BLANK,
	SIP_VALUE,
	SIP_FOUND,
	SIP_NOT_FOUND,
};

/* A message, how far it has been read, and the Call-ID in it. */
struct sip_message {
	struct call_id call_id;
	__u8 chunk[SIP_CHUNK];
	__u32 place;                 /* enum sip_place */
	__u32 fits;                  /* how many letters of the name */
	__u32 colon;                 /* 1: behind it */
	__u32 host;                  /* where the part behind the "@" begins, 0: there is none yet */
	__u32 at;                    /* which byte is read */
	__u32 value;                 /* where the value begins */
	__u32 from;                  /* what comes before is not looked at any more */
};

/* 0: of packets; 1: what another director tells, in whose place a packet may come between. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct sip_message);
} sip_messages SEC(".maps");

/* The bytes of a word (RFC 3261, 25.1), and letters of Latin-1, which the kernel takes for letters (lib/ctype.c). */
const __u32 sip_word_bytes[8] = {
	0x00000000, 0xd7ffefa6, 0xbffffffe, 0x6fffffff, 0x00000000, 0x00000000, 0xff7fffff, 0xff7fffff,
};

static __always_inline int is_sip_word(__u32 byte)
{
	return sip_word_bytes[byte >> 5 & 7] >> (byte & 31) & 1;
}

static __always_inline int is_letter(__u32 byte)
{
	return ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') || (byte >= 0xc0 && byte != 0xd7 && byte != 0xf7);
}

static __always_inline struct sip_message *sip_message(__u32 told)
{
	return bpf_map_lookup_elem(&sip_messages, &told);
}

/* A byte that no header's name or value has to do with: the end of a line, or not. */
static __always_inline long read_within(struct sip_message *message, __u32 byte)
{
	message->place = byte == '\r' ? SIP_RETURN : byte == '\n' ? SIP_LINE : SIP_WITHIN;
	return 0;
}

static __always_inline long end_message(struct sip_message *message, __u32 place)
{
	message->place = place;
	return 1;
}

/*
 * A byte of the value: words, one or two with an "@" between. An empty one is none, and another line is looked for: from there
 * on behind the first of them, and behind later ones by as much as the places of all before add up to (get_callid).
 */
static __always_inline long read_value(struct sip_message *message, __u32 byte)
{
	struct call_id *call_id = &message->call_id;
	__u32 length = call_id->length;
	int parts;

	message->place = SIP_VALUE;
	if (!length)
		message->value = message->at;
	if (is_sip_word(byte) || (byte == '@' && length && !message->host)) {
		if (length <= MOST_CALL_ID)
			call_id->text[length & MOST_CALL_ID] = byte;
		call_id->length = length + 1;
		if (byte == '@')
			message->host = length + 1;
		return 0;
	}
	parts = length > message->host;
	if (parts)
		return end_message(message, length <= MOST_CALL_ID && (byte == '\r' || byte == '\n') ? SIP_FOUND
												      : SIP_NOT_FOUND);
	__builtin_memset(call_id, 0, sizeof(*call_id));
	message->host = 0;
	message->from += message->value;
	message->place = SIP_WITHIN;
	return message->at < message->from ? 0 : read_within(message, byte);
}

/* The byte behind blanks: the colon or, behind that, the first of the value. */
static __always_inline long read_behind(struct sip_message *message, __u32 byte)
{
	if (message->colon)
		return read_value(message, byte);
	message->place = SIP_BLANK;
	message->colon = 1;
	return byte == ':' ? 0 : end_message(message, SIP_NOT_FOUND);
}

static __always_inline int is_blank(__u32 byte)
{
	return byte == ' ' || byte == '\t';
}

/* A byte before the colon, or between colon and value. */
static __always_inline long read_blank(struct sip_message *message, __u32 byte)
{
	message->place = byte == '\r' ? SIP_FOLD_RETURN : byte == '\n' ? SIP_FOLD_LINE : SIP_BLANK;
	return is_blank(byte) || byte == '\r' || byte == '\n' ? 0 : read_behind(message, byte);
}

/* The first byte of a line, or one behind that which belongs to the name looked for. */
static __always_inline long read_name(struct sip_message *message, __u32 byte)
{
	__u32 wanted = CALL_ID_NAME >> (message->fits & 7) * 8 & 0xff;

	message->place = SIP_NAME;
	if (byte == wanted || (wanted != '-' && (byte | 0x20) == wanted)) {
		message->fits++;
		if (message->fits == CALL_ID_NAME_LENGTH)
			message->place = SIP_BLANK;
		return 0;
	}
	if (message->fits)
		return read_within(message, byte);
	message->place = (byte | 0x20) == 'i' ? SIP_COMPACT : SIP_WITHIN;
	return 0;
}

static __always_inline long read_byte(struct sip_message *message, __u32 byte)
{
	switch (message->place) {
	case SIP_RETURN:
		message->place = SIP_LINE;
		if (byte == '\n')
			return 0;
		/* fall through */
	case SIP_LINE:
		message->fits = 0;
		message->colon = 0;
		return read_name(message, byte);
	case SIP_NAME:
		return read_name(message, byte);
	case SIP_COMPACT:
		return is_letter(byte) ? read_within(message, byte) : read_blank(message, byte);
	case SIP_BLANK:
		return read_blank(message, byte);
	case SIP_FOLD_RETURN:
		message->place = SIP_FOLD_LINE;
		if (byte == '\n')
			return 0;
		/* fall through */
	case SIP_FOLD_LINE:
		message->place = SIP_FOLD_BLANK;
		return is_blank(byte) ? 0 : end_message(message, SIP_NOT_FOUND);
	case SIP_FOLD_BLANK:
		return is_blank(byte) ? 0 : read_behind(message, byte);
	case SIP_VALUE:
		return read_value(message, byte);
	default:
		return read_within(message, byte);
	}
}

/* Makes the imprint of the Call-ID. A loop that stays one takes less of the verifier's time. */
static __always_inline void imprint_call(struct call_id *call_id)
{
	__u32 salt = settings.salt, i;

#pragma clang loop unroll(disable)
	for (i = 0; i < sizeof(call_id->text) / 8; i++)
		salt = mix(*(__u32 *)&call_id->text[8 * i], *(__u32 *)&call_id->text[8 * i + 4], salt);
	call_id->imprint = salt | 1;
}

struct sip_reading {
	struct __sk_buff *skb;
	struct sip_message *message;
	__u32 at;                    /* offset of the message in the packet */
	__u32 length;
};

static long sip_step(__u32 index, struct sip_reading *reading)
{
	struct sip_message *message = reading->message;

	if (!message || index >= reading->length)
		return 1;
	if (!(index & (SIP_CHUNK - 1))) {
		__u32 length = reading->length - index;

		if (length > SIP_CHUNK)
			length = SIP_CHUNK;
		/* Bounds in a form that every verifier since 6.1 follows: 1 to 64, and the compiler must not know. */
		asm volatile("" : "+r"(length));
		length = ((length - 1) & (SIP_CHUNK - 1)) + 1;
		if (bpf_skb_load_bytes(reading->skb, reading->at + index, message->chunk, length))
			return 1;
	}
	message->at = index;
	return index < message->from ? 0 : read_byte(message, message->chunk[index & (SIP_CHUNK - 1)]);
}

/*
 * Reads the Call-ID of a datagram, as far as it is here: of a fragment there is the first. 0: there is none, and no template
 * for it. What is not UDP has none, nor has what an ICMP error is about.
 */
__noinline int hear_call(struct __sk_buff *skb, const struct packet *packet)
{
	struct sip_message *message = sip_message(0);
	struct sip_reading reading = { .skb = skb, .message = message };

	if (!packet || !message || packet->protocol != IPPROTO_UDP || packet->quoted)
		return 0;
	reading.at = packet->l4 + sizeof(struct udphdr);
	if (packet->l3 + packet->length <= reading.at)
		return 0;
	reading.length = packet->l3 + packet->length - reading.at;
	__builtin_memset(message, 0, sizeof(*message));
	bpf_loop(MOST_DATAGRAM, sip_step, &reading, 0);
	if (message->place != SIP_FOUND)
		return 0;
	imprint_call(&message->call_id);
	return 1;
}

/* Takes over the Call-ID that another director says, as if it had been read. */
static __always_inline void take_call(void)
{
	struct sip_message *message = sip_message(1);
	__u32 slot = 0;
	struct call_id *said = bpf_map_lookup_elem(&call_ids, &slot);

	if (!message || !said)
		return;
	message->call_id = *said;
	imprint_call(&message->call_id);
}

/* What templates of the Call-ID that was read, or told, last have in place of a client's port, and their keys; never 0. */
static __always_inline __u16 imprint_of(__u32 told)
{
	struct sip_message *message = sip_message(told);

	return message ? (__u16)message->call_id.imprint : 0;
}

/* 1 when a template is of the Call-ID that was read, or told, last. */
static __always_inline int is_of_call(__u32 slot, __u32 told)
{
	struct sip_message *message = sip_message(told);
	__u64 *own = bpf_map_lookup_elem(&call_ids, &slot), *heard = (__u64 *)message;
	__u32 i;

	if (!message || !own)
		return 0;
	/* A loop that stays one takes less stack. */
#pragma clang loop unroll(disable)
	for (i = 0; i < CALL_ID_WORDS; i++)
		if (own[i] != heard[i])
			return 0;
	return 1;
}

/* Notes at a template which Call-ID it is of: the one that was read, or told, last. 0: there is no room. */
static __always_inline int note_call(__u32 slot, __u32 told)
{
	struct sip_message *message = sip_message(told);

	return message && !bpf_map_update_elem(&call_ids, &slot, &message->call_id, BPF_ANY);
}

/* A template leaves the table. */
static __always_inline void forget_call(const struct connection *template, __u32 slot, __u32 word)
{
	if (word & WORD_TEMPLATE && template->client_port)
		bpf_map_delete_elem(&call_ids, &slot);
}

#endif
