import type { LabStatus, RealServerStatus } from './status.ts';

const answers = {
  masquerade: 'answers return through the director',
  'direct-routing': 'answers go straight to the client',
  tunnel: 'answers go straight to the client',
} as const;

/** The picture of `lab status`: pure text, lines without line ends, plain ASCII. */
export function statusPicture(status: LabStatus): string[] {
  const lines: string[] = [`lab ${status.lab}   ${status.shows}`, ''];
  const nodeNote = (name: string): string => {
    const node = status.nodes.find((one) => one.name === name);
    if (node?.state !== 'up') return `  ${(node?.state ?? 'gone').toUpperCase()}`;
    const cut = status.ports.filter((port) => port.node === name && port.state !== 'up');
    return [
      ...cut.map(({ device, link, state }) => `  ${device} on ${link} ${state.toUpperCase()}`),
      ...(node.silentPorts.length > 0 ? [`  nothing listens on port ${node.silentPorts.join(', ')}`] : []),
    ].join('');
  };
  const addresses = (name: string): string =>
    status.ports
      .filter(({ node }) => node === name)
      .flatMap((port) => port.addresses)
      .join(', ');
  for (const { name, role } of status.nodes)
    if (role === 'client') lines.push(`client ${name}  ${addresses(name)}${nodeNote(name)}`);
  lines.push(
    '  |',
    '  v',
    `director ${status.director}  ${addresses(status.director)}${status.nodes.some(({ name, vrrp }) => name === status.director && vrrp === 'master') ? '  MASTER' : ''}${nodeNote(status.director)}`,
  );
  status.services.forEach((service, i) => {
    const rail = i === status.services.length - 1 ? '   ' : '  |';
    const { protocol, address, scheduler, method } = service;
    lines.push('  |', `  +-> ${protocol} ${address}  ${scheduler}, ${method}: ${answers[method]}`);
    const rows = service.realServers.map(rowOf);
    const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]!.length))) ?? [];
    service.realServers.forEach(({ node }, row) => {
      const cells = rows[row]!.map((cell, column) =>
        column < leftColumns ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      );
      lines.push(`${rail}     -> ${cells.join('  ')}${nodeNote(node)}`.trimEnd());
    });
  });
  const standby = status.nodes.filter(({ standby }) => standby);
  for (const { name, vrrp } of standby) {
    const role =
      vrrp === 'master' ? 'MASTER as well' : vrrp ? 'BACKUP' : 'stands by, holds no virtual address';
    lines.push('', `director ${name}  ${addresses(name)}  ${role}${nodeNote(name)}`);
  }
  if (status.problems.length > 0)
    lines.push('', 'PROBLEMS', ...status.problems.map((problem) => `  ${problem}`));
  return lines;
}

/** The first columns of a row are words, the others numbers. */
const leftColumns = 2;

function rowOf({ node, address, weight, active, inactive, connections, rates }: RealServerStatus): string[] {
  if (weight === undefined) return [node, address, 'not in the table', '', '', '', '', '', ''];
  return [
    ...[node, address, `weight ${weight}`, `active ${active}`, `inactive ${inactive}`],
    `served ${connections ?? '-'}`,
    ...(rates
      ? [
          `${rates.connections.toFixed(1)} conn/s`,
          `${rates.packets.toFixed(0)} packets/s`,
          `${bytesText(rates.bytes)}/s`,
        ]
      : ['', '', '']),
  ];
}

const units = ['B', 'kB', 'MB', 'GB'] as const;

/** A number of bytes with three digits at most before the point. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}
