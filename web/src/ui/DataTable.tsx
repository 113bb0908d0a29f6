import { Checkbox, Table, Text, UnstyledButton } from '@mantine/core';
import { IconArrowDown, IconArrowUp } from '@tabler/icons-react';
import { type ColumnDef, type Row, createSortedRowModel, rowSortingFeature, tableFeatures, useTable } from '@tanstack/react-table';
import { useVirtualizer } from '@tanstack/react-virtual';
import { type ReactNode, memo, useCallback, useEffect, useMemo, useRef } from 'react';
import classes from './DataTable.module.css';

/** Rows are of one height, so that ten thousand of them need no measuring. */
const ROW = 34;

const features = tableFeatures({ rowSortingFeature, sortedRowModel: createSortedRowModel() });

export interface Column<T> {
  id: string;
  header: string;
  cell: (row: T) => ReactNode;
  /** What the column is sorted by; a column without it is not sorted. */
  sort?: (row: T) => string | number;
  /** The same by its name, where somebody else sorts: see `onOrder`. */
  order?: string;
  /** Pixels; a column without it takes what is left. */
  width?: number;
  align?: 'right';
  /** Hidden on narrower screens. */
  from?: 'xs' | 'sm' | 'md' | 'lg' | 'xl';
}

/** By which column, and whether the largest is first. */
export interface Sorted {
  id: string;
  desc: boolean;
}

interface Props<T> {
  /** What the rows are, for screen readers. */
  label: string;
  rows: T[];
  columns: Column<T>[];
  rowId: (row: T) => string;
  sorted?: Sorted;
  /** The rows come sorted, by `sorted`; another order is asked for with this. */
  onOrder?: (sorted: Sorted) => void;
  /** Chosen rows by id. */
  chosen?: ReadonlySet<string>;
  onChoose?: (chosen: ReadonlySet<string>) => void;
  nameOf?: (row: T) => string;
  /** The last row came into sight. */
  onEnd?: () => void;
  /** Instead of rows. */
  empty: ReactNode;
}

