import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = fileURLToPath(new URL('../../', import.meta.url));
const cache = join(project, 'test/.cache');
const suite = 'bookworm';

/** A minimal Debian with node, npm and a copy of this project, running until `close`. */
export type Machine = {
  /** Runs a command in the project's folder, its standard output no terminal. */
  run(command: readonly string[], options: { as: Privilege; timeoutMs: number }): Outcome;
  close(): Promise<void>;
};

/** root: everything. powerless: uid 0 without one capability. user: uid 1000, who owns the project's folder. */
export type Privilege = 'root' | 'powerless' | 'user';

export type Outcome = { readonly exitCode: number | null; readonly stdout: string; readonly stderr: string };

const withoutCapabilities = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs'];
const wrappers: Record<Privilege, readonly string[]> = {
  root: [],
  powerless: withoutCapabilities,
  user: [...withoutCapabilities, '--reuid=1000', '--regid=1000', '--clear-groups'],
};

/**
 * Starts the machine: a cached tree made by debootstrap, read-only below a tmpfs, in its own mount and process
 * namespace. Its first process ends when this one does, and takes all processes and mounts with it.
 */
export async function startMachine(): Promise<Machine> {
  const tree = debianTree();
  mkdirSync(cache, { recursive: true });
  const scratch = mkdtempSync(join(cache, 'minbase-run-'));
  const copy = join(scratch, 'project');
  const mountPoint = join(scratch, 'machine');
  mkdirSync(mountPoint);
  copyProject(copy);
  const npm = dirname(dirname(realpathSync(execFileSync('which', ['npm'], { encoding: 'utf8' }).trim())));
  const enter = fileURLToPath(new URL('./enter.sh', import.meta.url));
  const unshare = spawn(
    'unshare',
    ['--mount', '--pid', '--fork', '--kill-child', '--propagation', 'private', '--', 'sh', enter].concat(
      tree,
      mountPoint,
      copy,
      process.execPath,
      npm,
      npmConfig('cache'),
    ),
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const close = async (): Promise<void> => {
    await ended(unshare);
    rmSync(scratch, { recursive: true, force: true });
  };
  try {
    const pid = await readyLine(unshare);
    return { run: (command, options) => runInside(pid, command, options), close };
  } catch (error) {
    await close();
    throw error;
  }
}

function runInside(
  pid: string,
  command: readonly string[],
  options: { as: Privilege; timeoutMs: number },
): Outcome {
  const environment = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: options.as === 'user' ? '/home/operator' : '/root',
    LANG: 'C.UTF-8',
    npm_config_registry: npmConfig('registry'),
    npm_config_update_notifier: 'false',
    ...proxies(),
    ...(process.env.NODE_EXTRA_CA_CERTS === undefined ? {} : { NODE_EXTRA_CA_CERTS: '/etc/extra-ca.pem' }),
  };
  const inside = ['nsenter', '--target', pid, '--mount', '--pid', '--wdns=/srv/headgate', '--'];
  const line = [...inside, ...wrappers[options.as], ...command];
  const run = spawnSync(line[0]!, line.slice(1), {
    encoding: 'utf8',
    env: environment,
    timeout: options.timeoutMs,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (run.error !== undefined) throw run.error;
  return { exitCode: run.status, stdout: run.stdout, stderr: run.stderr };
}

/** The machine's own way to the registry. */
function proxies(): Record<string, string> {
  const names = ['http_proxy', 'https_proxy', 'no_proxy'].flatMap((name) => [name, name.toUpperCase()]);
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]!]])),
  );
}

/** The files of this checkout as a clone would have them, changes not yet committed included. */
function copyProject(target: string): void {
  const list = ['ls-files', '--cached', '--others', '--exclude-standard', '-z'];
  const files = execFileSync('git', list, { cwd: project, encoding: 'utf8' }).split('\0').filter(Boolean);
  for (const file of files.filter((path) => existsSync(join(project, path)))) {
    if (!lstatSync(join(project, file)).isDirectory()) cpSync(join(project, file), join(target, file));
  }
}

/** The cached tree, made when it is not there. A tree that was not finished does not count and is thrown away. */
function debianTree(): string {
  const tree = join(cache, `minbase-${suite}`);
  if (existsSync(tree)) return tree;
  mkdirSync(cache, { recursive: true });
  const unfinished = `${tree}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  const mirror = debianMirror();
  // debootstrap mounts into the tree; in a namespace of its own no mount can be left behind.
  const run = spawnSync(
    'unshare',
    ['--mount', '--fork', '--kill-child', '--propagation', 'private', '--'].concat(
      ['debootstrap', '--variant=minbase', suite, unfinished],
      mirror,
    ),
    { encoding: 'utf8', timeout: 600_000 },
  );
  if (run.status !== 0) {
    throw new Error(`debootstrap of ${suite} from ${mirror}: exit ${run.status}\n${run.stdout.slice(-2000)}`);
  }
  renameSync(unfinished, tree);
  return tree;
}

/** The Debian archive this machine itself installs from (sources.list(5), one-line and deb822 style). */
function debianMirror(): string {
  const folder = '/etc/apt/sources.list.d';
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  const files = ['/etc/apt/sources.list', ...names.map((name) => join(folder, name))].filter(existsSync);
  const lines = files.flatMap((file) => readFileSync(file, 'utf8').split('\n'));
  for (const line of lines) {
    const uri = /^(?:deb\s+(?:\[[^\]]*\]\s+)?|URIs:\s*)(https?:\S+\/debian\/?)(?:\s|$)/.exec(line)?.[1];
    if (uri !== undefined) return uri;
  }
  throw new Error('Cannot find a Debian archive in /etc/apt/sources.list and /etc/apt/sources.list.d');
}

function npmConfig(key: 'cache' | 'registry'): string {
  return execFileSync('npm', ['config', 'get', key], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }).trim();
}

function readyLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      const pid = /^ready (\d+)$/m.exec(said)?.[1];
      if (pid !== undefined) resolve(pid);
    });
    child.once('exit', (code) => reject(new Error(`The minimal machine did not start: exit ${code}`)));
    child.once('error', reject);
  });
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.stdin!.end();
  });
}
