import type { WebhookAlert } from '../../model/reaction.ts';
import { type Deliver, DeliveryFailure } from './outlet.ts';

/**
 * Posts a message as JSON: the event itself, or `{"kind":"several","events":[...],"more":N}`. An answer 2xx is good;
 * 4xx is final but for 408 and 429.
 */
export function webhookDelivery({ url, secret }: WebhookAlert): Deliver {
  return async ({ events, more, isRepeated }, signal) => {
    const [first] = events;
    const body =
      events.length === 1 && more === 0
        ? { ...first, ...(isRepeated && { repeated: true }) }
        : { kind: 'several', events, more };
    const response = await post(url, secret, JSON.stringify(body), signal);
    // Nothing of the answer counts but its status; what is not read keeps no connection.
    await response.body?.cancel().catch(() => undefined);
    if (response.ok) return;
    const { status } = response;
    const isFinal = status >= 400 && status < 500 && status !== 408 && status !== 429;
    throw new DeliveryFailure(`${shown(url)}: got ${status}, want 200-299`, isFinal);
  };
}

async function post(
  url: string,
  secret: string | undefined,
  body: string,
  signal: AbortSignal,
): Promise<Response> {
  try {
    return await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'user-agent': 'headgate',
        ...(secret !== undefined && { authorization: `Bearer ${secret}` }),
      },
      body,
      signal,
      // The secret is for this server and no other.
      redirect: 'manual',
    });
  } catch (error) {
    const { cause } = error as { cause?: { message?: string } };
    const reason = signal.aborted ? 'no answer in time' : (cause?.message ?? String(error));
    throw new DeliveryFailure(`${shown(url)}: ${reason}`);
  }
}

/** A URL without what is often secret in it. */
function shown(url: string): string {
  try {
    return new URL(url).origin;
  } catch {
    return 'webhook';
  }
}