const alphabetical = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/** A table of any length: only the rows in sight are in the page. Sorting and choosing are by keyboard too. */
export function DataTable<T extends object>({ label, rows, columns, rowId, sorted, onOrder, chosen, onChoose, nameOf, onEnd, empty }: Props<T>) {
  const definitions = useMemo(() => columns.map((column): ColumnDef<typeof features, T> => definition(column)), [columns]);
  const table = useTable({
    features,
    columns: definitions,
    data: rows,
    getRowId: rowId,
    initialState: { sorting: sorted === undefined || onOrder !== undefined ? [] : [sorted] },
    enableSortingRemoval: false,
  });
  const sorting = onOrder === undefined ? table.state.sorting[0] : sorted;
  const order = (next: Sorted) => (onOrder === undefined ? table.setSorting([next]) : onOrder(next));
  const found: Row<typeof features, T>[] = table.getRowModel().rows;
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({ count: found.length, getScrollElement: () => scroller.current, estimateSize: () => ROW, overscan: 12 });
  const items = virtual.getVirtualItems();
  const before = items[0]?.start ?? 0;
  const after = virtual.getTotalSize() - (items.at(-1)?.end ?? 0);
  const last = items.at(-1)?.index;
  useEffect(() => {
    if (last !== undefined && last >= found.length - 1) onEnd?.();
  }, [last, found.length, onEnd]);
  const now = useRef({ chosen, onChoose });
  now.current = { chosen, onChoose };
  // Of one identity, so that rows that stay in sight are not drawn again.
  const choose = useCallback((ids: string[], on: boolean) => {
    const next = new Set(now.current.chosen);
    ids.forEach((id) => (on ? next.add(id) : next.delete(id)));
    now.current.onChoose?.(next);
  }, []);
  if (rows.length === 0) return empty;
  const all = chosen !== undefined && found.length > 0 && found.every((row) => chosen.has(row.id));
  return (
    <div ref={scroller} className={classes.scroller} role="region" aria-label={label} tabIndex={0}>
      <Table className={classes.table} stickyHeader aria-label={label} aria-rowcount={found.length + 1} highlightOnHover>
        <Table.Thead>
          <Table.Tr>
            {chosen !== undefined && (
              <Table.Th w={40}>
                <Checkbox
                  size="xs"
                  aria-label="Choose all"
                  checked={all}
                  indeterminate={!all && chosen.size > 0}
                  onChange={(event) => choose(found.map((row) => row.id), event.currentTarget.checked)}
                />
              </Table.Th>
            )}
            {columns.map((column) => (
              <Header
                key={column.id}
                column={column}
                sortable={onOrder === undefined ? column.sort !== undefined : column.order !== undefined}
                order={sorting?.id === column.id ? (sorting.desc ? 'descending' : 'ascending') : undefined}
                onSort={() => order({ id: column.id, desc: sorting?.id === column.id ? !sorting.desc : onOrder !== undefined && column.align === 'right' })}
              />
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          <Spacer height={before} />
          {items.map(({ index }) => {
            const row = found[index];
            if (row === undefined) return null;
            const picked = chosen === undefined ? undefined : chosen.has(row.id);
            return <Line key={row.id} id={row.id} row={row.original} index={index} columns={columns} picked={picked} onPick={choose} nameOf={nameOf} />;
          })}
          <Spacer height={after} />
        </Table.Tbody>
      </Table>
    </div>
  );
}

interface LineProps<T> {
  id: string;
  row: T;
  index: number;
  columns: Column<T>[];
  /** Undefined: rows are not chosen here. */
  picked: boolean | undefined;
  onPick: (ids: string[], on: boolean) => void;
  nameOf: ((row: T) => string) | undefined;
}

/** A row. Plain elements: there are many of them, and they come and go while one scrolls. */
function OneLine<T>({ id, row, index, columns, picked, onPick, nameOf }: LineProps<T>) {
  return (
    <tr aria-rowindex={index + 2} className={classes.row}>
      {picked !== undefined && (
        <td>
          <input
            type="checkbox"
            aria-label={`Choose ${nameOf?.(row) ?? id}`}
            checked={picked}
            onChange={(event) => onPick([id], event.currentTarget.checked)}
          />
        </td>
      )}
      {columns.map((column) => (
        <td key={column.id} data-align={column.align} className={column.from === undefined ? undefined : `mantine-visible-from-${column.from}`}>
          <div className={classes.cell}>{column.cell(row)}</div>
        </td>
      ))}
    </tr>
  );
}

const Line = memo(OneLine) as typeof OneLine;

function definition<T extends object>(column: Column<T>): ColumnDef<typeof features, T> {
  const key = column.sort ?? (() => '');
  return {
    id: column.id,
    header: column.header,
    accessorFn: key,
    enableSorting: column.sort !== undefined,
    sortFn: (a: Row<typeof features, T>, b: Row<typeof features, T>) => compare(key(a.original), key(b.original)),
  };
}

function compare(a: string | number, b: string | number) {
  return typeof a === 'number' && typeof b === 'number' ? a - b : alphabetical.compare(String(a), String(b));
}

interface HeaderProps<T> {
  column: Column<T>;
  sortable: boolean;
  order: 'ascending' | 'descending' | undefined;
  onSort: () => void;
}

function Header<T>({ column, sortable, order, onSort }: HeaderProps<T>) {
  const Arrow = order === 'descending' ? IconArrowDown : IconArrowUp;
  return (
    <Table.Th w={column.width} ta={column.align} visibleFrom={column.from} aria-sort={order}>
      {!sortable ? (
        <Text inherit>{column.header}</Text>
      ) : (
        <UnstyledButton className={classes.sort} onClick={onSort} data-active={order !== undefined || undefined}>
          {column.header} <Arrow size={13} aria-hidden />
        </UnstyledButton>
      )}
    </Table.Th>
  );
}

function Spacer({ height }: { height: number }) {
  if (height <= 0) return null;
  return (
    <tr aria-hidden>
      <td style={{ height, padding: 0, border: 0 }} />
    </tr>
  );
}
