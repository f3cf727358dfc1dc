import { count } from '../model/count.ts';
import type { Outcomes } from '../model/outcome.ts';
import { CheckFailure, type RunCheck } from './check.ts';

/** Judges by what has become of the connections of clients; who runs it knows that. */
export const runPassive: RunCheck<'passive'> = async ({ interval, failures }, { target, outcomes }) => {
  if (!outcomes)
    throw new CheckFailure('run', 'nobody looks at the connections of clients: no daemon runs here');
  const found = await outcomes(target, interval);
  if (!found) return { detail: 'the data plane does not say what becomes of connections' };
  const { answered, refused, unanswered } = found;
  const failed = refused + unanswered;
  if (failed < failures || failed <= answered) return { detail: wordsOf(found) };
  const phase = answered + refused > 0 ? 'expect' : 'connect';
  throw new CheckFailure(phase, `${wordsOf(found)}, want fewer than ${failures} that fail`);
};

function wordsOf({ answered, refused, unanswered }: Outcomes): string {
  if (answered + refused + unanswered === 0) return 'no connections of clients';
  const parts = [
    ...(unanswered > 0 ? [`${unanswered} not answered`] : []),
    ...(refused > 0 ? [`${refused} refused`] : []),
  ];
  const all = count(answered + refused + unanswered, 'connection');
  return `${all} of clients, ${parts.length > 0 ? parts.join(', ') : 'all answered'}`;
}
