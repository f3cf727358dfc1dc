import { Argument, Command, CommanderError, Option } from 'commander';
import { HeadgateError } from '../model/errors.ts';
import { productVersion, type Streams } from './context.ts';
import { examplesText } from './examples.ts';
import { type Output, outputs, write } from './output.ts';
import { exitCodes } from './report-error.ts';
import type { SysctlOptions } from './sysctl.ts';
import { meant, nameOf, usageError } from './usage-error.ts';
import { type VerbName, verbs } from './verbs.ts';

/**
 * Parses and runs a command line in Headgate's own grammar. Resolves to the exit code; rejects with HG_USAGE when the
 * line is not understood and with whatever the command throws.
 */
export async function runProgram(args: readonly string[], streams: Streams): Promise<number> {
  const outcome = { exitCode: exitCodes.done as number };
  const program = buildProgram(streams, outcome);
  try {
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    // Help and version end commander by exception, too.
    if (!(error instanceof CommanderError)) throw error;
  }
  return outcome.exitCode;
}

/** Every command with its options and arguments; exit codes other than 0 go to `outcome`. */
export function buildProgram(streams: Streams, outcome: { exitCode: number }): Command {
  const program = new Command('headgate')
    .description('The Linux Virtual Server cluster in one program.')
    .version(productVersion(), '--version', 'Print the version')
    .helpOption('-h, --help', 'Print this help')
    .helpCommand(false)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeOut: (text) => streams.stdout.write(text), writeErr: () => undefined })
    .allowExcessArguments(true)
    .action((_options, command: Command) => {
      const [word] = command.args;
      if (word === undefined) command.outputHelp();
      else throw unknownCommand(word);
    });
  const commands = new Map<VerbName, Command>();
  for (const verb of verbs) {
    const command = program.command(verb.name).description(verb.summary).helpGroup(`${verb.group}:`);
    command
      .exitOverride()
      .usage(verb.usage.slice(verb.name.length).trim())
      .helpOption('-h, --help', 'Print this help');
    command.copyInheritedSettings(program).allowExcessArguments(false);
    commands.set(verb.name, command);
  }
  // Where `help` stands.
  program.commandsGroup('Daemon and host:');
  addDemo(commands.get('demo')!, streams, outcome);
  addChanges(commands, streams, outcome);
  addDaemon(commands, streams, outcome);
  addStatus(commands, streams, outcome);
  addOverrides(commands, streams, outcome);
  addFailover(commands.get('failover')!, streams, outcome);
  addSync(commands.get('sync')!, streams);
  addHistory(commands, streams);
  addExplain(commands.get('explain')!, streams, outcome);
  addDoctor(commands.get('doctor')!, streams, outcome);
  addSysctl(commands.get('sysctl')!, streams);
  addProc(commands.get('proc')!, streams);
  addShims(commands.get('shims')!, streams);
  addCleanUp(commands.get('clean-up')!, streams);
  addLab(commands.get('lab')!, streams, outcome);
  addAgent(commands.get('agent')!, streams);
  addValidate(commands.get('validate')!, streams, outcome);
  addImport(commands.get('import')!, streams, outcome);
  addSchema(commands.get('schema')!, streams);
  addCompletion(commands.get('completion')!, streams);
  finish(program);
  return program;
}

/** What every command has in common, also those below others: examples in its help, and errors in our words. */
function finish(command: Command): void {
  if (command.commands.length > 0) command.helpCommand('help [command]', 'Print the help of a command');
  const words = nameOf(command)
    .split(' ')
    .filter((word) => word !== '');
  command.addHelpText('after', () => examplesText(words));
  command.exitOverride((error) => {
    throw error.exitCode === 0 ? error : usageError(error, command);
  });
  for (const inner of command.commands) finish(inner);
}

