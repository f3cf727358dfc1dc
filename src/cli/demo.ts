import { fileURLToPath } from 'node:url';
import type { Obstacle } from '../lab/demo.ts';
import type { ShowOptions } from '../lab/demo-show.ts';
import { HeadgateError } from '../model/errors.ts';
import type { Streams } from './context.ts';
import { whenToldToEnd } from './told-to-end.ts';

const demoConnections = 65_536;

/** What `--data-plane` takes; `auto` is the kernel's where it can be had, else this process. */
export type DemoPlane = 'auto' | 'ebpf' | 'proxy';

/**
 * Runs the demonstration with a director worked by this very program. Resolves to its exit status; rejects with a
 * HeadgateError when `ebpf` is wanted and not to be had. The first signal ends it in good order; a later one ends the
 * process at once.
 */
export async function runDemo(wanted: DemoPlane, streams: Streams): Promise<number> {
  const ended = new AbortController();
  const listenNoMore = whenToldToEnd(['SIGINT', 'SIGTERM', 'SIGHUP'], () => ended.abort());
  const write = (text: string) => streams.stdout.write(text);
  const options: ShowOptions = { write, isTTY: streams.stdout.isTTY === true, signal: ended.signal };
  const play = async (): Promise<number> => {
    if (wanted !== 'proxy') {
      const outcome = await inNamespaces(options);
      if (typeof outcome === 'number') return outcome;
      const { code, cause, help } = outcome;
      if (wanted === 'ebpf')
        throw new HeadgateError(code, `Cannot run the demonstration on the ebpf data plane: ${cause}`, {
          hint: `${help}; or leave out --data-plane ebpf`,
        });
      write(`Running on the proxy data plane, in this process alone, because ${cause}; for ebpf, ${help}\n`);
    }
    return onLoopback(options);
  };
  try {
    const status = await play();
    // A process that ends by itself closes its signal handlers first, and one to which a signal comes right then goes on for ever, at
    // full speed: libuv closes such a handler when its loop has seen the signal, and the loop has ended (uv__signal_close). What was
    // written is out: terminals and pipes are written at once on Linux.
    if (ended.signal.aborted) process.exit(status);
    return status;
  } finally {
    listenNoMore();
  }
}

/** With the data plane in the kernel, between network namespaces. What it imports calls the kernel, so it comes late. */
async function inNamespaces(options: ShowOptions): Promise<number | Obstacle> {
  if (process.platform !== 'linux')
    return {
      code: 'HG_NO_BPF',
      cause: `it needs Linux and this is ${process.platform}`,
      help: 'run it in a Linux machine or a privileged container',
    };
  const { demo } = await import('../lab/demo.ts');
  const { headgateDirector } = await import('../lab/demo-plan.ts');
  // Three real servers need no table of a million connections; the director's commands inherit this.
  process.env.HEADGATE_CONNECTIONS ??= String(demoConnections);
  const headgate = [process.execPath, fileURLToPath(new URL('../../bin/headgate.js', import.meta.url))];
  return demo({
    ...options,
    // Pins outlive a namespace, so the plane is taken away before the namespaces are.
    director: { ...headgateDirector(headgate), cleanUp: () => [[...headgate, 'clean-up']] },
  });
}

async function onLoopback(options: ShowOptions): Promise<number> {
  const { demoOnLoopback } = await import('../lab/demo-loopback.ts');
  const { openProxyController } = await import('../control/proxy.ts');
  return demoOnLoopback({ ...options, director: openProxyController() });
}
