/**
 * Weights from load against fixed ones: three real servers, one of them slow, and a client that opens connections at
 * random times. Two of the servers can do 100 requests a second, the third 40.
 *
 * Usage: npm run bench:load [-- --rate N --warm SECONDS --seconds N --rounds N --only TEXT -o json]
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Lab, up } from '../../src/lab/build.ts';
import { readArguments } from '../arguments.ts';
import { machine, printTable, takePrecedence } from '../machine.ts';

const options = readArguments(import.meta.filename, {
  ...{ rate: 110, warm: 60, seconds: 30, rounds: 3 },
  ...{ only: '', output: 'text' },
});

const vip = '10.84.0.100';
const port = 80;
const servers = [
  { name: 'rs1', address: '10.85.0.1', serviceMs: 10 },
  { name: 'rs2', address: '10.85.0.2', serviceMs: 10 },
  { name: 'slow', address: '10.85.0.3', serviceMs: 25 },
] as const;
const launcher = resolve(import.meta.dirname, '../../bin/headgate.js');
const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

/** What stands beside what. */
const contestants = (['wrr', 'wlc'] as const).flatMap((scheduler) => [
  { name: `${scheduler}, fixed weights, all 100`, scheduler, slow: 100, load: false },
  { name: `${scheduler}, weights from load`, scheduler, slow: 100, load: true },
  { name: `${scheduler}, weights by hand 100 100 40`, scheduler, slow: 40, load: false },
]);
type Contestant = (typeof contestants)[number];

type Result = {
  readonly name: string;
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
  /** Of all answers, those of the slow server. */
  readonly slowShare: number;
  readonly failed: number;
  /** Of the slow server, at the end. */
  readonly weight: number;
};

function build(): Lab {
  const on = (node: string, device: string, ...addresses: string[]) => ({ node, device, addresses });
  return up({
    name: `load${process.pid.toString(36)}`,
    nodes: [
      { name: 'client' },
      { name: 'director', sysctls: { 'net.ipv4.ip_forward': 1 } },
      ...servers.map(({ name }) => ({
        name,
        routes: [{ destination: 'default', gateway: '10.85.0.254', family: 'ipv4' as const }],
      })),
    ],
    segments: [
      {
        name: 'front',
        ports: [on('client', 'eth0', '10.84.0.1/24'), on('director', 'front', '10.84.0.254/24', `${vip}/32`)],
      },
      {
        name: 'back',
        ports: [
          on('director', 'back', '10.85.0.254/24'),
          ...servers.map(({ name, address }) => on(name, 'eth0', `${address}/24`)),
        ],
      },
    ],
  });
}

const configurationOf = ({ scheduler, slow, load }: Contestant): string =>
  JSON.stringify({
    virtualServices: [
      {
        name: 'web',
        address: `${vip}:${port}`,
        scheduler,
        method: 'masquerade',
        ...(load && { agent: { weights: 'load', interval: '1s' } }),
        realServers: servers.map(({ name, address }) => ({
          name,
          address: `${address}:${port}`,
          weight: name === 'slow' ? slow : 100,
        })),
      },
    ],
  });

