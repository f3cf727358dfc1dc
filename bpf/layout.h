/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The records that the program and user space share. User space reads their shapes from the object's BTF, by
 * field name; nothing here is mirrored by hand.
 *
 * Who writes what: "(user)" fields are written by the one writer in user space, each by a single aligned store
 * into the mapped map; all others are written by the program alone.
 *
 * A build with other records takes over a running table by copying field by field, by name (src/dataplane/ebpf/
 * convert.ts): a field that is renamed is a field that is lost.
 */
#ifndef HEADGATE_LAYOUT_H
#define HEADGATE_LAYOUT_H

#include <linux/types.h>

/* An address in network order: IPv6 in all four words, IPv4 in the last, the others zero. */
struct address {
	__be32 word[4];
};

/* Forwarding methods by the kernel's numbers (include/uapi/linux/ip_vs.h, IP_VS_CONN_F_*), and one the kernel has not. */
enum method {
	METHOD_MASQUERADE = 0,
	METHOD_TUNNEL = 2,
	METHOD_DIRECT_ROUTING = 3,
	METHOD_BYPASS = 4,           /* of connections without a destination: to where the client has sent it (cache_bypass) */
	METHOD_FULL_NAT = 5,
};

#define LOCAL_PLACES 8
#define FTP_PORTS 8              /* as many as the kernel's ip_vs_ftp takes */

/* destination.full_nat */
enum full_nat {
	FULL_NAT_TCP_OPTION = 1,     /* the real server hears the client's address by a TCP option */
	FULL_NAT_HERE = 2,           /* the real server is the director itself: connections are masqueraded */
	FULL_NAT_GIVEN = 4,          /* the local addresses are configured ones, not the route's */
};

/* connection_detail.local: the director's end of a connection with full NAT, 0: none. */
enum local_word {
	LOCAL_PORT = 0xffff,         /* network order */
	LOCAL_ADDRESS_SHIFT = 16,    /* place in local_addresses */
	LOCAL_ADDRESS_MASK = 0xff,
	LOCAL_ANSWERED = 1 << 24,    /* the real server has taken the connection */
};

/* TCP states by the kernel's numbers (include/net/ip_vs.h), one for UDP, and from the first of SCTP's on those of SCTP. */
enum state {
	STATE_NONE = 0,
	STATE_ESTABLISHED,
	STATE_SYN_SENT,
	STATE_SYN_RECV,
	STATE_FIN_WAIT,
	STATE_TIME_WAIT,
	STATE_CLOSE,
	STATE_CLOSE_WAIT,
	STATE_LAST_ACK,
	STATE_LISTEN,
	STATE_SYNACK,
	STATE_UDP,
	STATE_SCTP_NONE = 16,
	STATE_SCTP_INIT1,
	STATE_SCTP_INIT,
	STATE_SCTP_COOKIE_SENT,
	STATE_SCTP_COOKIE_REPLIED,
	STATE_SCTP_COOKIE_WAIT,
	STATE_SCTP_COOKIE,
	STATE_SCTP_COOKIE_ECHOED,
	STATE_SCTP_ESTABLISHED,
	STATE_SCTP_SHUTDOWN_SENT,
	STATE_SCTP_SHUTDOWN_RECEIVED,
	STATE_SCTP_SHUTDOWN_ACK_SENT,
	STATE_SCTP_REJECTED,
	STATE_SCTP_CLOSED,
	STATE_COUNT,
};

#define STATE_PLACES 32          /* of a table by state */

/*
 * connection.word: the part of a connection that is changed by compare-and-swap only. Whoever wins the swap
 * adjusts the counts, so counts and entries always agree.
 */
enum connection_word {
	WORD_STATE = 0xff,
	WORD_LIVE = 1 << 8,          /* in the table and found by lookups */
	WORD_DEAD = 1 << 9,          /* no longer found; the sweeper takes it out of its chain */
	WORD_INACTIVE = 1 << 10,     /* counted as inactive */
	WORD_NO_OUTPUT = 1 << 11,    /* replies are not seen here: the input-only state table rules */
	WORD_TEMPLATE = 1 << 12,     /* a persistence template */
	WORD_RULED = 1 << 13,        /* ruled by the template that connection_detail.control tells */
	WORD_ONE_PACKET = 1 << 14,   /* of one datagram, not LIVE: in no chain, not counted, not listed */
	WORD_SYNCED = 1 << 15,       /* told by another director */
	TEMPLATE_ASSURED = 1,        /* in place of a template's state: a real server has answered by it */
	WORD_METHOD_SHIFT = 16,
};

