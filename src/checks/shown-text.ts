const longest = 200;

/** Bytes as one line for a person: what cannot be printed is escaped as in JavaScript, and the rest of a long text counted. */
export function shownText(data: string | Uint8Array): string {
  const length = data.length;
  const head = data.slice(0, longest);
  const text = typeof head === 'string' ? head : Buffer.from(head).toString('latin1');
  const shown = text
    .replace(/\r?\n$/, '')
    .replace(/[^ -~]|\\/g, (character) => escapes[character] ?? escapeOf(character));
  return length > longest ? `${shown}... (${length} bytes)` : shown;
}

const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\r': '\\r', '\n': '\\n', '\t': '\\t' };

function escapeOf(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