/** Everything of one contestant, with real servers that have done nothing before. */
async function takeTurn(lab: Lab, folder: string, contestant: Contestant): Promise<Result> {
  const started: ChildProcess[] = [];
  const env = { ...process.env, HEADGATE_CONNECTIONS: '65536', HEADGATE_STATE: join(folder, 'state') };
  const start = async (node: string, args: readonly string[], stream: 'stdout' | 'stderr', ready: RegExp) => {
    const child = lab.spawn(node, process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
    started.push(child);
    let said = '';
    child.stderr!.on('data', (text) => {
      said += text;
    });
    for await (const text of child[stream]!.iterator({ destroyOnReturn: false })) {
      if (stream === 'stdout') said += text;
      if (ready.test(said)) return;
    }
    throw new Error(`${args.join(' ')}: ${said}`);
  };
  try {
    for (const { name, serviceMs } of servers) {
      const file = join(folder, name);
      const program = ['--import', tsx, resolve(import.meta.dirname, 'server.ts')];
      await start(name, [...program, name, String(port), String(serviceMs), file], 'stdout', /ready/);
      writeFileSync(`${file}.sh`, `#!/bin/sh\ncat ${file}\n`, { mode: 0o755 });
      if (contestant.load)
        await start(
          name,
          [
            launcher,
            'agent',
            'serve',
            '--allow',
            '10.85.0.254',
            '--script',
            `${file}.sh`,
            '--count',
            'script',
          ],
          'stderr',
          /load agent on/,
        );
    }
    const file = join(folder, 'headgate.yaml');
    writeFileSync(file, configurationOf(contestant));
    await start('director', [launcher, 'run', file], 'stderr', / info running /);
    const client = lab.spawn(
      'client',
      process.execPath,
      [
        ...['--import', tsx, resolve(import.meta.dirname, 'client.ts')],
        ...[vip, String(port), ...[options.rate, options.warm, options.seconds].map(String)],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    started.push(client);
    let text = '';
    client.stdout!.on('data', (chunk) => {
      text += chunk;
    });
    await once(client, 'close');
    const listed = lab.run('director', process.execPath, [launcher, 'ipvsadm', '-Ln'], { env }).stdout;
    const weight = Number(new RegExp(`${servers[2].address}:${port} +\\w+ +(\\d+)`).exec(listed)?.[1]);
    return resultOf(contestant.name, JSON.parse(text) as Record<string, number[]>, weight);
  } finally {
    for (const child of started) child.kill('SIGTERM');
    await Promise.all(started.map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')));
    lab.run('director', process.execPath, [launcher, 'clean-up'], { env });
  }
}

function resultOf(name: string, took: Record<string, number[]>, weight: number): Result {
  const all = Object.values(took)
    .flat()
    .toSorted((a, b) => a - b);
  const at = (share: number) => all[Math.min(all.length - 1, Math.floor(share * all.length))] ?? Number.NaN;
  return {
    ...{ name, p50: at(0.5), p99: at(0.99), most: at(1), weight },
    slowShare: (took.slow?.length ?? 0) / all.length,
    failed: took.nobody?.length ?? 0,
  };
}

takePrecedence();
const chosen = contestants.filter(({ name }) => name.includes(options.only));
const folder = mkdtempSync(join(tmpdir(), 'headgate-bench-load-'));
const lab = build();
const results: Result[] = [];
try {
  for (let round = 1; round <= options.rounds; round++)
    for (const contestant of chosen) {
      process.stderr.write(`round ${round}: ${contestant.name}\n`);
      results.push(await takeTurn(lab, folder, contestant));
    }
} finally {
  lab.down();
  rmSync(folder, { recursive: true, force: true });
}
if (options.output === 'json') process.stdout.write(`${JSON.stringify(results)}\n`);
else {
  const ms = (value: number) => value.toFixed(0);
  process.stdout.write(
    `${options.rate} requests/s for ${options.seconds} s after ${options.warm} s, medians of ${options.rounds} rounds; ${machine()}\n\n`,
  );
  const medianOf = (name: string, figure: (one: Result) => number): number => {
    const all = results.filter((one) => one.name === name).map(figure);
    return all.toSorted((a, b) => a - b)[Math.floor((all.length - 1) / 2)]!;
  };
  printTable(
    ['weights', 'p50 ms', 'p99 ms', 'longest ms', 'to the slow one', 'its weight', 'failed'],
    chosen.map(({ name }) => {
      const of = (figure: (one: Result) => number) => medianOf(name, figure);
      return [
        ...[name, ms(of(({ p50 }) => p50)), ms(of(({ p99 }) => p99)), ms(of(({ most }) => most))],
        `${(100 * of(({ slowShare }) => slowShare)).toFixed(0)} %`,
        ...[String(of(({ weight }) => weight)), String(of(({ failed }) => failed))],
      ];
    }),
  );
}
