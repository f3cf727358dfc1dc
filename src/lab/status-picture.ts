import type { LabStatus, RealServerStatus } from './status.ts';

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
    `director ${status.director}  ${addresses(status.director)}${nodeNote(status.director)}`,
  );
  status.services.forEach((service, i) => {
    const rail = i === status.services.length - 1 ? '   ' : '  |';
    lines.push('  |', `  +-> ${service.protocol} ${service.address}  ${service.scheduler}`);
    const rows = service.realServers.map(rowOf);
    const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]!.length))) ?? [];
    service.realServers.forEach((server, row) => {
      const cells = rows[row]!.map((cell, column) => cell.padEnd(widths[column]!)).join('  ');
      lines.push(`${rail}     --${cells}${nodeNote(server.node)}`.trimEnd());
    });
  });
  const standby = status.nodes.filter(({ standby }) => standby);
  for (const { name } of standby)
    lines.push(
      '',
      `director ${name}  ${addresses(name)}  stands by, holds no virtual address${nodeNote(name)}`,
    );
  if (status.problems.length > 0)
    lines.push('', 'PROBLEMS', ...status.problems.map((problem) => `  ${problem}`));
  return lines;
}

function rowOf({
  method,
  node,
  address,
  weight,
  active,
  inactive,
  connections,
  rates,
}: RealServerStatus): string[] {
  if (weight === undefined) return [`${method}-->`, node, address, 'not in the table', '', '', '', ''];
  return [
    `${method}-->`,
    node,
    address,
    `weight ${weight}`,
    `active ${active}`,
    `inactive ${inactive}`,
    `served ${connections ?? '-'}`,
    rates
      ? `${rates.connections.toFixed(1)} conn/s ${rates.packets.toFixed(0)} packets/s ${bytesText(rates.bytes)}/s`
      : '',
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
