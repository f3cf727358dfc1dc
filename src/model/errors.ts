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
    hint: 'Set HEADGATE_CONNECTIONS to a smaller connection table (130 bytes a connection).',
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
  HG_AGENT_RECORD: {
    title: 'What the agent changed on this host is not recorded in a form this build reads',
    hint: 'Use the build that set the host up; or remove the file that is named and put things back by hand.',
  },
} as const satisfies Record<string, { title: string; hint: string }>;

export type ErrorCode = keyof typeof errorCatalogue;

/** An error a user may see: a catalogue code, one sentence about this case, and the next step. */
export class HeadgateError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; hint?: string } = {}) {
    super(message, { cause: options.cause });
    this.name = 'HeadgateError';
    this.code = code;
    this.hint = options.hint ?? errorCatalogue[code].hint;
  }
}
