import type { Line } from './words.ts';

/** What `$NAME` stands for: one line, or several, which are lines of their own where they are put in. */
export type Parameter = { readonly lines: readonly Line[] };

/** Parameters in the order of their definition; later ones put over earlier ones. */
export type Parameters = {
  /** What a name stands for here; `words` is what follows it inside of the braces. */
  get(name: string, words: string): Parameter | undefined;
  set(name: string, parameter: Parameter): void;
};

const definition = /^\$([A-Za-z_][A-Za-z0-9_]*)=[ \t]*/;

/** `$NAME=value`: the name, and where the value begins. */
export function definitionIn(text: string): { name: string; valueAt: number } | undefined {
  const match = definition.exec(text);
  return match ? { name: match[1]!, valueAt: match[0].length } : undefined;
}

const use = /\$(?:\{([A-Za-z_][A-Za-z0-9_]*)((?: +[A-Za-z0-9_]+)*)\}|([A-Za-z_][A-Za-z0-9_]*)(?=[ \t,)]|$))/g;

/** How long a line may become, and how often something is put into it. */
const bounds = { length: 65_536, replacements: 1000 };

/** A line with its parameters put in, and the lines that follow it from one of several lines. */
export type Expanded = { readonly first: Line; readonly rest: readonly Line[] };

/**
 * Puts parameters into a line, those of their values too. A parameter of several lines may stand at the end only. What is
 * not defined stays as it is. 'endless' where there is no end to it.
 */
export function expand(line: Line, parameters: Parameters): Expanded | 'endless' {
  let { text } = line;
  let replaced = false;
  let rest: readonly Line[] = [];
  let from = 0;
  for (let count = 0; ; count++) {
    if (count > bounds.replacements || text.length > bounds.length) return 'endless';
    use.lastIndex = from;
    const match = use.exec(text);
    if (!match) break;
    const value = parameters.get(match[1] ?? match[3]!, (match[2] ?? '').trim());
    const end = match.index + match[0].length;
    if (!value || (value.lines.length > 1 && end < text.length)) {
      from = match.index + 1;
      continue;
    }
    const [first, ...others] = value.lines;
    text = text.slice(0, match.index) + (first?.text ?? '') + text.slice(end);
    rest = [...others, ...rest];
    replaced = true;
    from = match.index;
  }
  return { first: replaced ? { text, span: line.span, exact: false } : line, rest };
}
