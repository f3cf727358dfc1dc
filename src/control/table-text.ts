import type { ServiceEntry, Table } from '../model/table.ts';

const texts = new WeakMap<ServiceEntry, string>();

/** A table as JSON. The same entry is written once, however often and wherever it is kept. */
export function tableText({ services }: Table): string {
  return `{"services":[${services.map(textOf).join(',')}]}`;
}

function textOf(entry: ServiceEntry): string {
  const text = texts.get(entry) ?? JSON.stringify(entry);
  texts.set(entry, text);
  return text;
}
