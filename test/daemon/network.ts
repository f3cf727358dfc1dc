import { type ChildProcess, spawnSync } from 'node:child_process';
import { createNamedNetns, deleteNamedNetns, spawnInNetns } from '../../src/sys/netns.ts';
import type { Site } from './site.ts';

/** A client and a real server in namespaces of their own, beside the director of a site. */
export type Network = {
  readonly client: string;
  /** Runs `ip` and throws with what it said when it fails. */
  ip(...words: string[]): string;
  /** Gives the director an interface with the client at its other end; the virtual address is reached over it. */
  plugClient(device: string): void;
  close(): void;
};

export const virtualAddress = '192.0.2.10';
export const realServer = '10.0.0.1:80';
const [inside, outside] = ['10.0.0.254', '203.0.113.254'];

/** Answers every request with its text, and lines of a connection that is not HTTP with the same line. */
const serve = `require('node:net').createServer((s) => {
  s.on('error', () => undefined);
  s.on('data', (text) => s.write(String(text).startsWith('GET ') ? 'HTTP/1.0 200 OK\\r\\n\\r\\nserved' : text, () => {
    if (String(text).startsWith('GET ')) s.end();
  }));
}).listen(80, '0.0.0.0', () => console.log('up'))`;

export const configuration = `
virtualServices:
  - name: web
    address: ${virtualAddress}:80
    scheduler: rr
    method: masquerade
    realServers: [{ address: ${realServer}, name: web1 }]
`;

/** Connects a real server that serves port 80 to the director of `site`, which gets the virtual address. */
export async function layNetwork(site: Site): Promise<Network> {
  const [client, real] = [`${site.netns}c`, `${site.netns}r`];
  createNamedNetns(client);
  createNamedNetns(real);
  const ip = (...words: string[]): string => {
    const { status, stdout, stderr } = spawnSync('ip', words, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${stderr}`);
    return stdout;
  };
  const lines = (...commands: string[]) => {
    for (const command of commands) ip(...command.split(' '));
  };
  lines(
    `-n ${site.netns} link set lo up`,
    `-n ${site.netns} address add ${virtualAddress}/32 dev lo`,
    `-n ${site.netns} link add r0 type veth peer name eth0 netns ${real}`,
    `-n ${site.netns} address add ${inside}/24 dev r0`,
    `-n ${site.netns} link set r0 up`,
    `-n ${real} address add ${realServer.replace(/:.*/, '')}/24 dev eth0`,
    `-n ${real} link set eth0 up`,
    `-n ${real} route add default via ${inside}`,
  );
  const server: ChildProcess = spawnInNetns(real, process.execPath, ['-e', serve], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => server.stdout!.once('data', resolve));
  return {
    client,
    ip,
    plugClient(device) {
      lines(
        `-n ${site.netns} link add ${device} type veth peer name eth0 netns ${client}`,
        `-n ${site.netns} address add ${outside}/24 dev ${device}`,
        `-n ${site.netns} link set ${device} up`,
        `-n ${client} address add 203.0.113.1/24 dev eth0`,
        `-n ${client} link set eth0 up`,
        `-n ${client} route add default via ${outside}`,
      );
    },
    close() {
      server.kill('SIGKILL');
      deleteNamedNetns(client);
      deleteNamedNetns(real);
    },
  };
}

/** What the virtual service answers the client; undefined when it does not, within `withinMs`. */
export function fetchFrom(client: string, withinMs: number): string | undefined {
  const { status, stdout } = spawnSync(
    'ip',
    ['netns', 'exec', client, 'curl', '-s', '-m', String(withinMs / 1000), `http://${virtualAddress}/`],
    { encoding: 'utf8' },
  );
  return status === 0 ? stdout : undefined;
}