function addDemo(command: Command, streams: Streams, outcome: { exitCode: number }): void {
  command
    .addOption(
      new Option('--data-plane <plane>', 'ebpf: in namespaces, proxy: in this process')
        .choices(['auto', 'ebpf', 'proxy'])
        .default('auto'),
    )
    .action(async (options: { dataPlane: 'auto' | 'ebpf' | 'proxy' }) => {
      const { runDemo } = await import('./demo.ts');
      outcome.exitCode = await runDemo(options.dataPlane, streams);
    });
}

function addChanges(
  commands: ReadonlyMap<VerbName, Command>,
  streams: Streams,
  outcome: { exitCode: number },
): void {
  const add = (verb: 'plan' | 'apply' | 'diff') =>
    commands
      .get(verb)!
      .argument('[file]', 'The configuration', '/etc/headgate/headgate.yaml')
      .option('--drop-runtime-changes', 'Take back what was changed since the last one was applied')
      .addOption(outputOption());
  add('plan').action(async (file, options) => {
    outcome.exitCode = await (await import('./change.ts')).planFile(file, options, streams);
  });
  add('diff').action(async (file, options) => {
    outcome.exitCode = await (await import('./change.ts')).diffFile(file, options, streams);
  });
  add('apply')
    .option('--yes', 'Also when it takes much away')
    .action(async (file, options) => {
      outcome.exitCode = await (await import('./change.ts')).applyFile(file, options, streams);
    });
}

function addDaemon(
  commands: ReadonlyMap<VerbName, Command>,
  streams: Streams,
  outcome: { exitCode: number },
): void {
  commands
    .get('run')!
    .argument('[file]', 'The configuration', '/etc/headgate/headgate.yaml')
    .option('--stop-forwarding', 'Remove the data plane when it is told to end; otherwise it goes on')
    .addOption(
      new Option('--log-format <format>', 'Form of the log').choices(['text', 'json']).default('text'),
    )
    .action(async (file: string, options) => {
      outcome.exitCode = await (await import('./run.ts')).run(file, options, streams);
    });
  commands
    .get('reload')!
    .option('--yes', 'Also when it takes much away')
    .option('--drop-runtime-changes', 'Take back what was changed since the last one was applied')
    .addOption(outputOption())
    .action(async (options) => (await import('./run.ts')).reload(options, streams));
}

function addStatus(
  commands: ReadonlyMap<VerbName, Command>,
  streams: Streams,
  outcome: { exitCode: number },
): void {
  const usual =
    'The configuration; left out, that of the daemon, /etc/headgate/headgate.yaml or the one applied last';
  commands
    .get('status')!
    .argument('[file]', usual)
    .option('--all', 'Every service and every problem, however many')
    .addOption(outputOption())
    .action(async (file: string | undefined, options) => {
      outcome.exitCode = await (await import('./status.ts')).showStatus(file, options, streams);
    });
  commands
    .get('get')!
    .argument('<kind>', 'services, real-servers or connections')
    .argument('[service]', 'Only of this one, by name or address')
    .option('--file <file>', usual)
    .addOption(outputOption())
    .action(async (kind: string, service: string | undefined, options) => {
      outcome.exitCode = await (await import('./get.ts')).getTable(kind, service, options, streams);
    });
  commands
    .get('describe')!
    .argument('<object>', 'SERVICE or SERVICE/REALSERVER, by name or address')
    .option('--file <file>', usual)
    .addOption(outputOption())
    .action(async (name: string, options) => {
      outcome.exitCode = await (await import('./describe.ts')).describeObject(name, options, streams);
    });
  commands
    .get('check')!
    .argument('<real>', 'SERVICE/REAL, or REAL in every service that has it; names or addresses')
    .option('--verbose', 'What was sent and what came, line by line')
    .option('--file <file>', 'Without a daemon: the configuration; left out, /etc/headgate/headgate.yaml')
    .addOption(outputOption())
    .action(async (real: string, options) => {
      outcome.exitCode = await (await import('./check.ts')).checkServer(real, options, streams);
    });
}

