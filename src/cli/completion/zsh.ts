import { type ArgumentNode, type CommandNode, everyCommand, type OptionNode } from '../command-tree.ts';
import { type Values, valuesOf } from './values.ts';

/** The completion of zsh: a function for each command, on top of zsh's own _arguments. */
export function zshCompletion(program: CommandNode): string {
  return [
    '#compdef headgate',
    '# Completion of headgate for zsh, made by "headgate completion zsh".',
    '',
    names,
    ...everyCommand(program).map((command) =>
      command.commands.length > 0 ? groupFunction(command) : commandFunction(command),
    ),
    '# Read by "source" it registers itself; found by compinit it is called.',
    'if [ "$funcstack[1]" = _headgate ]; then _headgate "$@"; else compdef _headgate headgate; fi',
    '',
  ].join('\n');
}

const names = `# Names are asked from the program, which never prints an error for it.
_headgate_names() {
  local -a found
  found=(\${\${(f)"$(command headgate __complete $@[-1] 2>/dev/null)"}%%$'\\t'*})
  compadd "\${(@)@[1,-2]}" -a found
}
`;

const functionName = (words: readonly string[]): string => ['_headgate', ...words].join('_');

function commandFunction({ words, options, arguments: places }: CommandNode): string {
  const specs = [...options.map(optionSpec), ...places.flatMap(argumentSpecs)];
  return `${functionName(words)}() {\n  _arguments -S : \\\n    ${specs.join(' \\\n    ')}\n}\n`;
}

function groupFunction({ words, options, commands }: CommandNode): string {
  const listed = commands.map(({ words, summary }) => quoted(`${words.at(-1)}:${summary}`));
  const name = functionName(words);
  return `${name}_commands() {
  local -a commands=(
    ${listed.join('\n    ')}
  )
  _describe -t commands command commands
}

${name}() {
  local curcontext=$curcontext state line
  _arguments -C : \\
    ${options.map(optionSpec).join(' \\\n    ')} \\
    '1: :${name}_commands' \\
    '*:: :->rest'
  if [[ $state == rest ]] && (( $+functions[${name}_$line[1]] )); then ${name}_$line[1]; fi
}
`;
}

/** One option as _arguments takes it: `(-o --output)-o+[Form of the answer]:format:(text json yaml)`, once a flag. */
function optionSpec(option: OptionNode): string {
  const { flags, placeholder, summary } = option;
  const others = flags.length > 1 ? `(${flags.join(' ')})` : '';
  const value = placeholder === undefined ? '' : `:${plain(placeholder)}:${actionOf(valuesOf(option))}`;
  return flags
    .map((flag) => {
      const joint = placeholder === undefined ? '' : flag.startsWith('--') ? '=' : '+';
      return quoted(`${others}${flag}${joint}[${summary.replaceAll(/[[\]\\]/g, '\\$&')}]${value}`);
    })
    .join(' ');
}

function argumentSpecs(argument: ArgumentNode): string[] {
  const values = valuesOf(argument);
  if (values.command) return ["'*::: :_normal'"];
  const position = argument.variadic ? '*:' : argument.required ? ':' : '::';
  return [quoted(`${position}${plain(argument.placeholder)}:${actionOf(values)}`)];
}

function actionOf({ words, names, paths }: Values): string {
  const actions = [
    ...(words ? [`(${words.join(' ')})`] : []),
    ...(names ? [`_headgate_names ${names}`] : []),
    ...(paths ? [paths === 'files' ? '_files' : '_files -/'] : []),
  ];
  if (actions.length < 2) return actions[0] ?? ' ';
  return `{${words ? `compadd ${words.join(' ')}; ` : ''}${actions.slice(words ? 1 : 0).join('; ')}}`;
}

/** A label, in which a colon would end it. */
const plain = (text: string): string => text.replaceAll(/[:|]/g, ' or ');

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
