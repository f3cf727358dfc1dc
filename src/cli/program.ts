import { Argument, Command, CommanderError, Option } from 'commander';
import { HeadgateError } from '../model/errors.ts';
import { type Move, moves } from '../model/move.ts';
import { productVersion, type Streams } from './context.ts';
import { examplesText } from './examples.ts';
import { type Output, write } from './output.ts';
import { exitCodes } from './report-error.ts';
import { addAgent, addLab, addSync, outputOption } from './subcommands.ts';
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
  addMigrate(commands.get('migrate')!, streams);
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
    .option('--file <file>', usual)
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
    .addOption(new Option('--sctp', 'An SCTP association instead of a TCP connection').conflicts('udp'))
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

function addMigrate(command: Command, streams: Streams): void {
  command
    .addArgument(new Argument('<move>', 'From where to where').choices(moves))
    .option('--yes', 'Without a question')
    .addOption(outputOption())
    .action(async (move: Move, options) => (await import('./migrate.ts')).migrate(move, options, streams));
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
