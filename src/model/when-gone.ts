import type { VirtualService, WhenGone } from './virtual-service.ts';

/** What becomes of a service's connections whose real server is gone. */
export function whenGoneOf({ whenGone = 'drop' }: Pick<VirtualService, 'whenGone'>): WhenGone {
  return whenGone;
}

/** A service without the word where it says IPVS's rule: one form for one meaning. */
export function withWhenGone(service: VirtualService, whenGone: WhenGone): VirtualService {
  const { whenGone: _, ...rest } = service;
  return whenGone === 'drop' ? rest : { ...rest, whenGone };
}

/** The one form of a service. */
export function normaliseService(service: VirtualService): VirtualService {
  return withWhenGone(service, whenGoneOf(service));
}

/** A service after an edit: what the edit does not say, because ipvsadm has no word for it, stays. */
export function editedService(before: VirtualService, edit: VirtualService): VirtualService {
  return withWhenGone(edit, edit.whenGone ?? whenGoneOf(before));
}
