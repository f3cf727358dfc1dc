import { decodeAttributes, decodeText, MalformedMessageError, type Message, text } from './message.ts';
import type { Netlink } from './socket.ts';

/** Generic netlink (include/uapi/linux/genetlink.h): what kernel modules offer beyond routes, each family by its name. */

const controlFamily = 16;
const getFamily = 3;
const controlVersion = 2;
const controlAttribute = { familyId: 1, familyName: 2 } as const;
const headerLength = 4;

/** The header that stands before the attributes of every request (struct genlmsghdr). */
export const genericHeader = (command: number, version: number): Buffer =>
  Buffer.from([command, version, 0, 0]);

/** The number a family's messages have as their type; undefined where the kernel has none of this name. Throws NetlinkError. */
export function findFamily(netlink: Netlink, name: string): number | undefined {
  const [answer] = netlink.tryRequest(controlFamily, 0, [
    genericHeader(getFamily, controlVersion),
    text(controlAttribute.familyName, name),
  ]);
  if (!answer) return undefined;
  const { attributes } = decodeGeneric(answer);
  const found = attributes.get(controlAttribute.familyName);
  const id = attributes.get(controlAttribute.familyId);
  if (!id || id.length < 2 || !found || decodeText(found) !== name)
    throw new MalformedMessageError(`generic netlink family "${name}": the answer names no such family`);
  return id.readUInt16LE(0);
}

/** A message of a family. Throws MalformedMessageError. */
export function decodeGeneric({ payload }: Message): {
  readonly command: number;
  readonly attributes: Map<number, Buffer>;
} {
  if (payload.length < headerLength)
    throw new MalformedMessageError(`generic netlink message: ${payload.length} bytes, at least 4 make one`);
  return { command: payload[0]!, attributes: decodeAttributes(payload, headerLength) };
}
