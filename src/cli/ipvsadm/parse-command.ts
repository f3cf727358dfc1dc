import type { Command } from '../../config/ipvsadm/command.ts';
import { parseCommand as parseKnown } from '../../config/ipvsadm/grammar.ts';
import type { Address } from '../../model/address.ts';
import type { Names } from './names.ts';

/**
 * Reads a command line as config/ipvsadm does, and waits for the addresses of the hosts it names: what is not known yet
 * is looked up, and the line read again. Throws a CommandFailure with ipvsadm's words and exit status.
 */
export async function parseCommand(
  program: string,
  words: readonly string[],
  names: Names,
): Promise<Command> {
  const hosts = new Map<string, Address | undefined>();
  for (;;) {
    let asked: string | undefined;
    const addressOf = (host: string): Address | undefined => {
      if (!hosts.has(host)) asked ??= host;
      return hosts.get(host);
    };
    try {
      return parseKnown(program, words, { portOf: names.portOf, addressOf });
    } catch (error) {
      if (asked === undefined) throw error;
    }
    hosts.set(asked, await names.addressOf(asked));
  }
}