function addOverrides(
  commands: ReadonlyMap<VerbName, Command>,
  streams: Streams,
  outcome: { exitCode: number },
): void {
  for (const verb of ['drain', 'maintenance', 'ready'] as const) {
    const command = commands
      .get(verb)!
      .argument('<real>', 'SERVICE/REAL, or REAL in every service that has it; names or addresses')
      .option('--file <file>', 'Without a daemon: the configuration that names come from')
      .addOption(outputOption())
      .action(async (real, options) => {
        const { overrideServer } = await import('./override.ts');
        outcome.exitCode = await overrideServer(real, verb, options, streams);
      });
    if (verb === 'ready') continue;
    command
      .option('--timeout <duration>', 'Wait until no connection is left, but no longer: 90s, 5m')
      .option('--reason <text>', 'What it is for; shown wherever the state is')
      .option('--yes', 'Also when it takes much away');
  }
  commands
    .get('clear')!
    .option('--yes', 'Without a question')
    .addOption(outputOption())
    .action(async (options) => (await import('./clear.ts')).clearTable(options, streams));
}

function addFailover(command: Command, streams: Streams, outcome: { exitCode: number }): void {
  command
    .argument('[instance]', 'A VRRP instance or a group; left out, all that are master here')
    .option('--to <address>', 'Only if this director is the one that takes over')
    .option('--back', 'Take over again as the priority says')
    .option('--yes', 'Without a question')
    .addOption(outputOption())
    .action(async (name: string | undefined, options) => {
      outcome.exitCode = await (await import('./failover.ts')).failover(name, options, streams);
    });
}

