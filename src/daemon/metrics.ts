import { type CheckMeasured, type Measured, metricsText } from '../api/metrics.ts';
import type { OwnController } from '../control/controller.ts';
import type { Names } from '../control/wanted.ts';
import type { Watched } from './check-book.ts';

/** Reads what `GET /metrics` answers. A data plane that cannot be read is a metric, not an error. */
export async function measure(
  controller: OwnController,
  names: Names,
  checks: Iterable<Watched>,
  facts: Omit<Measured, 'plane' | 'process'>,
): Promise<string> {
  const plane = await readPlane(controller, names, checks).catch(() => undefined);
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
): Promise<Measured['plane']> {
  return {
    observed: await controller.read(),
    activity: await controller.activity?.(),
    // Not with its address, which is a label of its own.
    serviceName: names.serviceName,
    realServerName: names.realServer,
    checks: [...checks].flatMap(checkMeasured),
  };
}

function checkMeasured({ members, state, results, failures }: Watched): CheckMeasured[] {
  const { isUp, last } = state;
  const seconds = last && last.result.durationMs / 1000;
  return members.map((member) => ({
    ...member,
    ...{ isUp, results, failures },
    ...(seconds !== undefined && { seconds }),
  }));
}
