/**
 * Every error the product can show, by stable code. `title` says what happened, `hint` what to do next; both are
 * the text of docs/reference/errors.md, which a test holds against this table in both directions.
 */
export const errorCatalogue = {
  HG_USAGE: {
    title: 'The command line is not understood',
    hint: 'Run the command with --help to see what it takes.',
  },
  HG_NOT_ROOT: {
    title: 'The operation needs root (CAP_NET_ADMIN and CAP_BPF)',
    hint: 'Run it with sudo, or inside a container started with these capabilities.',
  },
  HG_NO_BPF: {
    title: 'This kernel has no BPF',
    hint: 'Use a kernel built with CONFIG_BPF_SYSCALL (every Debian kernel from 6.1 has it).',
  },
  HG_IPVS: {
    title: "The kernel's IPVS cannot be used",
    hint: 'Load it (modprobe ip_vs); where the kernel has none: dataPlane: auto.',
  },
  HG_NO_BPFFS: {
    title: 'The BPF file system cannot be mounted',
    hint: 'Mount it by hand: mkdir -p /run/headgate/bpf && mount -t bpf bpf /run/headgate/bpf',
  },
  HG_RUN_DIRECTORY: {
    title: 'The folder of running instances cannot be written',
    hint: 'Make /run writable for root; in a container: mount -t tmpfs tmpfs /run',
  },
  HG_LOCK_HELD: {
    title: 'Another command is changing this data plane',
    hint: 'Wait for it to finish, or end the process that is named.',
  },
  HG_LAYOUT: {
    title: 'The running data plane keeps its records in a form this build cannot take over',
    hint: 'Use the build that set it up, or remove the data plane (its connections end) and set it up again.',
  },
  HG_PLANE_REFUSED: {
    title: 'The kernel refuses the data plane program',
    hint: 'Report the kernel version (uname -r) and the lines above; kernels from 6.1 on are meant to work.',
  },
  HG_NO_MEMORY: {
    title: 'The kernel has no memory for the data plane',
    hint: 'Set HEADGATE_CONNECTIONS to a smaller connection table (158 bytes a connection).',
  },
  HG_SOCKET: {
    title: 'The control socket cannot be used',
    hint: 'Look whether the daemon runs: headgate run FILE',
  },
  HG_STATE: {
    title: 'A file in which Headgate keeps what it knows cannot be read or written',
    hint: 'Make room on the file system, or make it writable; then do it again. Nothing was changed.',
  },
  HG_REQUEST: {
    title: 'The control API does not understand a request',
    hint: 'docs/api.md has every request.',
  },
  HG_CHANGED: {
    title: 'The rules are no longer those a client has seen',
    hint: 'Read them again, and decide again.',
  },
  HG_DAEMON: {
    title: 'A daemon holds the data plane',
    hint: 'Edit the file the daemon runs with; it takes it by itself, or with "headgate reload".',
  },
  HG_OTHER_BUILD: {
    title: 'The daemon that runs is not of the build that this command is of',
    hint: 'Restart the daemon, which is no event for clients (docs/daemon.md): systemctl restart headgate',
  },
  HG_APPLY_REFUSED: {
    title: 'A change could not be applied',
    hint: 'Correct what is named; "headgate plan" shows what would be done.',
  },
  HG_NEEDS_YES: {
    title: 'A change that takes much away needs a word from a person',
    hint: 'Look at it with "headgate plan"; if it is what you want, add --yes.',
  },
  HG_FAILOVER: {
    title: 'Addresses cannot be handed over',
    hint: 'Look at who has them, and who else is there: headgate status',
  },
  HG_MOVE: {
    title: 'What the data plane forwards cannot move to the other one',
    hint: 'Do what the message asks for, then: headgate migrate ipvs-to-ebpf, or ebpf-to-ipvs. Traffic goes on meanwhile.',
  },
  HG_UNKNOWN_NAME: {
    title: 'There is no virtual service or real server of this name',
    hint: 'List what there is with: headgate get services',
  },
  HG_NO_CHECK: {
    title: 'The real server has no check',
    hint: 'Give the service one in the configuration: check: { type: tcp }',
  },
  HG_GENERATION: {
    title: 'There is no such generation of the configuration',
    hint: 'List those there are with: headgate history',
  },
  HG_FOLLOWERS: {
    title: 'Too many programs follow the events',
    hint: 'End one of them, or ask without following: GET /v1/events.',
  },
  HG_INTERFACE: {
    title: 'An interface has a name that the data plane needs',
    hint: 'Give it another name: ip link set dev NAME name OTHER. Then do it again.',
  },
  HG_XDP: {
    title: 'An interface cannot run the fast path at XDP',
    hint: 'Take it out of HEADGATE_XDP: it goes on at tc; or correct what is named.',
  },
  HG_LAB_UNKNOWN: {
    title: 'There is no such lab, node or link',
    hint: 'List what there is with: headgate lab list',
  },
  HG_LAB_STANDS: {
    title: 'A lab of that name stands already',
    hint: 'Take it down, or give the new one another name with --name.',
  },
  HG_LAB_FILE: {
    title: 'A lab cannot be built from this file',
    hint: 'Correct the places that are named; docs/lab.md describes the file.',
  },
  HG_LAB_FAILED: {
    title: 'A step of a lab failed',
    hint: 'Take the lab down with "headgate lab down" and try again.',
  },
  HG_AGENT_VIP: {
    title: 'A real server cannot hold this virtual address',
    hint: 'Give an address that clients use and that no interface of this host has.',
  },
  HG_GATEWAY: {
    title: 'The gateway of a real server cannot be used',
    hint: 'Give the address the director has on a network it shares with this host.',
  },
  HG_AGENT_REFUSED: {
    title: 'The kernel refuses a change to this host',
    hint: 'Correct what is named and run "headgate agent up" again, or undo the rest with "headgate agent down".',
  },
  HG_AGENT_LISTEN: {
    title: 'The load agent cannot listen',
    hint: 'Give another address and port with --listen, or end the program that listens there.',
  },
  HG_AGENT_RECORD: {
    title: 'What the agent changed on this host is not recorded in a form this build reads',
    hint: 'Use the build that set the host up; or remove the file that is named and put things back by hand.',
  },
  HG_CONFIG: {
    title: 'A configuration has mistakes',
    hint: 'Correct the places that are named; docs/configuration.md describes the file.',
  },
  HG_CONFIG_READ: {
    title: 'A configuration file cannot be read',
    hint: 'Name a text file that this user may read.',
  },
  HG_CONFIG_SIZE: {
    title: 'A configuration file is larger, deeper or more repetitive than any that is meant',
    hint: 'Split it with "include", or generate less.',
  },
  HG_CONFIG_CHARACTER: {
    title: 'A configuration file holds something that is not text, or a sign that looks like a space',
    hint: 'Save the file as UTF-8 and replace the sign that is named.',
  },
  HG_CONFIG_SYNTAX: {
    title: 'A configuration file is not YAML',
    hint: 'Look at the indentation, quotes and brackets at the place that is named and in the line above.',
  },
  HG_CONFIG_DUPLICATE_KEY: {
    title: 'A key is given twice',
    hint: 'Keep one of the two.',
  },
  HG_CONFIG_UNKNOWN_KEY: {
    title: 'A key is not known where it stands',
    hint: 'Look it up in docs/reference/configuration.md; keys of your own begin with "x-" and stand at the top.',
  },
  HG_CONFIG_OLD_WORD: {
    title: 'A word of another program stands in a native configuration file',
    hint: 'Write the word that is named.',
  },
  HG_CONFIG_MISSING_KEY: {
    title: 'A key that must be there is missing',
    hint: 'Add the key that is named.',
  },
  HG_CONFIG_VALUE: {
    title: 'A value is not of the kind its key takes',
    hint: 'Write a value of the kind that is named.',
  },
  HG_CONFIG_CONFLICT: {
    title: 'Values that are right by themselves do not go together',
    hint: 'Change one of them.',
  },
  HG_CONFIG_VARIABLE: {
    title: 'A variable of the environment cannot be put in',
    hint: `Set it, or give it a default: \${NAME:-default}. A "\${" that is meant as it stands is written "$\${".`,
  },
  HG_CONFIG_INCLUDE: {
    title: 'A file cannot be included',
    hint: 'Name files that are there and that this user may read, each of them once.',
  },
  HG_CONFIG_EDIT: {
    title: 'A value cannot be changed in the text of a configuration',
    hint: 'Change it by hand.',
  },
  HG_CONFIG_RULE: {
    title: "A line of another program's file has a mistake",
    hint: 'Correct the line as the manual of that program has it.',
  },
  HG_IMPORT_FORMAT: {
    title: 'A file is of no format that can be imported',
    hint: 'Say what it is with --from; docs/import.md lists the formats.',
  },
} as const satisfies Record<string, { title: string; hint: string }>;

export type ErrorCode = keyof typeof errorCatalogue;

/** Where something stands in a text; both count from 1, the column in characters. */
export type Place = { readonly line: number; readonly column: number };

/** One mistake in a text, with its place. `problem.ts` makes and prints them. */
export type Problem = {
  readonly code: ErrorCode;
  /** The text's name, as the user would type it. */
  readonly file: string;
  readonly at: Place;
  /** What is wrong, one sentence without a full stop: `"port": wanted a number, found "x"`. */
  readonly message: string;
  readonly hint: string;
  /** The line before, the line with a caret under it, the line after. */
  readonly frame: readonly string[];
};

/**
 * An error a user may see: a catalogue code, one sentence about this case, and the next step. An error about a text
 * also lists its mistakes, every one of them, sorted by place.
 */
export class HeadgateError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly problems: readonly Problem[];

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; hint?: string; problems?: readonly Problem[] } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = 'HeadgateError';
    this.code = code;
    this.hint = options.hint ?? errorCatalogue[code].hint;
    this.problems = options.problems ?? [];
  }
}
