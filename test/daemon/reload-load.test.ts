import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { openSite, type Site } from './site.ts';

const reloads = process.env.LONG ? 500 : 50;
const connections = 12;

/** Echoes lines over TCP and datagrams over UDP. */
const realServer = `
require('net').createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(8080, () => {
  const udp = require('dgram').createSocket('udp4');
  udp.on('message', (text, { port, address }) => udp.send(text, port, address));
  udp.bind(5353, () => console.log('ready'));
});
`;

/**
 * Sends numbered messages over each connection, the next when the last came back, and counts: what is sent and never comes
 * back, what comes back out of order, and connections that end. A line on its input ends it.
 */
const client = `
const counts = { tcp: 0, udp: 0, lost: 0, disorder: 0, ended: 0 };
let over = false;
let open = 0;
const done = () => { if (--open === 0) { console.log(JSON.stringify(counts)); process.exit(0); } };
process.stdin.once('data', () => { over = true; });
const start = () => { if (++open === ${2 * connections}) console.log('ready'); };
for (let i = 0; i < ${connections}; i++) {
  let next = 0;
  let buffer = '';
  const socket = require('net').connect(80, '192.0.2.1');
  const say = () => { if (over) { socket.removeAllListeners('close'); socket.destroy(); done(); } else socket.write(++next + '\\n'); };
  socket.setNoDelay(true);
  socket.once('connect', () => { start(); say(); });
  socket.on('error', () => {}).on('close', () => { counts.ended++; done(); });
  socket.on('data', (text) => {
    buffer += text;
    if (!buffer.endsWith('\\n')) return;
    if (Number(buffer) !== next) counts.disorder++;
    buffer = '';
    counts.tcp++;
    setTimeout(say, 1);
  });
  let number = 0;
  let patience;
  const udp = require('dgram').createSocket('udp4');
  const send = () => {
    clearTimeout(patience);
    if (over) { udp.close(); done(); return; }
    udp.send(String(++number));
    patience = setTimeout(() => { counts.lost++; send(); }, 10000);
  };
  udp.connect(53, '192.0.2.1', () => { start(); send(); });
  udp.on('error', () => {}).on('message', (text) => {
    if (Number(text) !== number) counts.disorder++;
    counts.udp++;
    setTimeout(send, 1);
  });
}
`;

const members = (port: number, weight: number, more: boolean) =>
  `[{ address: 10.9.0.1:${port}, weight: ${weight} }${more ? `, { address: 10.9.0.77:${port}, weight: 0 }` : ''}]`;
/** What reloads change: weights, schedulers, a second real server, persistence, another service, timeouts. */
const configuration = (round: number): string => {
  const scheduler = ['rr', 'wrr', 'wlc', 'mh', 'sh', 'lblc'][round % 6]!;
  const shared = `scheduler: ${scheduler}, method: masquerade`;
  const persistence = round % 5 === 4 ? ', persistence: 5m' : '';
  return `
timeouts: { udp: ${200 + (round % 7)}s }
virtualServices:
  - { name: tcp, address: 192.0.2.1:80, ${shared}${persistence}, realServers: ${members(8080, 1 + (round % 9), round % 2 === 0)} }
  - { name: udp, address: 192.0.2.1:53/udp, ${shared}, realServers: ${members(5353, 1 + (round % 4), round % 3 === 0)} }
${round % 2 === 0 ? `  - { name: other, address: 192.0.2.1:443, ${shared}, realServers: ${members(443, 1, true)} }\n` : ''}`;
};

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('reloads under load', () => {
  let site: Site;
  const names = { client: `hgload-c-${process.pid}`, real: `hgload-r-${process.pid}` };
  const processes: ChildProcess[] = [];
  const ip = (line: string) => {
    const { status, stderr } = spawnSync('ip', line.split(' '), { encoding: 'utf8' });
    if (status !== 0) throw new Error(`ip ${line}: ${stderr}`);
  };
  beforeEach(() => {
    site = openSite();
    for (const name of Object.values(names)) ip(`netns add ${name}`);
    const director = site.netns;
    ip(`link add front netns ${director} type veth peer name eth0 netns ${names.client}`);
    ip(`link add back netns ${director} type veth peer name eth0 netns ${names.real}`);
    for (const [netns, device, address] of [
      [director, 'front', '10.8.0.254/24'],
      [director, 'front', '192.0.2.1/32'],
      [director, 'back', '10.9.0.254/24'],
      [names.client, 'eth0', '10.8.0.1/24'],
      [names.real, 'eth0', '10.9.0.1/24'],
    ] as const) {
      ip(`-n ${netns} address add ${address} dev ${device}`);
      ip(`-n ${netns} link set ${device} up`);
    }
    ip(`-n ${names.client} route add default via 10.8.0.254`);
    ip(`-n ${names.real} route add default via 10.9.0.254`);
    ip(`netns exec ${director} sysctl -q net.ipv4.ip_forward=1`);
  });
  afterEach(() => {
    for (const child of processes.splice(0)) child.kill('SIGKILL');
    site.close();
    for (const name of Object.values(names)) spawnSync('ip', ['netns', 'del', name]);
  });

  /** Starts a script in a namespace; resolves when it is ready. */
  async function start(netns: string, script: string) {
    const child = spawn('ip', ['netns', 'exec', netns, process.execPath, '-e', script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    processes.push(child);
    let output = '';
    const waiting: (() => void)[] = [];
    child.stdout.on('data', (text) => {
      output += text;
      for (const look of waiting) look();
    });
    const line = (count: number) =>
      new Promise<string>((resolve, reject) => {
        const look = () => {
          const lines = output.split('\n');
          if (lines.length > count) resolve(lines[count - 1]!);
        };
        waiting.push(look);
        child.once('exit', () => reject(new Error(`it ended: ${output}`)));
        look();
      });
    await line(1);
    return { child, line };
  }

  it('lose no packet of a connection that is there', async () => {
    site.write(configuration(0));
    const daemon = await site.start();
    await start(names.real, realServer);
    const load = await start(names.client, client);
    for (let round = 1; round <= reloads; round++) {
      site.write(configuration(round));
      daemon.process.kill('SIGHUP');
      await daemon.logged(new RegExp(`configuration in force .*generation=${round + 1} `));
    }
    load.child.stdin!.write('over\n');
    const { tcp, udp, ...wrong } = JSON.parse(await load.line(2));
    expect(wrong).toEqual({ lost: 0, disorder: 0, ended: 0 });
    expect(Math.min(tcp, udp)).toBeGreaterThan(reloads);
    expect(await daemon.end('SIGTERM')).toBe(0);
  }, 600_000);
});
