import { type MessagePort, workerData } from 'node:worker_threads';
import { listAddresses } from '../sys/netlink/address.ts';
import { listLinks } from '../sys/netlink/link.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { runInRealTime } from '../sys/realtime.ts';
import type { Errand, Outcome } from './errands.ts';
import { hold } from './holding.ts';

/** The thread of `errands.ts`: one errand after the other. */

/** Below the thread that advertises. */
const priority = 9;

const port = workerData as MessagePort;
const said = (error: unknown) => (error instanceof Error ? error.message : String(error));

function run(errand: Errand): Outcome {
  if (errand.kind === 'look') {
    try {
      return withNetlink({}, (netlink) => ({
        ...{ kind: 'looked', links: listLinks(netlink), addresses: listAddresses(netlink) },
      }));
    } catch (error) {
      return { kind: 'looked', failed: said(error) };
    }
  }
  const { number, device, addresses, seconds } = errand;
  try {
    hold(device, addresses, seconds);
    return { kind: 'renewed', number };
  } catch (error) {
    return { kind: 'renewed', number, failed: said(error) };
  }
}

runInRealTime(priority);
port.on('message', (errand: Errand) => port.postMessage(run(errand)));
