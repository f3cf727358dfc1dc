import { isDeepStrictEqual } from 'node:util';
import type { FailoverWanted } from './failover-orders.ts';
import { type RunningProgram, runProgram } from './run-program.ts';

type Script = FailoverWanted['scripts'][number];

/** Programs that tell whether this director is fit. */
export type Scripts = {
  /** Runs these from now on; one that is told as before goes on. */
  take(scripts: readonly Script[]): void;
  /** Why a script is not good; undefined where it is. One without a result is not. */
  fault(name: string): string | undefined;
};

type Running = {
  readonly script: Script;
  /** Absent until the first result. */
  fault: string | undefined;
  hasResult: boolean;
  /** Results in a row that say otherwise than it counts. */
  against: number;
  timer: NodeJS.Timeout | undefined;
  program: RunningProgram | undefined;
};

/** Runs nothing yet. `changed` is called whenever what a script counts as changes. */
export function openScripts(changed: () => void): Scripts {
  let running: Running[] = [];

  function begin(script: Script): Running {
    const one: Running = {
      ...{ script, fault: undefined, hasResult: false, against: 0 },
      ...{ timer: undefined, program: undefined },
    };
    run(one);
    return one;
  }

  function run(one: Running): void {
    const { command, timeout, interval, user, group } = one.script;
    const startedMs = performance.now();
    const program = runProgram(command, { user, group, limitMs: timeout });
    one.program = program;
    void program.over.then((fault) => {
      if (one.program !== program) return;
      one.program = undefined;
      take(one, fault);
      one.timer = setTimeout(() => run(one), Math.max(0, interval - (performance.now() - startedMs)));
      one.timer.unref();
    });
  }

  function take(one: Running, fault: string | undefined): void {
    const { rise, fall } = one.script;
    const agrees = one.hasResult && (fault === undefined) === (one.fault === undefined);
    one.against = agrees ? 0 : one.against + 1;
    // The first result counts at once.
    const enough = !one.hasResult || one.against >= (fault === undefined ? rise : fall);
    if (agrees || !enough) return;
    [one.fault, one.hasResult, one.against] = [fault, true, 0];
    changed();
  }

  return {
    take(scripts) {
      const before = running;
      running = scripts.map(
        (script) => before.find((one) => isDeepStrictEqual(one.script, script)) ?? begin(script),
      );
      for (const one of before)
        if (!running.includes(one)) {
          clearTimeout(one.timer);
          const { program } = one;
          one.program = undefined;
          program?.kill();
        }
    },
    fault(name) {
      const one = running.find(({ script }) => script.name === name);
      return one?.hasResult ? one.fault : 'no result yet';
    },
  };
}
