import type { Candidate } from '../control/candidate.ts';
import type { Explanation } from '../control/explain.ts';
import { roomFor } from '../control/problems.ts';
import { type Address, parseAddress } from '../model/address.ts';
import { HeadgateError } from '../model/errors.ts';
import type { Question } from '../model/question.ts';
import { destinationKey } from '../model/service-id.ts';
import type { Destination, DestinationId } from '../model/virtual-service.ts';
import { aligned } from './columns.ts';
import type { Streams } from './context.ts';
import { inspect } from './inspect.ts';
import { type Output, write } from './output.ts';

export type ExplainOptions = {
  readonly udp?: boolean;
  readonly sctp?: boolean;
  /** As it was written. */
  readonly mark?: string;
  readonly output: Output;
};

/** `explain CLIENT[:PORT] VIRTUAL:PORT`: exit code 0 when a real server gets the packet and nothing is in the way, else 1. */
export async function explainClient(
  client: string,
  virtual: string,
  options: ExplainOptions,
  streams: Streams,
): Promise<number> {
  const from = readPlace(client, 'client');
  const { address, port } = readPlace(virtual, 'virtual address');
  if (port === undefined)
    throw new HeadgateError(
      'HG_USAGE',
      `Cannot explain "${virtual}": wanted a virtual address with its port`,
      {
        hint: `headgate explain ${client} ${destinationKey({ address, port: 80 })}`,
      },
    );
  const protocol = options.sctp ? 'sctp' : options.udp ? 'udp' : 'tcp';
  const mark = options.mark === undefined ? undefined : readMark(options.mark);
  const question: Question = {
    ...{ protocol, client: from, virtual: { address, port } },
    ...(mark !== undefined && { mark }),
  };
  const explanation = await inspect(undefined, {
    daemon: (daemon) => daemon.explain<Explanation>(question),
    here: async (controller, { wanted }) =>
      (await import('../control/explain.ts')).explain(controller, question, wanted?.names),
  });
  await write(streams, options.output, explanation, () => `${explanationText(explanation)}\n`);
  return explanation.destination && explanation.problems.length === 0 ? 0 : 1;
}

