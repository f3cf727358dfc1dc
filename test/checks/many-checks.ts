/** A process of its own: `PORT COUNT` tcp checks at the same time, then one more; says how many ended in which way. */
import { checked } from './site.ts';

const [port, count] = process.argv.slice(2).map(Number) as [number, number];

async function ends(times: number): Promise<Record<string, number>> {
  const results = await Promise.all(Array.from({ length: times }, () => checked({ type: 'tcp' }, port)));
  const counts: Record<string, number> = {};
  for (const { result } of results) {
    const end = result.isGood ? 'good' : `${result.phase}: ${result.reason}`;
    counts[end] = (counts[end] ?? 0) + 1;
  }
  return counts;
}

process.stdout.write(JSON.stringify({ first: await ends(count), after: await ends(1) }));
