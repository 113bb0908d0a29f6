import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Program } from './program';

/** Rows of a CSV file of orders. */
export function orders(count: number): string {
  const states = ['paid', 'paid', 'shipped', 'draft', 'cancelled'];
  const rows = Array.from({ length: count }, (_, index) => `${1_000 + index},customer ${index % 97},c${index % 97}@example.org,${states[index % states.length]},${(index % 500) + 0.5},2026-11-${String((index % 28) + 1).padStart(2, '0')}`);
  return `id,customer,email,status,amount,ordered_on\n${rows.join('\n')}\n`;
}

export const ordersSpec = (name: string, filter = "status <> 'draft'", more = '') => `pipeline: ${name}
description: Orders of the shop, without drafts and without addresses
mode: batch
schedule: {cron: "15 6 * * 1-5", timezone: Europe/Berlin}
labels: {team: data, owner: ada}
source:
  file: {path: in/orders.csv, columns: {amount: "decimal(10,2)"}}
transforms:
  - filter: ${filter}
  - mask: {columns: {email: redact}}
sink:
  file: {path: lake/${name}, format: parquet, write_mode: overwrite}
${more}`;

export const copySpec = (name: string, path = 'in/orders.csv') => `pipeline: ${name}
source:
  file: {path: ${path}}
sink:
  file: {path: out/${name}, format: ndjson, write_mode: overwrite}
`;

/** An HTTP API in pages of ten rows; from the fourth on it answers when it is told to. */
export interface Pages {
  url: string;
  /** How often a page was asked for. */
  asked: number[];
  release(): void;
  stop(): Promise<void>;
}

export async function startPages(pages = 8): Promise<Pages> {
  let open = false;
  const waiting: (() => void)[] = [];
  const asked: number[] = [];
  const server: Server = createServer((request, response) => {
    const page = Number(new URL(request.url ?? '/', 'http://x').searchParams.get('page') ?? '1');
    asked.push(page);
    const rows = page > pages ? [] : Array.from({ length: 10 }, (_, index) => ({ id: (page - 1) * 10 + index, name: `item ${index}` }));
    const answer = () => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ data: rows }));
    };
    if (page < 4 || open) answer();
    else waiting.push(answer);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/items`,
    asked,
    release() {
      open = true;
      waiting.splice(0).forEach((answer) => answer());
    },
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

export const pagesSpec = (name: string, url: string) => `pipeline: ${name}
source:
  http: {url: "${url}", records: data, pagination: {page: {}}}
sink:
  file: {path: out/${name}, format: ndjson, write_mode: append}
`;

/** A shop: pipelines that ran, one that fails, one that keeps rows apart, one with three versions, rules. */
export async function furnish(program: Program) {
  await program.write('in/orders.csv', orders(5_000));
  await program.write('in/returns.csv', `${orders(200)}9999,too,many,fields,1.5,2026-11-01,surprise\n`);
  const shop = await program.job(ordersSpec('orders_to_lake'));
  await program.api('PUT', `/api/v1/jobs/${shop}`, { spec: ordersSpec('orders_to_lake', "status NOT IN ('draft', 'cancelled')") });
  const first = await program.run(shop);
  await program.api('PUT', `/api/v1/jobs/${shop}`, { spec: ordersSpec('orders_to_lake') });
  await program.api('POST', `/api/v1/jobs/${shop}/alerts`, [
    { metric: 'error_rate', threshold: 0.05, window: '5m', severity: 'critical', action: 'none' },
    { metric: 'processing_lag', threshold: 900, window: '15m', severity: 'warning', action: 'none' },
  ]);
  const second = await program.run(shop);
  const broken = await program.job(copySpec('stock_levels', 'in/stock_2026.csv'));
  const failed = await program.run(broken);
  const apart = await program.job(`${copySpec('returns_to_lake', 'in/returns.csv')}dead_letters: {allow: 10}\n`);
  const kept = await program.run(apart);
  for (const name of ['customers_nightly', 'invoices_to_lake', 'shipments', 'web_clicks', 'prices_eu']) {
    await program.job(ordersSpec(name).replace('lake/', `lake2/`));
  }
  return { shop, first, second, broken, failed, apart, kept };
}
