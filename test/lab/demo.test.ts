import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { demo } from '../../src/lab/demo.ts';
import { type DemoDirector, headgateDirector } from '../../src/lab/demo-plan.ts';
import { tryLock } from '../../src/sys/lock.ts';
import { createNamedNetns, listNamedNetns } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';

/** A director that knows nothing of Headgate: a TCP relay with a round of its own for each address. */
function relay(masquerade: readonly number[], direct: readonly number[]): DemoDirector {
  const script = `const net = require('net');
    const serve = (host, targets) => { let turn = 0; net.createServer((client) => {
      const [address, port] = targets[turn++ % targets.length];
      const server = net.connect(port, address);
      client.pipe(server).pipe(client);
      client.on('error', () => server.destroy()); server.on('error', () => client.destroy());
    }).listen(80, host, () => { if (++ready === 2) process.send('ready'); }); };
    let ready = 0;
    serve('10.77.1.100', ${JSON.stringify(masquerade)}.map((n) => ['10.77.2.1' + n, 8080]));
    serve('10.77.1.101', ${JSON.stringify(direct)}.map((n) => ['10.77.1.1' + n, 80]));`;
  const starter = `const child = require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(script)}],
    { detached: true, stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
    child.once('message', () => process.exit(0)); child.once('exit', () => process.exit(1));`;
  return { configure: () => [[process.execPath, '-e', starter]] };
}

/** Not the command's own name, so that a demonstration somebody watches meanwhile is left alone. */
const labName = 'hgtdemo';
const fair = relay([1, 2, 1, 3, 2, 1], [1, 2, 3]);
const ours = () => [
  ...listNamedNetns().filter((name) => name.startsWith(`hg-${labName}`)),
  ...(existsSync('/run/headgate') ? readdirSync('/run/headgate') : []).filter((name) =>
    name.includes(labName),
  ),
];

async function run(
  director: DemoDirector,
  { isTTY = false, signal = new AbortController().signal, onText = (_text: string) => {} } = {},
) {
  let text = '';
  const write = (more: string) => {
    text += more;
    onText(text);
  };
  const status = await demo({
    name: labName,
    write,
    isTTY,
    signal,
    director,
    colour: false,
    columns: () => 100,
  });
  if (typeof status !== 'number') throw new Error(`the demonstration cannot run here: ${status.cause}`);
  return { status, text };
}

requires(
  'root',
  'netns',
  'bpf',
)('the demonstration', () => {
  afterEach(() => expect(ours()).toEqual([]));

  it('runs once where there is no terminal, judges the split and leaves nothing', async () => {
    const { status, text } = await run(fair);
    expect(text).toMatch(/10\.77\.2\.11:8080 .* 30 +50 %/);
    expect(text).toMatch(/10\.77\.1\.13:80 .* 20 +33 %/);
    expect(text).toContain('As it should be');
    expect(text).toContain(`hg-${labName}-director   no ebpf data plane`);
    expect(text).not.toContain('\x1b');
    expect(status).toBe(0);
  });

  it('fails when the split is another one, and says so', async () => {
    const { status, text } = await run(relay([1, 2, 3], [1, 2, 1, 2]));
    expect(status).toBe(1);
    expect(text).toContain('10.77.1.100:80: rs1 served 20, wrr gives it 30');
    expect(text).toContain('10.77.1.101:80: rs3 served nothing');
  });

  it('fails when nothing answers', async () => {
    const { status, text } = await run({ configure: () => [] });
    expect(status).toBe(1);
    expect(text).toContain('60 of 60 connections failed (ECONNREFUSED)');
  });

  it('fails with the words of a command that failed', async () => {
    const { status, text } = await run({ configure: () => [['sh', '-c', 'echo no such thing >&2; exit 4']] });
    expect(status).toBe(1);
    expect(text).toContain('failed with status 4:\nno such thing');
  });

  it('takes away what a killed one left, and not what another one uses', async () => {
    createNamedNetns(`hg-${labName}-director`);
    const lock = tryLock(`/run/headgate/lab-${labName}2.lock`);
    expect('release' in lock).toBe(true);
    const { status } = await run(fair);
    expect(status).toBe(0);
    if ('remove' in lock) lock.remove();
  });

  it('runs twice at once', async () => {
    const [first, second] = await Promise.all([run(fair), run(fair)]);
    expect([first.status, second.status]).toEqual([0, 0]);
    expect(second.text).toContain(`hg-${labName}2-director`);
  });

  it('paints on a terminal until it is told to end', async () => {
    const controller = new AbortController();
    const listing = `TCP  10.77.1.100:80 wrr\n  -> 10.77.2.11:8080              Masq    0      0          0\n`;
    const { status, text } = await run(
      {
        ...fair,
        list: () => ['printf', '%s', listing],
        suggestions: () => [{ command: 'headgate status', shows: 'the state' }],
      },
      {
        isTTY: true,
        signal: controller.signal,
        onText: (text) => {
          if (/10\.77\.1\.13:80 .* [1-9][\d.]*\/s .* \d+ %/.test(text) && text.includes('quiet'))
            controller.abort();
        },
      },
    );
    expect(status).toBe(0);
    expect(text).toContain(`netns exec hg-${labName}-director headgate status`);
    // Up over the picture, then clear to the end of the screen.
    expect(text.split('\x1b[J').length).toBeGreaterThan(2);
    expect(text).toContain('weight removed');
  });

  it('ends at once where it is, when it is told to', async () => {
    const controller = new AbortController();
    const slow: DemoDirector = { configure: () => [['sleep', '60']] };
    const onText = (text: string) => {
      if (text.includes('sleep 60')) setTimeout(() => controller.abort(), 50);
    };
    const start = performance.now();
    expect((await run(slow, { signal: controller.signal, onText })).status).toBe(130);
    expect(performance.now() - start).toBeLessThan(45_000);
  });

  it('works with Headgate itself as the director', async ({ skip }) => {
    const launcher = fileURLToPath(new URL('../../bin/headgate.js', import.meta.url));
    if (!existsSync(fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))))
      return skip('not built: npm run build');
    const headgate = [process.execPath, launcher];
    const { status, text } = await run({
      ...headgateDirector(headgate),
      cleanUp: () => [[...headgate, 'clean-up']],
    });
    expect(text).toContain('As it should be');
    expect(text).toContain(`hg-${labName}-director   ebpf data plane, forwards in the kernel`);
    expect(status).toBe(0);
  });
});
