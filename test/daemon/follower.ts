import { type ClientRequest, request } from 'node:http';

/** What came over a stream, taken apart as WHATWG HTML 9.2.6 has it: a block of fields up to an empty line. */
export type Received = { readonly id?: string; readonly event?: string; readonly data: string };

export type Follower = {
  readonly status: number;
  readonly type: string | undefined;
  /** Everything that came, also comments. */
  text(): string;
  received(): Received[];
  /** Waits until something came that `is` it. */
  until(is: (one: Received) => boolean, patienceMs?: number): Promise<Received>;
  /** Resolves when the server has ended the answer; `whole` tells whether it did so properly. */
  readonly ended: Promise<{ whole: boolean }>;
  cut(): void;
};

/** Follows the events of a daemon as any program would. */
export function follow(
  socketPath: string,
  headers: Record<string, string> = {},
  path = '/v1/events',
): Promise<Follower> {
  return new Promise((resolve, reject) => {
    const outgoing: ClientRequest = request(
      { socketPath, path, headers: { accept: 'text/event-stream', ...headers }, agent: false },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('error', () => undefined);
        const ended = new Promise<{ whole: boolean }>((done) =>
          response.on('close', () => done({ whole: response.complete })),
        );
        const received = () => blocksOf(text);
        resolve({
          status: response.statusCode!,
          type: response.headers['content-type'],
          text: () => text,
          received,
          async until(is, patienceMs = 30_000) {
            const deadline = performance.now() + patienceMs;
            for (;;) {
              const found = received().find(is);
              if (found) return found;
              if (performance.now() > deadline) throw new Error(`nothing of the kind came: ${text}`);
              await new Promise((done) => setTimeout(done, 5));
            }
          },
          ended,
          cut: () => outgoing.destroy(),
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end();
  });
}

function blocksOf(text: string): Received[] {
  const blocks = text.split('\n\n').slice(0, -1);
  return blocks.flatMap((block) => {
    const fields = new Map<string, string>();
    for (const line of block.split('\n')) {
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line)!;
      const before = fields.get(name!);
      fields.set(name!, name === 'data' && before !== undefined ? `${before}\n${value}` : value!);
    }
    if (!fields.has('data')) return [];
    const [id, event] = [fields.get('id'), fields.get('event')];
    return [{ ...(id && { id }), ...(event && { event }), data: fields.get('data')! }];
  });
}
