import { type OptionSpec, optionTable } from './options.ts';

/** An option found on the command line. */
export type FoundOption = { readonly option: OptionSpec; readonly argument: string | undefined };

/** Reads options off a command line the way popt does (words that are no options are collected in `rest`). */
export type OptionWords = {
  /** The next option, a complaint, or undefined at the end. */
  next(): FoundOption | { readonly complaint: string } | undefined;
  /** The word read last, for messages, and its index. */
  readonly lastWord: () => string;
  readonly lastIndex: () => number;
  /** The words that are neither options nor their arguments; complete once `next` gave undefined. */
  readonly rest: readonly string[];
  /** The index of each of them. */
  readonly restIndices: readonly number[];
};

const byLong = new Map(optionTable.map((option) => [option.long, option]));
const byShort = new Map(
  optionTable.flatMap((option) => (option.short === undefined ? [] : [[option.short, option] as const])),
);

/**
 * popt's rules: short options may be bundled (`-Ln`) and take their argument from the rest of the word, with or
 * without `=`, or from the next word; long options take `=value` or the next word and are never abbreviated; an
 * optional argument is not taken from a word that starts with `-`; after `--` everything is rest.
 */
export function optionWords(words: readonly string[]): OptionWords {
  const rest: string[] = [];
  const restIndices: number[] = [];
  let position = 0;
  let bundle = '';
  let optionsEnded = false;

  function argumentOf(option: OptionSpec, attached: string | undefined): FoundOption | { complaint: string } {
    if (option.argument === undefined) {
      return attached === undefined
        ? { option, argument: undefined }
        : { complaint: 'option does not take an argument' };
    }
    if (attached !== undefined) return { option, argument: attached };
    const word = words[position];
    if (option.argument === 'optional' && (word === undefined || word.startsWith('-')))
      return { option, argument: undefined };
    if (word === undefined) return { complaint: 'missing argument' };
    position++;
    return { option, argument: word };
  }

  function nextLong(word: string): FoundOption | { complaint: string } {
    const equals = word.indexOf('=');
    const option = byLong.get(equals < 0 ? word : word.slice(0, equals));
    return option
      ? argumentOf(option, equals < 0 ? undefined : word.slice(equals + 1))
      : { complaint: 'unknown option' };
  }

  function nextShort(): FoundOption | { complaint: string } {
    const option = byShort.get(bundle[0] ?? '');
    const tail = bundle.slice(1);
    bundle = '';
    if (!option) return { complaint: 'unknown option' };
    if (option.argument === undefined) {
      bundle = tail;
      return argumentOf(option, tail.startsWith('=') ? tail : undefined);
    }
    return argumentOf(option, tail === '' ? undefined : tail.replace(/^=/, ''));
  }

  return {
    rest,
    restIndices,
    lastIndex: () => position - 1,
    lastWord: () => words[position - 1] ?? '',
    next() {
      while (bundle === '') {
        const word = words[position];
        if (word === undefined) return undefined;
        position++;
        if (optionsEnded || !word.startsWith('-') || word === '-') {
          rest.push(word);
          restIndices.push(position - 1);
        } else if (word === '--') optionsEnded = true;
        else if (word.startsWith('--')) return nextLong(word.slice(2));
        else bundle = word.slice(1);
      }
      return nextShort();
    },
  };
}
