import { type Diagnosis, diagnose } from '../control/doctor.ts';
import { HeadgateError } from '../model/errors.ts';
import { openDaemon } from './connect.ts';
import type { Streams } from './context.ts';
import { type Output, write } from './output.ts';

/** `doctor`: exit code 2 when something is broken, 1 when something is risky, else 0. */
export async function runDoctor({ output }: { readonly output: Output }, streams: Streams): Promise<number> {
  const daemon = await openDaemon();
  const diagnosis = daemon ? await daemon.diagnosis<Diagnosis>() : await diagnoseHere();
  if (!diagnosis)
    throw new HeadgateError('HG_USAGE', 'Cannot examine this host: its data plane tells nothing about it', {
      hint: 'sockets need nothing of the host but their addresses; how they fare says: headgate status',
    });
  await write(streams, output, diagnosis, () => diagnosisText(diagnosis));
  return diagnosis.counts.broken > 0 ? 2 : diagnosis.counts.risky > 0 ? 1 : 0;
}

async function diagnoseHere(): Promise<Diagnosis | undefined> {
  const { openUntouched } = await import('../control/embedded.ts');
  const controller = await openUntouched();
  try {
    return await diagnose(controller);
  } finally {
    await controller.close();
  }
}

/** The diagnosis for a person: a paragraph each, and the count. */
function diagnosisText({ findings, counts }: Diagnosis): string {
  const paragraphs = findings.map(({ id, severity, what, why, fix, next }) =>
    [
      `${severity.padEnd(6)}  ${what}`,
      `        why: ${why}`,
      ...(next === undefined ? [] : [`        next: ${next}`]),
      ...(fix === undefined ? [] : [`        fix: ${fix}`]),
      `        id: ${id}`,
      '',
      '',
    ].join('\n'),
  );
  const { broken, risky, note } = counts;
  const count = `${broken} broken, ${risky} risky, ${note} ${note === 1 ? 'note' : 'notes'}`;
  return `${paragraphs.join('')}${findings.length === 0 ? 'nothing found' : count}\n`;
}
