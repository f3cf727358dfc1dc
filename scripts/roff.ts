/*
 * The Markdown of docs/reference as man(7) macros: headings, paragraphs, indented blocks and tables, with code and links
 * within a line. A table becomes a list: its first column the term, the rest what is said of it.
 */

/** Longest line of text in a page's source, as mandoc wants it. */
const textColumns = 78;

/** Text in which nothing is a macro or an escape. */
export function plain(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('’', "'")
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('`', '\\(ga');
}

export const bold = (text: string): string => `\\fB${plain(text)}\\fR`;
export const italic = (text: string): string => `\\fI${plain(text)}\\fR`;

/** A heading of the first level (`SH`) or the second (`SS`). */
export const heading = (macro: 'SH' | 'SS', text: string): string => `.${macro} "${plain(text)}"`;

/** A term with what is said of it. Both are roff already. */
export const term = (name: string, text: string): string =>
  `.TP\n${guarded(name)}\n${wrapped(text || '\\ ')}`;

/** Lines as they stand, indented. */
export function verbatim(lines: readonly string[]): string {
  return ['.PP', '.RS 4', '.nf', ...lines.map((line) => guarded(plain(line))), '.fi', '.RE'].join('\n');
}

/** One line or paragraph of Markdown. */
export function inline(markdown: string): string {
  const parts = markdown.replaceAll('\\|', '|').split(/(`[^`]+`|\[[^\]]+\]\([^)]+\))/);
  return parts
    .map((part) => {
      const code = /^`([^`]+)`$/.exec(part)?.[1];
      // A long value may be broken behind a comma, or a slash within a path.
      if (code !== undefined) return bold(code).replaceAll(/([,/])(?=[^\s,/])/g, '$1\\:');
      const link = /^\[([^\]]+)\]\(.*\)$/.exec(part)?.[1];
      return link === undefined ? plain(part) : inline(link);
    })
    .join('');
}

/** A text of several blocks. Headings of `level` signs become sections within the page, deeper ones as well. */
export function blocks(markdown: string): string[] {
  return markdown
    .split(/\n\n+/)
    .map((block) => block.replace(/\n+$/, ''))
    .filter((block) => block.trim() !== '')
    .flatMap(blockText);
}

function blockText(block: string): string[] {
  const title = /^#+ (.*)$/.exec(block)?.[1];
  if (title !== undefined) return [heading('SS', title)];
  if (block.startsWith('    ')) return [verbatim(block.split('\n').map((line) => line.slice(4)))];
  if (block.startsWith('|')) return tableText(block.split('\n'));
  return [`.PP\n${wrapped(inline(block.replaceAll('\n', ' ')))}`];
}

/** The rows of a table; columns after the second are named, so that `Left out` does not pass for a meaning. */
function tableText(lines: readonly string[]): string[] {
  const cells = (line: string) =>
    line
      .replace(/^\| | \|$/g, '')
      .split(/(?<!\\) \| /)
      .map((cell) => cell.trim());
  const [head = [], , ...rows] = lines.map(cells);
  return rows.map(([name = '', ...rest]) => {
    const said = rest.length === 1 ? rest : rest.map((cell, at) => describedBy(head[at + 1] ?? '', cell));
    return term(inline(name), said.map(inline).join(' '));
  });
}

function describedBy(column: string, cell: string): string {
  return column === 'Meaning' || column === '' ? cell : `${column}: ${cell}.`;
}

/** Broken at spaces, no line of it taken for a macro. A bold word that has spaces may be broken, its font goes on. */
export function wrapped(text: string): string {
  const lines: string[] = [];
  for (const word of text.trim().split(/\s+/)) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > textColumns) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.map(guarded).join('\n');
}

function guarded(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}
