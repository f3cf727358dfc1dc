import type * as z from 'zod';
import { address } from './addresses.ts';
import { duration, integer, key, object, text, word } from './keys.ts';

/** Where `headgate agent serve` listens by itself. */
const agentPort = 9177;

/** How a program on a real server is asked how it stands. */
export const agent = object({
  port: key(integer(1, 65_535).default(agentPort), 'The port it listens at.'),
  address: key(address.optional(), 'The address that is asked.', { leftOut: 'that of the real server' }),
  interval: key(duration(100, 3_600_000).default(2_000), 'From one question to the next.', { leftOut: '2s' }),
  timeout: key(duration(1, 3_600_000).default(1_000), 'How long an answer may take, all of it.', {
    leftOut: '1s',
  }),
  send: key(text().optional(), 'What is sent after connecting.', {
    examples: ['"web\\n"'],
    leftOut: 'nothing',
  }),
  source: key(address.optional(), 'The address the question comes from.', { leftOut: 'the kernel’s choice' }),
  weights: key(
    word('said', 'load').default('said'),
    '`said`: the percentage an agent says scales the configured weight at once. `load`: the loads of all real servers of the service that say `load` are brought together slowly; it wants weights of 10 or more, and a scheduler that shares by weight.',
    { examples: ['load'] },
  ),
  whenDown: key(
    word('remove', 'quiesce').default('remove'),
    'What becomes of a real server whose agent says `down`, `stopped` or `fail`, as with checks.',
  ),
});

export type AgentSettings = z.infer<typeof agent>;
