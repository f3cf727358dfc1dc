import { isSilent, type PeerStatus, peerSilentMs } from '../model/peer.ts';
import { span } from '../model/span.ts';
import type { Problem } from './problems.ts';

/** What it means that no other director has ever been heard, for so long. Pure. */
export function aloneProblems(aloneMs: number | undefined): readonly Problem[] {
  if (aloneMs === undefined || aloneMs <= peerSilentMs) return [];
  return [
    {
      what: `no other director has been heard for ${span(aloneMs)}: nobody would take over, or not its connections`,
      remedy:
        'does the other one run, with the same interface, id and key in connectionSync? There: headgate status',
    },
  ];
}

/** What is wrong with another director, as this one sees it. Pure. */
export function peerProblems(peer: PeerStatus): readonly Problem[] {
  const { source, agoMs, sameServices } = peer;
  if (isSilent(peer))
    return [
      {
        what: `this director at ${source} has not been heard for ${span(agoMs)}`,
        remedy: `is it up, and does its daemon run? There: headgate status`,
      },
    ];
  if (sameServices === false)
    return [
      {
        what: `its configuration has other virtual services or real servers than that of this director`,
        remedy: 'compare the files of both, and reload the older one: headgate reload',
      },
    ];
  return [];
}
