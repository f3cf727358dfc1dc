import type { Command, CommanderError } from 'commander';
import { HeadgateError } from '../model/errors.ts';
import { suggest } from '../model/suggest.ts';
import { examplesOf } from './examples.ts';

/** What people type who come from other programs, and the words here that they may mean. */
const otherWords: Readonly<Record<string, readonly string[]>> = {
  start: ['up', 'run'],
  create: ['up'],
  add: ['up'],
  stop: ['down'],
  delete: ['down', 'clean-up'],
  remove: ['down', 'clean-up'],
  rm: ['down'],
  destroy: ['down', 'clean-up'],
  ls: ['list'],
  show: ['status', 'get', 'list'],
  info: ['status', 'describe'],
  ssh: ['exec'],
  heal: ['mend', 'restore'],
  lint: ['validate'],
  preview: ['plan'],
  convert: ['import'],
  restart: ['reload'],
  undo: ['rollback'],
  log: ['events', 'history'],
  enable: ['ready'],
  disable: ['maintenance', 'drain'],
  dr: ['direct-routing'],
  gatewaying: ['direct-routing'],
  nat: ['masquerade'],
  masquerading: ['masquerade'],
  tun: ['tunnel'],
  ipip: ['tunnel'],
  yml: ['yaml'],
};

/** The word of `choices` that was meant; undefined when none is near. */
export function meant(typed: string, choices: readonly string[]): string | undefined {
  const word = typed.toLowerCase();
  const other = Object.hasOwn(otherWords, word) ? otherWords[word] : undefined;
  return (
    other?.find((one) => choices.includes(one)) ??
    suggest(typed, choices) ??
    (word.length < 3 ? undefined : choices.find((choice) => choice.startsWith(word)))
  );
}

/** What is wrong with a command line, from the error of commander and the command it came from. */
export function usageError(error: CommanderError, command: Command): HeadgateError {
  const name = nameOf(command);
  const [sentence, hint] = explained(error, command);
  const about = name === '' ? 'Cannot read the command line' : `Cannot run "${name}"`;
  return new HeadgateError('HG_USAGE', `${about}: ${sentence}`, {
    hint: hint ?? `${['headgate', name].join(' ').trim()} --help`,
  });
}

/** The words after `headgate` that call a command. */
export function nameOf(command: Command): string {
  return command.parent ? `${nameOf(command.parent)} ${command.name()}`.trim() : '';
}

/** The sentence after the colon, and the next step where there is a better one than the help. */
type Told = readonly [string, (string | undefined)?];

function explained(error: CommanderError, command: Command): Told {
  const quoted = /'(.*?)'/.exec(error.message)?.[1] ?? '';
  const commands = command.commands.map((inner) => inner.name());
  switch (error.code) {
    case 'commander.unknownOption':
      return [`there is no option "${quoted}"`, hintForOption(quoted, command)];
    case 'commander.unknownCommand': {
      const near = meant(quoted, commands);
      return [
        `wanted ${anyOf(commands)}, found "${quoted}"`,
        near && `did you mean "headgate ${nameOf(command)} ${near}"?`,
      ];
    }
    case 'commander.help':
      return [`wanted ${anyOf(commands)}, found nothing`];
    case 'commander.missingArgument':
      return [`wanted ${placeOf(command, quoted)}, found nothing`, example(command)];
    case 'commander.excessArguments': {
      const expected = command.registeredArguments;
      const found = command.args.slice(expected.length).join(' ');
      const places = expected.map((one) => placeOf(command, one.name())).join(' ');
      return [
        places === '' ? `wanted no argument, found "${found}"` : `wanted ${places}, found "${found}" as well`,
        example(command),
      ];
    }
    case 'commander.optionMissingArgument': {
      const [flags, place] = quoted.split(/ (?=[<[])/);
      return [`wanted ${place?.slice(1, -1).toUpperCase()} behind "${flags}", found nothing`];
    }
    case 'commander.invalidArgument':
      return invalidWord(error.message);
    default:
      return [error.message.replace(/^error: /, '').split('\n')[0]!];
  }
}

/** `option '-o, --output <format>' argument 'jsn' is invalid. Allowed choices are text, json, yaml.`, or an argument's. */
function invalidWord(message: string): Told {
  const option = /option '(.+?)(?: [<[].*)?' argument '(.*)' is invalid/.exec(message);
  const argument = /value '(.*)' is invalid/.exec(message);
  const found = option?.[2] ?? argument?.[1] ?? '';
  const choices = /choices are (.+?)\.$/m.exec(message)?.[1]?.split(', ') ?? [];
  const near = meant(found, choices);
  const where = option ? ` behind "${option[1]}"` : '';
  return [`wanted ${anyOf(choices)}${where}, found "${found}"`, near && `did you mean "${near}"?`];
}

/** An option that stands before its command is sent there; else the nearest of the command's own. */
function hintForOption(flag: string, command: Command): string | undefined {
  const own = command.createHelp().visibleOptions(command);
  const near = suggest(
    flag,
    own.flatMap(({ long }) => long ?? []),
  );
  if (near !== undefined) return `did you mean "${near}"?`;
  const below = commandMeant(command, rawWords(command));
  const bare = flag.replace(/=.*/, '');
  const there = below.options.some(({ short, long }) => bare === short || bare === long);
  return below !== command && there
    ? `write it behind the command: headgate ${nameOf(below)} ${flag}`
    : undefined;
}

function rawWords(command: Command): readonly string[] {
  if (command.parent) return rawWords(command.parent);
  return (command as Command & { readonly rawArgs: readonly string[] }).rawArgs;
}

/** The command below this one that the line's words lead to, whatever else stands between them. */
function commandMeant(command: Command, words: readonly string[]): Command {
  return words.reduce(
    (found, word) => found.commands.find((inner) => inner.name() === word) ?? found,
    command,
  );
}

/** An argument as the command's usage line has it. */
function placeOf(command: Command, name: string): string {
  const argument = command.registeredArguments.find((one) => one.name() === name);
  if (argument?.argChoices) return anyOf(argument.argChoices);
  const text = `${name.toUpperCase()}${argument?.variadic ? '...' : ''}`;
  return argument?.required === false ? `[${text}]` : text;
}

function example(command: Command): string | undefined {
  const [first] = examplesOf(nameOf(command).split(' '));
  return first === undefined ? undefined : `for instance: ${first}`;
}

function anyOf(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}
