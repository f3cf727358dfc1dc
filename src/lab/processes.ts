import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { moduleProgram } from '../sys/program.ts';
import type { Lab } from './build.ts';
import type { TrafficOrder, TrafficReport } from './traffic-report.ts';

/** A process that has not begun after so long never will; on a busy machine it takes more than 20 s. */
const readyTimeoutMs = 60_000;

/** A running helper process; `stop` ends it and resolves when it is gone. */
export type Helper = { readonly child: ChildProcess; stop(): Promise<void> };

export type RealServerOptions = {
  readonly name: string;
  readonly http?: readonly number[];
  readonly tcp?: readonly number[];
  readonly udp?: readonly number[];
};

/** Starts a real server on a node and resolves when it listens. Rejects with what it said on standard error. */
export async function startRealServer(lab: Lab, node: string, options: RealServerOptions): Promise<Helper> {
  const ports = (['http', 'tcp', 'udp'] as const).flatMap((kind) =>
    (options[kind] ?? []).flatMap((port) => [`--${kind}`, String(port)]),
  );
  const program = [...moduleProgram('lab/real-server'), '--name', options.name, ...ports];
  const child = lab.spawn(node, process.execPath, program, { stdio: 'pipe' });
  await new Promise<void>((resolve, reject) => {
    let errors = '';
    const timer = setTimeout(() => fail(`not ready within ${readyTimeoutMs / 1000} s`), readyTimeoutMs);
    const fail = (reason: string) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new Error(`real server "${options.name}": ${errors.trim() || reason}`));
    };
    child.stderr?.on('data', (text) => {
      errors += text;
    });
    child.once('error', (error) => fail(error.message));
    child.once('close', (code, signal) => fail(`ended with ${signal ?? `status ${code}`}`));
    child.stdout?.once('data', () => {
      clearTimeout(timer);
      child.removeAllListeners('close');
      resolve();
    });
  });
  return helper(child);
}

/** Starts a traffic generator on a node; `onReport` gets every line, `finished` resolves to the last one. */
export function startTraffic(
  lab: Lab,
  node: string,
  order: TrafficOrder,
  onReport: (report: TrafficReport) => void = () => undefined,
): Helper & { readonly finished: Promise<TrafficReport> } {
  const program = [...moduleProgram('lab/client'), JSON.stringify(order)];
  const child = lab.spawn(node, process.execPath, program, { stdio: ['pipe', 'pipe', 'inherit'] });
  const finished = new Promise<TrafficReport>((resolve, reject) => {
    let last: TrafficReport | undefined;
    createInterface({ input: child.stdout! }).on('line', (line) => {
      last = JSON.parse(line) as TrafficReport;
      onReport(last);
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (last?.done) resolve(last);
      else
        reject(new Error(`traffic generator on "${node}": ended early with ${signal ?? `status ${code}`}`));
    });
  });
  // Who only watches the reports need not wait for the end.
  finished.catch(() => undefined);
  return { ...helper(child), finished };
}

function helper(child: ChildProcess): Helper {
  const gone = new Promise<void>((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    child.once('exit', () => resolve());
  });
  return {
    child,
    stop() {
      child.kill('SIGKILL');
      return gone;
    },
  };
}

/** Runs a command on a node to its end without blocking the event loop. Rejects when `signal` aborts. */
export function runToEnd(
  lab: Lab,
  node: string,
  command: readonly string[],
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
): Promise<{ status: number; stdout: string; stderr: string }> {
  const [program, ...args] = command as [string, ...string[]];
  return new Promise((resolve, reject) => {
    const child = lab.spawn(node, program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      ...(signal ? { signal } : {}),
    });
    let stdout = '';
    let stderr = '';
    child.stdout?.on('data', (text) => {
      stdout += text;
    });
    child.stderr?.on('data', (text) => {
      stderr += text;
    });
    child.once('error', reject);
    child.once('close', (code, killed) => {
      if (killed) stderr += `ended with ${killed} (the limit is ${timeoutMs / 1000} s)`;
      resolve({ status: code ?? 1, stdout, stderr });
    });
  });
}
