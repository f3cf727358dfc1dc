import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import type { InterfaceAddress } from '../sys/netlink/address.ts';
import type { Link } from '../sys/netlink/link.ts';
import { moduleThread } from '../sys/program.ts';
import type { HeldAddress } from './settings.ts';
import type { Holder } from './virtual-mac.ts';

/** What is done aside; travels between threads. */
export type Errand =
  | { readonly kind: 'look' }
  /** Holds addresses for some seconds more. */
  | {
      readonly kind: 'renew';
      readonly number: number;
      readonly device: Holder;
      readonly addresses: readonly HeldAddress[];
      readonly seconds: number;
    };

/** What came of it; `failed` is what the kernel said. */
export type Outcome =
  | {
      readonly kind: 'looked';
      readonly links: readonly Link[];
      readonly addresses: readonly InterfaceAddress[];
    }
  | { readonly kind: 'looked'; readonly failed: string }
  | { readonly kind: 'renewed'; readonly number: number; readonly failed?: string };

/**
 * What wants the kernel's lock of network devices, done in a thread of its own: whoever makes or removes devices holds that lock,
 * in containers as well, now and then for longer than a backup waits for a master.
 */
export type Errands = {
  send(errand: Errand): void;
  /** What is done; undefined: nothing that has not been told. Never waits. */
  done(): Outcome | undefined;
  close(): void;
};

/** Starts the thread. It ends with its process. */
export function openErrands(): Errands {
  const { port1: own, port2: port } = new MessageChannel();
  const thread = moduleThread('ha/errands-thread', { workerData: port, transferList: [port] });
  thread.unref();
  own.unref();
  return {
    send: (errand) => own.postMessage(errand),
    done: () => receiveMessageOnPort(own)?.message as Outcome | undefined,
    close() {
      own.close();
      void thread.terminate();
    },
  };
}
