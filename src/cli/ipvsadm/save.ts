import { fullNatWords } from '../../config/ipvsadm/full-nat-words.ts';
import type { DestinationState, Observed, ServiceState } from '../../model/table.ts';
import type { ForwardingMethod, Timeouts, Tunnel, VirtualService } from '../../model/virtual-service.ts';
import { flagWords, type Label, labels, maskText, portProtocol } from './labels.ts';
import type { Names } from './names.ts';
import { destinationsInOrder, inOrder, lookUpAll } from './print.ts';

/**
 * The table as command lines which `-R` reads. As ipvsadm does it, without thresholds, timeouts and daemons. Unlike ipvsadm's, all lines can be read again: marks from 2^31 on are not negative, and no flag is lost.
 */
export async function printRules(
  services: readonly ServiceState[],
  numeric: boolean,
  names: Names,
): Promise<string> {
  const label = labels(numeric, names);
  if (!numeric) await lookUpAll(services, names);
  const lines: string[] = [];
  for (const state of inOrder(services, true)) {
    const name = await serviceArguments(state.service, label);
    lines.push(`-A ${name} -s ${state.service.scheduler}${serviceSettings(state.service)}\n`);
    for (const destination of destinationsInOrder(state, true)) {
      const server = await label(destination.destination, portProtocol(state.service));
      lines.push(`-a ${name} -r ${server} ${serverSettings(destination)}\n`);
    }
  }
  return lines.join('');
}

/** The kernel's (ip_vs_proto_tcp.c, ip_vs_proto_udp.c). */
const usualTimeouts: Timeouts = { tcp: 900, tcpFin: 120, udp: 300 };

/** A table as rules of ipvsadm, numeric, with the thresholds and timeouts that ipvsadm-save leaves out and `-R` reads. */
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

const protocolOptions = { tcp: '-t', udp: '-u', sctp: '--sctp-service' } as const;

async function serviceArguments({ id }: VirtualService, label: Label): Promise<string> {
  if (id.kind === 'fwmark') return `-f ${id.mark}${id.family === 6 ? ' -6' : ''}`;
  return `${protocolOptions[id.protocol]} ${await label(id, id.protocol)}`;
}

function serviceSettings(service: VirtualService): string {
  const { persistence } = service;
  const mask = maskText(service);
  const flags = flagWords(service);
  return [
    persistence ? ` -p ${persistence.timeoutSeconds}` : '',
    mask ? ` -M ${mask}` : '',
    persistence?.engine ? ` --pe ${persistence.engine}` : '',
    service.onePacket ? ' -o' : '',
    flags.length > 0 ? ` -b ${flags.join(',')}` : '',
  ].join('');
}

const methodOptions: Readonly<Record<ForwardingMethod, string>> = {
  masquerade: '-m',
  'direct-routing': '-g',
  tunnel: '-i',
  'full-nat': '--full-nat',
};
const checksumOptions: Readonly<Record<Tunnel['checksum'], string>> = {
  none: '--tun-nocsum',
  checksum: '--tun-csum',
  remote: '--tun-remcsum',
};

function serverSettings({ destination }: DestinationState): string {
  const { method, weight, tunnel, fullNat } = destination;
  return `${methodOptions[method]} -w ${weight}${tunnel ? tunnelSettings(tunnel) : ''}${fullNat ? fullNatWords(fullNat) : ''}`;
}

function tunnelSettings({ type, port, checksum }: Tunnel): string {
  const portOption = type === 'gue' ? ` --tun-port ${port}` : '';
  const checksumOption = type === 'ipip' ? '' : ` ${checksumOptions[checksum]}`;
  return ` --tun-type ${type}${portOption}${checksumOption}`;
}
