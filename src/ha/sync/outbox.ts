import type { UdpSender } from '../../sys/udp-socket.ts';

/**
 * Messages on their way to one port: what the socket does not take at once waits here and goes out in the order it was made, as
 * the buffers of a master wait for their thread in IPVS (sb_queue_tail, net/netfilter/ipvs/ip_vs_sync.c).
 */
export type Outbox = {
  /** Sends a message or lets it wait. False: as many wait as may, and this one is dropped. Throws SystemError. */
  send(message: Buffer): boolean;
  /** Sends what waits, as far as the socket takes it. Throws SystemError; the message that it is about is dropped. */
  flush(): void;
  /** Messages that may wait from here on (sync_qlen_max); those that do stay. */
  hold(most: number): void;
  /** How many wait. */
  waiting(): number;
};

/** At first nothing may wait. */
export function openOutbox(sender: Pick<UdpSender, 'send'>): Outbox {
  const queue: Buffer[] = [];
  let next = 0;
  let most = 0;
  const waiting = () => queue.length - next;

  function flush(): void {
    while (waiting() > 0) {
      const message = queue[next]!;
      next++;
      if (sender.send(message)) continue;
      next--;
      return;
    }
    [queue.length, next] = [0, 0];
  }

  return {
    send(message) {
      flush();
      if (waiting() === 0 && sender.send(message)) return true;
      if (waiting() >= most) return false;
      queue.push(message);
      return true;
    },
    flush,
    hold(now) {
      most = now;
    },
    waiting,
  };
}
