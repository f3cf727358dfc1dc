import { closeSync, readFileSync } from 'node:fs';
import { type NetConnectOpts, Socket } from 'node:net';
import { netnsPath, withNetns } from '../sys/netns.ts';
import { families, openSocket, socketTypes } from '../sys/socket.ts';

/** What came of a connection: the first line that was answered, or why there was none. */
export type ProbeResult = { readonly answer: string } | { readonly reason: string };

export type ProbeOrder = {
  readonly address: string;
  readonly port: number;
  /** Asks for a page and takes the first line of its body; otherwise the first line that comes is the answer. */
  readonly http: boolean;
  readonly timeoutMs: number;
};

/**
 * Connects from inside a namespace without a process there: the socket is made inside, and stays there. Reasons are
 * `timeout`, `no answer` and the names of error numbers.
 */
export function probe(netns: string, { address, port, http, timeoutMs }: ProbeOrder): Promise<ProbeResult> {
  const family = address.includes(':') ? families.inet6 : families.inet;
  const fd = withNetns(netnsPath(netns), () => openSocket(family, socketTypes.stream, 0));
  return new Promise((resolve) => {
    let socket: Socket;
    try {
      socket = new Socket({ fd });
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    let text = '';
    const finish = (result: ProbeResult): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => finish({ reason: 'timeout' }), timeoutMs);
    socket.on('error', (error: NodeJS.ErrnoException) => finish({ reason: error.code ?? error.message }));
    socket.on('end', () => finish(answered(text, http) ?? { reason: 'no answer' }));
    socket.on('data', (chunk) => {
      text += chunk;
      const answer = answered(text, http);
      if (answer) finish(answer);
    });
    socket.on('connect', () => {
      if (http) socket.write('GET / HTTP/1.0\r\nHost: lab\r\n\r\n');
    });
    socket.connect({ host: address, port, family: address.includes(':') ? 6 : 4 } as NetConnectOpts);
  });
}

function answered(text: string, http: boolean): ProbeResult | undefined {
  const line = (http ? /\r\n\r\n([^\r\n]+)\r?\n/ : /^([^\r\n]*)\r?\n/).exec(text);
  return line ? { answer: line[1]! } : undefined;
}

/** The TCP ports somebody listens on in a namespace (proc_net_tcp: state 0A). */
export function listeningPorts(netns: string): Set<number> {
  const listening = new Set<number>();
  const text = withNetns(netnsPath(netns), () =>
    ['tcp', 'tcp6'].map((name) => readFileSync(`/proc/thread-self/net/${name}`, 'utf8')).join('\n'),
  );
  for (const [, port] of text.matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /gm))
    listening.add(Number.parseInt(port!, 16));
  return listening;
}
