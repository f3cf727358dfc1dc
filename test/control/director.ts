import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { type Lab, up } from '../../src/lab/build.ts';

/** A director as a sound one is: two networks, forwarding on, redirects off, a way back to distant clients. */
export type Director = {
  readonly lab: Lab;
  /** Runs a line of shell on a node, where `headgate` is this checkout; throws with what it said when it fails. */
  shell(line: string, node?: string): string;
  /** The answer and exit code of `headgate doctor -o json`. */
  examine(): { readonly exitCode: number; readonly findings: readonly Found[] };
  /** What it finds under one name, and says so. */
  find(id: string, what: RegExp): readonly Found[];
  down(): void;
};
export type Found = {
  readonly id: string;
  readonly severity: 'broken' | 'risky' | 'note';
  readonly what: string;
  readonly why: string;
  readonly fix?: string;
  readonly next?: string;
};

export const vip = '10.74.0.100';
export const vip6 = 'fd74::100';

const launcher = resolve(import.meta.dirname, '../../bin/headgate.js');

/** Builds client, director and real server; the director has one masqueraded service. */
export function standUp(): Director {
  const name = `doc${process.pid.toString(36)}`;
  const folder = mkdtempSync(join(tmpdir(), 'hgdoctor-'));
  writeFileSync(join(folder, 'headgate'), `#!/bin/sh\nexec ${process.execPath} ${launcher} "$@"\n`);
  chmodSync(join(folder, 'headgate'), 0o755);
  const env = {
    ...process.env,
    PATH: `${folder}${delimiter}${process.env.PATH}`,
    HEADGATE_CONNECTIONS: '256',
  };
  const port = (node: string, device: string, ...addresses: string[]) => ({ node, device, addresses });
  const lab = up({
    name,
    nodes: [
      { name: 'client' },
      {
        name: 'director',
        sysctls: { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 },
        routes: [
          { destination: 'default', gateway: '10.75.0.1', family: 'ipv4' },
          { destination: 'default', gateway: 'fd75::1', family: 'ipv6' },
        ],
      },
      { name: 'real' },
    ],
    segments: [
      {
        name: 'front',
        ports: [
          port('client', 'eth0', '10.74.0.1/24', 'fd74::1/64'),
          port('director', 'front', '10.74.0.254/24', `${vip}/32`, 'fd74::fe/64', `${vip6}/128`),
        ],
      },
      {
        name: 'back',
        ports: [
          port('director', 'back', '10.75.0.254/24', 'fd75::fe/64'),
          port('real', 'eth0', '10.75.0.1/24', 'fd75::1/64'),
        ],
      },
    ],
  });
  const run = (line: string, node: string) =>
    lab.run(node, 'sh', ['-c', line], { env, timeoutMs: 100_000, input: '' });
  const shell = (line: string, node = 'director') => {
    const { status, stdout, stderr } = run(`cd ${folder} && ${line}`, node);
    if (status !== 0) throw new Error(`${line}: status ${status}, ${stderr}${stdout}`);
    return stdout;
  };
  const examine: Director['examine'] = () => {
    const { status, stdout, stderr } = run('headgate doctor -o json', 'director');
    if (stdout === '') throw new Error(`headgate doctor: status ${status}, ${stderr}`);
    return { exitCode: status ?? -1, findings: JSON.parse(stdout).findings };
  };
  return {
    lab,
    shell,
    examine,
    find: (id, what) => examine().findings.filter((one) => one.id === id && what.test(one.what)),
    down() {
      run('headgate clean-up', 'director');
      lab.down();
      rmSync(folder, { recursive: true });
    },
  };
}
