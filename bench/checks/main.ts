/**
 * What checks cost: one process on one processor runs 10,000 tcp checks a second, or 2,000 http checks a second, each
 * check of an address of its own, against one nginx on another processor. The processor time is measured as well, for a
 * machine that others load: where less of a processor is to be had, checks are late.
 *
 * Usage: npm run bench:checks [-- --seconds N]; needs nginx, taskset, and files: ulimit -n 20000
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { machine, printTable, takePrecedence } from '../machine.ts';

const { values: options } = parseArgs({ options: { seconds: { type: 'string', default: '30' } } });
const port = 18_097;
const folder = mkdtempSync(join(tmpdir(), 'headgate-bench-checks-'));

const loads = [
  { name: '10,000 tcp', tcp: 10_000, http: 0 },
  { name: '5,000 tcp', tcp: 5000, http: 0 },
  { name: '2,000 http', tcp: 0, http: 2000 },
] as const;

type Result = {
  readonly good: number;
  readonly bad: number;
  readonly reason?: string;
  readonly perSecond: number;
  readonly cpuShare: number;
  readonly userShare: number;
  readonly cpuMicroseconds: number;
  readonly lateness: { readonly p50: number; readonly p99: number; readonly most: number };
  readonly memory: readonly number[];
};

const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
  (name) => `${name}_temp_path ${join(folder, name)};`,
);
writeFileSync(
  join(folder, 'nginx.conf'),
  `worker_processes 1; worker_cpu_affinity 01; daemon off; pid ${join(folder, 'pid')};
error_log ${join(folder, 'errors')} crit; events { worker_connections 15000; multi_accept on; }
http { access_log off; ${paths.join(' ')} server { listen ${port} backlog=8192; location / { return 200 "ok\\n"; } } }
`,
);

function run({ tcp, http }: (typeof loads)[number]): Result {
  const words = [join(import.meta.dirname, 'load.ts'), tcp, http, options.seconds, port].map(String);
  const { stdout, stderr } = spawnSync(
    'taskset',
    ['-c', '1', process.execPath, '--import', 'tsx', ...words],
    { encoding: 'utf8' },
  );
  if (!stdout.startsWith('{')) throw new Error(`the checks ended: ${stdout}${stderr}`);
  return JSON.parse(stdout);
}

const percent = (share: number) => `${Math.round(share * 100)} %`;
const number = (value: number) => value.toLocaleString('en-US');

takePrecedence();
process.stdout.write(`${machine()}\n\n`);
const nginx = spawn('nginx', ['-c', join(folder, 'nginx.conf')], { stdio: 'ignore' });
try {
  await sleep(1000);
  printTable(
    [
      'Checks a second',
      'done',
      'bad',
      'processor',
      'of it the kernel',
      'us each',
      'late p50 ms',
      'p99',
      'most',
      'MiB, in time',
    ],
    loads.map((load) => {
      const { perSecond, bad, cpuShare, userShare, cpuMicroseconds, lateness, memory } = run(load);
      return [
        ...[load.name, number(perSecond), number(bad), percent(cpuShare), percent(1 - userShare / cpuShare)],
        ...[String(Math.round(cpuMicroseconds)), ...[lateness.p50, lateness.p99, lateness.most].map(String)],
        memory.join(', '),
      ];
    }),
  );
} finally {
  nginx.kill('SIGTERM');
  rmSync(folder, { recursive: true });
}
