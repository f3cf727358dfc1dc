/** Blanks in rules files: also no-break spaces, which come with lines pasted from web pages, and byte order marks. */
const blanks = /[ \t\r\f\v\u00a0\ufeff]+/;

/** The words of one line of rules, for parseCommand: without comment and program name. */
export function ruleWords(line: string): string[] {
  const words = line.split(blanks).filter((word) => word !== '');
  const comment = words.findIndex((word) => word.startsWith('#'));
  if (comment >= 0) words.length = comment;
  return words.filter((word, index) => !isProgramName(word, index));
}

/** Whether a word of a rule is the program's name, which says nothing: anywhere, with a path as the first word. */
export function isProgramName(word: string, index: number): boolean {
  return word === 'ipvsadm' || (index === 0 && word.endsWith('/ipvsadm'));
}

/** Rules as text: UTF-8, or Latin-1 where the bytes are not UTF-8. */
export function decodeRules(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  }
}
