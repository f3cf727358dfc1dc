import { HeadgateError } from './errors.ts';

/** From where to where a network namespace's traffic moves. */
export const moves = ['ipvs-to-ebpf', 'ebpf-to-ipvs'] as const;
export type Move = (typeof moves)[number];

/** A person's wish to move. */
export type MoveRequest = {
  readonly move: Move;
  /** Without it the answer only says what it comes to. */
  readonly yes: boolean;
};

/** What a move is about, before it begins. */
export type MovePlan = {
  readonly move: Move;
  /** False: nothing is left to move, and nothing would be done. */
  readonly needed: boolean;
  readonly services: number;
  readonly realServers: number;
  /** Connections that travel, and persistence templates, which are not among them. */
  readonly connections: number;
  readonly templates: number;
  /** What cannot travel, each with the reason and what becomes of it. */
  readonly left: readonly LeftBehind[];
  /** What has to be put right first; until then it is not carried out. */
  readonly before: readonly string[];
  /** What is otherwise afterwards. */
  readonly notes: readonly string[];
};

/** The data plane that a move ends at. */
export const goalOf = (move: Move): 'ebpf' | 'ipvs' => (move === 'ipvs-to-ebpf' ? 'ebpf' : 'ipvs');

export type LeftBehind = { readonly what: string; readonly why: string };

/** A move that was carried out. */
export type Moved = MovePlan & {
  readonly done: true;
  /** Entries that were there when new connections changed sides, and those that were found after it. */
  readonly carried: number;
  readonly late: number;
  /** Entries that the new side did not take; the old side keeps them where it can. */
  readonly refused: number;
  /** From the moment new connections changed sides until the last look at those of the old side, milliseconds. */
  readonly windowMs: number;
};

/** Throws HG_MOVE where something has to be put right first. */
export function refuseBefore({ move, before }: MovePlan): void {
  if (before.length === 0) return;
  throw new HeadgateError('HG_MOVE', `Cannot move before this is done: ${before.join('; ')}`, {
    hint: `Then: headgate migrate ${move} --yes`,
  });
}
