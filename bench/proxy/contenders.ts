import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process that takes connections on a port of 127.0.0.1. */
export type Contender = {
  readonly name: string;
  readonly port: number;
  /** Processor time it has used, microseconds. */
  cpuUs(): number;
  residentKiB(): number;
  stop(): Promise<void>;
};

const bigBytes = 16 * 2 ** 20;
const streamModule = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** The real server before which all stand: nginx, one process. */
export async function startRealServer(folder: string): Promise<Contender> {
  const port = await freePort();
  writeFileSync(join(folder, 'big'), Buffer.alloc(bigBytes, 'headgate'));
  const file = nginxFile(
    folder,
    'server',
    `http {
      access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 300s; client_header_timeout 300s;
      client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
      uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
      server {
        listen 127.0.0.1:${port} backlog=4096;
        location / { return 200 "ok\\n"; }
        location = /big { root ${folder}; }
      }
    }`,
  );
  return start('no proxy', port, 'nginx', ['-c', file, '-p', folder, '-e', 'stderr']);
}

/** The proxy plane and those of the others that this machine has, one thread each. */
export async function startContenders(folder: string, realPort: number): Promise<Contender[]> {
  const contenders = [
    await startAt('proxy', (port) => [
      process.execPath,
      ...process.execArgv,
      join(import.meta.dirname, 'plane.ts'),
      String(port),
      String(realPort),
    ]),
    await startAt('nginx', (port) => {
      const module = existsSync(streamModule) ? `load_module ${streamModule};` : '';
      const stream = `stream { server { listen 127.0.0.1:${port} backlog=4096; proxy_pass 127.0.0.1:${realPort}; } }`;
      return ['nginx', '-c', nginxFile(folder, 'stream', stream, module), '-p', folder, '-e', 'stderr'];
    }),
  ];
  if (spawnSync('haproxy', ['-v']).error) return contenders;
  return [
    ...contenders,
    await startAt('haproxy', (port) => {
      const file = join(folder, 'haproxy.cfg');
      writeFileSync(
        file,
        `global
  nbthread 1
  maxconn 9000
defaults
  mode tcp
  timeout connect 5s
  timeout client 300s
  timeout server 300s
listen bench
  bind 127.0.0.1:${port} backlog 4096
  server one 127.0.0.1:${realPort}\n`,
      );
      return ['haproxy', '-db', '-q', '-f', file];
    }),
  ];
}

function nginxFile(folder: string, name: string, body: string, head = ''): string {
  const file = join(folder, `${name}.conf`);
  writeFileSync(
    file,
    `${head} daemon off; master_process off; pid ${folder}/${name}.pid; error_log stderr crit;
     events { worker_connections 20000; } ${body}\n`,
  );
  return file;
}

async function startAt(name: string, command: (port: number) => readonly string[]): Promise<Contender> {
  const port = await freePort();
  const [program, ...args] = command(port) as [string, ...string[]];
  return start(name, port, program, args);
}

async function start(
  name: string,
  port: number,
  program: string,
  args: readonly string[],
): Promise<Contender> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  process.once('exit', () => child.kill('SIGKILL'));
  await listening(name, child, port);
  const field = (file: string, pattern: RegExp) =>
    Number(pattern.exec(readFileSync(`/proc/${child.pid}/${file}`, 'latin1'))![1]);
  return {
    name,
    port,
    // /proc/PID/schedstat holds the main thread alone; stat (utime, stime: fields 14 and 15) all, in hundredths.
    cpuUs: () => {
      const after = readFileSync(`/proc/${child.pid}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ');
      return (Number(after[11]) + Number(after[12])) * 10_000;
    },
    residentKiB: () => field('status', /^VmRSS:\s+(\d+) kB$/m),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}

async function listening(name: string, child: ChildProcess, port: number): Promise<void> {
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = error;
  });
  for (const deadline = performance.now() + 20_000; performance.now() < deadline; await sleep(50)) {
    if (failure) throw failure;
    if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}`);
    const socket = connect(port, '127.0.0.1');
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (open) return;
  }
  child.kill('SIGKILL');
  throw new Error(`${name} does not listen on port ${port} after 20 s`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
