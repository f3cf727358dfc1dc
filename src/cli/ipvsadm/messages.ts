import type { Operation, Refusal, RefusalReason } from '../../model/table.ts';

/** The version line; IPVS 1.2.1 is the interface version of every kernel since 2.6.27. */
export const versionLine = 'ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n';

export const noSuchService = 'No such service';

const anyOperation: Readonly<Record<RefusalReason, string>> = {
  'service-exists': 'Service already exists',
  'no-such-service': 'Service not defined',
  'destination-exists': 'Destination already exists',
  'no-such-destination': 'No such destination',
  'unknown-scheduler': 'Scheduler or persistence engine not found',
  invalid: 'Invalid operation.  Possibly wrong module version, address not unicast, ...',
  'out-of-range': 'Numerical result out of range',
  'table-full': 'Memory allocation problem',
  'unsupported-family': 'Operation not supported with specified address family',
};

/** ipvsadm's words for a refused operation (ipvs_strerror in its libipvs). */
export function refusalText(operation: Operation, refusal: Refusal): string {
  const onDestination = operation.kind.endsWith('-destination');
  return refusal.reason === 'no-such-service' && !onDestination
    ? noSuchService
    : anyOperation[refusal.reason];
}
