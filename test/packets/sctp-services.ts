import { destination, servicePlan } from './services.ts';

/** Services of SCTP for both families: masquerade at port 80 to another port, direct routing at 81. */
export const [vip, vip6] = ['198.51.100.10', '[2001:db8:100::10]'] as const;
export const sctpPlans = [
  servicePlan(`sctp ${vip}:80`, 'rr', destination('10.1.0.11:8080')),
  servicePlan(`sctp ${vip6}:80`, 'rr', destination('[fd10::11]:8080')),
  servicePlan(`sctp ${vip}:81`, 'rr', destination('10.1.0.12:81', 'direct-routing')),
  servicePlan(`sctp ${vip6}:81`, 'rr', destination('[fd10::12]:81', 'direct-routing')),
];
