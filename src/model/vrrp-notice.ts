import { stoppedReason, type VrrpState } from './vrrp.ts';

/** States as keepalived's notify programs are told them. */
export type NoticeState = 'MASTER' | 'BACKUP' | 'FAULT' | 'STOP';

/** What notify programs and the pipe are told. */
export type Notice = {
  readonly kind: 'INSTANCE' | 'GROUP';
  readonly name: string;
  readonly state: NoticeState;
  /** That of the instance; 0 for a group. */
  readonly priority: number;
  readonly reason: string;
};

/** An instance entered a state. */
export type Transition = {
  readonly instance: string;
  readonly state: VrrpState;
  readonly reason: string;
  readonly priority: number;
};

/** The states everybody was told of, instances and groups apart. */
export type ToldStates = {
  readonly instances: ReadonlyMap<string, NoticeState>;
  readonly groups: ReadonlyMap<string, NoticeState>;
};

export const nothingTold: ToldStates = { instances: new Map(), groups: new Map() };

const words = { master: 'MASTER', backup: 'BACKUP', fault: 'FAULT' } as const;

const noticeState = ({ state, reason }: Pick<Transition, 'state' | 'reason'>): NoticeState =>
  state === 'fault' && reason === stoppedReason ? 'STOP' : words[state];

/** What is told of a transition: the instance, then each of its groups that has changed with it. Pure. */
export function noticesOf(
  told: ToldStates,
  transition: Transition,
  groups: readonly { readonly name: string; readonly instances: readonly string[] }[],
): { readonly told: ToldStates; readonly notices: readonly Notice[] } {
  const { instance, reason, priority } = transition;
  const state = noticeState(transition);
  if (told.instances.get(instance) === state) return { told, notices: [] };
  const instances = new Map(told.instances).set(instance, state);
  const states = new Map(told.groups);
  const notices: Notice[] = [{ kind: 'INSTANCE', name: instance, state, priority, reason }];
  for (const { name, instances: members } of groups) {
    if (!members.includes(instance)) continue;
    const next = groupState(members.map((member) => instances.get(member)));
    if (next === undefined || states.get(name) === next) continue;
    states.set(name, next);
    notices.push({ kind: 'GROUP', name, state: next, priority: 0, reason });
  }
  return { told: { instances, groups: states }, notices };
}

/** Master and stopped are all members together, fault is one of them; undefined while they are on their way. */
function groupState(members: readonly (NoticeState | undefined)[]): NoticeState | undefined {
  const all = (state: NoticeState) => members.every((one) => one === state);
  if (all('MASTER')) return 'MASTER';
  if (all('STOP')) return 'STOP';
  if (members.includes('FAULT')) return 'FAULT';
  return all('BACKUP') ? 'BACKUP' : undefined;
}