/* One connection: the cache line that every packet touches. */
struct connection {
	__be32 client;               /* last words of the three addresses */
	__be32 virtual;
	__be32 real;
	__be16 client_port;          /* of a template 0, or struct call_id's imprint */
	__be16 virtual_port;
	__be16 real_port;
	__u8 protocol;
	__u8 family;                 /* 4 or 6 */
	__u32 word;                  /* 0: the slot is free, or resting before it is */
	__u32 seen;                  /* jiffies of the last packet */
	__u32 timeout;               /* jiffies of silence after which the entry is gone */
	__u32 next;                  /* next slot of the chain, 0 at its end; of a free slot: of the free list */
	__u32 destination;           /* slot of the destination */
	__u32 packets;               /* packets from the client */
	__u32 hop_ifindex;           /* next hop towards the client; until it was looked up: where the client came from */
	__u16 hop_seen;              /* jiffies >> HOP_SHIFT when it was looked up */
	__u16 hop_mtu;
	__u8 hop_mac[12];            /* Ethernet destination and source */
};

/* The rest of the connection in the same slot: what IPv6 and rarer events need. Zero in a free slot, but for generation. */
struct connection_detail {
	__be32 client_head[3];       /* first words of the addresses, IPv6 */
	__be32 virtual_head[3];
	__be32 real_head[3];
	__u32 fwmark;
	__u32 control;               /* slot of the template that rules this connection */
	__u32 local;                 /* enum local_word */
	__u32 synced;                /* jiffies when another director told of it last */
	__u32 limbo;                 /* of a resting slot: next of the sweeper's list */
	__u32 generation;            /* how many connections the slot has held before */
	__u32 ruled;                 /* of a template: how many connections it rules */
};

enum destination_flag {
	DESTINATION_USED = 1,        /* the slot holds a destination, listed or deleted */
	DESTINATION_AVAILABLE = 2,   /* listed; without it connections meet the fate that the service says */
	DESTINATION_OVERLOAD = 4,    /* came to its upper threshold, and has not been below the lower one since */
	DESTINATION_EXPIRES_TEMPLATES = 8, /* (user) expire_quiescent_template for this one */
};

enum hop_kind {
	HOP_UNKNOWN = 0,
	HOP_NEIGHBOUR,               /* hop_mac and hop_ifindex are good */
	HOP_LOCAL,                   /* the address is one of the director's own */
};

/* One destination: the first line is read for every packet, the second when connections come and go. */
struct destination {
	__u32 flags;                 /* (user, but for OVERLOAD) changed by single steps of both sides */
	__u32 method;                /* (user) */
	struct address address;      /* (user) */
	__be16 port;                 /* (user) */
	__u16 hop_mtu;
	__u32 hop_kind;
	__u32 hop_seen;              /* jiffies */
	__u32 hop_ifindex;
	__u8 hop_mac[12];
	__s32 weight;                /* (user) */
	__u32 next;                  /* (user) next of the service's list, newest first, 0 at its end */

	__u32 active __attribute__((aligned(64))); /* together with inactive one word of eight bytes */
	__u32 inactive;
	__u32 persistent;
	__u32 service;               /* (user) slot of the service */
	__u32 upper;                 /* (user) thresholds */
	__u32 lower;                 /* (user) */
	__u32 family;                /* (user) 4 or 6 */
	__u32 tunnel;                /* (user) type | checksum << 8 | port << 16, host order */
	__u32 added;                 /* (user) order of addition */
	__u32 deleted;               /* (user) seconds of uptime when it was deleted */
	__u32 last_weight;           /* (user) last weight that was not zero */
	struct address hop_via;      /* address of the next hop: a gateway or the destination itself */
	__u32 hop_via_family;        /* address family of hop_via */
	struct address tunnel_source; /* (user: a first one) source of the outer header */
	__u32 full_nat;              /* (user) enum full_nat */
	__u8 local[LOCAL_PLACES];    /* (user) places in local_addresses, repeated to fill all; the first 0: there is none */
};

/* Packets and bytes of one destination on one CPU; the sums over services are made when they are read. */
struct counters {
	__u64 connections;
	__u64 packets_in;
	__u64 packets_out;
	__u64 bytes_in;
	__u64 bytes_out;
};

/*
 * Rates of one destination (net/netfilter/ipvs/ip_vs_est.c): every two seconds a quarter of the way towards what was
 * counted since. Connections and packets a second in units of 1/1024, bytes a second in units of 1/32.
 */
struct estimate {
	struct counters last;        /* counters then */
	__u64 connections;
	__u64 packets_in;
	__u64 packets_out;
	__u64 bytes_in;
	__u64 bytes_out;
	__u32 seen;                  /* (user: 0 to start over) jiffies of the last estimate, 0: none yet */
};

