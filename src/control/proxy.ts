import { openProxyPlane } from '../dataplane/proxy/plane.ts';
import type { OwnController } from './controller.ts';

/**
 * Opens a data plane of this process alone, on ordinary sockets, which forwards until `close`. It takes no lock: no other
 * process can see it, and several do not disturb each other.
 */
export function openProxyController(): OwnController {
  return openProxyPlane();
}
