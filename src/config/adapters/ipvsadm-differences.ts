import { destinationKey } from '../../model/service-id.ts';
import type { DestinationId } from '../../model/virtual-service.ts';
import type { Command } from '../ipvsadm/command.ts';
import { parseEndpoint } from '../ipvsadm/endpoint.ts';
import type { KnownNames } from '../ipvsadm/names.ts';
import { optionWords } from '../ipvsadm/option-words.ts';

const noNames: KnownNames = { portOf: () => undefined, addressOf: () => undefined };

/** Options that have no effect without another one. */
const needs: Readonly<Record<string, string>> = { netmask: 'persistent', pe: 'persistent' };
const shown: Readonly<Record<string, string>> = { netmask: '-M', pe: '--pe', persistent: '-p' };

/** What a rule that was understood does not mean as it stands: names, and what ipvsadm itself passes over. */
export function differencesOf(words: readonly string[], command: Command): readonly string[] {
  const changed: string[] = [];
  if (command.kind !== 'change') return changed;
  const { operation } = command;
  const id = 'service' in operation ? operation.service.id : 'id' in operation ? operation.id : undefined;
  const destination = 'destination' in operation ? operation.destination : undefined;
  const options = optionWords(words);
  const given = new Set<string>();
  for (let found = options.next(); found && 'option' in found; found = options.next()) {
    const { option, argument = '' } = found;
    given.add(option.long);
    if (option.display === 'service-address' && id?.kind === 'address') compare(argument, id, changed);
    if (option.long !== 'real-server' || !destination) continue;
    compare(argument, destination, changed);
    const port = parseEndpoint(argument, 'ip', noNames)?.port;
    if (port !== undefined && port !== destination.port && operation.kind !== 'delete-destination')
      changed.push(`port ${port} is ${destination.port}: only masquerading (-m) can change the port`);
  }
  for (const [option, needed] of Object.entries(needs))
    if (given.has(option) && !given.has(needed))
      changed.push(`"${shown[option]}" is left out: it has no effect without "${shown[needed]}"`);
  return changed;
}

/** Notes an endpoint that is written with names. */
function compare(text: string, meant: DestinationId, changed: string[]): void {
  const read = parseEndpoint(text, 'ip', noNames);
  if (!read) changed.push(`"${text}" is ${destinationKey(meant)}`);
}
