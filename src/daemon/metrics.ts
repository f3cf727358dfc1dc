import { type CheckMeasured, type Measured, metricsText } from '../api/metrics.ts';
import type { OwnController } from '../control/controller.ts';
import type { Names } from '../control/wanted.ts';
import type { MemberAgent } from '../model/agent-state.ts';
import { memberKey } from '../model/override.ts';
import type { Watched } from './check-book.ts';

/** Reads what `GET /metrics` answers. A data plane that cannot be read is a metric, not an error. */
export async function measure(
  controller: OwnController,
  names: Names,
  checks: Iterable<Watched>,
  agents: readonly MemberAgent[],
  facts: Omit<Measured, 'plane' | 'process'>,
): Promise<string> {
  const plane = await readPlane(controller, names, checks, agents).catch(() => undefined);
  const { user, system } = process.cpuUsage();
  return metricsText({
    ...facts,
    ...(plane && { plane }),
    process: { cpuSeconds: (user + system) / 1e6, residentBytes: process.memoryUsage.rss() },
  });
}

async function readPlane(
  controller: OwnController,
  names: Names,
  checks: Iterable<Watched>,
  agents: readonly MemberAgent[],
): Promise<Measured['plane']> {
  return {
    observed: await controller.read(),
    activity: await controller.activity?.(),
    // Not with its address, which is a label of its own.
    serviceName: names.serviceName,
    realServerName: names.realServer,
    checks: checksMeasured(checks),
    agents: agents.map(({ missed, ...one }) => ({
      ...one,
      answers: missed === 0 && one.answeredMs !== undefined,
    })),
  };
}

/** All checks of a real server together. */
function checksMeasured(checks: Iterable<Watched>): readonly CheckMeasured[] {
  const found = new Map<string, CheckMeasured>();
  for (const { members, state, results, failures } of checks)
    for (const { service, destination } of members) {
      const key = memberKey(service, destination);
      const before = found.get(key);
      const took = state.last && state.last.result.durationMs / 1000;
      const seconds = took === undefined ? before?.seconds : Math.max(took, before?.seconds ?? 0);
      found.set(key, {
        ...{ service, destination },
        isUp: state.isUp && before?.isUp !== false,
        results: results + (before?.results ?? 0),
        failures: failures + (before?.failures ?? 0),
        ...(seconds !== undefined && { seconds }),
      });
    }
  return [...found.values()];
}
