import type { Destination, VirtualService } from '../../model/virtual-service.ts';

/** A listed virtual service: its slot, and its destinations' slots in the order they were added. */
export type ListedService = {
  readonly slot: number;
  service: VirtualService;
  readonly destinations: Map<string, ListedDestination>;
};
export type ListedDestination = { readonly slot: number; destination: Destination };
