import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { type Deviation, deviations } from '../../../test/golden/ipvsadm/deviations.ts';
import { fromLines, readGoldenFiles } from '../../../test/golden/ipvsadm/golden.ts';
import { memoryController } from '../../../test/golden/memory-controller.ts';
import { type Answer, answer, observation } from '../../../test/golden/replay.ts';

const goldenFiles = readGoldenFiles();
const used = new Set<Deviation>();

describe.each(goldenFiles.map((file) => [file.scenario, file] as const))(
  'ipvsadm 1.31: %s',
  (scenario, file) => {
    const controller = memoryController();

    it.each(file.steps.map((step, index) => [index, step.run, step] as const))(
      '%i: %s',
      async (index, _run, step) => {
        if (step.observed) {
          const { counts, connections } = observation(step.observed);
          controller.observe(counts, connections);
        }
        const given = await answer(step.run, fromLines(step.stdin ?? []), controller);
        const recorded = {
          status: step.status,
          stdout: fromLines(step.stdout),
          stderr: fromLines(step.stderr),
        };
        const deviation = deviations.find((candidate) => applies(candidate, scenario, index, step.run));
        if (!deviation || isDeepStrictEqual(given, recorded)) {
          expect(given).toEqual(recorded);
          return;
        }
        used.add(deviation);
        expect(given).toEqual(expected(deviation, recorded, given));
      },
    );
  },
);

it('records at least 150 commands of the real program', () => {
  expect(goldenFiles.flatMap((file) => file.steps).length).toBeGreaterThan(150);
});

it('names no deviation that is not there', () => {
  expect(deviations.filter((deviation) => !used.has(deviation))).toEqual([]);
});

function applies(deviation: Deviation, scenario: string, index: number, run: string): boolean {
  const here = deviation.scenario === scenario && deviation.run === run;
  return here && (deviation.step === undefined || deviation.step === index);
}

function expected({ ours }: Deviation, recorded: Answer, given: Answer): Answer {
  let stdout = ours.stdout ?? recorded.stdout;
  for (const [before, after] of ours.instead ?? []) {
    expect(stdout.split(before)).toHaveLength(2);
    stdout = stdout.replace(before, after);
  }
  if (ours.anyOrder) {
    expect(blocks(given.stdout)).toEqual(blocks(stdout));
    stdout = given.stdout;
  }
  return { status: ours.status ?? recorded.status, stdout, stderr: ours.stderr ?? recorded.stderr };
}

// A service's line with the lines of its destinations, in the order of the alphabet.
function blocks(listing: string): string[] {
  return listing.split(/\n(?! {2}->|-a )/).sort();
}
