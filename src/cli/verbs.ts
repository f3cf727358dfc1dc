/** One command of the program. docs/reference/cli.md holds the same table; a test compares the two. */
export type Verb = {
  readonly name: string;
  /** What follows `headgate`, as the help and the documentation show it. */
  readonly usage: string;
  /** One sentence without a full stop. */
  readonly summary: string;
  /**
   * `ipvsadm`: everything after the word belongs to the ipvsadm grammar and is handed on untouched, so that flags,
   * messages and exit codes are those of ipvsadm; commander is not even loaded.
   */
  readonly grammar: 'headgate' | 'ipvsadm';
};

/** Every word that may follow `headgate`, in the order the help lists them. */
export const verbs = [
  {
    name: 'demo',
    usage: 'demo [--data-plane auto|ebpf|proxy]',
    summary: 'Balance real connections on this machine and show who serves what',
    grammar: 'headgate',
  },
  {
    name: 'ipvsadm',
    usage: 'ipvsadm [OPTIONS OF IPVSADM]',
    summary: 'Add, edit, delete and list virtual services and their real servers',
    grammar: 'ipvsadm',
  },
  {
    name: 'ipvsadm-save',
    usage: 'ipvsadm-save [-n]',
    summary: 'Print the rules in force, in the form that ipvsadm-restore reads',
    grammar: 'ipvsadm',
  },
  {
    name: 'ipvsadm-restore',
    usage: 'ipvsadm-restore',
    summary: 'Read rules from standard input and put them in force',
    grammar: 'ipvsadm',
  },
  {
    name: 'service',
    usage: 'service start|stop|restart|reload|save|status',
    summary: 'Load, clear, save or show the rules that survive a reboot',
    grammar: 'ipvsadm',
  },
  {
    name: 'plan',
    usage: 'plan [FILE] [--drop-runtime-changes]',
    summary: 'Show what applying a configuration would do, and what becomes of connections',
    grammar: 'headgate',
  },
  {
    name: 'apply',
    usage: 'apply [FILE] [--yes] [--drop-runtime-changes]',
    summary: 'Make the data plane what a configuration says, all of it or nothing',
    grammar: 'headgate',
  },
  {
    name: 'diff',
    usage: 'diff [FILE]',
    summary: 'Compare a configuration with the rules in force',
    grammar: 'headgate',
  },
  {
    name: 'run',
    usage: 'run [FILE] [--stop-forwarding] [--log-format text|json]',
    summary: 'Be the daemon: keep the data plane as a configuration says, and answer commands',
    grammar: 'headgate',
  },
  {
    name: 'reload',
    usage: 'reload [--yes] [--drop-runtime-changes]',
    summary: 'Have the daemon take its configuration as the file has it now',
    grammar: 'headgate',
  },
  {
    name: 'status',
    usage: 'status [FILE] [--all]',
    summary: 'Say in one screen, and by exit code, whether every service can serve',
    grammar: 'headgate',
  },
  {
    name: 'get',
    usage: 'get services|real-servers|connections [SERVICE] [--file FILE]',
    summary: 'List services, real servers or connections, each with its state',
    grammar: 'headgate',
  },
  {
    name: 'describe',
    usage: 'describe SERVICE|SERVICE/REALSERVER [--file FILE]',
    summary: 'Print everything about one service or real server, and what is wrong with it',
    grammar: 'headgate',
  },
  {
    name: 'check',
    usage: 'check SERVICE/REAL [--verbose] [--file FILE]',
    summary: 'Check a real server now, and show what was asked and answered',
    grammar: 'headgate',
  },
  {
    name: 'drain',
    usage: 'drain REAL [--timeout DURATION] [--reason TEXT] [--yes]',
    summary: 'Give a real server no new clients, and wait until its connections have ended',
    grammar: 'headgate',
  },
  {
    name: 'maintenance',
    usage: 'maintenance REAL [--timeout DURATION] [--reason TEXT] [--yes]',
    summary: 'Give a real server no new connections at all, and wait until those it has have ended',
    grammar: 'headgate',
  },
  {
    name: 'ready',
    usage: 'ready REAL',
    summary: 'Put a real server back that was drained or in maintenance',
    grammar: 'headgate',
  },
  {
    name: 'clear',
    usage: 'clear [--yes]',
    summary: 'Delete every virtual service, but not without a word',
    grammar: 'headgate',
  },
  {
    name: 'history',
    usage: 'history [GENERATION] [--text]',
    summary: 'List the configurations that were in force, or show what one of them changed',
    grammar: 'headgate',
  },
  {
    name: 'rollback',
    usage: 'rollback GENERATION [--yes] [--drop-runtime-changes]',
    summary: 'Put an earlier configuration in force again, whatever the file says now',
    grammar: 'headgate',
  },
  {
    name: 'events',
    usage: 'events [-f] [--since DURATION]',
    summary: 'Show what happened: configurations, changes at runtime, starts and stops',
    grammar: 'headgate',
  },
  {
    name: 'explain',
    usage: 'explain CLIENT[:PORT] VIRTUAL:PORT [--udp]',
    summary: 'Say which real server a client gets, why that one, and what is in the way',
    grammar: 'headgate',
  },
  {
    name: 'doctor',
    usage: 'doctor',
    summary:
      'Look at this host and its data plane for what is broken or risky, each with the command that fixes it',
    grammar: 'headgate',
  },
  {
    name: 'shims',
    usage: 'shims install|remove [--dir DIRECTORY]',
    summary: 'Put the names ipvsadm, ipvsadm-save and ipvsadm-restore on the PATH, or take them off',
    grammar: 'headgate',
  },
  {
    name: 'clean-up',
    usage: 'clean-up',
    summary: 'Remove the data plane from this network namespace, with its rules and connections',
    grammar: 'headgate',
  },
  {
    name: 'lab',
    usage: 'lab up|list|status|exec|kill|restore|cut|mend|test|down [...]',
    summary: 'Set up whole clusters in network namespaces on this machine, and work with them',
    grammar: 'headgate',
  },
  {
    name: 'agent',
    usage: 'agent up|down|status [...]',
    summary: 'Make this host a real server: virtual addresses without ARP, tunnels, the way back',
    grammar: 'headgate',
  },
  {
    name: 'validate',
    usage: 'validate FILE...',
    summary: 'Say every mistake of configuration files, each with its place and the next step',
    grammar: 'headgate',
  },
  {
    name: 'import',
    usage: 'import FILE [--from FORMAT] [-o yaml|json] [--check]',
    summary: 'Print the file of another program as a configuration, and say what became of its lines',
    grammar: 'headgate',
  },
  {
    name: 'schema',
    usage: 'schema',
    summary: 'Print the JSON Schema of configuration files, for editors',
    grammar: 'headgate',
  },
  {
    name: 'completion',
    usage: 'completion bash|zsh|fish',
    summary: 'Print what makes a shell complete commands, options and names',
    grammar: 'headgate',
  },
] as const satisfies readonly Verb[];

export type VerbName = (typeof verbs)[number]['name'];

/** The verb of this name; undefined when there is none. */
export function findVerb(name: string | undefined): Verb | undefined {
  return verbs.find((verb) => verb.name === name);
}