function addSync(sync: Command, streams: Streams): void {
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

function addHistory(commands: ReadonlyMap<VerbName, Command>, streams: Streams): void {
  commands
    .get('history')!
    .argument('[generation]', 'One of them')
    .option('--text', 'Its files as they were')
    .addOption(outputOption())
    .action(async (generation, options) =>
      (await import('./history.ts')).history(generation, options, streams),
    );
  commands
    .get('rollback')!
    .argument('<generation>', 'Number of an earlier configuration, of "headgate history"')
    .option('--yes', 'Also when it takes much away')
    .option('--drop-runtime-changes', 'Take back what was changed since the last one was applied')
    .addOption(outputOption())
    .action(async (generation, options) =>
      (await import('./history.ts')).rollback(generation, options, streams),
    );
  commands
    .get('events')!
    .option('-f, --follow', 'Go on with what happens from now on')
    .option('--since <duration>', 'All since then, as 90s, 10m, 2h or 1d; otherwise the last 50')
    .addOption(outputOption())
    .action(async (options) => (await import('./events.ts')).events(options, streams));
}

function addExplain(command: Command, streams: Streams, outcome: { exitCode: number }): void {
  command
    .argument('<client>', 'Address of a client, with a port for one connection of it')
    .argument('<virtual>', 'Virtual address and port')
    .option('--udp', 'A datagram instead of a TCP connection')
    .option('--mark <mark>', 'Firewall mark of the packet, where no rule of nftables says it')
    .addOption(outputOption())
    .action(async (client: string, virtual: string, options) => {
      const { explainClient } = await import('./explain.ts');
      outcome.exitCode = await explainClient(client, virtual, options, streams);
    });
}

function addDoctor(command: Command, streams: Streams, outcome: { exitCode: number }): void {
  command.addOption(outputOption()).action(async (options) => {
    const { runDoctor } = await import('./doctor.ts');
    outcome.exitCode = await runDoctor(options, streams);
  });
}

function addSysctl(command: Command, streams: Streams): void {
  command
    .argument('[parameters...]', 'Names to show, or names with values to set; all are shown without')
    .option('-a, --all', 'Show all, whatever is named')
    .option('-w, --write', 'As sysctl(8) has it: to set is what NAME=VALUE does anyway')
    .option('-p, --load <file...>', 'Set what files of sysctl(8) say of them')
    .option('--system', 'The same of the files that sysctl --system reads')
    .addOption(outputOption())
    .action(async (words: string[], options: SysctlOptions) => {
      const { runSysctl } = await import('./sysctl.ts');
      await runSysctl(words, options, streams);
    });
}

function addProc(command: Command, streams: Streams): void {
  command
    .argument('[name]', 'ip_vs, ip_vs_conn, ip_vs_conn_sync, ip_vs_stats or ip_vs_stats_percpu; all without')
    .addOption(outputOption())
    .action(async (name: string | undefined, options: { output: Output }) => {
      const { printProc } = await import('./proc.ts');
      await printProc(name, options, streams);
    });
}

function addShims(command: Command, streams: Streams): void {
  command
    .addArgument(new Argument('<action>', 'What to do').choices(['install', 'remove']))
    .option('--dir <directory>', 'Where the names go', '/usr/local/sbin')
    .addOption(outputOption())
    .action(async (action: 'install' | 'remove', options: { dir: string; output: Output }) => {
      const { changeShims, shimsText } = await import('./shims.ts');
      const changes = changeShims(action, options.dir);
      await write(streams, options.output, changes, () =>
        shimsText(changes, options.dir, process.env.PATH ?? ''),
      );
    });
}

function addCleanUp(command: Command, streams: Streams): void {
  command.action(async () => {
    await (await import('./clean-up.ts')).cleanUp();
    streams.stdout.write('This network namespace has no data plane now.\n');
  });
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

function outputOption(): Option {
  return new Option('-o, --output <format>', 'Form of the answer').choices(outputs).default('text');
}

function addAgent(agent: Command, streams: Streams): void {
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

function addLab(lab: Command, streams: Streams, outcome: { exitCode: number }): void {
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

function addValidate(command: Command, streams: Streams, outcome: { exitCode: number }): void {
  command
    .argument('<file...>', 'Configurations, each of its own')
    .addOption(outputOption())
    .action(async (files: string[], options: { output: Output }) => {
      const { validate } = await import('./validate.ts');
      outcome.exitCode = await validate(files, options, streams);
    });
}

function addImport(command: Command, streams: Streams, outcome: { exitCode: number }): void {
  command
    .argument('[file]', 'The file of another program')
    .option(
      '--from <format>',
      'What the file is, where that is not told by its content: ipvsadm; without a file: kernel, the table in it',
    )
    .addOption(
      new Option('-o, --output <format>', 'Form of the answer').choices(['yaml', 'json']).default('yaml'),
    )
    .option('--check', 'Exit code 1 when a line is ignored')
    .action(async (file: string | undefined, options) => {
      const { importConfiguration } = await import('./import.ts');
      outcome.exitCode = await importConfiguration(file, options, streams);
    });
}

function addSchema(command: Command, streams: Streams): void {
  command.action(async () => {
    const { configurationSchema } = await import('../config/json-schema.ts');
    streams.stdout.write(`${JSON.stringify(configurationSchema(), null, 2)}\n`);
  });
}

function addCompletion(command: Command, streams: Streams): void {
  command
    .addArgument(new Argument('<shell>', 'The shell').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: 'bash' | 'zsh' | 'fish') => {
      const { completionScript } = await import('./completion/script.ts');
      const { commandTree } = await import('./command-tree.ts');
      streams.stdout.write(completionScript(shell, commandTree(command.parent!)));
    });
}

function unknownCommand(word: string): HeadgateError {
  const near = meant(
    word,
    verbs.map((verb) => verb.name),
  );
  return new HeadgateError('HG_USAGE', `Cannot run "${word}": there is no such command`, {
    hint: near === undefined ? 'headgate --help' : `did you mean "headgate ${near}"?`,
  });
}
