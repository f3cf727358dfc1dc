import type { Report } from './report.ts';
import type { AlertsConfiguration } from './schema/configuration.ts';

/** Alerts about virtual services that nobody describes would never come. `services` are the names of those that are. */
export function problemsOfAlerts(
  alerts: AlertsConfiguration,
  services: readonly string[],
  report: Report,
): void {
  const known = new Set(services);
  const wanted = services.length === 0 ? 'one that is described here, but none is' : services.join(', ');
  for (const kind of ['mail', 'webhook', 'command'] as const)
    for (const [i, one] of (alerts[kind] ?? []).entries())
      for (const [n, name] of (one.services ?? []).entries())
        if (!known.has(name)) report(['alerts', kind, i, 'services', n], `"${name}": wanted ${wanted}`);
}
