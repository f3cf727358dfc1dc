/** How much a line matters. */
export type Level = 'info' | 'error';

/** Writes one line: what happened, and what is to be known about it. */
export type Log = (level: Level, message: string, fields?: Readonly<Record<string, unknown>>) => void;

/** A log of lines `TIME level message key=value ...`; values that are no plain words are JSON. */
export function lineLog(write: (text: string) => unknown, now: () => Date): Log {
  return (level, message, fields = {}) => {
    const told = Object.entries(fields).map(([name, value]) => ` ${name}=${plainOrJson(value)}`);
    write(`${now().toISOString()} ${level} ${message}${told.join('')}\n`);
  };
}

function plainOrJson(value: unknown): string {
  return typeof value === 'string' && /^[\w./:-]+$/.test(value) ? value : JSON.stringify(value);
}
