/** A command whose answer differs from ipvsadm 1.31 on purpose. */
export type Deviation = {
  readonly scenario: string;
  /** The command line; every step of the scenario with this line. */
  readonly run: string;
  /** The number of the step, where the command line does not tell it. */
  readonly step?: number;
  readonly reason: string;
  /** What we answer instead; what is not named is as recorded. */
  readonly ours: {
    readonly status?: number;
    readonly stdout?: string;
    readonly stderr?: string;
    /** Pieces of the recorded standard output and what stands there instead, each found exactly once. */
    readonly instead?: readonly (readonly [recorded: string, ours: string])[];
    /** Services come in another order: the same blocks are there. */
    readonly anyOrder?: true;
  };
};

const hashOrder =
  "ipvsadm compares addresses and marks by signed 32-bit differences, which is no order; the result then depends on the order of the kernel's hash table, which mixes in a kernel pointer";
const unsorted = 'the kernel lists services in the order of its hash table, which mixes in a kernel pointer';
const unreadable =
  'ipvsadm saves rules here which it cannot read again, so that they would be lost at a reboot';

const title = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
`;
const allOrNothing = 'rules with a line that is not understood are refused as a whole, and the line is named';

/** `-R` of a file whose line `line` is not understood. */
const refusedLine = (step: number, line: number, words: string): Deviation => ({
  scenario: 'restore-syntax-errors',
  run: 'ipvsadm -R',
  step,
  reason: allOrNothing,
  ours: {
    status: 2,
    stderr: `line ${line}: ${words}\nNothing was changed: correct line ${line} and restore again.\n`,
  },
});

/** `-R` of a file which we understand and ipvsadm does not. */
const understood = (step: number, reason: string): Deviation => ({
  scenario: 'restore-syntax-errors',
  run: 'ipvsadm -R',
  step,
  reason,
  ours: { status: 0, stderr: '' },
});

export const deviations: readonly Deviation[] = [
  ...['-L -n', '-S -n'].map(
    (words): Deviation => ({
      scenario: 'add-service',
      run: `ipvsadm ${words}`,
      reason: hashOrder,
      ours: { anyOrder: true },
    }),
  ),
  { scenario: 'firewall-marks', run: 'ipvsadm -L -n', reason: hashOrder, ours: { anyOrder: true } },
  {
    scenario: 'firewall-marks',
    run: 'ipvsadm -S -n',
    reason: `${unreadable}; ${hashOrder}`,
    ours: {
      anyOrder: true,
      instead: [
        ['-A -f -1 ', '-A -f 4294967295 '],
        ['-A -f -2147483648 ', '-A -f 2147483648 '],
      ],
    },
  },
  { scenario: 'listing-options', run: 'ipvsadm -Ln --nosort', reason: unsorted, ours: { anyOrder: true } },
  { scenario: 'sorting', run: 'ipvsadm -Ln --nosort', reason: unsorted, ours: { anyOrder: true } },
  ...['', ' --stats', ' --rate', ' --thresholds', ' --persistent-conn', ' --tun-info'].map(
    (words): Deviation => ({
      scenario: 'sorting',
      run: `ipvsadm -Ln${words}`,
      reason: hashOrder,
      ours: { anyOrder: true },
    }),
  ),
  {
    scenario: 'sorting',
    run: 'ipvsadm -Sn',
    reason: `${unreadable}; ${hashOrder}`,
    ours: { anyOrder: true, instead: [['-A -f -1294967296 ', '-A -f 3000000000 ']] },
  },
  {
    scenario: 'persistence',
    run: 'ipvsadm -S -n',
    reason: 'an engine without persistence does nothing and is not kept',
    ours: { instead: [['-A -u 192.0.2.18:5060 -s wlc --pe sip', '-A -u 192.0.2.18:5060 -s wlc']] },
  },
  {
    scenario: 'scheduler-flags',
    run: 'ipvsadm -S -n',
    reason: unreadable,
    ours: {
      instead: [
        ['-A -t 192.0.2.11:80 -s sh -b \n', '-A -t 192.0.2.11:80 -s sh -b flag-3\n'],
        ['-A -t 192.0.2.12:80 -s mh -b mh-port\n', '-A -t 192.0.2.12:80 -s mh -b mh-port,flag-3\n'],
      ],
    },
  },
  { scenario: 'add-server', run: 'ipvsadm -Ln --nosort', reason: unsorted, ours: { anyOrder: true } },
  refusedLine(0, 2, 'illegal weight specified'),
  {
    scenario: 'restore-syntax-errors',
    run: 'ipvsadm -L -n',
    step: 1,
    reason: allOrNothing,
    ours: { stdout: title },
  },
  refusedLine(2, 2, '-t: missing argument'),
  refusedLine(3, 2, '--nonsense: unknown option'),
  understood(4, 'a line that starts with # is a comment'),
  understood(5, 'a word that starts with # begins a comment'),
  refusedLine(6, 2, "Try `ipvsadm -h' or 'ipvsadm --help' for more information."),
  understood(7, "the program's name in front of a rule may be a path"),
  understood(8, 'a no-break space is a blank'),
  refusedLine(9, 2, "Try `ipvsadm -h' or 'ipvsadm --help' for more information."),
  refusedLine(11, 1, "Illegal 'numeric' option with the 'add-service' command"),
  {
    scenario: 'restore-syntax-errors',
    run: 'ipvsadm -L -n',
    step: 13,
    reason: `${allOrNothing}; ipvsadm drops a last line that ends with two blanks and no newline`,
    ours: {
      stdout: `${title}TCP  192.0.2.6:80 wlc\nTCP  192.0.2.7:80 wlc\nTCP  192.0.2.8:80 wlc\nTCP  192.0.2.11:80 wlc\nTCP  192.0.2.12:80 rr\nTCP  192.0.2.15:80 wlc\nTCP  192.0.2.18:80 rr\n`,
    },
  },
];
