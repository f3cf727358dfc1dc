/** `~SEQ` and `~LST`: what names are set to, one set after the other, and where the text that is repeated begins. */
export type Repetition = {
  readonly sets: readonly Readonly<Record<string, string>>[];
  readonly textAt: number;
};

/** How often one line may be repeated. */
const mostRepetitions = 65_536;

/** Whether a line repeats its rest. */
export const repeats = (text: string): boolean => /^~(?:SEQ|LST)/.test(text);

/** Reads `~SEQ(...)`, `~SEQx(...)` and `~LST(...)`; undefined where it is none of them, 'endless' where it is too long. */
export function readRepetition(text: string): Repetition | 'endless' | undefined {
  return text.startsWith('~SEQ') ? readSequence(text) : readList(text);
}

const sequence = /^~SEQ(x?)[ \t]*\([ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*,([^)]*)\)[ \t]*/;
const numberForm = /^[ \t]*([+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*))[ \t]*$/;

function readSequence(text: string): Repetition | 'endless' | undefined {
  const match = sequence.exec(text);
  if (!match) return undefined;
  const [whole, hex, name = '', list = ''] = match;
  const numbers = list.split(',').map(numberOf);
  if (numbers.length > 3 || numbers.some((value) => value === undefined)) return undefined;
  const [start, step, end] = boundsOf(numbers as number[]);
  if (step === 0 || (start < end && step < 0) || (start > end && step > 0)) return undefined;
  if (hex !== '' && (start < 0 || end < 0)) return undefined;
  const count = Math.floor((end - start) / step) + 1;
  if (!(count <= mostRepetitions)) return 'endless';
  const sets = Array.from({ length: count }, (_, i) => ({
    [name]: (start + i * step).toString(hex === '' ? 10 : 16),
  }));
  return { sets, textAt: whole.length };
}

/** `end`; `start, end`; `start, step, end`. */
function boundsOf(numbers: readonly number[]): [start: number, step: number, end: number] {
  const [one = 0, two = 0, three = 0] = numbers;
  if (numbers.length === 1) return [one < 0 ? -1 : 1, one < 1 ? -1 : 1, one];
  return numbers.length === 2 ? [one, one <= two ? 1 : -1, two] : [one, two, three];
}

/** A number as strtol(3) with base 0 reads it. */
function numberOf(text: string): number | undefined {
  const match = numberForm.exec(text);
  if (!match) return undefined;
  const [, digits = ''] = match;
  const bare = digits.replace(/^[+-]/, '');
  const value = /^0[0-7]+$/.test(bare) ? Number.parseInt(bare, 8) : Number(bare);
  return digits.startsWith('-') ? -value : value;
}

const name = '[A-Za-z_][A-Za-z0-9_]*';
const list = new RegExp(
  `^~LST[ \\t]*\\([ \\t]*(?:\\{([^{}]*)\\}|(${name}))[ \\t]*,[ \\t]*((?:\\{[^{}]*\\}|[^{}()])*)\\)[ \\t]*`,
);

function readList(text: string): Repetition | undefined {
  const match = list.exec(text);
  if (!match) return undefined;
  const [whole, several, single, values = ''] = match;
  const names = several === undefined ? [single!] : several.split(',').map((one) => one.trim());
  if (names.some((one) => !new RegExp(`^${name}$`).test(one))) return undefined;
  const sets = [...values.matchAll(/\{([^{}]*)\}|([^,{}]+)/g)]
    .filter(([, tuple, alone]) => tuple !== undefined || alone!.trim() !== '')
    .map(([, tuple, alone]) => {
      const parts = (tuple ?? alone!).split(',').map((one) => one.trim());
      return parts.length > names.length
        ? undefined
        : Object.fromEntries(names.map((one, i) => [one, parts[i] ?? '']));
    });
  if (sets.length === 0 || sets.includes(undefined)) return undefined;
  return { sets: sets as Record<string, string>[], textAt: whole.length };
}