/** A firewall mark, as nft and ip write it: decimal, or hexadecimal behind 0x; 0 for a packet without. */
function readMark(text: string): number {
  const mark = /^(\d+|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (mark <= 0xffff_ffff) return mark;
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot read the mark "${text}": wanted a number from 0 to 4294967295`,
    {
      hint: 'for instance --mark 1 or --mark 0x10',
    },
  );
}

/** An address, or an address and a port; IPv6 with a port in brackets. */
function readPlace(text: string, what: string): { readonly address: Address; readonly port?: number } {
  const whole = parseAddress(text);
  if (whole !== undefined) return { address: whole };
  const match = /^(?:\[(.+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text);
  const address = parseAddress(match?.[1] ?? match?.[2] ?? '');
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  if (address === undefined || (port !== undefined && (port === 0 || port > 65535)))
    throw new HeadgateError(
      'HG_USAGE',
      `Cannot read the ${what} "${text}": wanted an address, with or without a port from 1 to 65535`,
      { hint: 'for instance 192.0.2.10:80 or [2001:db8::10]:80' },
    );
  return { address, ...(port === undefined ? {} : { port }) };
}

const methods = {
  masquerade: 'masquerade: address and port are rewritten, and replies come back through this host',
  'direct-routing':
    'direct routing: the packet is handed on as it is, and the real server answers the client',
  'full-nat':
    'full NAT: both addresses and ports are rewritten, and the real server answers to an address of this host',
  tunnel: 'tunnel: the packet travels in another one, and the real server answers the client',
} as const;

const andMore = (all: number): string => (all > 5 ? ` and ${all - 5} more` : '');

/** Where a template leads, and which call it is of. */
const templateText = ({ destination, engine, realServer }: Explanation['connections'][number]): string =>
  `${engine ? `${engine.data} -> ` : ''}${withName(realServer, destination)}`;

/** The explanation for a person. */
export function explanationText(explanation: Explanation): string {
  const { question, service, mark, connections, candidates, destination, because, uncertain } = explanation;
  const { client, protocol, virtual } = question;
  const from =
    client.port === undefined
      ? client.address
      : destinationKey({ address: client.address, port: client.port });
  const rows: [string, string][] = [
    ['service', service ? `${serviceText(service)}, ${service.scheduler}` : 'none'],
  ];
  if (mark) rows.push(['mark', `${mark.value}, ${mark.because}`]);
  const [live, templates] = [false, true].map((kind) =>
    connections.filter(({ template }) => template === kind),
  );
  if (service)
    rows.push([
      'connections',
      live!.length === 0
        ? 'none yet'
        : live!
            .slice(0, 5)
            .map((row) => `${row.client.port} -> ${withName(row.realServer, row.destination)} ${row.state}`)
            .join(', ') + andMore(live!.length),
    ]);
  if (templates!.length > 0)
    rows.push([
      'persistence',
      templates!.slice(0, 5).map(templateText).join(', ') + andMore(templates!.length),
    ]);
  rows.push([
    destination ? 'goes to' : 'goes to nobody',
    destination
      ? `${withName(explanation.realServer, explanation.arrives ?? destination, service?.name)}, because ${because}`
      : `because ${because}`,
  ]);
  if (uncertain !== undefined) rows.push(['but', uncertain]);
  rows.push(...candidateTexts(candidates, destination).map((text): [string, string] => ['', text]));
  if (destination) {
    rows.push(['method', methods[destination.method]]);
    if (explanation.path) rows.push(['next hop', pathText(explanation.path, destination)]);
  }
  const width = Math.max(...rows.map(([label]) => label.length));
  const lines = rows.map(([label, text]) => `${label.padEnd(width)}  ${text}`.trimEnd());
  const problems = explanation.problems.flatMap(({ what, remedy }) => [`  ${what}`, `    next: ${remedy}`]);
  return [
    `${protocol} ${from} -> ${destinationKey(virtual)}`,
    '',
    ...lines,
    ...(problems.length > 0 ? ['', 'IN THE WAY', ...problems] : []),
  ].join('\n');
}

/** A line each, those that have names with these and their addresses in columns. */
function candidateTexts(candidates: readonly Candidate[], chosen?: Destination): string[] {
  const rows = candidates.map(({ name, destination, active, inactive, figure, excluded }) => {
    const address = destinationKey(destination);
    const mark = chosen && destinationKey(chosen) === address ? '*' : ' ';
    const numbers = [`weight ${destination.weight}`, `active ${active}`, `inactive ${inactive}`];
    return [`${mark} ${name}`, name === address ? '' : address, ...numbers, excluded ?? figure ?? ''];
  });
  const hasNames = rows.some(([, address]) => address !== '');
  return aligned(hasNames ? rows : rows.map((row) => row.toSpliced(1, 1)));
}

/** `web1 10.0.0.11:80`, with its service `web/web1 10.0.0.11:80`; the address alone where nobody has given a name. */
function withName(name: string | undefined, to: DestinationId, service?: string): string {
  const address = destinationKey(to);
  if (name === undefined || name === address || name === destinationKey({ ...to, port: 0 })) return address;
  return `${service === undefined ? '' : `${service}/`}${name} ${address}`;
}

/** One name may stand for several addresses; it has the address in it then. */
const serviceText = ({ name, address }: NonNullable<Explanation['service']>): string =>
  name.includes(address) ? name : `${name} ${address}`;

function pathText(path: NonNullable<Explanation['path']>, destination: Destination): string {
  if (path.kind === 'local') return 'this host itself';
  if (path.kind === 'none') return 'none';
  const via = path.via === destination.address ? '' : ` by way of ${path.via}`;
  const mac = path.mac === undefined ? 'not asked for yet' : path.mac;
  return `${path.device}${via}, MAC ${mac}, packets up to ${roomFor(destination, path)} bytes`;
}
