/** A part of a word of a shell script. */
export type Piece =
  | { readonly kind: 'text'; readonly text: string; readonly quoted: boolean }
  | {
      readonly kind: 'variable';
      readonly name: string;
      readonly otherwise?: string;
      readonly quoted: boolean;
    }
  /** Something only a shell can know: `$(...)`, a special parameter. */
  | { readonly kind: 'unknown'; readonly text: string };

export type ShellWord = { readonly pieces: readonly Piece[]; readonly start: number; readonly end: number };

/** Words up to what ends a command; there may be none. */
export type ShellCommand = {
  readonly words: readonly ShellWord[];
  readonly start: number;
  readonly end: number;
  readonly ended: '\n' | ';' | ';;' | '&' | '&&' | '|' | '||' | '(' | ')';
  /** Comments before it and behind it on its line, without their `#`. */
  readonly comments: string[];
};

/** Blanks of shells, and those that come with lines pasted from web pages. */
const blank = /[ \t\r\f\v\u00a0\ufeff]/;
const operator = /[;&|()<>\n]/;

/** Words and operators of one file: a rule of the usual length has one for each 8 bytes. */
const mostParts = 1_000_000;

/**
 * Takes a shell script, or a plain list of commands, apart (POSIX.1-2017, Shell Command Language, 2.3): quotes,
 * comments, continued lines, variables, what separates commands. Redirections are left out. A quote ends with its line
 * at the latest. `header` is the comment the file begins with, where an empty line follows it; `complete` is false where
 * there is more than can be meant.
 */
export function readShell(text: string): { commands: ShellCommand[]; header: string[]; complete: boolean } {
  const commands: ShellCommand[] = [];
  let header: string[] = [];
  let comments: string[] = [];
  let words: ShellWord[] = [];
  let position = 0;
  let emptyLine = true;
  let parts = 0;

  function end(ended: ShellCommand['ended']): void {
    const [first, last] = [words[0], words.at(-1)];
    if (first === undefined && ended === '\n') return;
    const [start, stop] = first && last ? [first.start, last.end] : [position, position + ended.length];
    commands.push({ words, start, end: stop, ended, comments });
    words = [];
    comments = [];
  }

  function comment(): void {
    const stop = lineEnd(text, position);
    const said = text.slice(position + 1, stop).replace(/\r$/, '');
    const sameLine = !emptyLine && words.length === 0 ? commands.at(-1) : undefined;
    if (!(position === 0 && said.startsWith('!'))) (sameLine?.comments ?? comments).push(said);
    emptyLine = false;
    position = stop;
  }

  function newline(): void {
    end('\n');
    if (emptyLine && commands.length === 0 && header.length === 0 && comments.length > 0) {
      header = comments;
      comments = [];
    }
    emptyLine = true;
    position += 1;
  }

  function redirection(): void {
    const last = words.at(-1);
    if (last?.end === position && /^\d+$/.test(text.slice(last.start, last.end))) words.pop();
    position += /^(?:<<-?|<&|>&|>>|<>|>\||[<>])/.exec(text.slice(position, position + 3))![0].length;
    while (blank.test(text[position] ?? '')) position++;
    if (!operator.test(text[position] ?? '\n')) position = readWord(text, position).end;
  }

  while (position < text.length && parts <= mostParts) {
    const sign = text[position]!;
    if (blank.test(sign)) position++;
    else if (sign === '\\' && /^\\\r?\n/.test(text.slice(position, position + 3)))
      position += text[position + 1] === '\r' ? 3 : 2;
    else if (sign === '#') comment();
    else if (sign === '\n') newline();
    else if (sign === '<' || sign === '>') redirection();
    else if (sign === '&' && text[position + 1] === '>') position++;
    else if (operator.test(sign)) {
      const two = text.slice(position, position + 2);
      const found = two === ';;' || two === '&&' || two === '||' ? two : (sign as ';');
      end(found);
      parts++;
      emptyLine = false;
      position += found.length;
    } else {
      const word = readWord(text, position);
      words.push(word);
      parts++;
      emptyLine = false;
      position = word.end;
    }
  }
  end('\n');
  return { commands, header, complete: parts <= mostParts };
}

function lineEnd(text: string, from: number): number {
  const found = text.indexOf('\n', from);
  return found < 0 ? text.length : found;
}

function readWord(text: string, start: number): ShellWord {
  const pieces: Piece[] = [];
  let position = start;
  let plain = '';
  let quote = '';
  const keep = () => {
    if (plain !== '') pieces.push({ kind: 'text', text: plain, quoted: quote !== '' });
    plain = '';
  };
  while (position < text.length) {
    const sign = text[position]!;
    const next = text[position + 1] ?? '\n';
    if (sign === '\n' || (quote === '' && (blank.test(sign) || operator.test(sign)))) break;
    if (quote === "'" ? sign === "'" : sign === '"' || (quote === '' && sign === "'")) {
      if (quote === '' || plain !== '') keep();
      if (quote !== '' && pieces.length === 0) pieces.push({ kind: 'text', text: '', quoted: true });
      quote = quote === '' ? sign : '';
      position++;
    } else if (quote !== "'" && sign === '\\') {
      if (/^\\\r?\n/.test(text.slice(position, position + 3))) break;
      const last = position + 1 >= text.length;
      plain += last ? '\\' : quote === '"' && !/["\\$`]/.test(next) ? `\\${next}` : next;
      position += 2;
    } else if (quote !== "'" && (sign === '`' || (sign === '$' && /[A-Za-z0-9_{(@*#?$!-]/.test(next)))) {
      keep();
      const { piece, length } = readDollar(text.slice(position, lineEnd(text, position)), quote !== '');
      pieces.push(piece);
      position += length;
    } else {
      plain += sign;
      position++;
    }
  }
  keep();
  return { pieces, start, end: position };
}

/** What begins with `$` or a backquote at the start of `line`. */
function readDollar(line: string, quoted: boolean): { piece: Piece; length: number } {
  const simple = /^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^{}$`"']*))?\})/.exec(
    line,
  );
  if (simple) {
    const name = (simple[1] ?? simple[2])!;
    const otherwise = simple[3];
    const piece = { kind: 'variable' as const, name, quoted };
    return { piece: otherwise === undefined ? piece : { ...piece, otherwise }, length: simple[0].length };
  }
  const length = line.startsWith('$(')
    ? closing(line, '(', ')')
    : line.startsWith('${')
      ? closing(line, '{', '}')
      : line.startsWith('`')
        ? (/^`[^`]*`?/.exec(line)?.[0].length ?? 1)
        : 2;
  return { piece: { kind: 'unknown', text: line.slice(0, length) }, length };
}

function closing(line: string, open: string, close: string): number {
  let depth = 0;
  for (let at = 1; at < line.length; at++) {
    if (line[at] === open) depth++;
    else if (line[at] === close && --depth === 0) return at + 1;
  }
  return line.length;
}
