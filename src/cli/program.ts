import { Command, CommanderError, Option } from 'commander';
import { HeadgateError } from '../model/errors.ts';
import { productVersion, type Streams } from './context.ts';
import { exitCodes } from './report-error.ts';
import { suggest } from './suggest.ts';
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
    if (error instanceof CommanderError) return exitOf(error);
    throw error;
  }
  return outcome.exitCode;
}

function buildProgram(streams: Streams, outcome: { exitCode: number }): Command {
  const program = new Command('headgate')
    .description('The Linux Virtual Server cluster in one program.')
    .version(productVersion(), '--version', 'Print the version')
    .helpOption('-h, --help', 'Print this help')
    .helpCommand(false)
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
    const command = program.command(verb.name).description(verb.summary).exitOverride();
    command.usage(verb.usage.slice(verb.name.length).trim()).helpOption('-h, --help', 'Print this help');
    command.copyInheritedSettings(program).allowExcessArguments(false);
    commands.set(verb.name, command);
  }
  addDemo(commands.get('demo')!, streams, outcome);
  addShims(commands.get('shims')!, streams);
  addCleanUp(commands.get('clean-up')!, streams);
  return program;
}

function addDemo(command: Command, streams: Streams, outcome: { exitCode: number }): void {
  command.action(async () => {
    const { runDemo } = await import('./demo.ts');
    outcome.exitCode = await runDemo(streams);
  });
}

function addShims(command: Command, streams: Streams): void {
  command
    .argument('<action>', 'install or remove')
    .option('--dir <directory>', 'Where the names go', '/usr/local/sbin')
    .addOption(
      new Option('-o, --output <format>', 'Form of the answer').choices(['text', 'json']).default('text'),
    )
    .action(async (action: string, options: { dir: string; output: 'text' | 'json' }) => {
      if (action !== 'install' && action !== 'remove') {
        throw new HeadgateError('HG_USAGE', `Cannot ${action} shims: wanted install or remove`, {
          hint: 'headgate shims --help',
        });
      }
      const { changeShims, shimsText } = await import('./shims.ts');
      const changes = changeShims(action, options.dir);
      streams.stdout.write(
        options.output === 'json'
          ? `${JSON.stringify(changes)}\n`
          : shimsText(changes, options.dir, process.env.PATH ?? ''),
      );
    });
}

function addCleanUp(command: Command, streams: Streams): void {
  command.action(async () => {
    const { removePlane } = await import('../control/embedded.ts');
    await removePlane();
    streams.stdout.write('This network namespace has no data plane now.\n');
  });
}

function unknownCommand(word: string): HeadgateError {
  const near = suggest(
    word,
    verbs.map((verb) => verb.name),
  );
  return new HeadgateError('HG_USAGE', `Cannot run "${word}": there is no such command`, {
    hint: near === undefined ? 'headgate --help' : `did you mean "headgate ${near}"?`,
  });
}

/** Help and version end commander by exception too; anything else is a line it did not understand. */
function exitOf(error: CommanderError): number {
  if (error.exitCode === 0) return exitCodes.done;
  const sentence = error.message.replace(/^error: /, '').split('\n')[0]!;
  throw new HeadgateError('HG_USAGE', `Cannot read the command line: ${sentence}`, {
    hint: /\(Did you mean (.+)\?\)/.test(error.message)
      ? `did you mean "${/\(Did you mean (.+)\?\)/.exec(error.message)![1]}"?`
      : 'headgate --help',
  });
}
