import { type CommandNode, everyCommand } from '../command-tree.ts';
import { type Values, valuesOf } from './values.ts';

/**
 * The completion of bash, for 3.2 (macOS) and later, without the package bash-completion. What may stand where is two
 * tables made from the commands; the rest is the same whatever they are.
 */
export function bashCompletion(program: CommandNode): string {
  const commands = everyCommand(program);
  return [
    '# Completion of headgate for bash, made by "headgate completion bash".',
    '',
    '# The commands and options at a place, and which of the options take a value.',
    '_headgate_at() {',
    '  case $1 in',
    ...commands.map(placeLine),
    '  esac',
    '}',
    '',
    "# Completes an option's value or the argument of a number at a place.",
    '_headgate_value() {',
    '  case "$1 $2" in',
    ...commands.flatMap(valueLines),
    '  esac',
    '}',
    '',
    machinery,
  ].join('\n');
}

function placeLine({ words, options, commands }: CommandNode): string {
  const valued = options.filter(({ placeholder }) => placeholder !== undefined);
  const settings = [
    `commands='${commands.map((inner) => inner.words.at(-1)).join(' ')}'`,
    `flags='${options.flatMap(({ flags }) => flags).join(' ')}'`,
    `valued=' ${valued.flatMap(({ flags }) => flags).join(' ')} '`,
  ];
  return `  '${words.join(' ')}') ${settings.join(' ')} ;;`;
}

function valueLines({ words, options, arguments: places }: CommandNode): string[] {
  const place = words.join(' ');
  const line = (patterns: readonly string[], values: Values) => {
    const actions = actionsOf(values);
    return actions.length === 0 ? [] : [`  ${patterns.join(' | ')}) ${actions.join('; ')} ;;`];
  };
  return [
    ...options
      .filter(({ placeholder }) => placeholder !== undefined)
      .flatMap((option) =>
        line(
          option.flags.map((flag) => `'${place} ${flag}'`),
          valuesOf(option),
        ),
      ),
    ...places.flatMap((argument, at) => {
      // The words of a command that is run are a program and what it takes.
      const pattern = argument.variadic && valuesOf(argument).command === undefined ? '*' : String(at + 1);
      const first = line([`'${place} '${pattern}`], valuesOf(argument));
      return valuesOf(argument).command ? [...first, `  '${place} '*) _headgate_paths -f ;;`] : first;
    }),
  ];
}

function actionsOf({ words, names, paths, command }: Values): string[] {
  return [
    ...(words ? [`_headgate_words '${words.join(' ')}'`] : []),
    ...(names ? [`_headgate_names ${names}`] : []),
    ...(paths ? [`_headgate_paths ${paths === 'files' ? '-f' : '-d'}`] : []),
    ...(command ? ['_headgate_paths -c'] : []),
  ];
}

const machinery = `_headgate_offer() {
  if [[ $1 == "$cur"* ]]; then COMPREPLY[\${#COMPREPLY[@]}]=$before$1; fi
}

_headgate_words() {
  local word
  for word in $1; do _headgate_offer "$word"; done
}

# Names are asked from the program, which never prints an error for it.
_headgate_names() {
  local word rest
  while IFS=$'\\t' read -r word rest; do
    _headgate_offer "$word"
  done < <(command headgate __complete "$1" 2>/dev/null)
}

_headgate_paths() {
  local path
  compopt -o filenames 2>/dev/null
  while IFS= read -r path; do
    COMPREPLY[\${#COMPREPLY[@]}]=$before$path
  done < <(compgen "$1" -- "$cur")
}

_headgate() {
  local IFS=$' \\t\\n' commands='' flags='' valued='' place='' flag='' before='' rest='' cur word i count=1
  local -a line=()
  COMPREPLY=()
  # Bash takes words apart at "=" and ":"; here they are put together again.
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if ((\${#line[@]} > 0)) && [[ $word == [=:]* || \${line[\${#line[@]} - 1]} == *[=:] ]]; then
      line[\${#line[@]} - 1]+=$word
    else
      line[\${#line[@]}]=$word
    fi
  done
  cur=\${line[\${#line[@]} - 1]}
  _headgate_at ''
  for ((i = 0; i < \${#line[@]} - 1; i++)); do
    word=\${line[i]}
    if [[ -n $flag ]]; then
      flag=''
    elif [[ -n $rest ]]; then
      count=$((count + 1))
    elif [[ $word == -- ]]; then
      rest=yes
    elif [[ $word == -* ]]; then
      if [[ $valued == *" $word "* ]]; then flag=$word; fi
    elif [[ " $commands " == *" $word "* ]]; then
      place=\${place:+$place }$word
      commands='' flags='' valued=''
      _headgate_at "$place"
    else
      count=$((count + 1))
    fi
  done
  local typed=$cur
  if [[ -z $flag && -z $rest && $cur == --*=* ]]; then
    flag=\${cur%%=*} before=\${cur%%=*}= cur=\${cur#*=}
  fi
  if [[ -n $flag ]]; then
    _headgate_value "$place" "$flag"
  elif [[ -z $rest && $cur == -* ]]; then
    _headgate_words "$flags"
  elif [[ -n $commands && $count == 1 ]]; then
    _headgate_words "$commands"
  else
    _headgate_value "$place" "$count"
  fi
  # What bash takes for words before this one must not be given back.
  local breaks=\${COMP_WORDBREAKS//[!=:]/}
  if [[ -n $breaks ]]; then
    typed=\${typed%"\${typed##*["$breaks"]}"}
    for ((i = 0; i < \${#COMPREPLY[@]}; i++)); do COMPREPLY[i]=\${COMPREPLY[i]#"$typed"}; done
  fi
}

complete -F _headgate headgate
`;
