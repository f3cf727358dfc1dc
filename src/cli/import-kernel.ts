import type { Files } from '../config/files.ts';
import type { Observed } from '../model/table.ts';
import type { Timeouts } from '../model/virtual-service.ts';
import type { Names } from './ipvsadm/names.ts';
import { destinationsInOrder, inOrder } from './ipvsadm/print.ts';
import { printRules } from './ipvsadm/save.ts';

/** What a table read from the kernel is called where files have a name. */
export const kernelTable = 'the table of the kernel';

/** The kernel's (ip_vs_proto_tcp.c, ip_vs_proto_udp.c). */
const usualTimeouts: Timeouts = { tcp: 900, tcpFin: 120, udp: 300 };

/** A table as rules of ipvsadm, with the thresholds and timeouts that ipvsadm-save leaves out. */
export async function rulesOf({ services, timeouts }: Observed, names: Names): Promise<string> {
  const rules: string[] = [];
  for (const state of inOrder(services, true)) {
    const [service, ...members] = (await printRules([state], true, names)).trimEnd().split('\n');
    const thresholds = destinationsInOrder(state, true).map(({ destination }) => {
      const { upperThreshold: upper, lowerThreshold: lower } = destination;
      return upper > 0 || lower > 0 ? ` -x ${upper} -y ${lower}` : '';
    });
    rules.push(service!, ...members.map((line, i) => line + thresholds[i]));
  }
  const { tcp, tcpFin, udp } = timeouts;
  const isUsual = tcp === usualTimeouts.tcp && tcpFin === usualTimeouts.tcpFin && udp === usualTimeouts.udp;
  return [...rules, ...(isUsual ? [] : [`--set ${tcp} ${tcpFin} ${udp}`]), ''].join('\n');
}

/** These rules where a file is asked for. */
export const filesOf = (rules: string): Files => ({
  read: () => Buffer.from(rules),
  list: () => [],
  identity: (path) => path,
});
