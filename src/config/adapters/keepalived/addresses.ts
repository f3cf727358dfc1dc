import { type Address, parseAddress } from '../../../model/address.ts';
import type { Scope } from './scope.ts';
import { numberIn } from './values.ts';
import type { Word } from './words.ts';

/** An address with the port behind it; port 0 is none. */
export type Endpoint = { readonly address: Address; readonly port: number };

type Told = Pick<Scope, 'notes' | 'problems'>;

/** An address and, in the next word, a port; undefined where one of them is none. */
export function endpointIn(address: Word, port: Word | undefined, told: Told): Endpoint | undefined {
  const parsed = addressIn(address, told);
  const number = port ? portIn(port, told) : 0;
  return parsed === undefined || number === undefined ? undefined : { address: parsed, port: number };
}

/** An address; a range or a mask behind it is passed over. */
export function addressIn({ text, span }: Word, { notes }: Told): Address | undefined {
  const [plain = ''] = text.split(/[-/]/);
  const parsed = parseAddress(plain);
  if (parsed === undefined) notes.wrong('ignored', span, `"${shown(text)}": wanted an address`);
  else if (plain !== text) notes.changed(span, `"${shown(text)}" is taken for ${plain}`);
  return parsed;
}

/** A port as a number; zeros alone are none. */
export function portIn(word: Word, told: Told): number | undefined {
  return /^0*$/.test(word.text) ? 0 : numberIn(word, [1, 65_535], told);
}

/** A word as notes say it. */
export function shown(text: string): string {
  return text.length > 40 ? `${text.slice(0, 37)}...` : text;
}

export const hostText = (address: string): string => (address.includes(':') ? `[${address}]` : address);

/** The name of an interface; undefined, and told, where the kernel has none of that name (dev_valid_name). */
export function interfaceIn({ text, span }: Word, { notes }: Pick<Scope, 'notes'>): string | undefined {
  if (/^[^\s/:]{1,15}$/.test(text)) return text;
  notes.wrong('ignored', span, `"${shown(text)}": wanted the name of an interface`);
  return undefined;
}
