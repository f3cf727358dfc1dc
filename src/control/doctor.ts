import type { Controller } from './controller.ts';
import { addressFindings } from './doctor/addresses.ts';
import { type Finding, type Scene, type Severity, severities } from './doctor/finding.ts';
import { firewallFindings } from './doctor/firewall.ts';
import { fullNatFindings } from './doctor/full-nat.ts';
import { choiceFindings, underIpvs } from './doctor/ipvs.ts';
import { markFindings } from './doctor/marks.ts';
import { networkFindings } from './doctor/network.ts';
import { planeFindings } from './doctor/plane.ts';
import { serverFindings } from './doctor/servers.ts';
import { healthOf } from './health-store.ts';
import { overridesOf } from './override-store.ts';

/** All that is wrong, the most serious first, and how much of each severity. */
export type Diagnosis = {
  readonly findings: readonly Finding[];
  readonly counts: Readonly<Record<Severity, number>>;
};

/**
 * Looks at this host and at what the data plane holds. Changes nothing: programs that are missing stay so until another
 * command attaches them. Rejects with a HeadgateError; undefined where the data plane does not say what the host is like.
 */
export async function diagnose(controller: Controller): Promise<Diagnosis | undefined> {
  // First: reading attaches what is missing.
  const host = await controller.survey?.();
  if (!host) return undefined;
  const { members } = await healthOf(controller);
  return diagnosisOf({
    ...{ observed: await controller.read(), host, overrides: await overridesOf(controller) },
    down: members.filter(({ isUp }) => !isUp),
    dataPlane: controller.capabilities,
  });
}

/** The same from what was read before. */
export function diagnosisOf(scene: Scene): Diagnosis {
  const found = [
    ...choiceFindings(scene),
    ...planeFindings(scene),
    ...addressFindings(scene),
    ...serverFindings(scene),
    ...fullNatFindings(scene),
    ...networkFindings(scene),
    ...markFindings(scene),
    ...firewallFindings(scene),
  ];
  // Several services on one address or real server meet the same trouble.
  const concerned = scene.dataPlane?.name === 'ipvs' ? found.flatMap(underIpvs) : found;
  const distinct = [...new Map(concerned.map((one) => [`${one.id} ${one.what}`, one])).values()];
  const findings = severities.flatMap((severity) => distinct.filter((one) => one.severity === severity));
  const count = (severity: Severity) => findings.filter((one) => one.severity === severity).length;
  return { findings, counts: { broken: count('broken'), risky: count('risky'), note: count('note') } };
}
