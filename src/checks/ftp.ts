import { type CheckContext, CheckFailure, type RunCheck } from './check.ts';
import { contentProblem } from './content.ts';
import { converse, type Dialogue } from './dialogue.ts';
import { inCommand, type Reply, readReply, replyText, wantReply } from './reply.ts';

/** How much of a file is read, bytes. */
const longestFile = 65_536;

/** Reads the greeting, signs in where a user or a file is named, fetches the file in passive mode (RFC 959, 2428). */
export const runFtp: RunCheck<'ftp'> = async (check, context) =>
  await converse(context, check, async (dialogue) => {
    let detail = replyText(await greetingOf(dialogue));
    const user = check.user ?? (check.path === undefined ? undefined : 'anonymous');
    if (user !== undefined) {
      detail = replyText(await signIn(dialogue, user, check.password ?? 'headgate@'));
    }
    if (check.path !== undefined) {
      const { bytes, isWhole } = await fetchFile(dialogue, inCommand(check.path, 'path'), check, context);
      const problem = contentProblem(check, bytes, 'file', isWhole);
      if (problem !== undefined) throw new CheckFailure('expect', problem);
      detail = `${check.path}: ${bytes.length} bytes`;
    }
    await dialogue.farewell('QUIT\r\n');
    return { detail };
  });

/** 120 announces the one that counts. */
async function greetingOf(dialogue: Dialogue): Promise<Reply> {
  const greeting = await wantReply(dialogue, 'FTP', undefined, [220, 120]);
  return greeting.code === 220 ? greeting : await wantReply(dialogue, 'FTP', undefined, [220]);
}

async function signIn(dialogue: Dialogue, user: string, password: string): Promise<Reply> {
  const asked = await wantReply(dialogue, 'FTP', `USER ${inCommand(user, 'user')}`, [331, 230]);
  if (asked.code === 230) return asked;
  return await wantReply(dialogue, 'FTP', `PASS ${inCommand(password, 'password')}`, [230, 202], 'PASS ***');
}

async function fetchFile(
  dialogue: Dialogue,
  path: string,
  way: { readonly source?: CheckContext['target']['address'] | undefined },
  context: CheckContext,
): Promise<{ readonly bytes: Buffer; readonly isWhole: boolean }> {
  await wantReply(dialogue, 'FTP', 'TYPE I', [200]);
  const port = await passivePort(dialogue);
  const there = { ...context, target: { ...context.target, port } };
  const file = await converse(there, { source: way.source }, async (data) => {
    await wantReply(dialogue, 'FTP', `RETR ${path}`, [150, 125]);
    return await data.readToEnd(longestFile);
  });
  // 426 comes where the file was not read to its end.
  await wantReply(dialogue, 'FTP', undefined, file.isWhole ? [226, 250] : [226, 250, 426, 451]);
  return file;
}

/** The port for the file. Only the port: the file comes from the server that is checked, whatever address it names. */
async function passivePort(dialogue: Dialogue): Promise<number> {
  await dialogue.send('EPSV\r\n');
  const extended = await readReply(dialogue, 'FTP');
  const direct =
    extended.code === 229 ? /\((.)\1\1([0-9]{1,5})\1\)/.exec(extended.lines[0]!)?.[2] : undefined;
  if (direct !== undefined) return portOf(Number(direct), extended);
  const reply = await wantReply(dialogue, 'FTP', 'PASV', [227]);
  const numbers = /([0-9]{1,3}),([0-9]{1,3})\)?\D*$/.exec(reply.lines[0]!);
  return portOf(numbers ? Number(numbers[1]) * 256 + Number(numbers[2]) : 0, reply);
}

function portOf(port: number, reply: Reply): number {
  if (port > 0 && port < 65_536) return port;
  throw new CheckFailure('expect', `no port for the file: got "${replyText(reply)}"`);
}
