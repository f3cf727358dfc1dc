import { bpf, bpfError, newAttributes, prepareBpf, putAddress } from './call.ts';

/** Fields of struct __sk_buff that BPF_PROG_TEST_RUN takes in and gives back; absent ones are 0. */
export type SkbContext = {
  readonly mark?: number;
  readonly priority?: number;
  readonly ifindex?: number;
  readonly ingressIfindex?: number;
  /** ETH_P_* in host order; output only, the kernel takes it from the frame. */
  readonly protocol?: number;
  readonly cb?: readonly number[];
  /** Not below the length of the frame when it is set. */
  readonly wireLength?: number;
  readonly gsoSegments?: number;
  readonly gsoSize?: number;
};

/** struct xdp_md: where packet data start within the input (bytes of metadata before it), and the receiving queue. */
export type XdpContext = {
  readonly metadataBytes?: number;
  readonly ingressIfindex?: number;
  readonly rxQueueIndex?: number;
};

export type TestRunOptions = {
  readonly programFd: number;
  readonly data?: Uint8Array;
  readonly context?: Uint8Array;
  readonly repeat?: number;
  /** Room for the packet that comes out; default: the input and 1,024 bytes. */
  readonly outputBytes?: number;
};

export type TestRunResult = {
  /** What the program returned, unsigned (TC_ACT_UNSPEC is 0xffffffff). */
  readonly returnValue: number;
  readonly data: Buffer;
  readonly context: Buffer;
  /** Average over the repetitions. */
  readonly durationNanoseconds: number;
};

const smallestFrame = 14;

/**
 * BPF_PROG_TEST_RUN: runs a program on a packet without sending it. A tc or XDP program needs at least an Ethernet
 * header; with `repeat` it sees the packet as the run before left it. Throws SystemError (ENOSPC: `outputBytes`).
 */
function testRun(options: TestRunOptions): TestRunResult {
  const { data, context, repeat = 1 } = options;
  if (data && data.byteLength < smallestFrame)
    throw new TypeError(
      `run a program: wanted a frame of at least ${smallestFrame} bytes, found ${data.byteLength}`,
    );
  const input = data && Buffer.from(data);
  const output = Buffer.alloc(data ? (options.outputBytes ?? data.byteLength + 1024) : 0);
  const contextIn = context && Buffer.from(context);
  const contextOut = Buffer.alloc(context ? context.byteLength : 0);
  const attributes = newAttributes(80);
  attributes.writeInt32LE(options.programFd, 0);
  attributes.writeUInt32LE(input?.length ?? 0, 8);
  attributes.writeUInt32LE(output.length, 12);
  putAddress(attributes, 16, input);
  putAddress(attributes, 24, data ? output : undefined);
  attributes.writeUInt32LE(repeat, 32);
  attributes.writeUInt32LE(contextIn?.length ?? 0, 40);
  attributes.writeUInt32LE(contextOut.length, 44);
  putAddress(attributes, 48, contextIn);
  putAddress(attributes, 56, context ? contextOut : undefined);
  bpf('PROG_TEST_RUN', attributes, 'run a program', [input, output, contextIn, contextOut]);
  return {
    returnValue: attributes.readUInt32LE(4),
    data: output.subarray(0, attributes.readUInt32LE(12)),
    context: contextOut.subarray(0, attributes.readUInt32LE(44)),
    durationNanoseconds: attributes.readUInt32LE(36),
  };
}

const skbBytes = 192;

/** struct __sk_buff for `testRun`. */
function encodeSkb(context: SkbContext): Buffer {
  const skb = Buffer.alloc(skbBytes);
  skb.writeUInt32LE(context.mark ?? 0, 8);
  skb.writeUInt32LE(context.priority ?? 0, 32);
  skb.writeUInt32LE(context.ingressIfindex ?? 0, 36);
  skb.writeUInt32LE(context.ifindex ?? 0, 40);
  for (const [index, word] of (context.cb ?? []).slice(0, 5).entries())
    skb.writeUInt32LE(word, 48 + index * 4);
  skb.writeUInt32LE(context.wireLength ?? 0, 160);
  skb.writeUInt32LE(context.gsoSegments ?? 0, 164);
  skb.writeUInt32LE(context.gsoSize ?? 0, 176);
  return skb;
}

function decodeSkb(skb: Buffer): Required<SkbContext> {
  return {
    mark: skb.readUInt32LE(8),
    protocol: skb.readUInt32LE(16),
    priority: skb.readUInt32LE(32),
    ingressIfindex: skb.readUInt32LE(36),
    ifindex: skb.readUInt32LE(40),
    cb: [0, 1, 2, 3, 4].map((index) => skb.readUInt32LE(48 + index * 4)),
    wireLength: skb.readUInt32LE(160),
    gsoSegments: skb.readUInt32LE(164),
    gsoSize: skb.readUInt32LE(176),
  };
}

/** Runs a tc program on a frame. */
export function testRunSkb(
  programFd: number,
  frame: Uint8Array,
  context: SkbContext = {},
  options: Pick<TestRunOptions, 'repeat' | 'outputBytes'> = {},
): Omit<TestRunResult, 'context'> & { readonly context: Required<SkbContext> } {
  const result = testRun({ ...options, programFd, data: frame, context: encodeSkb(context) });
  return { ...result, context: decodeSkb(result.context) };
}

/** Runs an XDP program on a frame (metadata first, when the context says there is some). */
export function testRunXdp(
  programFd: number,
  frame: Uint8Array,
  context: XdpContext = {},
  options: Pick<TestRunOptions, 'repeat' | 'outputBytes'> = {},
): TestRunResult {
  const xdp = Buffer.alloc(24);
  xdp.writeUInt32LE(context.metadataBytes ?? 0, 0);
  xdp.writeUInt32LE(frame.byteLength, 4);
  xdp.writeUInt32LE(context.ingressIfindex ?? 0, 12);
  xdp.writeUInt32LE(context.rxQueueIndex ?? 0, 16);
  return testRun({ ...options, programFd, data: frame, context: xdp });
}

/** Calls a BPF syscall program again and again with one argument structure. */
export type SyscallProgram = {
  /** The structure: written before a call, and as the program left it after. */
  readonly context: Buffer;
  /** Runs the program; its return value, signed. Throws SystemError when the kernel does not run it. */
  call(): number;
};

/** Binds a program of type SYSCALL to a structure of `contextBytes` (at most 65,535). */
export function syscallProgram(programFd: number, contextBytes: number): SyscallProgram {
  const context = Buffer.alloc(contextBytes);
  const attributes = newAttributes(80);
  attributes.writeInt32LE(programFd, 0);
  attributes.writeUInt32LE(contextBytes, 40);
  putAddress(attributes, 48, contextBytes > 0 ? context : undefined);
  const run = prepareBpf('PROG_TEST_RUN', attributes, context);
  return {
    context,
    call() {
      const result = run();
      if (result < 0) throw bpfError('PROG_TEST_RUN', -result, 'call a BPF syscall program');
      return attributes.readInt32LE(4);
    },
  };
}
