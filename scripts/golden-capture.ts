import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type GoldenFile,
  type GoldenObservation,
  type GoldenStep,
  goldenFolder,
  splitWords,
  toLines,
} from '../test/golden/ipvsadm/golden.ts';
import { type CommandStep, readScenarios, type Scenario } from '../test/golden/ipvsadm/scenarios.ts';
import { runInGuest } from '../test/kernel/guest.ts';

/**
 * Records what the real ipvsadm does: boots a Debian 6.12 kernel in a guest, runs every scenario (or those named on
 * the command line) there and writes one golden file per scenario. Golden files are never edited by hand.
 */
async function capture(names: readonly string[]): Promise<void> {
  const chosen = readScenarios().filter((scenario) => names.length === 0 || names.includes(scenario.name));
  const folder = mkdtempSync(join(tmpdir(), 'headgate-golden-'));
  try {
    writeFileSync(join(folder, 'job'), writeJob(chosen, folder));
    const guest = await runInGuest(['bash', join(folder, 'job')], { timeoutMs: 1_800_000, cwd: '/tmp' });
    const results = join(folder, 'results');
    mkdirSync(results);
    const unpacked = spawnSync('tar', ['-x', '-C', results], { input: guest.output });
    if (guest.status !== 0 || unpacked.status !== 0) {
      throw new Error(
        `Capturing: the guest ended with ${guest.status}, tar with ${unpacked.status}.\n${guest.console}`,
      );
    }
    const read = (name: string): string => readFileSync(join(results, name), 'utf8');
    const environment = {
      command: 'npm run golden:capture',
      kernel: guest.kernelRelease,
      ipvsadm: read('version.stdout').trim(),
    };
    for (const scenario of chosen) {
      const steps = scenario.steps.flatMap((step, position) =>
        'shell' in step ? [] : [golden(step, `${scenario.name}.${position}`, read)],
      );
      const file: GoldenFile = { scenario: scenario.name, environment, steps };
      writeFileSync(join(goldenFolder, `${scenario.name}.json`), `${JSON.stringify(file, undefined, 1)}\n`);
      process.stdout.write(`${scenario.name}: ${steps.length} commands\n`);
    }
    spawnSync(fileURLToPath(new URL('../node_modules/.bin/biome', import.meta.url)), [
      'format',
      '--write',
      goldenFolder,
    ]);
    process.stdout.write(`kernel ${environment.kernel}, ${environment.ipvsadm}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function writeJob(chosen: readonly Scenario[], folder: string): string {
  const machine = ['hosts', 'services'].map((name) => `cp ${quote(join(goldenFolder, name))} /etc/${name}`);
  const lines = [
    `job=${quote(folder)}`,
    readFileSync(fileURLToPath(new URL('golden-capture.sh', import.meta.url)), 'utf8'),
    ...machine,
    'printf "hosts: files\\nservices: files\\nprotocols: files\\n" >/etc/nsswitch.conf',
    'step version ipvsadm -v',
  ];
  writeFileSync(join(folder, 'version.stdin'), '');
  for (const scenario of chosen) {
    lines.push('fresh');
    scenario.steps.forEach((step, position) => {
      if ('shell' in step) {
        lines.push(step.shell);
        return;
      }
      const name = `${scenario.name}.${position}`;
      writeFileSync(join(folder, `${name}.stdin`), step.stdin ?? '');
      const words = splitWords(step.run).map(quote).join(' ');
      lines.push(
        step.observe
          ? `observe '${observedParts(step).join(' ')}' ${name} ${words}`
          : `step ${name} ${words}`,
      );
    });
  }
  return `${lines.join('\n')}\ntar -c . >&3\n`;
}

// Only what a command shows is looked at: more would change too often while it runs.
function observedParts({ run }: CommandStep): readonly (keyof GoldenObservation)[] {
  if (/ -Ln?c/.test(run)) return ['connections'];
  return run.includes('--rate') ? ['rates'] : ['stats', 'persistent'];
}

function golden(step: CommandStep, name: string, read: (name: string) => string): GoldenStep {
  const lines = (part: string) => toLines(read(`${name}.${part}`));
  const status = Number(read(`${name}.status`));
  if (Number.isNaN(status)) throw new Error(`Capturing "${step.run}": ${read(`${name}.status`).trim()}`);
  return {
    run: step.run,
    ...(step.stdin === undefined ? {} : { stdin: toLines(step.stdin) }),
    status,
    stdout: lines('stdout'),
    stderr: lines('stderr'),
    ...(step.observe
      ? { observed: Object.fromEntries(observedParts(step).map((part) => [part, lines(part)])) }
      : {}),
  };
}

const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

await capture(process.argv.slice(2));
