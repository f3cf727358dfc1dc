import { once } from 'node:events';
import { createServer as createHttpServer, type Server } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { type Address, parseAddress } from '../model/address.ts';
import { HeadgateError } from '../model/errors.ts';
import { destinationOf } from '../model/real-server.ts';
import type { Observed, Operation, Refusal } from '../model/table.ts';
import type { AddressServiceId } from '../model/virtual-service.ts';
import type { Listing } from './demo-picture.ts';
import type { DemoScene, DemoService } from './demo-plan.ts';
import { type ShowOptions, show } from './demo-show.ts';
import { generateTraffic } from './traffic.ts';

const loopback = '127.0.0.1';
const serverNames = ['rs1', 'rs2', 'rs3'] as const;
const weights = [3, 2, 1] as const;

/** A director that forwards in this process; its methods are those of a controller. */
export type LoopbackDirector = {
  apply(operations: readonly Operation[]): Promise<readonly (Refusal | undefined)[]>;
  read(): Promise<Observed>;
  close(): Promise<void>;
};

/**
 * The demonstration without namespaces: client, director and three real servers are sockets of this process on 127.0.0.1,
 * on ports the system chooses. It takes no privilege and no particular system. Shows and resolves as `demo` does.
 */
export async function demoOnLoopback(
  options: ShowOptions & { readonly director: LoopbackDirector },
): Promise<number> {
  const { write, signal, director } = options;
  const servers: Server[] = [];
  try {
    write('Starting three real servers\n');
    const ports: number[] = [];
    for (const name of serverNames) {
      const server = createHttpServer((_request, response) => response.end(`${name}\n`));
      servers.push(server.listen(0, loopback));
      await once(server, 'listening');
      ports.push(portOf(server.address()));
    }
    write('Configuring the director\n');
    const scene = await sceneFor(ports);
    for (const service of scene.services) {
      for (const { words, operation } of rulesOf(service)) {
        signal.throwIfAborted();
        write(`  ${words}\n`);
        const [refusal] = await director.apply([operation]);
        if (refusal)
          throw new HeadgateError('HG_LAB_FAILED', `Cannot run the demonstration: ${refusal.detail}`, {
            hint: 'Run it again; it takes other ports.',
          });
      }
    }
    return await show(
      {
        scene,
        plane: () => 'proxy',
        traffic(order, onReport = () => undefined) {
          const { finished, end } = generateTraffic(order, onReport);
          return { finished, stop: end };
        },
        list: async () => listingOf(await director.read()),
        hints: hintLines(scene),
        farewell: 'Ctrl-C ends the demonstration.',
      },
      options,
    );
  } catch (error) {
    if (!signal.aborted) throw error;
    return options.isTTY ? 0 : 130;
  } finally {
    await director.close();
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
    write('Closed everything the demonstration had opened\n');
  }
}

/** Two virtual services, so that two schedulers can be compared, over the same real servers. */
async function sceneFor(serverPorts: readonly number[]): Promise<DemoScene> {
  const [weighted, even] = await freePorts(2);
  const service = (port: number, scheduler: DemoService['scheduler']): DemoService => ({
    address: loopback,
    port,
    method: 'masquerade',
    scheduler,
    servers: serverNames.map((name, i) => ({
      name,
      address: loopback,
      port: serverPorts[i]!,
      weight: scheduler === 'wrr' ? weights[i]! : 1,
    })),
  });
  return {
    clientAddress: loopback,
    directorName: `process ${process.pid}`,
    services: [service(weighted!, 'wrr'), service(even!, 'rr')],
  };
}

/** Ports nobody listens on now; a service must name its port, so the system cannot be asked when it is added. */
async function freePorts(count: number): Promise<number[]> {
  const probes = Array.from({ length: count }, () => createServer().listen(0, loopback));
  await Promise.all(probes.map((probe) => once(probe, 'listening')));
  const ports = probes.map((probe) => portOf(probe.address()));
  await Promise.all(probes.map((probe) => once(probe.close(), 'close')));
  return ports;
}

/** The rules of a service, each in ipvsadm's words and as the operation. */
function rulesOf(service: DemoService): { words: string; operation: Operation }[] {
  const { port, scheduler } = service;
  const address = parseAddress(service.address) as Address;
  const id: AddressServiceId = { kind: 'address', protocol: 'tcp', address, port };
  const virtual = `-t ${address}:${port}`;
  const schedulerFlags = { flag1: false, flag2: false, flag3: false };
  return [
    {
      words: `-A ${virtual} -s ${scheduler}`,
      operation: { kind: 'add-service', service: { id, scheduler, schedulerFlags, onePacket: false } },
    },
    ...service.servers.map((server) => ({
      words: `-a ${virtual} -r ${server.address}:${server.port} -m -w ${server.weight}`,
      operation: {
        kind: 'add-destination',
        id,
        destination: destinationOf(
          { address, port: server.port, weight: server.weight, method: service.method },
          id,
        ),
      } satisfies Operation,
    })),
  ];
}

function listingOf({ services }: Observed): Listing {
  return new Map(
    services.map(({ service: { id }, destinations }) => [
      id.kind === 'address' ? `${id.address}:${id.port}` : '',
      destinations.map(({ destination: { address, port, weight }, activeConnections }) => ({
        address: `${address}:${port}`,
        weight,
        active: activeConnections,
      })),
    ]),
  );
}

function hintLines({ services }: DemoScene): string[] {
  const urls = services.map(({ address, port }) => `  curl -s http://${address}:${port}/`);
  return ['', 'Ask for yourself, in another terminal:', ...urls];
}

const portOf = (address: string | AddressInfo | null): number => (address as AddressInfo).port;
