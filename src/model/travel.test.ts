import { describe, expect, test } from 'vitest';
import type { Address } from './address.ts';
import { type SyncedConnection, syncFlags } from './connection-sync.ts';
import type { Connection, ServiceEntry } from './table.ts';
import { ended, travelKey, traveller } from './travel.ts';
import type { Destination, Persistence, ServiceId } from './virtual-service.ts';

const at = (address: string, port: number) => ({ address: address as Address, port });
const web: ServiceId = { kind: 'address', protocol: 'tcp', ...at('192.0.2.10', 80) };

function entry(id: ServiceId, destinations: readonly Destination[], persistence?: Persistence): ServiceEntry {
  const schedulerFlags = { flag1: false, flag2: false, flag3: false };
  return {
    service: { id, scheduler: 'rr', schedulerFlags, onePacket: false, ...(persistence && { persistence }) },
    destinations,
  };
}

const real = (
  address: string,
  port: number,
  method: 'masquerade' | 'direct-routing' = 'masquerade',
): Destination => ({ ...at(address, port), method, weight: 1, upperThreshold: 0, lowerThreshold: 0 });

const connection = (change: Partial<Connection> = {}): Connection => ({
  protocol: 'tcp',
  client: at('198.51.100.7', 4711),
  virtual: at('192.0.2.10', 80),
  destination: at('10.0.0.1', 8080),
  state: 'ESTABLISHED',
  active: true,
  template: false,
  expiresInMs: 899_000,
  ...change,
});

const fateOf = (
  services: readonly ServiceEntry[],
  change: Partial<Connection> = {},
  helpedPorts: readonly number[] = [],
) => traveller(services, { helpedPorts })(connection(change));

describe('a connection of the kernel', () => {
  const services = [entry(web, [real('10.0.0.1', 8080), real('10.0.0.2', 80, 'direct-routing')])];

  test('is told with its method, state and the time it has left', () => {
    // Numbers of include/net/ip_vs.h and include/uapi/linux/ip_vs.h.
    expect(fateOf(services)).toEqual({
      service: web,
      told: {
        ...{ family: 4, protocol: 6, flags: 0, state: 1, fwmark: 0, timeoutSeconds: 899 },
        ...{ client: Uint8Array.of(198, 51, 100, 7), clientPort: 4711 },
        ...{ virtual: Uint8Array.of(192, 0, 2, 10), virtualPort: 80 },
        ...{ real: Uint8Array.of(10, 0, 0, 1), realPort: 8080 },
      },
    });
  });

  test('is told as inactive and directly routed', () => {
    const change = { destination: at('10.0.0.2', 80), state: 'FIN_WAIT', active: false } as const;
    expect(fateOf(services, change)).toMatchObject({
      told: { flags: syncFlags.directRouting | syncFlags.noOutput | syncFlags.inactive, state: 4 },
    });
  });

  test('stays when its real server is not listed', () => {
    expect(fateOf(services, { destination: at('10.0.0.9', 8080) })).toEqual({ stays: 'gone' });
  });

  test('stays when nobody has opened it, or its state is unknown', () => {
    expect(fateOf(services, { client: at('198.51.100.7', 0) })).toEqual({ stays: 'expected', service: web });
    expect(fateOf(services, { state: 'BEWILDERED' })).toEqual({ stays: 'unknown', service: web });
  });

  test("of SCTP goes with its own state, by the kernel's number", () => {
    const id: ServiceId = { ...web, protocol: 'sctp' };
    const told = (state: string) =>
      fateOf([entry(id, [real('10.0.0.1', 8080)])], { protocol: 'sctp', state });
    expect(told('ESTABLISHED')).toMatchObject({ service: id, told: { protocol: 132, state: 8 } });
    expect(told('C-ECHOED')).toMatchObject({ told: { state: 7 } });
    expect(told('TIME_WAIT')).toEqual({ stays: 'unknown', service: id });
  });

  test('stays when it carries data of FTP that the kernel helps, and is not called gone', () => {
    const id: ServiceId = { ...web, port: 21 };
    const own = [entry(id, [real('10.0.0.1', 21), real('10.0.0.2', 21, 'direct-routing')])];
    // Passive, between ports that the real server chose; active, from the port beside the service's.
    const passive = { virtual: at('192.0.2.10', 40_000), destination: at('10.0.0.1', 40_000) };
    const active = { virtual: at('192.0.2.10', 20), destination: at('10.0.0.1', 20) };
    for (const data of [passive, active]) {
      expect(fateOf(own, data, [21])).toEqual({ stays: 'data', service: id });
      expect(fateOf(own, data, [])).toEqual({ stays: 'gone' });
      expect(fateOf(own, { ...data, destination: at('10.0.0.9', 20) }, [21])).toEqual({ stays: 'gone' });
      expect(fateOf(own, { ...data, destination: at('10.0.0.2', 20) }, [21])).toEqual({ stays: 'gone' });
    }
  });

  test('of FTP stays with the helper of the kernel, where there is one and it masquerades', () => {
    const id: ServiceId = { ...web, port: 21 };
    const both = [entry(id, [real('10.0.0.1', 8080), real('10.0.0.2', 21, 'direct-routing')])];
    const virtual = at('192.0.2.10', 21);
    expect(fateOf(both, { virtual }, [21])).toEqual({ stays: 'helper', service: id });
    expect(fateOf(both, { virtual }, [2100])).toMatchObject({ service: id, told: { virtualPort: 21 } });
    expect(fateOf(both, { virtual, destination: at('10.0.0.2', 21) }, [21])).toHaveProperty('told');
  });

  test('to any port belongs to the service of all ports', () => {
    const id: ServiceId = { ...web, port: 0 };
    const persistence = { timeoutSeconds: 360, netmask: 0xffffffff };
    const virtual = at('192.0.2.10', 443);
    expect(
      fateOf([entry(id, [real('10.0.0.1', 0)], persistence)], { virtual, destination: at('10.0.0.1', 443) }),
    ).toMatchObject({ service: id, told: { realPort: 443 } });
  });

  test('that no address leads to is of the firewall mark that has its real server', () => {
    const id: ServiceId = { kind: 'fwmark', mark: 7, family: 4 };
    const marked = [entry({ ...id, mark: 6 }, [real('10.0.0.3', 0)]), entry(id, [real('10.0.0.1', 0)])];
    expect(fateOf(marked)).toMatchObject({ service: id, told: { fwmark: 7 } });
    expect(fateOf([...services, ...marked])).toMatchObject({ service: web, told: { fwmark: 0 } });
  });
});

