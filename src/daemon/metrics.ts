import { type Measured, metricsText } from '../api/metrics.ts';
import type { OwnController } from '../control/controller.ts';
import type { Names } from '../control/wanted.ts';

/** Reads what `GET /metrics` answers. A data plane that cannot be read is a metric, not an error. */
export async function measure(
  controller: OwnController,
  names: Names,
  facts: Omit<Measured, 'plane' | 'process'>,
): Promise<string> {
  const plane = await readPlane(controller, names).catch(() => undefined);
  const { user, system } = process.cpuUsage();
  return metricsText({
    ...facts,
    ...(plane && { plane }),
    process: { cpuSeconds: (user + system) / 1e6, residentBytes: process.memoryUsage.rss() },
  });
}

async function readPlane(controller: OwnController, names: Names): Promise<Measured['plane']> {
  return {
    observed: await controller.read(),
    activity: await controller.activity?.(),
    // Not with its address, which is a label of its own.
    serviceName: names.serviceName,
    realServerName: names.realServer,
  };
}
