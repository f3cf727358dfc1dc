import type { Capabilities, Ignored } from '../dataplane/data-plane.ts';
import type { Sysctls } from '../model/sysctls.ts';
import type { Table } from '../model/table.ts';
import type { Destination, VirtualService } from '../model/virtual-service.ts';
import { whenGoneOf } from '../model/when-gone.ts';
import type { Controller } from './controller.ts';
import type { Problem } from './problems.ts';
import type { Names } from './wanted.ts';

type Members = {
  readonly service: VirtualService;
  readonly destinations: readonly { readonly destination: Destination }[];
};

/** What a service is set to and the data plane does not act on; with these sysctls in force it may do so after all. */
export function ignoredSettings(
  { service, destinations }: Members,
  { ignores = [] }: Capabilities,
  sysctls: Partial<Sysctls> | undefined,
): readonly Ignored[] {
  const whenGone = whenGoneOf(service);
  const isSet: Record<Ignored, boolean> = {
    'persistence-engine': service.persistence?.engine !== undefined,
    'when-gone': whenGone !== 'drop' && !(whenGone === 'expire' && sysctls?.expire_nodest_conn === 1),
    'maintenance-of-persistent':
      service.persistence !== undefined &&
      sysctls?.expire_quiescent_template !== 1 &&
      destinations.some(({ destination }) => destination.expiresTemplates === true),
  };
  return ignores.filter((setting) => isSet[setting]);
}

/** What is said of it. */
export function ignoredProblem(setting: Ignored, service: VirtualService, { name }: Capabilities): Problem {
  switch (setting) {
    case 'persistence-engine':
      return {
        what: `a persistence engine is set, and the data plane ${name} does not act on it: connections are scheduled as if it were not`,
        remedy: 'take it out of the configuration',
      };
    case 'when-gone': {
      const whenGone = whenGoneOf(service);
      return {
        what: `whenGone is "${whenGone}", and the data plane ${name} has one rule for all services: packets of connections whose real server is gone are dropped`,
        remedy:
          whenGone === 'expire'
            ? 'sysctl -w net.ipv4.vs.expire_nodest_conn=1, which makes "expire" of it for all of them'
            : 'dataPlane: ebpf, or whenGone: drop',
      };
    }
    case 'maintenance-of-persistent':
      return {
        what: `a real server is in maintenance, and the data plane ${name} goes on sending it the clients that persistence binds to it`,
        remedy: 'sysctl -w net.ipv4.vs.expire_quiescent_template=1, which ends that for all with weight 0',
      };
  }
}

/** A setting of a configuration that the data plane would not act on, and the services that have it. */
export type NotActedOn = Problem & { readonly services: readonly string[] };

/** What of a configuration the data plane would not act on as it is now, each said once. */
export async function notActedOnIn(
  controller: Pick<Controller, 'capabilities' | 'read'>,
  table: Table,
  names: Names,
): Promise<NotActedOn[]> {
  const { capabilities } = controller;
  if (!capabilities.ignores) return [];
  const candidates = table.services
    .map(({ service, destinations }): Members => {
      return { service, destinations: destinations.map((destination) => ({ destination })) };
    })
    // A sysctl can only make a setting acted on: where there is none without one, none need be read.
    .filter((members) => ignoredSettings(members, capabilities, undefined).length > 0);
  if (candidates.length === 0) return [];
  const { sysctls } = await controller.read({ counters: false });
  const found = new Map<string, { problem: Problem; services: string[] }>();
  for (const members of candidates) {
    const { service } = members;
    for (const setting of ignoredSettings(members, capabilities, sysctls)) {
      const problem = ignoredProblem(setting, service, capabilities);
      const told = found.get(problem.what) ?? { problem, services: [] };
      told.services.push(names.serviceName(service.id));
      found.set(problem.what, told);
    }
  }
  return [...found.values()].map(({ problem, services }) => ({ ...problem, services }));
}