enum scheduler {
	SCHEDULER_NONE = 0,
	SCHEDULER_RR,
	SCHEDULER_WRR,
	SCHEDULER_LC,
	SCHEDULER_WLC,
	SCHEDULER_LBLC,
	SCHEDULER_LBLCR,
	SCHEDULER_DH,
	SCHEDULER_SH,
	SCHEDULER_SED,
	SCHEDULER_NQ,
	SCHEDULER_FO,
	SCHEDULER_OVF,
	SCHEDULER_MH,
	SCHEDULER_TWOS,
};

enum service_flag {
	SERVICE_USED = 1,
	SERVICE_PERSISTENT = 2,
	SERVICE_ONE_PACKET = 4,
	SERVICE_FLAG1 = 8,           /* sh-fallback, mh-fallback */
	SERVICE_FLAG2 = 16,          /* sh-port, mh-port */
	SERVICE_FLAG3 = 32,
	SERVICE_FWMARK = 64,
	SERVICE_FATE_SHIFT = 8,      /* enum fate; stays when the service is deleted */
};

/* What becomes of a connection whose destination is deleted. */
enum fate {
	FATE_DROP = 0,               /* silence; another connection with expire_nodest_conn */
	FATE_KEEP,
	FATE_EXPIRE,                 /* another connection */
	FATE_RESET,
	FATE_MASK = 3,
};

/* Buckets of the sh and dh tables (CONFIG_IP_VS_SH_TAB_BITS, CONFIG_IP_VS_DH_TAB_BITS). */
#define HASH_TABLE_SIZE 256

struct service {
	__u32 flags;                 /* (user) */
	__u32 scheduler;             /* (user) */
	__u32 first;                 /* (user) newest destination, 0 when there is none */
	__u32 count;                 /* (user) destinations */
	__u32 wheel_step;            /* (user) wrr: greatest common divisor of the weights */
	__s32 wheel_top;             /* (user) wrr: weight at which a turn of the wheel starts */
	__u32 table;                 /* (user) 1 + number of the hash table, 0 when there is none */
	__u32 local_seen;            /* jiffies when local was looked up, | 1 */
	__u64 turn;                  /* rr and wrr: slot of the last choice, | current weight << 32; compare-and-swap */
	__u32 local;                 /* the virtual address is one of the director's own */
	__u32 family;                /* (user) 4 or 6 */
	struct address address;      /* (user) */
	__be16 port;                 /* (user) */
	__u16 protocol;              /* (user) IP protocol number */
	__u32 fwmark;                /* (user) */
	__u32 timeout;               /* (user) persistence, seconds */
	__u32 netmask;               /* (user) persistence: IPv4 mask in host order, IPv6 prefix length */
	__u32 added;                 /* (user) order of addition */
	__u32 engine;                /* (user) persistence engine: 0 none, 1 sip */
	__u32 spare[8];
};

/* What a virtual service is looked up by. */
struct service_key {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 family;
};

#define FILTER_BITS 4096

/* How chains are found; a table hashed in another way cannot be taken over. */
enum connection_hash {
	CONNECTION_HASH_CLIENT = 1,  /* client_hash() of connection.h */
};

/* settings.catch_all: which services packets that no address and port leads to may belong to. */
enum catch {
	CATCH_ANY = 1,               /* services with port 0 */
	CATCH_FTP = 2,               /* services with FTP's port: passive data connections are theirs */
	CATCH_MARK = 4,              /* services of firewall marks */
};

/* settings.sync: which connections other directors hear of. */
enum sync {
	SYNC_OFF = 0,
	SYNC_ALL = 1,                /* when they are made, and when their state changes */
	SYNC_BY_PACKETS = 2,         /* as the kernel's ip_vs_sync_conn_needed() says */
};

/* settings.hold: what becomes of packets that would open a connection. */
enum hold {
	HOLD_OFF = 0,                /* they are scheduled */
	HOLD_DROP = 1,               /* dropped: a layout conversion is under way */
	HOLD_PASS = 2,               /* left to the kernel's IPVS: connections move between it and this plane */
};

#define MOST_CALL_ID 255         /* bytes (IP_VS_PEDATA_MAXLEN) */

/* Which call a template of the persistence engine sip is of. */
struct call_id {
	__u32 length;
	__u32 imprint;               /* of the text, keyed; its low half stands in connection.client_port */
	__u8 text[MOST_CALL_ID + 1]; /* zeros behind its length */
};

