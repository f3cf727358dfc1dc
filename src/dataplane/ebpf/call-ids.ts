import type { MapHandle } from '../../sys/bpf/map.ts';
import { records } from './layout.generated.ts';

/** The one persistence engine there is, as IPVS names it. */
export const callEngine = 'sip';
/** How many bytes a Call-ID may have (IP_VS_PEDATA_MAXLEN). */
export const mostCallIdBytes = 255;

const { length: lengthField, text: textField } = records.call_id.fields;

/** The Call-ID of the template in a slot; undefined: it is of none. */
export function callIdAt(callIds: MapHandle, slot: number): Uint8Array | undefined {
  const found = callIds.lookup(slot);
  if (!found) return undefined;
  const length = Math.min(found.readUInt32LE(lengthField.offset), mostCallIdBytes);
  return Uint8Array.from(found.subarray(textField.offset, textField.offset + length));
}

/** Puts a Call-ID, of at most `mostCallIdBytes`, where the program looks for that of the template it is told of next. */
export function putCallId(callIds: MapHandle, callId: Uint8Array): void {
  const value = Buffer.alloc(callIds.valueSize);
  value.writeUInt32LE(callId.length, lengthField.offset);
  value.set(callId, textField.offset);
  callIds.update(0, value);
}
