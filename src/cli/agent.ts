import { type AgentStatus, agentDown, agentStatus, agentUp, type Change } from '../agent/agent.ts';
import { type Intent, readIntent } from '../agent/intent.ts';
import { findLoadAgent, type LoadAgentStatus } from '../agent/load/serve.ts';
import type { Streams } from './context.ts';
import { type Output, write } from './output.ts';

type Options = { readonly output: Output };

/** What `headgate agent up` takes, as commander hands it over. */
export type UpOptions = Options & {
  readonly vip?: string[];
  readonly method?: string;
  readonly gateway?: string[];
  readonly director?: boolean;
  readonly masqueradeOutgoing?: string;
};

/** Sets this host up. In text, each change is printed when it is made. */
export async function up(options: UpOptions, streams: Streams): Promise<void> {
  const intent = readIntent(options);
  const changes: Change[] = [];
  await agentUp(intent, collector(options, changes, streams));
  const first = changes.length === 0 ? 'Nothing to change: ' : '';
  await write(streams, options.output, { ...intent, changes }, () => `${first}${sentence(intent)}\n`);
}

/** Puts back what was changed; that there is nothing is no error. */
export async function down(options: Options, streams: Streams): Promise<void> {
  const changes: Change[] = [];
  const wasUp = await agentDown(collector(options, changes, streams));
  await write(streams, options.output, { wasUp, changes }, () => {
    if (!wasUp) return 'There is nothing to restore: the agent has set nothing up here.\n';
    return changes.some(({ wanted }) => wanted !== undefined)
      ? 'Restored, but for what is named as left.\n'
      : 'Restored: this host is as it was before the agent came.\n';
  });
}

/** Shows what is set up and whether it is still so. */
export async function status(options: Options, streams: Streams): Promise<void> {
  const serving = await findLoadAgent();
  const found = agentStatus();
  const { intent, ...rest } = found ?? {};
  const value = { up: found !== undefined, ...intent, ...rest, ...(serving && { serving }) };
  await write(streams, options.output, value, () => {
    const set = found ? statusText(found) : 'The agent has set nothing up here.\n';
    return `${set}${serving ? servingText(serving) : ''}`;
  });
}

function servingText({ pid, listen, allowed, answered, refused, answer }: LoadAgentStatus): string {
  return [
    `Tells its load on ${listen} (process ${pid}), to ${['this host', ...allowed].join(', ')}.`,
    `  asked: ${answered} times answered, ${refused} refused`,
    `  answer: ${answer.split('\n', 1)[0]}`,
    '',
  ].join('\n');
}

function collector({ output }: Options, changes: Change[], { stdout }: Streams): (change: Change) => void {
  return (change) => {
    changes.push(change);
    if (output === 'text') stdout.write(`${changeLine(change)}\n`);
  };
}

/** One change on one line. */
function changeLine({ what, before, after, wanted }: Change): string {
  return wanted === undefined
    ? `${what}: ${before} -> ${after}`
    : `${what}: left at ${after}, which somebody else has set; it was ${wanted} before the agent came`;
}

/** What the host is now, in one sentence. */
export function sentence({ role, method, vips, gateways, outgoing }: Intent): string {
  if (role === 'director')
    return `this host forwards for real servers${outgoing === undefined ? '' : `, masqueraded through ${outgoing}`}.`;
  if (method === 'masquerade')
    return `replies of this real server go back through ${gateways.join(' and ')}.`;
  const how = method === 'tunnel' ? 'through the tunnel' : 'by direct routing';
  return `this real server takes ${vips.join(', ')} ${how} and answers no ARP for it.`;
}

function statusText({ intent, changes, outcomes }: AgentStatus): string {
  const lines = changes.map(({ what, before, set, now }) => {
    if (now === undefined) return `${what}: gone; set to ${set}`;
    return now === set
      ? `${what}: ${set} (was ${before})`
      : `${what}: ${now}, the agent had set ${set} (was ${before})`;
  });
  if (outcomes) {
    const { decapsulated, fragments, dropped } = outcomes;
    lines.push(
      `packets: ${decapsulated} decapsulated, ${dropped} dropped, ${fragments} outer fragments passed on`,
    );
  }
  const text = sentence(intent);
  return `${text[0]!.toUpperCase()}${text.slice(1)}\n${lines.map((line) => `  ${line}\n`).join('')}`;
}
