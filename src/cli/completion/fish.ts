import { type CommandNode, everyCommand, type OptionNode } from '../command-tree.ts';
import { type Values, valuesOf } from './values.ts';

/** The completion of fish: a `complete` for each command, option and argument, under the condition of its place. */
export function fishCompletion(program: CommandNode): string {
  const commands = everyCommand(program);
  const places = commands.filter(({ words }) => words.length > 0).map(({ words }) => words.join(' '));
  const valued = commands.flatMap(({ words, options }) =>
    options
      .filter(({ placeholder }) => placeholder !== undefined)
      .flatMap(({ flags }) => flags.map((flag) => [...words, flag].join(' '))),
  );
  return [
    '# Completion of headgate for fish, made by "headgate completion fish".',
    '',
    `set -g __headgate_places ${places.map(quoted).join(' ')}`,
    `set -g __headgate_valued ${valued.map(quoted).join(' ')}`,
    '',
    machinery,
    'complete -c headgate -e',
    'complete -c headgate -f',
    ...commands.flatMap(linesOf),
    '',
  ].join('\n');
}

function linesOf({ words, options, arguments: places, commands }: CommandNode): string[] {
  const place = words.join(' ');
  const at = (count: string) => `complete -c headgate -n ${quoted(`__headgate_at ${quoted(place)}${count}`)}`;
  return [
    ...commands.map(({ words, summary }) => `${at(' 0')} -a ${quoted(words.at(-1)!)} -d ${quoted(summary)}`),
    ...options.map((option) => `${at('')} ${flagsOf(option)} -d ${quoted(option.summary)}`),
    ...places.flatMap((argument, index) => {
      const offered = offer(valuesOf(argument));
      const count = argument.variadic ? ` ${index}-` : ` ${index}`;
      return offered === '' ? [] : [`${at(count)} ${offered}`];
    }),
  ];
}

function flagsOf(option: OptionNode): string {
  const flags = option.flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag[1]}`));
  if (option.placeholder === undefined) return flags.join(' ');
  const offered = offer(valuesOf(option));
  return `${flags.join(' ')} -r ${offered === '' ? '-f' : offered}`;
}

function offer({ words, names, paths, command }: Values): string {
  const offered = [
    ...(words ?? []),
    ...(names ? [`(command headgate __complete ${names} 2>/dev/null)`] : []),
    ...(paths === 'directories' ? ['(__fish_complete_directories)'] : []),
    ...(command ? ['(__fish_complete_subcommand --fcs-skip=4)'] : []),
  ];
  return [
    ...(offered.length > 0 ? [`-a ${quoted(offered.join(' '))}`] : []),
    ...(paths === 'files' ? ['-F'] : ['-f']),
  ]
    .filter((word) => offered.length > 0 || word === '-F')
    .join(' ');
}

const quoted = (text: string): string => `'${text.replaceAll(/['\\]/g, '\\$&')}'`;

const machinery = `# The command the line is about, and how many arguments it has so far.
function __headgate_place
    set -l place
    set -l count 0
    set -l skip no
    set -l rest no
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $skip = yes
            set skip no
        else if test $rest = yes
            set count (math $count + 1)
        else if test "$word" = --
            set rest yes
        else if string match -q -- '-*' "$word"
            contains -- (string trim "$place $word") $__headgate_valued; and set skip yes
        else if test $count = 0; and contains -- (string trim "$place $word") $__headgate_places
            set place (string trim "$place $word")
        else
            set count (math $count + 1)
        end
    end
    echo $place
    echo $count
end

# Whether that is the command given, with so many arguments ("1", "1-" for one or more) where a number is given.
function __headgate_at
    set -l found (__headgate_place)
    test "$found[1]" = "$argv[1]"; or return 1
    test (count $argv) = 1; and return 0
    if string match -q -- '*-' $argv[2]
        test $found[2] -ge (string trim -c - $argv[2])
    else
        test $found[2] = $argv[2]
    end
end
`;
