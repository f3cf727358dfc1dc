/** One command of the program. docs/reference/cli.md holds the same table; a test compares the two. */
export type Verb = {
  readonly name: string;
  /** The heading it stands under in the help and the documentation; verbs of one group follow each other. */
  readonly group: string;
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
    group: 'Try it',
    usage: 'demo [--data-plane auto|ebpf|proxy]',
    summary: 'Balance real connections on this machine and show who serves what',
    grammar: 'headgate',
  },
  {
    name: 'lab',
    group: 'Try it',
    usage: 'lab up|list|status|exec|kill|restore|cut|mend|test|down [...]',
    summary: 'Set up whole clusters in network namespaces on this machine, and work with them',
    grammar: 'headgate',
  },
  {
    name: 'validate',
    group: 'Configuration',
    usage: 'validate FILE...',
    summary: 'Say every mistake of configuration files, each with its place and the next step',
    grammar: 'headgate',
  },
  {
    name: 'plan',
    group: 'Configuration',
    usage: 'plan [FILE] [--drop-runtime-changes]',
    summary: 'Show what applying a configuration would do, and what becomes of connections',
    grammar: 'headgate',
  },
  {
    name: 'apply',
    group: 'Configuration',
    usage: 'apply [FILE] [--yes] [--drop-runtime-changes]',
    summary: 'Make the data plane what a configuration says, all of it or nothing',
    grammar: 'headgate',
  },
  {
    name: 'diff',
    group: 'Configuration',
    usage: 'diff [FILE]',
    summary: 'Compare a configuration with the rules in force',
    grammar: 'headgate',
  },
  {
    name: 'clear',
    group: 'Configuration',
    usage: 'clear [--yes]',
    summary: 'Delete every virtual service, but not without a word',
    grammar: 'headgate',
  },
  {
    name: 'history',
    group: 'Configuration',
    usage: 'history [GENERATION] [--text]',
    summary: 'List the configurations that were in force, or show what one of them changed',
    grammar: 'headgate',
  },
  {
    name: 'rollback',
    group: 'Configuration',
    usage: 'rollback GENERATION [--yes] [--drop-runtime-changes]',
    summary: 'Put an earlier configuration in force again, whatever the file says now',
    grammar: 'headgate',
  },
  {
    name: 'import',
    group: 'Configuration',
    usage: 'import [FILE] [--from FORMAT] [-o yaml|json] [--check]',
    summary: 'Print the file of another program as a configuration, and say what became of its lines',
    grammar: 'headgate',
  },
  {
    name: 'schema',
    group: 'Configuration',
    usage: 'schema',
    summary: 'Print the JSON Schema of configuration files, for editors',
    grammar: 'headgate',
  },
  {
    name: 'status',
    group: 'What is and why',
    usage: 'status [FILE] [--all]',
    summary: 'Say in one screen, and by exit code, whether every service can serve',
    grammar: 'headgate',
  },
  {
    name: 'get',
    group: 'What is and why',
    usage: 'get services|real-servers|connections [SERVICE] [--file FILE]',
    summary: 'List services, real servers or connections, each with its state',
    grammar: 'headgate',
  },
  {
    name: 'describe',
    group: 'What is and why',
    usage: 'describe SERVICE|SERVICE/REALSERVER [--file FILE]',
    summary: 'Print everything about one service or real server, and what is wrong with it',
    grammar: 'headgate',
  },
  {
    name: 'explain',
    group: 'What is and why',
    usage: 'explain CLIENT[:PORT] VIRTUAL:PORT [--udp|--sctp] [--mark MARK]',
    summary: 'Say which real server a client gets, why that one, and what is in the way',
    grammar: 'headgate',
  },
  {
    name: 'check',
    group: 'What is and why',
    usage: 'check SERVICE/REAL [--verbose] [--file FILE]',
    summary: 'Check a real server now, and show what was asked and answered',
    grammar: 'headgate',
  },
  {
    name: 'events',
    group: 'What is and why',
    usage: 'events [-f] [--since DURATION]',
    summary: 'Show what happened: configurations, changes at runtime, starts and stops',
    grammar: 'headgate',
  },
  {
    name: 'doctor',
    group: 'What is and why',
    usage: 'doctor',
    summary:
      'Look at this host and its data plane for what is broken or risky, each with the command that fixes it',
    grammar: 'headgate',
  },
  {
    name: 'drain',
    group: 'Real servers',
    usage: 'drain REAL [--timeout DURATION] [--reason TEXT] [--yes]',
    summary: 'Give a real server no new clients, and wait until its connections have ended',
    grammar: 'headgate',
  },
  {
    name: 'maintenance',
    group: 'Real servers',
    usage: 'maintenance REAL [--timeout DURATION] [--reason TEXT] [--yes]',
    summary: 'Give a real server no new connections at all, and wait until those it has have ended',
    grammar: 'headgate',
  },
  {
    name: 'ready',
    group: 'Real servers',
    usage: 'ready REAL',
    summary: 'Put a real server back that was drained or in maintenance',
    grammar: 'headgate',
  },
  {
    name: 'agent',
    group: 'Real servers',
    usage: 'agent up|down|serve|status [...]',
    summary: 'Make this host a real server: virtual addresses without ARP, tunnels, the way back, its load',
    grammar: 'headgate',
  },
  {
    name: 'run',
    group: 'Daemon and host',
    usage: 'run [FILE] [--stop-forwarding] [--log-format text|json]',
    summary: 'Be the daemon: keep the data plane as a configuration says, and answer commands',
    grammar: 'headgate',
  },
  {
    name: 'reload',
    group: 'Daemon and host',
    usage: 'reload [--yes] [--drop-runtime-changes]',
    summary: 'Have the daemon take its configuration as the file has it now',
    grammar: 'headgate',
  },
  {
    name: 'failover',
    group: 'Daemon and host',
    usage: 'failover [INSTANCE|GROUP] [--to ADDRESS] [--back] [--yes]',
    summary: 'Hand virtual addresses over to the other director, after saying what that comes to',
    grammar: 'headgate',
  },
  {
    name: 'sync',
    group: 'Daemon and host',
    usage: 'sync send [--interface NAME] [--id NUMBER] [-f]',
    summary: "Tell another director of every connection of this kernel's IPVS, also of idle ones",
    grammar: 'headgate',
  },
  {
    name: 'migrate',
    group: 'Daemon and host',
    usage: 'migrate ipvs-to-ebpf|ebpf-to-ipvs [--yes]',
    summary:
      "Move services and connections between the kernel's IPVS and the ebpf data plane, while traffic flows",
    grammar: 'headgate',
  },
  {
    name: 'sysctl',
    group: 'Daemon and host',
    usage: 'sysctl [NAME | NAME=VALUE]...',
    summary: "Show the data plane's parameters by their names under net.ipv4.vs, or set them",
    grammar: 'headgate',
  },
  {
    name: 'clean-up',
    group: 'Daemon and host',
    usage: 'clean-up',
    summary: 'Remove the data plane from this network namespace, with its rules and connections',
    grammar: 'headgate',
  },
  {
    name: 'completion',
    group: 'Daemon and host',
    usage: 'completion bash|zsh|fish',
    summary: 'Print what makes a shell complete commands, options and names',
    grammar: 'headgate',
  },
  {
    name: 'ipvsadm',
    group: 'As ipvsadm',
    usage: 'ipvsadm [OPTIONS OF IPVSADM]',
    summary: 'Add, edit, delete and list virtual services and their real servers',
    grammar: 'ipvsadm',
  },
  {
    name: 'ipvsadm-save',
    group: 'As ipvsadm',
    usage: 'ipvsadm-save [-n]',
    summary: 'Print the rules in force, in the form that ipvsadm-restore reads',
    grammar: 'ipvsadm',
  },
  {
    name: 'ipvsadm-restore',
    group: 'As ipvsadm',
    usage: 'ipvsadm-restore',
    summary: 'Read rules from standard input and put them in force',
    grammar: 'ipvsadm',
  },
  {
    name: 'service',
    group: 'As ipvsadm',
    usage: 'service start|stop|restart|reload|save|status',
    summary: 'Load, clear, save or show the rules that survive a reboot',
    grammar: 'ipvsadm',
  },
  {
    name: 'proc',
    group: 'As ipvsadm',
    usage: 'proc [NAME]',
    summary: 'Print what /proc/net/ip_vs and its like would say, for programs that read those',
    grammar: 'headgate',
  },
  {
    name: 'shims',
    group: 'As ipvsadm',
    usage: 'shims install|remove [--dir DIRECTORY]',
    summary: 'Put the names ipvsadm, ipvsadm-save and ipvsadm-restore on the PATH, or take them off',
    grammar: 'headgate',
  },
] as const satisfies readonly Verb[];

export type VerbName = (typeof verbs)[number]['name'];

/** The verb of this name; undefined when there is none. */
export function findVerb(name: string | undefined): Verb | undefined {
  return verbs.find((verb) => verb.name === name);
}
