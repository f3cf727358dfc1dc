import { destinationKey, serviceKey } from './service-id.ts';
import type { Operation, ServiceEntry, Table } from './table.ts';
import type { ServiceId } from './virtual-service.ts';
import { editedService, normaliseService } from './when-gone.ts';

/**
 * The table after an operation that checkOperation did not refuse. A service that goes takes its destinations along;
 * an edited entry keeps its place; timeouts, sysctls and counters are not part of a table.
 */
export function applyOperation(table: Table, operation: Operation): Table {
  switch (operation.kind) {
    case 'add-service':
      return {
        services: [...table.services, { service: normaliseService(operation.service), destinations: [] }],
      };
    case 'edit-service':
      return changeService(table, operation.service.id, (entry) => ({
        ...entry,
        service: editedService(entry.service, operation.service),
      }));
    case 'delete-service': {
      const key = serviceKey(operation.id);
      return { services: table.services.filter(({ service }) => serviceKey(service.id) !== key) };
    }
    case 'add-destination':
      return changeService(table, operation.id, (entry) => ({
        ...entry,
        destinations: [...entry.destinations, operation.destination],
      }));
    case 'edit-destination': {
      const key = destinationKey(operation.destination);
      return changeService(table, operation.id, (entry) => ({
        ...entry,
        destinations: entry.destinations.map((destination) =>
          destinationKey(destination) === key ? operation.destination : destination,
        ),
      }));
    }
    case 'delete-destination': {
      const key = destinationKey(operation.destination);
      return changeService(table, operation.id, (entry) => ({
        ...entry,
        destinations: entry.destinations.filter((destination) => destinationKey(destination) !== key),
      }));
    }
    case 'flush':
      return { services: [] };
    case 'set-timeouts':
    case 'set-sysctls':
    case 'zero':
      return table;
  }
}

/** The service an operation is about. */
export function operationKey(operation: Operation): string | undefined {
  if ('service' in operation) return serviceKey(operation.service.id);
  return 'id' in operation && operation.id ? serviceKey(operation.id) : undefined;
}

function changeService(table: Table, id: ServiceId, change: (entry: ServiceEntry) => ServiceEntry): Table {
  const key = serviceKey(id);
  return {
    services: table.services.map((entry) => (serviceKey(entry.service.id) === key ? change(entry) : entry)),
  };
}
