import type { IncomingMessage, ServerResponse } from 'node:http';

/*
 * A list that is too long for one piece, at both ends of the control socket: one JSON document with a row a line, so that whoever
 * writes it and whoever reads it has a batch of rows in hand and no more. Rows are plain values: no bigint, no Map.
 */

/** The last line; a list without it was cut off. */
const lastLine = ']}';

/**
 * Answers with `{"NAME":[...]}`, batch by batch, as fast as the client reads. Rejects with what the batches reject with; once some
 * are sent, the answer can only be cut off.
 */
export async function sendRows(
  response: ServerResponse,
  name: string,
  batches: AsyncIterable<readonly object[]>,
): Promise<void> {
  const head = `{"${name}":[\n`;
  const tail = `\n${lastLine}\n`;
  response.setHeader('content-type', 'application/json');
  for await (const batch of batches) {
    if (response.destroyed) return;
    const rows = batch.map((row) => JSON.stringify(row)).join(',\n');
    if (!response.write(response.headersSent ? `,\n${rows}` : head + rows)) await drained(response);
  }
  response.end(response.headersSent ? tail : head + tail);
}

/** Resolves when the client has read, or is gone. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const over = () => {
      response.off('drain', over).off('close', over);
      resolve();
    };
    response.once('drain', over).once('close', over);
  });
}

/** The rows of what `sendRows` sent, as they come. Rejects with a SyntaxError for what is no such list, or half of one. */
export async function* receiveRows<Row>(response: IncomingMessage): AsyncGenerator<readonly Row[]> {
  let [begun, isHead, isOver] = ['', true, false];
  for await (const chunk of response.setEncoding('utf8')) {
    const lines = (begun + (chunk as string)).split('\n');
    begun = lines.pop()!;
    if (isHead && lines.shift() !== undefined) isHead = false;
    if (lines.includes(lastLine)) isOver = lines.splice(lines.indexOf(lastLine)).length > 0;
    const rows = JSON.parse(`[${lines.join('').replace(/,$/, '')}]`) as Row[];
    if (rows.length > 0) yield rows;
  }
  if (!isOver) throw new SyntaxError('wanted a whole list, found its beginning');
}
