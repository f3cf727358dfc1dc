import type { AlertFilter } from './alert.ts';

/** Mail to people. */
export type MailAlert = AlertFilter & {
  readonly server: { readonly host: string; readonly port: number };
  readonly transport: 'plain' | 'tls' | 'startTls';
  readonly serverName?: string | undefined;
  readonly verify: boolean;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly from: string;
  readonly to: readonly string[];
  /** How often a real server that stays down is told of again, milliseconds; 0: never. */
  readonly repeat: number;
};

/** Events posted to a web server as JSON. */
export type WebhookAlert = AlertFilter & { readonly url: string; readonly secret?: string | undefined };

/** A program that is run for events. */
export type CommandAlert = AlertFilter & { readonly command: readonly string[] };

export type Alerts = {
  readonly mail: readonly MailAlert[];
  readonly webhook: readonly WebhookAlert[];
  readonly command: readonly CommandAlert[];
};

/** Programs that are run when something becomes of a virtual service or one of its real servers. */
export type ServiceHooks = {
  /** The file that gets a line for each result of a check. */
  readonly checkLog?: string | undefined;
  /** Whether real servers and quorum count as lost when forwarding ends with the daemon. */
  readonly downOnStop: boolean;
  readonly onQuorumUp?: readonly string[] | undefined;
  readonly onQuorumDown?: readonly string[] | undefined;
  /** Of real servers with programs, by the names that events use. */
  readonly realServers: ReadonlyMap<string, RealServerHooks>;
};

export type RealServerHooks = {
  readonly onUp?: readonly string[] | undefined;
  readonly onDown?: readonly string[] | undefined;
};

/** What a configuration wants to be done when something happens. */
export type Reactions = {
  readonly alerts: Alerts;
  /** By the names of virtual services; those without programs are in it as well. */
  readonly services: ReadonlyMap<string, ServiceHooks>;
  /** Whether there is a real server of these names, as events use them. */
  readonly isDescribed: (service: string, realServer: string) => boolean;
};
