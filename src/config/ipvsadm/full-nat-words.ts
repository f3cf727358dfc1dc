import type { FullNat } from '../../model/virtual-service.ts';

/** The settings of full NAT as `headgate ipvsadm` takes them, behind `--full-nat`; each word with a blank before it. */
export function fullNatWords({ localAddresses, clientAddress }: FullNat): string {
  return [
    ...(localAddresses.length > 0 ? [` --local-addresses ${localAddresses.join(',')}`] : []),
    ...(clientAddress === 'hidden' ? [] : [` --client-address ${clientAddress}`]),
  ].join('');
}