/* What another director says of a connection: the argument of headgate_take. */
struct sync_entry {
	struct address client;
	struct address virtual;
	struct address real;
	__be16 client_port;
	__be16 virtual_port;
	__be16 real_port;
	__u8 protocol;               /* 0: a template of a firewall mark */
	__u8 family;                 /* 4 or 6 */
	__u32 word;                  /* enum connection_word: state, INACTIVE, TEMPLATE and method */
	__u32 timeout;               /* jiffies */
	__u32 fwmark;
	__u32 destination;           /* in: its local end, enum local_word; out: slot of the destination it has, 0: of none yet */
	__u32 of_call;               /* 1: a template of the call whose Call-ID stands at slot 0 of call_ids */
};

/* Written by user space, read by the program. */
struct settings {
	__u32 layout;                /* which layout all records have; stays first in every layout */
	__u32 hz;                    /* jiffies a second */
	__u32 salt;                  /* of the connection hash */
	__u32 hash;                  /* enum connection_hash */
	__u32 internal_ifindex;      /* hg0, where packets that deserve an ICMP error go */
	__u32 build[2];              /* which object the attached programs come from */
	__u32 service_slots;         /* slots of services used so far */
	__u32 destination_slots;     /* slots of destinations used so far */
	__u32 order;                 /* counter for the order of addition */
	__u32 connections;           /* connections the table can hold */
	__u32 timeout[STATE_PLACES]; /* jiffies by enum state */
	__u32 secure;                /* (program) 1: the states of secure_tcp are in force */
	__u32 hold;                  /* enum hold */
	__u32 catch_all;             /* enum catch: services for more than their own port exist */
	__u32 sync;                  /* enum sync: what is put into the ring for other directors */
	__u32 sync_threshold;        /* SYNC_BY_PACKETS: sysctl sync_threshold */
	__u32 sync_period;           /* 0: told once */
	__u32 pmtu_disc;             /* sysctl of that name: 0 when tunnels fragment what does not fit */
	__u32 expire_nodest_conn;    /* sysctl of that name: 1 when FATE_DROP is FATE_EXPIRE */
	__u32 expire_quiescent_template; /* sysctl of that name: 1 when weight 0 ends templates too */
	__u32 sloppy_tcp;            /* sysctls of their names, from here on */
	__u32 sloppy_sctp;
	__u32 conn_reuse_mode;
	__u32 drop_entry;            /* enum defence_mode, as the next two */
	__u32 drop_packet;
	__u32 secure_tcp;
	__u32 am_droprate;
	__u32 amemthresh;
	__u32 lblc_expiration;       /* seconds, as the next one */
	__u32 lblcr_expiration;
	__u32 nat_icmp_send;
	__u32 schedule_icmp;
	__u32 cache_bypass;
	__u32 ignore_tunneled;
	__u32 half_open_share;       /* percent of the table; 0: no limit */
	__u32 mh_tab_index;          /* (user) which maglev_size the programs are loaded with */
	__be16 ftp_ports[FTP_PORTS]; /* of FTP's control connections, which are read; 0: none more */
	__u64 ftp_filter;            /* bit n: one of them is n, divided by 64 */
	__u32 callers;               /* (user) 1: the map of that name has entries */
	__u32 local_ports;           /* how many ports full NAT has of each local address, 0: it is not used */
	__u32 local_port_first;
	__u32 virtual_filter[FILTER_BITS / 32]; /* addresses that may be a virtual address */
	__u32 reply_filter[FILTER_BITS / 32];   /* addresses that replies may come from */
};

/* Shared words of the program. */
struct runtime {
	__u64 free __attribute__((aligned(64)));     /* free list: slot | tag << 32 */
	__u32 fresh __attribute__((aligned(64)));    /* first slot that was never used */
	__u32 born __attribute__((aligned(64)));     /* counter for connection.born */
	__u32 entries __attribute__((aligned(64)));  /* live connections */
	__u32 local_destinations;                    /* 1: a destination on the director itself was used */
	__u32 expecting;                             /* jiffies | 1 when a data connection was expected last, 0: never */
	__u32 untold;                                /* events that found the ring for other directors full */
	__u32 limbo_first;                           /* the sweeper's own list of slots in their grace */
	__u32 limbo_last;
	__u32 cursor;                                /* slice the sweeper goes on with */
	__u64 sweeps;                                /* ticks of the sweeper */
	__u64 tick_ns;                               /* when the last tick was: monotonic clock */
	__u32 tick_jiffies;                          /* and the same moment in jiffies */
	__u32 estimate_cursor;                       /* destination whose rates come next, 0: between two rounds */
	__u32 estimate_round;                        /* jiffies when the round began */
	__u32 low;                                   /* 1: defences that are automatic are on */
	__u32 drop_rate;                             /* every so many'th new connection is refused, 0: none */
	__u32 drop_debt;                             /* slices to be looked at for drop_entry, in 1/TICKS_A_ROUND */
	__u32 spared[16];                            /* by packets: entries that drop_entry might have dropped */
	__u32 drop_counter __attribute__((aligned(64)));
	__u32 half_open_ticket __attribute__((aligned(64))); /* places of the ring given so far */
	__u64 icmp_tokens __attribute__((aligned(64))); /* global ICMP bucket: jiffies << 32 | tokens */
	__u32 learned_filter[FILTER_BITS / 32];      /* (user: 0 to forget) virtual addresses of firewall-mark services */
};

