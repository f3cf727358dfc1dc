import type { Span } from '../../../model/problem.ts';
import type { TreeNode } from '../../tree.ts';
import { interfaceIn, shown } from './addresses.ts';
import type { Value } from './blocks.ts';
import { listAt, mapAt, type Scope } from './scope.ts';
import { numberIn } from './values.ts';
import type { VrrpContext } from './vrrp-context.ts';
import type { TrackerKeyword } from './vrrp-things.ts';

/** Something whose loss counts for an instance. */
export type Tracked = {
  readonly name: string;
  readonly weight: number;
  readonly reverse: boolean;
  readonly span: Span;
};

/** By the keyword of the block they stand in. */
export type Trackers = Record<TrackerKeyword, Tracked[]>;

export const noTrackers = (): Trackers => ({
  ...{ track_interface: [], track_script: [], track_file: [], track_process: [] },
});

export const trackerKeys = {
  track_interface: 'trackInterfaces',
  track_script: 'trackScripts',
  track_file: 'trackFiles',
  track_process: 'trackProcesses',
} as const satisfies Record<TrackerKeyword, string>;

export const isTracker = (keyword: string): keyword is TrackerKeyword => Object.hasOwn(trackerKeys, keyword);

const blockOf = {
  track_script: 'vrrp_script',
  track_file: 'vrrp_track_file',
  track_process: 'vrrp_track_process',
} as const;

/** `NAME [weight N [reverse]]`; a script, file or process has a weight of its own. */
export function takeTracked(
  { words, span }: Value,
  keyword: TrackerKeyword,
  trackers: Trackers,
  context: VrrpContext,
): void {
  const { notes } = context;
  const [first, option, number, direction] = words;
  if (keyword === 'track_interface' && interfaceIn(first!, context) === undefined) return;
  const thing = thingOf(keyword, first!.text, context);
  if (keyword !== 'track_interface' && !thing) {
    notes.wrong('ignored', first!.span, `no ${blockOf[keyword]} is "${shown(first!.text)}"`);
    return;
  }
  let { weight = 0, reverse = false } = thing ?? {};
  const most = keyword === 'track_file' || keyword === 'track_process' ? 254 : 253;
  if (option?.text === 'weight' && number) {
    weight = numberIn(number, [-most, most], context) ?? weight;
    reverse = direction?.text === 'reverse';
  } else if (option)
    notes.wrong('ignored', option.span, `"${shown(option.text)}": wanted weight and a number`);
  if (direction && !['reverse', 'noreverse'].includes(direction.text))
    notes.wrong('ignored', direction.span, `"${shown(direction.text)}": wanted reverse or noreverse`);
  notes.kept(span, 'what is tracked');
  trackers[keyword].push({ name: thing?.name ?? first!.text, weight, reverse, span });
  if (thing) thing.tracked = true;
}

function thingOf(keyword: TrackerKeyword, name: string, context: VrrpContext) {
  if (keyword === 'track_script') return context.scripts.get(name);
  if (keyword === 'track_file') return context.numberFiles.get(name);
  return keyword === 'track_process' ? context.processes.get(name) : undefined;
}

/** The lists of an instance, by key; an address owner's priority is not changed by what is tracked. */
export function trackerNodes(
  trackers: Trackers,
  priority: number,
  span: Span,
  { notes }: Scope,
): Record<string, TreeNode | undefined> {
  return Object.fromEntries(
    Object.entries(trackers).map(([keyword, list]) => {
      const kept = list.filter((one) => {
        if (priority === 255 && one.weight !== 0)
          notes.ignored(one.span, 'priority 255 is not changed by what is tracked');
        return priority !== 255 || one.weight === 0;
      });
      const usual = keyword === 'track_file' ? 1 : 0;
      const nodes = kept.map(({ name, weight, reverse, span: at }) =>
        mapAt(at, {
          name,
          weight: weight === usual ? undefined : weight,
          reverse: reverse ? true : undefined,
        }),
      );
      return [trackerKeys[keyword as TrackerKeyword], nodes.length > 0 ? listAt(span, nodes) : undefined];
    }),
  );
}
