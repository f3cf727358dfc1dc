import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { CheckTarget, DialogueLine } from '../../src/checks/check.ts';
import { runCheck } from '../../src/checks/run-check.ts';
import type { Check } from '../../src/config/schema/check.ts';
import { check as checkSchema } from '../../src/config/schema/check.ts';
import { type Address, parseAddress } from '../../src/model/address.ts';
import type { CheckResult } from '../../src/model/check-result.ts';

export const loopback = parseAddress('127.0.0.1')!;

/** A check as a configuration would have it, with all defaults. */
export function checkOf(keys: Record<string, unknown> & { readonly type: Check['type'] }): Check {
  return checkSchema.parse(keys);
}

/** A target that is its own real server. */
export function targetOf(port: number, address: Address = loopback): CheckTarget {
  return {
    address,
    port,
    realServer: { address, port },
    service: { kind: 'address', protocol: 'tcp', address, port },
  };
}

/** Runs a check of these keys against a port of this host, and gives what it found and what was told meanwhile. */
export async function checked(
  keys: Parameters<typeof checkOf>[0],
  port: number,
  address: Address = loopback,
): Promise<{ readonly result: CheckResult; readonly lines: readonly DialogueLine[] }> {
  const lines: DialogueLine[] = [];
  const result = await runCheck(checkOf(keys), targetOf(port, address), { tell: (line) => lines.push(line) });
  return { result, lines };
}

/** A peer that behaves as `behave` says, on a port of its own; `close` ends it and its connections. */
export async function peer(behave: (socket: Socket) => void, host = '127.0.0.1') {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => sockets.delete(socket));
    behave(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    /** How many connections are open at this side. */
    open: () => sockets.size,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
