import type { ShareName } from '../agent/load/sampler.ts';
import { loadPort, startLoadAgent } from '../agent/load/serve.ts';
import { HeadgateError } from '../model/errors.ts';
import type { Streams } from './context.ts';

/** What `headgate agent serve` takes, as commander hands it over. */
export type ServeWords = {
  readonly listen?: string;
  readonly allow?: string[];
  readonly script?: string;
  readonly words?: string;
  readonly port?: string[];
  readonly connections?: string;
  readonly count?: ShareName[];
};

const periodMs = 1000;

/** Answers directors until it is told to end. */
export async function serve(options: ServeWords, { stderr }: Streams): Promise<void> {
  const end = new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
  const { address, port } = whereOf(options.listen);
  const allow = options.allow ?? [];
  const ports = (options.port ?? []).map((text) => whole('port', text, 65_535));
  const most = options.connections;
  if (most !== undefined && ports.length === 0)
    throw new HeadgateError(
      'HG_USAGE',
      'Cannot count connections: wanted --port with --connections, found none',
      {
        hint: 'headgate agent serve --port 80 443 --connections 2000',
      },
    );
  const agent = await startLoadAgent({
    ...{ address, port, allow, ports, periodMs, script: options.script, words: options.words },
    count: options.count,
    ...(most !== undefined && { mostConnections: whole('connections', most, 2 ** 31 - 1) }),
    tell: (what) => stderr.write(`headgate: ${what}\n`),
  });
  const whom = allow.length === 0 ? 'this host alone; --allow PREFIX lets directors ask' : allow.join(', ');
  stderr.write(`headgate: load agent on ${agent.listen}, for ${whom}\n`);
  await end;
  await agent.stop();
}

/** `ADDRESS:PORT`, `[ADDRESS]:PORT`, an address or a port. */
function whereOf(text: string | undefined): { readonly address: string; readonly port: number } {
  if (text === undefined) return { address: '::', port: loadPort };
  const found = /^(?:\[([^\]]+)\]|([^:]+))?(?::(\d+))?$/.exec(text) ?? /^()([0-9a-fA-F:]+)()$/.exec(text);
  if (!found) throw wrong('listen', text, 'ADDRESS:PORT');
  const [, six, four, port] = found;
  if (four !== undefined && /^\d+$/.test(four) && !port)
    return { address: '::', port: whole('listen', four, 65_535) };
  return { address: six || four || '::', port: port ? whole('listen', port, 65_535) : loadPort };
}

function whole(option: string, text: string, most: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (value < (option === 'listen' ? 0 : 1) || value > most)
    throw wrong(option, text, `a whole number up to ${most}`);
  return value;
}

const wrong = (option: string, text: string, wanted: string) =>
  new HeadgateError('HG_USAGE', `Cannot use --${option} "${text}": wanted ${wanted}`, {
    hint: 'headgate agent serve --help',
  });
