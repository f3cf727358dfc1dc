import { type Message, serviceOfEvent } from '../../model/alert.ts';
import type { Event } from '../../model/event.ts';
import type { Reactions } from '../../model/reaction.ts';
import type { Log } from '../log.ts';
import { commandDelivery } from './command.ts';
import { type Outlet, type OutletLimits, openOutlet } from './outlet.ts';

/** Runs the programs that a configuration names for what becomes of services and real servers. */
export type Hooks = {
  take(event: Event, reactions: Reactions): void;
  idle(): Promise<void>;
  stop(): void;
};

/** Programs of one virtual service run one after the other, in the order of events; each service is by itself. */
export function openHooks(limits: OutletLimits, log: Log): Hooks {
  const outlets = new Map<string, Outlet>();
  const commands = new WeakMap<Message, readonly string[]>();

  function outletOf(service: string): Outlet {
    const present = outlets.get(service);
    if (present) return present;
    const deliver = (message: Message, signal: AbortSignal) =>
      commandDelivery(commands.get(message) ?? [])(message, signal);
    const outlet = openOutlet(`program of ${service}`, deliver, limits, log);
    outlets.set(service, outlet);
    return outlet;
  }

  return {
    take(event, { services }) {
      const command = commandFor(event, services);
      const service = serviceOfEvent(event);
      if (!command || service === undefined) return;
      const message: Message = { events: [event], more: 0 };
      commands.set(message, command);
      outletOf(service).put(message);
    },
    idle: async () => {
      await Promise.all([...outlets.values()].map((outlet) => outlet.idle()));
    },
    stop: () => {
      for (const outlet of outlets.values()) outlet.stop();
    },
  };
}

function commandFor(event: Event, services: Reactions['services']): readonly string[] | undefined {
  const hooks = services.get(serviceOfEvent(event) ?? '');
  if (event.kind === 'quorum-gained') return hooks?.onQuorumUp;
  if (event.kind === 'quorum-lost') return hooks?.onQuorumDown;
  if (event.kind === 'real-server-up') return hooks?.realServers.get(event.realServer)?.onUp;
  if (event.kind === 'real-server-down') return hooks?.realServers.get(event.realServer)?.onDown;
  return undefined;
}
