import type { Command } from 'commander';
import { optionTable } from '../config/ipvsadm/options.ts';
import { findVerb, type Verb } from './verbs.ts';

/**
 * One command as completions and manual pages need it. It is read from the commander tree, so that a new command is
 * known to both without a word more.
 */
export type CommandNode = {
  /** The words after `headgate` that call it: none for the program itself, `lab`, `up` for one below a command. */
  readonly words: readonly string[];
  /** What follows those words. */
  readonly usage: string;
  readonly summary: string;
  readonly options: readonly OptionNode[];
  readonly arguments: readonly ArgumentNode[];
  readonly commands: readonly CommandNode[];
};

export type OptionNode = {
  /** `-o`, `--output`. */
  readonly flags: readonly string[];
  /** What its value is called; undefined for one that takes none. */
  readonly placeholder?: string;
  readonly choices: readonly string[];
  readonly summary: string;
  /** What it is when left out, as people write it. */
  readonly leftOut?: string;
};

export type ArgumentNode = {
  readonly placeholder: string;
  readonly required: boolean;
  readonly variadic: boolean;
  readonly choices: readonly string[];
  readonly summary: string;
  readonly leftOut?: string;
};

/** Reads a commander tree. */
export function commandTree(command: Command, words: readonly string[] = []): CommandNode {
  const verb = words.length === 1 ? findVerb(words[0]) : undefined;
  const commands = command.commands.map((inner) => commandTree(inner, [...words, inner.name()]));
  return {
    words,
    usage: verb ? verb.usage.slice(verb.name.length).trim() : command.usage(),
    summary: command.description(),
    options:
      verb?.name === 'ipvsadm'
        ? ipvsadmOptions()
        : command.createHelp().visibleOptions(command).map(optionNode),
    // Where commands follow, the argument is what was none of them.
    arguments: commands.length > 0 ? [] : argumentNodes(command, verb),
    commands,
  };
}

/** The command and all below it, in order. */
export function everyCommand(node: CommandNode): readonly CommandNode[] {
  return [node, ...node.commands.flatMap(everyCommand)];
}

function optionNode(option: Command['options'][number]): OptionNode {
  const flags = [option.short, option.long].filter((flag) => flag !== undefined);
  const placeholder = /[<[](.+?)(?:\.\.\.)?[>\]]/.exec(option.flags)?.[1];
  const { argChoices = [], defaultValue, description } = option;
  return {
    flags,
    ...(placeholder !== undefined && { placeholder }),
    choices: argChoices,
    summary: description,
    ...(typeof defaultValue === 'string' && { leftOut: defaultValue }),
  };
}

function argumentNodes(command: Command, verb: Verb | undefined): ArgumentNode[] {
  const choices = verb ? choicesOf(verb) : [];
  const nodes = command.registeredArguments.map((argument, at) => ({
    placeholder: argument.name(),
    required: argument.required,
    variadic: argument.variadic,
    choices: argument.argChoices ?? (at === 0 ? choices : []),
    summary: argument.description,
    ...(typeof argument.defaultValue === 'string' && { leftOut: argument.defaultValue }),
  }));
  // A word of ipvsadm's grammar has its arguments in its usage only.
  if (nodes.length > 0 || choices.length === 0) return nodes;
  return [{ placeholder: 'action', required: true, variadic: false, choices, summary: '' }];
}

/** The words a usage line gives for the first argument: `shims install|remove` has two. */
function choicesOf({ usage }: Verb): readonly string[] {
  const first = usage.split(' ')[1] ?? '';
  return /^[a-z-]+(\|[a-z-]+)+$/.test(first) ? first.split('|') : [];
}

/** The options of ipvsadm's grammar, which commander does not know. */
function ipvsadmOptions(): readonly OptionNode[] {
  return [...new Set(optionTable.map(({ long }) => long))].map((long) => {
    const specs = optionTable.filter((spec) => spec.long === long);
    const { help, argument } = specs[0]!;
    return {
      flags: [...specs.flatMap(({ short }) => (short === undefined ? [] : [`-${short}`])), `--${long}`],
      ...(argument !== undefined && { placeholder: long }),
      choices: [],
      summary: help?.text.join(' ') ?? '',
    };
  });
}
