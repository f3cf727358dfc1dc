/** The proxy data plane as a process: VIRTUAL_PORT and REAL_PORT, both on 127.0.0.1. Prints a line when it listens. */
import { openProxyPlane } from '../../src/dataplane/proxy/plane.ts';
import { parseAddress } from '../../src/model/address.ts';
import { destinationOf } from '../../src/model/real-server.ts';
import type { AddressServiceId } from '../../src/model/virtual-service.ts';

const [port, realPort] = process.argv.slice(2).map(Number) as [number, number];
const address = parseAddress('127.0.0.1')!;
const id: AddressServiceId = { kind: 'address', protocol: 'tcp', address, port };
const plane = openProxyPlane();
const schedulerFlags = { flag1: false, flag2: false, flag3: false };
const refusals = await plane.apply([
  { kind: 'add-service', service: { id, scheduler: 'rr', schedulerFlags, onePacket: false } },
  {
    kind: 'add-destination',
    id,
    destination: destinationOf({ address, port: realPort, method: 'masquerade' }, id),
  },
]);
for (const refusal of refusals) if (refusal) throw new Error(refusal.detail);
process.stdout.write('ready\n');
