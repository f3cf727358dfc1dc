/** How much a line matters. */
export type Level = 'info' | 'error';

/** Writes one line: what happened, and what is to be known about it. */
export type Log = (level: Level, message: string, fields?: Readonly<Record<string, unknown>>) => void;

export type LogForm = 'text' | 'json';

/** Priorities of syslog(3), which the journal takes from `<N>` before a line (sd-daemon(3)). */
const priorities = { error: 3, info: 6 } as const satisfies Record<Level, number>;

/**
 * A log of lines. `text`: `TIME level message key=value ...`, values that are no plain words as JSON; `json`: an object
 * with `time`, `level`, `message` and the fields. For the journal each line begins with its priority, and the text has
 * no time, which the journal writes itself.
 */
export function lineLog(
  write: (text: string) => unknown,
  now: () => Date,
  { form = 'text', journal = false }: { readonly form?: LogForm; readonly journal?: boolean } = {},
): Log {
  const lineOf = form === 'json' ? jsonLine : textLine;
  return (level, message, fields = {}) => {
    const time = form === 'text' && journal ? undefined : now().toISOString();
    write(`${journal ? `<${priorities[level]}>` : ''}${lineOf(time, level, message, fields)}\n`);
  };
}

type Line = (
  time: string | undefined,
  level: Level,
  message: string,
  fields: Readonly<Record<string, unknown>>,
) => string;

const textLine: Line = (time, level, message, fields) => {
  const told = Object.entries(fields).map(([name, value]) => ` ${name}=${plainOrJson(value)}`);
  return `${time === undefined ? '' : `${time} `}${level} ${message}${told.join('')}`;
};

const jsonLine: Line = (time, level, message, fields) => JSON.stringify({ time, level, message, ...fields });

function plainOrJson(value: unknown): string {
  return typeof value === 'string' && /^[\w./:-]+$/.test(value) ? value : JSON.stringify(value);
}

/** Whether an open file is the journal: JOURNAL_STREAM names its device and inode (systemd.exec(5)). */
export function isJournal(
  environment: NodeJS.ProcessEnv,
  file: { readonly dev: number; readonly ino: number },
): boolean {
  return environment.JOURNAL_STREAM === `${file.dev}:${file.ino}`;
}
