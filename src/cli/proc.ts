import { readFileSync } from 'node:fs';
import type { Controller } from '../control/controller.ts';
import { gather } from '../model/connection-batches.ts';
import { HeadgateError } from '../model/errors.ts';
import { suggest } from '../model/suggest.ts';
import type { Observed } from '../model/table.ts';
import { nothingCounted, sumOfCounters, type Totals } from '../model/totals.ts';
import { connect } from './connect.ts';
import type { Streams } from './context.ts';
import { type Output, write } from './output.ts';
import { ipVsConnSyncText, ipVsConnText, ipVsStatsPerCpuText, ipVsStatsText, ipVsText } from './proc-text.ts';

const names = ['ip_vs', 'ip_vs_conn', 'ip_vs_conn_sync', 'ip_vs_stats', 'ip_vs_stats_percpu'] as const;
type Name = (typeof names)[number];

/** `proc [NAME]`: the text that IPVS has in /proc/net under that name; without one all of them, each under its name. */
export async function printProc(
  word: string | undefined,
  { output }: { readonly output: Output },
  streams: Streams,
): Promise<void> {
  const wanted = word === undefined ? names : [nameOf(word)];
  const controller = await connect();
  try {
    const texts: [Name, string][] = [];
    for (const name of wanted) texts.push([name, await textOf(name, controller)]);
    await write(streams, output, Object.fromEntries(texts), () =>
      word === undefined
        ? texts.map(([name, text]) => `==> /proc/net/${name} <==\n${text}`).join('\n')
        : texts[0]![1],
    );
  } finally {
    await controller.close();
  }
}

function nameOf(word: string): Name {
  const plain = word.replace(/^(\/proc)?\/?net\//, '');
  const name = names.find((one) => one === plain);
  if (name) return name;
  const near = suggest(plain, names);
  throw new HeadgateError('HG_USAGE', `Cannot print "${word}": wanted one of ${names.join(', ')}`, {
    ...(near !== undefined && { hint: `headgate proc ${near}` }),
  });
}

async function textOf(name: Name, controller: Controller): Promise<string> {
  // It is there already.
  if (controller.capabilities.name === 'ipvs') return readFileSync(`/proc/self/net/${name}`, 'utf8');
  switch (name) {
    case 'ip_vs': {
      const observed = await controller.read({ counters: false });
      return ipVsText(observed, (await totalsOf(controller, observed)).ticksPerSecond);
    }
    case 'ip_vs_conn':
      return ipVsConnText(await gather(controller.connections()));
    case 'ip_vs_conn_sync':
      return ipVsConnSyncText(await gather(controller.connections()));
    case 'ip_vs_stats':
      return ipVsStatsText(await totalsOf(controller));
    case 'ip_vs_stats_percpu':
      return ipVsStatsPerCpuText(await totalsOf(controller));
  }
}

/** Ticks a second where nothing ticks: what the kernel tells every program (USER_HZ). */
const userHertz = 100;

/** What a plane has done in all. One that keeps no count of it is a single process: what it has done for what is there. */
async function totalsOf(controller: Controller, read?: Observed): Promise<Totals> {
  const totals = await controller.totals?.();
  if (totals) return totals;
  const { services } = read ?? (await controller.read());
  const sum = (what: 'counters' | 'rates') =>
    services.map((one) => one[what]).reduce(sumOfCounters, nothingCounted);
  const counters = sum('counters');
  return { counters, rates: sum('rates'), perCpu: [counters], ticksPerSecond: userHertz };
}