/* Why packets did not go the usual way; counted per CPU. */
enum event {
	EVENT_TABLE_FULL = 0,        /* new connections refused: the connection table is full */
	EVENT_NO_DESTINATION,        /* new connections refused: no destination available */
	EVENT_DESTINATION_GONE,      /* dropped: the connection's destination was deleted */
	EVENT_FRAGMENT_LOST,         /* dropped: a later fragment came without its first */
	EVENT_TTL,                   /* dropped: time to live exceeded */
	EVENT_TOO_BIG,               /* dropped: longer than the next hop's MTU, not to be fragmented */
	EVENT_NO_ROUTE,              /* dropped: no route to the next hop */
	EVENT_MALFORMED,             /* passed on untouched: headers cut short */
	EVENT_CONTENTION,            /* new connections refused: too many CPUs at one bucket */
	EVENT_HELD,                  /* new connections refused during a layout conversion */
	EVENT_ICMP_SENT,
	EVENT_ICMP_LIMITED,          /* ICMP errors not sent: rate limit */
	EVENT_FRAGMENTED,            /* cut into fragments, being longer than the next hop's MTU */
	EVENT_CONNECTION_ENDED,      /* ended, being without its destination; what may open another does */
	EVENT_CONNECTION_RESET,      /* ended, being without its destination; both ends are told */
	EVENT_LEASE_LAPSED,          /* new connections refused: the lease of their virtual address is over */
	EVENT_AWAITED,               /* dropped: of a connection that another director may yet tell of */
	EVENT_HALF_OPEN_ENDED,       /* half-open connections ended: newer ones had no other place */
	EVENT_ENTRY_DROPPED,         /* ended by drop_entry */
	EVENT_REFUSED,               /* new connections refused by drop_packet */
	EVENT_STRAY,                 /* dropped: of a masqueraded real server, for nobody (nat_icmp_send) */
	EVENT_NO_LOCAL_END,          /* new connections refused: no port of a local address found for full NAT */
	EVENT_FTP_NO_ROOM,           /* FTP replies passed on untouched: too few bytes for the virtual address */
	EVENT_FTP_REFUSED,           /* FTP replies passed on untouched: not the real server's address, or a privileged port */
	EVENT_FRAGMENT_UNKNOWN,      /* dropped: the first fragment of an SCTP packet that does not tell how long all of it is */
	EVENT_NO_CALL_ID,            /* dropped: to a service with the persistence engine sip, without a Call-ID */
	EVENT_COUNT,
};

/* What replies of a connection with full NAT are found by: the director's end and the real server's. */
struct local_end {
	struct address local;
	struct address real;
	__be16 local_port;
	__be16 real_port;
	__u8 protocol;
	__u8 family;
	__u16 zero;
};

/* What an expected data connection of FTP is found by. */
struct expected_key {
	struct address client;
	struct address address;      /* the virtual one; of what the real server opens: the real server's */
	__be16 port;                 /* of whoever waits for it: at the virtual address, or the client's */
	__u8 family;                 /* 4 or 6 */
	__u8 from_server;            /* 1: the real server opens it */
};

struct expected {
	__u32 control;               /* slot of the control connection */
	__u32 generation;            /* of that slot, so that its next connection is told apart */
	__u32 seen;                  /* jiffies */
	__be16 port;                 /* where the real server waits */
	__u16 zero;
};

struct fragment_key {
	struct address source;
	struct address destination;
	__be32 identification;
	__u8 protocol;
	__u8 family;
	__u16 zero;
};

struct fragment {
	__u32 slot;                  /* of the connection the first fragment belonged to, 0: of none */
	__u32 generation;            /* of that slot, so that its next connection is told apart */
	__u32 reply;                 /* 1: towards the client */
	__u32 seen;                  /* jiffies */
};

struct icmp_peer {
	__u32 seen;                  /* jiffies */
	__u32 tokens;                /* jiffies saved up */
};

#endif
