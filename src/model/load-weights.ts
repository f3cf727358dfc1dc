/*
 * Weights from load: an integral controller on the logarithm of each real server's share. docs/load-weights.md derives the
 * figures below.
 */

/** How the controller is set; the values it runs with are `loadRules`. */
export type LoadRules = {
  /** Of a new report in the smoothed load; the rest is the load before (EWMA). */
  readonly smoothing: number;
  /** Of the distance to the mean that one step goes. */
  readonly gain: number;
  /** Added to every load: below it differences count for little. */
  readonly idle: number;
  /** A weight begins to move when its load is further from the mean than `begin`, and rests when it is nearer than `rest`. */
  readonly begin: number;
  readonly rest: number;
  /** The most that one step changes a weight, as a logarithm. */
  readonly step: number;
  /** Bounds of a factor. */
  readonly least: number;
  readonly most: number;
  /** Reports that may be missing before a weight goes back, and what is left of its distance after each further one. */
  readonly patience: number;
  readonly decay: number;
};

export const loadRules: LoadRules = {
  smoothing: 0.5,
  gain: 0.1,
  idle: 0.1,
  begin: 0.15,
  rest: 0.05,
  step: 0.1,
  least: 0.1,
  most: 2,
  patience: 3,
  decay: 0.8,
};

/** Where the controller stands with one real server. */
export type LoadState = {
  /** What its configured weight is multiplied by. */
  readonly factor: number;
  /** Absent: there is no report that counts. */
  readonly load?: number;
  readonly isMoving: boolean;
  /** Steps without a report, in a row. */
  readonly missed: number;
};

/** A real server at a step. */
export type LoadMember = {
  readonly key: string;
  /** Above 0. */
  readonly weight: number;
  /** What it has reported since the step before; absent: nothing. */
  readonly load?: number;
};

/** One nobody has heard of. */
export const startLoad: LoadState = { factor: 1, isMoving: false, missed: 0 };

/**
 * One step for the real servers of a service. Those that report are led towards the same load, and keep among them the sum
 * of their configured weights: a load that is the same everywhere changes nothing. One that no longer reports goes back
 * to its configured weight.
 */
export function stepLoad(
  members: readonly LoadMember[],
  before: ReadonlyMap<string, LoadState>,
  rules: LoadRules = loadRules,
): ReadonlyMap<string, LoadState> {
  const heard = members.map((one) => ({ ...one, state: hear(one, before.get(one.key) ?? startLoad, rules) }));
  const known = heard.filter(({ state }) => state.load !== undefined);
  const shares = known.reduce((sum, { weight, state }) => sum + weight * state.factor, 0);
  const mean =
    known.reduce((sum, { weight, state }) => sum + weight * state.factor * state.load!, 0) / shares;
  const led = known.map((one) => ({ ...one, state: lead(one.state, mean, rules) }));
  const fitted = keepSum(led, rules);
  const next = new Map<string, LoadState>();
  for (const { key, state } of heard)
    if (state.load === undefined)
      next.set(key, { ...state, isMoving: false, factor: state.factor ** rules.decay });
  for (const { key, state } of fitted) next.set(key, state);
  return next;
}

function hear({ load }: LoadMember, state: LoadState, { smoothing, patience }: LoadRules): LoadState {
  if (load !== undefined) {
    const smoothed = state.load === undefined ? load : state.load + smoothing * (load - state.load);
    return { ...state, load: smoothed, missed: 0 };
  }
  const missed = state.missed + 1;
  const { load: old, ...rest } = state;
  return { ...rest, missed, ...(old !== undefined && missed <= patience && { load: old }) };
}

function lead(state: LoadState, mean: number, { gain, idle, begin, rest, step }: LoadRules): LoadState {
  // What was not heard of this time is not held against it twice.
  if (state.missed > 0) return state;
  const error = Math.log((mean + idle) / (state.load! + idle));
  const isMoving = Math.abs(error) > (state.isMoving ? rest : begin);
  if (!isMoving) return { ...state, isMoving };
  const change = Math.min(Math.max(gain * error, -step), step);
  return { ...state, isMoving, factor: state.factor * Math.exp(change) };
}

type Led = LoadMember & { readonly state: LoadState };

/** Factors within their bounds, all multiplied by what keeps the sum of the weights; found by halving. */
function keepSum(led: readonly Led[], { least, most }: LoadRules): readonly Led[] {
  const wanted = led.reduce((sum, { weight }) => sum + weight, 0);
  const bounded = ({ state }: Led, scale: number) => Math.min(Math.max(state.factor * scale, least), most);
  let [low, high] = [least / most, most / least];
  for (let i = 0; i < 60; i++) {
    const scale = Math.sqrt(low * high);
    const sum = led.reduce((total, one) => total + one.weight * bounded(one, scale), 0);
    if (sum > wanted) high = scale;
    else low = scale;
  }
  // Exactly 1 where nothing has to change, whatever the halving left.
  const scale = Math.abs(Math.sqrt(low * high) - 1) < 1e-9 ? 1 : Math.sqrt(low * high);
  return led.map((one) => ({ ...one, state: { ...one.state, factor: bounded(one, scale) } }));
}
