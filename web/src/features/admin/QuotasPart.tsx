import { Progress, Stack, Table, Text } from '@mantine/core';
import { type QuotaUse, useQuotas } from '@/api/tenants';
import { Asked } from '@/ui/states';
import { WideTable } from '@/ui/WideTable';
import { QUOTAS, type QuotaName } from './quotas';

/** The own tenant's limits and what is used of them. */
export function QuotasPart() {
  const quotas = useQuotas();
  return (
    <Asked query={quotas}>
      {(use) => (
        <Stack gap="sm" maw={760}>
          <Text size="sm" c="dimmed">{`Limits of the tenant ${use.tenant_id}. A platform administrator sets them with the tenant.`}</Text>
          <WideTable label="Quotas" minWidth={480}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>What</Table.Th>
                <Table.Th ta="right">Used</Table.Th>
                <Table.Th ta="right">Limit</Table.Th>
                <Table.Th w="35%">Share</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {QUOTAS.map((quota) => {
                const used = usedOf(use, quota.name);
                const limit = use.quotas[quota.name];
                const share = used === null || limit == null ? null : limit === 0 ? 100 : Math.min(100, (used / limit) * 100);
                return (
                  <Table.Tr key={quota.name}>
                    <Table.Td>
                      {quota.label}{' '}
                      <Text span size="xs" c="dimmed">
                        {quota.about}
                      </Text>
                    </Table.Td>
                    <Table.Td ta="right" className="numbers">
                      {used === null ? '–' : quota.written(used)}
                    </Table.Td>
                    <Table.Td ta="right" className="numbers">
                      {limit == null ? 'none' : quota.written(limit)}
                    </Table.Td>
                    <Table.Td>
                      {share !== null && (
                        <Progress
                          value={share}
                          color={share >= 100 ? 'red' : share >= 80 ? 'yellow' : 'weir'}
                          aria-label={`${quota.label}: ${Math.round(share)} % used`}
                        />
                      )}
                    </Table.Td>
                  </Table.Tr>
                );
              })}
            </Table.Tbody>
          </WideTable>
        </Stack>
      )}
    </Asked>
  );
}

/** What is counted of a quota; limits of single runs are not. */
export function usedOf({ usage }: QuotaUse, name: QuotaName): number | null {
  switch (name) {
    case 'max_pipelines':
      return usage.pipelines;
    case 'max_concurrent_runs':
      return usage.concurrent_runs;
    case 'max_rows_per_day':
      return usage.rows_today;
    case 'max_bytes_per_day':
      return usage.bytes_today;
    default:
      return null;
  }
}
