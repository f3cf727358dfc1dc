import type { ArgumentNode, CommandNode, OptionNode } from '../src/cli/command-tree.ts';
import { examplesOf } from '../src/cli/examples.ts';
import { blocks, bold, heading, italic, plain, term, verbatim, wrapped } from './roff.ts';

/** What manual pages are made of. */
export type ManSources = {
  readonly program: CommandNode;
  /** docs/reference/cli.md. */
  readonly commands: string;
  /** docs/reference/configuration.md. */
  readonly configuration: string;
  readonly version: string;
  /** Year, month and day. */
  readonly date: string;
};

/** Every manual page by its file's name. */
export function manPages(sources: ManSources): ReadonlyMap<string, string> {
  const { program } = sources;
  return new Map([
    ['headgate.1', programPage(sources)],
    ...program.commands.map(
      (command) => [`headgate-${command.words[0]}.1`, commandPage(command, sources)] as const,
    ),
    ['headgate.yaml.5', filePage(sources)],
  ]);
}

function page(
  title: string,
  section: 1 | 5,
  { version, date }: ManSources,
  parts: readonly string[],
): string {
  const head = `.TH ${title.toUpperCase()} ${section} "${date}" "Headgate ${version}" "Headgate"`;
  // A heading begins a paragraph already.
  const body = parts.map((part, at) =>
    /^\.S[HS]/.test(parts[at - 1] ?? '') ? part.replace(/^\.PP\n/, '') : part,
  );
  return `${[head, '.nh', '.ad l', ...body].join('\n')}\n`;
}

const introduction =
  'Balances connections over real servers as the Linux Virtual Server does. Each command has a page of its own; the configuration file is described in';

function programPage(sources: ManSources): string {
  const { program, commands } = sources;
  return page('headgate', 1, sources, [
    heading('SH', 'NAME'),
    wrapped(`headgate \\- ${plain(withoutStop(program.summary))}`),
    heading('SH', 'SYNOPSIS'),
    wrapped(`${bold('headgate')} ${italic('COMMAND')} [${italic('OPTION')} ...]`),
    '.br',
    wrapped(`${bold('headgate help')} [${italic('COMMAND')}]`),
    heading('SH', 'DESCRIPTION'),
    wrapped(`${plain(introduction)} ${reference('headgate.yaml', 5)}.`),
    heading('SH', 'COMMANDS'),
    ...program.commands.map((command) =>
      term(reference(`headgate-${command.words[0]}`, 1), plain(`${command.summary}.`)),
    ),
    heading('SH', 'OPTIONS'),
    ...program.options.map(optionText),
    heading('SH', 'STREAMS AND EXIT STATUS'),
    ...blocks(sectionOf(commands, 'Streams and exit codes')),
    heading('SH', 'ENVIRONMENT'),
    ...blocks(sectionOf(commands, 'Environment')),
    heading('SH', 'SEE ALSO'),
    wrapped(`${reference('headgate.yaml', 5)}, ${reference('ipvsadm', 8)}`),
  ]);
}

function commandPage(command: CommandNode, sources: ManSources): string {
  const [verb = ''] = command.words;
  const section = sectionOf(sources.commands, verb);
  // Examples have a section of their own.
  const prose = section.replaceAll(/(?:^ {4}.*\bnpx headgate .*\n?)+/gm, '');
  const examples = [...new Set([command, ...command.commands].flatMap(({ words }) => examplesOf(words)))];
  return page(`headgate-${verb}`, 1, sources, [
    heading('SH', 'NAME'),
    wrapped(`headgate\\-${plain(verb)} \\- ${plain(command.summary)}`),
    heading('SH', 'SYNOPSIS'),
    synopsis(command),
    heading('SH', 'DESCRIPTION'),
    ...(prose.trim() === ''
      ? [
          wrapped(
            `${plain(command.summary)}. Options, output and exit status are those of ${reference('ipvsadm', 8)}.`,
          ),
        ]
      : blocks(prose)),
    ...(command.commands.length > 0
      ? [heading('SH', 'COMMANDS'), ...command.commands.flatMap(innerCommand)]
      : [
          heading('SH', 'OPTIONS'),
          ...command.arguments.map(argumentText),
          ...command.options.map(optionText),
        ]),
    ...(examples.length > 0 ? [heading('SH', 'EXAMPLES'), verbatim(examples)] : []),
    heading('SH', 'SEE ALSO'),
    wrapped(`${reference('headgate', 1)}, ${reference('headgate.yaml', 5)}`),
  ]);
}

function filePage(sources: ManSources): string {
  // The page's own title, and how it was made, are nobody's concern here.
  const text = sources.configuration.replace(/^# .*\n/, '').replace(/^The text below is made .*\n/m, '');
  return page('headgate.yaml', 5, sources, [
    heading('SH', 'NAME'),
    'headgate.yaml \\- configuration of headgate',
    heading('SH', 'DESCRIPTION'),
    ...blocks(text),
    heading('SH', 'FILES'),
    term(bold('/etc/headgate/headgate.yaml'), 'The file commands take when none is named.'),
    heading('SH', 'SEE ALSO'),
    wrapped(
      `${reference('headgate-validate', 1)}, ${reference('headgate-plan', 1)}, ${reference('headgate', 1)}`,
    ),
  ]);
}

function synopsis({ words, usage }: CommandNode): string {
  return wrapped(`${bold(['headgate', ...words].join(' '))} ${plain(usage)}`.trimEnd());
}

function innerCommand(command: CommandNode): string[] {
  const places = command.arguments.map(placeText).join(' ');
  return [
    heading('SS', ['headgate', ...command.words].join(' ') + (places === '' ? '' : ` ${places}`)),
    wrapped(plain(`${command.summary}.`)),
    ...command.options.filter(({ flags }) => !flags.includes('--help')).map(optionText),
  ];
}

function placeText({ placeholder, required, variadic }: ArgumentNode): string {
  const text = `${placeholder.toUpperCase()}${variadic ? '...' : ''}`;
  return required ? text : `[${text}]`;
}

function argumentText(argument: ArgumentNode): string {
  return term(italic(placeText(argument)), saidOf(argument));
}

function optionText(option: OptionNode): string {
  const value = option.placeholder === undefined ? '' : ` ${italic(option.placeholder.toUpperCase())}`;
  return term(`${option.flags.map(bold).join(', ')}${value}`, saidOf(option));
}

/** Meaning, choices and default of an option or an argument. */
function saidOf({ summary, choices, leftOut }: OptionNode | ArgumentNode): string {
  return [
    ...(summary === '' ? [] : [plain(`${withoutStop(summary)}.`)]),
    ...(choices.length === 0 ? [] : [`One of ${choices.map(bold).join(', ')}.`]),
    ...(leftOut === undefined ? [] : [`Left out: ${bold(leftOut)}.`]),
  ].join(' ');
}

const withoutStop = (text: string): string => text.replace(/\.$/, '');

const reference = (name: string, section: number): string => `${bold(name)}(${section})`;

/** The text under a heading of the second level. */
function sectionOf(markdown: string, title: string): string {
  const section = markdown.split(/^## /m).find((text) => text.startsWith(`${title}\n`));
  return section?.slice(title.length + 1) ?? '';
}
