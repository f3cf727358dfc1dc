import { serviceFamily } from '../../model/service-id.ts';
import type { Protocol, ServiceId } from '../../model/virtual-service.ts';

/**
 * Ports with a name of their own, and the protocol the name is for (IANA Service Name and Transport Protocol Port
 * Number Registry). Names of services are made of them, so an entry may be added, but not changed.
 */
const wellKnown: Readonly<Record<string, readonly [port: number, protocol: Protocol]>> = {
  ftp: [21, 'tcp'],
  ssh: [22, 'tcp'],
  telnet: [23, 'tcp'],
  smtp: [25, 'tcp'],
  dns: [53, 'udp'],
  tftp: [69, 'udp'],
  http: [80, 'tcp'],
  pop3: [110, 'tcp'],
  ntp: [123, 'udp'],
  imap: [143, 'tcp'],
  snmp: [161, 'udp'],
  ldap: [389, 'tcp'],
  https: [443, 'tcp'],
  submission: [587, 'tcp'],
  syslog: [514, 'udp'],
  ldaps: [636, 'tcp'],
  imaps: [993, 'tcp'],
  pop3s: [995, 'tcp'],
  mysql: [3306, 'tcp'],
  radius: [1812, 'udp'],
  sip: [5060, 'udp'],
  postgresql: [5432, 'tcp'],
  redis: [6379, 'tcp'],
};

/** Other words of services(5) for some of these, as ipvsadm-save writes them. */
const otherWords: Readonly<Record<string, string>> = { domain: 'dns', www: 'http', imap2: 'imap' };

const byPort = new Map(
  Object.entries(wellKnown).map(([name, [port, protocol]]) => [port, { name, protocol }]),
);

/** The port of a well-known service, for hosts without /etc/services. */
export function wellKnownPort(service: string): number | undefined {
  const name = Object.hasOwn(otherWords, service) ? otherWords[service]! : service;
  return Object.hasOwn(wellKnown, name) ? wellKnown[name]![0] : undefined;
}

/**
 * A name for a virtual service that has none: `http-192.0.2.10`, `tcp-8080-192.0.2.10`, `dns-tcp-2001-db8--10`,
 * `all-192.0.2.10` (every port), `fwmark-7-ipv6`. It depends on nothing but the service, and two services never get
 * the same.
 */
export function nameOfService(id: ServiceId): string {
  if (id.kind === 'fwmark') return `fwmark-${id.mark}${serviceFamily(id) === 6 ? '-ipv6' : ''}`;
  const known = byPort.get(id.port);
  const port =
    id.port === 0
      ? `all${id.protocol === 'tcp' ? '' : `-${id.protocol}`}`
      : known === undefined
        ? `${id.protocol}-${id.port}`
        : known.protocol === id.protocol
          ? known.name
          : `${known.name}-${id.protocol}`;
  return `${port}-${id.address.replaceAll(':', '-')}`;
}
