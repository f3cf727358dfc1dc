import { type Command, Option } from 'commander';
import type { Streams } from './context.ts';
import { outputs } from './output.ts';

/* Verbs that have verbs of their own. */

export function addSync(sync: Command, streams: Streams): void {
  subcommand(sync, 'send', 'Send the whole table of connections in the messages of connection sync')
    .option(
      '--interface <name>',
      "Where to; left out, that of the kernel's master sync daemon, as the rest is",
    )
    .option('--id <number>', 'Sync id, 0 to 255')
    .option('--group <address>', 'Multicast group, or the address of the one other director')
    .option('--port <number>', 'UDP port')
    .option('--ttl <number>', 'Hop limit of multicast')
    .option('-f, --follow', 'Go on with what is new, once a second, until it is told to end')
    .addOption(outputOption())
    .action(async (options) => (await import('./sync.ts')).syncSend(options, streams));
}

export function addAgent(agent: Command, streams: Streams): void {
  const add = (name: string, summary: string) => subcommand(agent, name, summary).addOption(outputOption());
  add('up', 'Set this host up; what is right already stays')
    .option('--vip <address...>', 'Virtual addresses this real server takes')
    .addOption(
      new Option('--method <method>', "The director's").choices(['direct-routing', 'tunnel', 'masquerade']),
    )
    .option('--gateway <address...>', "Masquerade: the director's address on this real server's network")
    .option('--director', "Masquerade: this host is the director, and the real servers' gateway")
    .option(
      '--masquerade-outgoing <interface>',
      'With --director: what real servers send on their own account leaves there with its address',
    )
    .action(async (options) => (await import('./agent.ts')).up(options, streams));
  add('down', 'Put back what "up" changed').action(async (options) =>
    (await import('./agent.ts')).down(options, streams),
  );
  subcommand(agent, 'serve', 'Tell directors how loaded this host is, until it is told to end')
    .option('--listen <address:port>', 'Where to listen (default: port 9177 of every address)')
    .option('--allow <prefix...>', 'Who may ask, beside this host: addresses or prefixes of directors')
    .option(
      '--script <file>',
      'A program run every second, whose first line is such as "75%", "drain", "down #why"',
    )
    .option('--words <file>', 'A file in which operators write such words; empty or gone, it means "ready"')
    .option('--port <port...>', 'Count established connections at these ports')
    .option('--connections <most>', 'With --port: with so many this host is full')
    .addOption(
      new Option('--count <share...>', 'What counts as load (default: all of them)').choices([
        ...['cpu', 'memory', 'connections', 'script'],
      ]),
    )
    .action(async (options) => (await import('./agent-serve.ts')).serve(options, streams));
  add('status', 'Show what is set up and whether it is still so').action(async (options) =>
    (await import('./agent.ts')).status(options, streams),
  );
}

export function addLab(lab: Command, streams: Streams, outcome: { exitCode: number }): void {
  lab.enablePositionalOptions();
  const add = (usage: string, summary: string) => subcommand(lab, usage, summary).addOption(outputOption());
  const run = async (work: (lab: typeof import('./lab.ts')) => number | Promise<number>) => {
    const commands = await import('./lab.ts');
    outcome.exitCode = await commands.inOurWords(() => work(commands));
  };
  add('up <name|file>', 'Set up a built-in lab, or one a file describes')
    .option('--name <name>', 'Its name, when not that of the cluster')
    .action(async (which, options) => run((commands) => commands.labUp(which, options, streams)));
  add('list', 'What there is to set up, and what stands').action(async (options) =>
    run((commands) => commands.labList(options, streams)),
  );
  const which = '--lab <lab>';
  const several = 'Which lab, when several stand';
  add('status [lab]', 'Draw it: client, director, real servers, weights, connections, rates')
    .option(which, several)
    .action(async (name, options) =>
      run((commands) => commands.labStatus({ ...options, lab: name ?? options.lab }, streams)),
    );
  // What it prints is the command's own.
  subcommand(lab, 'exec <node> <command...>', 'Run a command on a node; its exit code is the answer')
    .option(which, several)
    .passThroughOptions()
    .action(async (node, command, options) => run((commands) => commands.labExec(node, command, options)));
  const addFault = (verb: 'kill' | 'restore' | 'cut' | 'mend', what: string, summary: string) =>
    add(`${verb} <${what}>`, summary)
      .option(which, several)
      .action(async (name, options) => run((commands) => commands.labFault(verb, name, options, streams)));
  addFault('kill', 'node', 'End every process of a node and take its links down');
  addFault('restore', 'node', 'Bring a node back, with its links and what it serves');
  addFault('cut', 'link', 'Cut a link, or with LINK:NODE one cable of it');
  addFault('mend', 'link', 'Mend what was cut');
  const collected = (word: string, words: readonly string[] = []) => [...words, word];
  add('test', 'Hold every method and scheduler against the reference, with real traffic')
    .option('--quick', 'Few schedulers; load and transfer once a method')
    .option('--method <method>', 'Only this one; may be given again', collected)
    .option('--scheduler <scheduler>', 'Only this one; may be given again', collected)
    .action(async (options) =>
      run(async ({ headgate }) => (await import('./lab-test.ts')).labTest(options, headgate, streams)),
    );
  add('down [lab]', 'Remove it with everything it made, whole or half built')
    .option(which, several)
    .action(async (name, options) =>
      run((commands) => commands.labDown({ ...options, lab: name ?? options.lab }, streams)),
    );
}

/** A command of a command that has several. */
function subcommand(parent: Command, usage: string, summary: string): Command {
  return parent
    .command(usage)
    .description(summary)
    .helpOption('-h, --help', 'Print this help')
    .exitOverride()
    .copyInheritedSettings(parent)
    .allowExcessArguments(false);
}

export function outputOption(): Option {
  return new Option('-o, --output <format>', 'Form of the answer').choices(outputs).default('text');
}
