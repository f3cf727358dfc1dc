/**
 * What checks cost: one process on one processor runs 10,000 tcp checks a second, or 2,000 http checks a second, each
 * check of an address of its own, against one nginx on another processor. The processor time is measured as well, for a
 * machine that others load: where less of a processor is to be had, checks are late.
 *
 * Usage: npm run bench:checks [-- --seconds N --warm-up SECONDS --percent OF-THE-CHECKS]
 * Needs nginx, taskset, and files: ulimit -n 20000
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readArguments } from '../arguments.ts';
import { machine, printTable, takePrecedence } from '../machine.ts';

const options = readArguments(import.meta.filename, { seconds: 30, 'warm-up': 5, percent: 100 });
const port = 18_097;
const folder = mkdtempSync(join(tmpdir(), 'headgate-bench-checks-'));

const share = (checks: number) => Math.ceil((checks * options.percent) / 100);
const loads = [
  { tcp: share(10_000), http: 0 },
  { tcp: share(5000), http: 0 },
  { tcp: 0, http: share(2000) },
];

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
  const given = [tcp, http, options.seconds, options['warm-up'], port];
  const words = [join(import.meta.dirname, 'load.ts'), ...given].map(String);
  const { stdout, stderr } = spawnSync(
    'taskset',
    ['-c', '1', process.execPath, '--import', 'tsx', ...words],
    { encoding: 'utf8' },
  );
  if (!stdout.startsWith('{')) throw new Error(`the checks ended: ${stdout}${stderr}`);
  return JSON.parse(stdout);
}

/** Whether nginx accepts connections. */
async function answers(): Promise<boolean> {
  if (nginx.exitCode !== null) throw new Error(`nginx ended with ${nginx.exitCode}`);
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

const percent = (share: number) => `${Math.round(share * 100)} %`;
const number = (value: number) => value.toLocaleString('en-US');

takePrecedence();
process.stdout.write(`${machine()}\n\n`);
const nginx = spawn('nginx', ['-c', join(folder, 'nginx.conf')], { stdio: 'ignore' });
try {
  while (!(await answers())) await sleep(50);
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
        ...[
          `${number(load.tcp || load.http)} ${load.tcp ? 'tcp' : 'http'}`,
          number(perSecond),
          number(bad),
          percent(cpuShare),
          percent(1 - userShare / cpuShare),
        ],
        ...[String(Math.round(cpuMicroseconds)), ...[lateness.p50, lateness.p99, lateness.most].map(String)],
        memory.join(', '),
      ];
    }),
  );
} finally {
  nginx.kill('SIGTERM');
  rmSync(folder, { recursive: true });
}
