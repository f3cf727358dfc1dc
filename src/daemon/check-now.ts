import type { DialogueLine, OutcomesOf } from '../checks/check.ts';
import { runCheck } from '../checks/run-check.ts';
import type { Job } from '../checks/runner.ts';
import { findServers, namedServers } from '../control/override-names.ts';
import type { Wanted } from '../control/wanted.ts';
import type { CheckResult } from '../model/check-result.ts';
import { HeadgateError } from '../model/errors.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import { checkKey, jobOf } from './check-book.ts';

/** What one check of one real server found, and what was said. */
export type Checked = {
  readonly service: string;
  readonly realServer: string;
  readonly type: string;
  /** Where it went: address and port. */
  readonly target: string;
  readonly result: CheckResult;
  readonly dialogue: readonly DialogueLine[];
};

/** Lines of a dialogue that are kept; what comes after them is left out. */
const mostLines = 1000;

/**
 * Runs the checks of a real server once, now, beside those that are run at their times: the result counts for nothing.
 * `name` is SERVICE/REAL, or REAL in every service that has it. Rejects with HG_UNKNOWN_NAME, and with HG_NO_CHECK where
 * nothing is to be checked. `outcomes` says what becomes of clients, where somebody looks.
 */
export async function checkNow(
  { table, names, pools }: Pick<Wanted, 'table' | 'names' | 'pools'>,
  name: string,
  outcomes?: OutcomesOf,
): Promise<readonly Checked[]> {
  const meant = findServers(name, namedServers({ table, names }, { services: [] }, []));
  const checks = meant.flatMap(({ service, realServer, members }) => {
    const jobs = members.flatMap((member): Job[] => {
      const checks = pools?.get(serviceKey(member.service))?.checks.get(destinationKey(member.destination));
      return (checks ?? []).map((check) => jobOf(check, member));
    });
    const different = new Map(jobs.map((job) => [checkKey(job), job]));
    return [...different.values()].map((job) => ({ service, realServer, job }));
  });
  if (checks.length === 0)
    throw new HeadgateError(
      'HG_NO_CHECK',
      `Cannot check "${name}": wanted a check in the configuration, found none`,
    );
  return Promise.all(
    checks.map(async ({ service, realServer, job: { check, target } }) => {
      const dialogue: DialogueLine[] = [];
      const tell = (line: DialogueLine) => void (dialogue.length < mostLines && dialogue.push(line));
      const result = await runCheck(check, target, { tell, outcomes });
      return { service, realServer, type: check.type, target: destinationKey(target), result, dialogue };
    }),
  );
}
