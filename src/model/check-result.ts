/** How far a check came: what it was at when it ended. */
export type CheckPhase = 'run' | 'connect' | 'tls' | 'send' | 'expect';

/** What a check found, once. Pure data: it travels through the API as it is. */
export type CheckResult = {
  /** From its beginning to its end, milliseconds. */
  readonly durationMs: number;
  /** Of what came, where it is compared with what comes from others: SHA-256, hexadecimal. */
  readonly digest?: string;
} & (
  | {
      readonly isGood: true;
      /** What came, in a few words: `200 OK`, `connected`. */
      readonly detail: string;
      /** What will soon be wrong: `certificate expires in 6 days`; part of `detail`. */
      readonly warning?: string;
      /** The weight that the check asks for; absent where it asks for none. */
      readonly weight?: number;
    }
  | {
      readonly isGood: false;
      readonly phase: CheckPhase;
      /** What came and what was wanted: `got 503, want 200-299`, `connection refused`, `no answer within 5s`. */
      readonly reason: string;
    }
);

/** `http expect: got 503, want 200-299 (4 ms)`; `http: 200 OK (3 ms)`. */
export function checkResultText(type: string, result: CheckResult): string {
  const took = `(${Math.round(result.durationMs)} ms)`;
  return result.isGood
    ? `${type}: ${result.detail} ${took}`
    : `${type} ${result.phase}: ${result.reason} ${took}`;
}
