import type { Readable } from 'node:stream';
import type { VrrpState, VrrpStatus } from '../model/vrrp.ts';
import type { Orders } from './settings.ts';

/** What passes between a daemon and its failover process: a JSON document a line. */

/** What the daemon says. */
export type OrderMessage =
  | { readonly kind: 'orders'; readonly orders: Orders }
  /** Hand the addresses of these instances over, or take over again as their priorities say. */
  | { readonly kind: 'hand-over'; readonly instances: readonly string[]; readonly reason: string }
  | { readonly kind: 'take-back'; readonly instances: readonly string[] }
  /** Give all addresses up and end. */
  | { readonly kind: 'stop' };

/** What the failover process says. */
export type KeeperMessage =
  | {
      readonly kind: 'status';
      /** Whether it runs before everything that is not real-time. */
      readonly inRealTime: boolean;
      readonly instances: readonly VrrpStatus[];
    }
  | {
      readonly kind: 'entered';
      readonly instance: string;
      readonly state: VrrpState;
      readonly reason: string;
      /** The priority it has then. */
      readonly priority: number;
    }
  | {
      readonly kind: 'failed';
      readonly instance: string;
      readonly what: string;
      readonly reason: string;
    };

/** Hands on every whole line of a stream. */
export function lines(stream: Readable, take: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop()!;
    for (const line of parts) take(line);
  });
}
