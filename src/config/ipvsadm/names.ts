import type { Address } from '../../model/address.ts';

/** The protocol a port belongs to; `ip` ports have no service names. */
export type PortProtocol = 'tcp' | 'udp' | 'sctp' | 'ip';

/** Names of services, both directions; undefined where there is none. */
export type ServiceNames = {
  portOf(service: string, protocol: PortProtocol): number | undefined;
  serviceOf(port: number, protocol: PortProtocol): string | undefined;
};

/** What the grammar asks about names, without waiting. */
export type KnownNames = Pick<ServiceNames, 'portOf'> & {
  /** The first IPv4 address of a host; undefined where none is known. */
  addressOf(host: string): Address | undefined;
};

/** Service names from text in the form of services(5). */
export function servicesFrom(text: string): ServiceNames {
  const ports = new Map<string, number>();
  const names = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [name, port, ...aliases] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    const [number, protocol] = (port ?? '').split('/');
    if (!name || !number || !protocol) continue;
    for (const known of [name, ...aliases])
      if (!ports.has(`${known}/${protocol}`)) ports.set(`${known}/${protocol}`, Number(number));
    if (!names.has(`${number}/${protocol}`)) names.set(`${number}/${protocol}`, name);
  }
  return {
    portOf: (service, protocol) => ports.get(`${service}/${protocol}`),
    serviceOf: (port, protocol) => names.get(`${port}/${protocol}`),
  };
}
