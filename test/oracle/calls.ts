import { destinationKey } from '../../src/model/service-id.ts';
import type { Connection, Operation } from '../../src/model/table.ts';
import { udp } from '../packets/frame.ts';
import { destination, virtualService } from '../packets/services.ts';
import { virtualAddresses } from '../packets/world.ts';
import type { Director } from './director.ts';

/** A SIP message of one of many clients: the last byte but one of its address, the last byte, its port. */
export type Said = {
  readonly client: readonly [number, number, number];
  readonly message: Uint8Array;
  /** It goes to the client instead, from the real server whose address ends so. */
  readonly from?: number;
};

const place = ([network, host]: Said['client']) => `203.0.${network}.${host}`;

/**
 * Sends messages to a service with the persistence engine sip, for a network of clients each, and takes it away again. Of each the
 * real server that serves it, and of its network's templates the Call-IDs. Each call needs a port of its own.
 */
export async function hear(
  director: Director,
  port: number,
  said: readonly Said[],
): Promise<{
  readonly served: readonly (string | undefined)[];
  readonly calls: ReadonlyMap<string, string[]>;
}> {
  const virtual = `${virtualAddresses.ipv4}:${port}`;
  const service = {
    ...virtualService(`udp ${virtual}`, 'rr'),
    persistence: { timeoutSeconds: 300, netmask: 0xffffff00, engine: 'sip' },
  };
  const refusals = await director.apply([
    { kind: 'add-service', service },
    ...[11, 12, 13].map(
      (last): Operation => ({
        kind: 'add-destination',
        id: service.id,
        destination: destination(`10.1.0.${last}:5060`),
      }),
    ),
  ]);
  const refused = refusals.find((one) => one !== undefined);
  if (refused) throw new Error(`add a service with sip: ${refused.detail}`);
  for (const { client, message, from } of said) {
    const at = `${place(client)}:${client[2]}`;
    if (from === undefined) director.send('c0', udp(at, virtual, { payload: message }));
    else director.send('r0', udp(`10.1.0.${from}:5060`, at, { payload: message }));
  }
  const made = (await director.connections()).filter((one) => destinationKey(one.virtual) === virtual);
  const entries = new Map(
    made
      .filter(({ template }) => !template)
      .map((one) => [destinationKey(one.client), one.destination.address]),
  );
  const calls = new Map<string, string[]>();
  for (const { client, engine } of made.filter(({ template }: Connection) => template))
    calls.set(client.address, [...(calls.get(client.address) ?? []), engine?.data ?? ''].toSorted());
  await director.apply([{ kind: 'delete-service', id: service.id }]);
  return {
    served: said.map(({ client }) => entries.get(`${place(client)}:${client[2]}`)),
    calls,
  };
}