describe('a template of the kernel', () => {
  const persistence = { timeoutSeconds: 360, netmask: 0xffffff00 };
  const template = {
    client: at('198.51.100.0', 0),
    state: 'ASSURED',
    active: false,
    template: true,
    expiresInMs: 12_000,
  } as const;

  test('has its whole time again', () => {
    expect(fateOf([entry(web, [real('10.0.0.1', 8080)], persistence)], template)).toMatchObject({
      told: { flags: syncFlags.template, state: 1, timeoutSeconds: 360 },
    });
  });

  test('of a firewall mark has it for an address', () => {
    const id: ServiceId = { kind: 'fwmark', mark: 258, family: 4 };
    const change = { ...template, protocol: 'ip', virtual: at('0.0.1.2', 0), destination: at('10.0.0.1', 0) };
    expect(
      fateOf([entry(id, [real('10.0.0.1', 0)], persistence)], change as Partial<Connection>),
    ).toMatchObject({ service: id, told: { protocol: 0, fwmark: 258, virtual: Uint8Array.of(0, 0, 1, 2) } });
  });

  test('of the engine sip takes its Call-ID along; one of another engine stays', () => {
    const withEngine = [entry(web, [real('10.0.0.1', 8080)], { ...persistence, engine: 'sip' })];
    const fate = fateOf(withEngine, { ...template, engine: { name: 'sip', data: 'x\xe9' } });
    expect(fate).toMatchObject({ told: { engine: { name: 'sip', data: Buffer.from([0x78, 0xe9]) } } });
    const { told } = fate as { told: SyncedConnection };
    // Whoever reads it in another way has the same bytes in another array.
    const bytes = Uint8Array.of(0x78, 0xe9);
    expect(travelKey({ ...told, engine: { name: 'sip', data: bytes } })).toBe(travelKey(told));
    const other = fateOf(withEngine, { ...template, engine: { name: 'sip', data: 'y' } });
    expect(travelKey(told)).not.toBe(travelKey((other as { told: SyncedConnection }).told));
    expect(fateOf(withEngine, { ...template, engine: { name: 'dns', data: 'x' } })).toEqual({
      stays: 'engine',
      service: web,
    });
  });
});

test('what has ended is told as closed, for a second, under the same key', () => {
  const fate = fateOf([entry(web, [real('10.0.0.1', 8080)])]);
  if (!('told' in fate)) throw new Error('it does not travel');
  const end = ended(fate.told);
  expect(end).toMatchObject({ state: 6, flags: syncFlags.inactive, timeoutSeconds: 1 });
  expect(travelKey(end)).toBe(travelKey(fate.told));
});
