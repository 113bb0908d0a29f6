import { MantineProvider } from '@mantine/core';
import { cleanup, fireEvent, render, screen } from '@testing-library/react';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type Column, DataTable } from './DataTable';

interface Row {
  id: string;
  size: number;
}
const columns: Column<Row>[] = [
  { id: 'id', header: 'Id', cell: (row) => row.id, sort: (row) => row.id },
  { id: 'size', header: 'Size', cell: (row) => row.size, sort: (row) => row.size },
];

// jsdom has no layout: the place that scrolls is given a size.
beforeEach(() => {
  vi.spyOn(Element.prototype, 'clientHeight', 'get').mockReturnValue(400);
  vi.spyOn(Element.prototype, 'clientWidth', 'get').mockReturnValue(800);
});
afterEach(() => {
  cleanup();
  vi.restoreAllMocks();
});

const show = (rows: Row[], more = {}) =>
  render(
    <MantineProvider>
      <DataTable label="Things" rows={rows} columns={columns} rowId={(row) => row.id} empty={<p>none</p>} {...more} />
    </MantineProvider>,
  );
const firstCell = () => screen.getAllByRole('row').find((row) => row.getAttribute('aria-rowindex') === '2')?.querySelectorAll('td')[0]?.textContent;

it('draws only what is in sight of ten thousand rows', () => {
  show(Array.from({ length: 10_000 }, (_, index) => ({ id: `row ${index}`, size: index })));
  expect(screen.getByRole('table').getAttribute('aria-rowcount')).toBe('10001');
  const drawn = screen.getAllByRole('row').length;
  expect(drawn).toBeGreaterThan(10);
  expect(drawn).toBeLessThan(60);
});

it('sorts numbers as numbers and words by the numbers in them, both ways, and says so', () => {
  show([{ id: 'a10', size: 9 }, { id: 'a2', size: 100 }]);
  fireEvent.click(screen.getByRole('button', { name: 'Size' }));
  expect(firstCell()).toBe('a10');
  fireEvent.click(screen.getByRole('button', { name: 'Size' }));
  expect(firstCell()).toBe('a2');
  expect(screen.getByRole('columnheader', { name: 'Size' }).getAttribute('aria-sort')).toBe('descending');
  fireEvent.click(screen.getByRole('button', { name: 'Id' }));
  expect(firstCell()).toBe('a2');
});

it('leaves sorting to who gives the rows, and says which order they have', () => {
  const onOrder = vi.fn();
  const rows = [{ id: 'b', size: 1 }, { id: 'a', size: 2 }];
  const asked: Column<Row>[] = [{ id: 'id', header: 'Id', cell: (row) => row.id, order: 'name' }, { id: 'size', header: 'Size', cell: (row) => row.size, align: 'right', order: 'size' }, { id: 'not', header: 'Not', cell: () => '' }];
  show(rows, { columns: asked, onOrder, sorted: { id: 'id', desc: true } });
  expect(firstCell()).toBe('b');
  expect(screen.getByRole('columnheader', { name: 'Id' }).getAttribute('aria-sort')).toBe('descending');
  fireEvent.click(screen.getByRole('button', { name: 'Id' }));
  // Of numbers the largest first: that is what one looks for.
  fireEvent.click(screen.getByRole('button', { name: 'Size' }));
  expect(onOrder.mock.calls).toEqual([[{ id: 'id', desc: false }], [{ id: 'size', desc: true }]]);
  expect([firstCell(), screen.queryByRole('button', { name: 'Not' })]).toEqual(['b', null]);
});

it('chooses one and all', () => {
  const onChoose = vi.fn();
  show([{ id: 'a', size: 1 }, { id: 'b', size: 2 }], { chosen: new Set<string>(), onChoose });
  fireEvent.click(screen.getByRole('checkbox', { name: 'Choose b' }));
  expect([...onChoose.mock.lastCall?.[0]]).toEqual(['b']);
  fireEvent.click(screen.getByRole('checkbox', { name: 'Choose all' }));
  expect([...onChoose.mock.lastCall?.[0]]).toEqual(['a', 'b']);
});

it('says that nothing is there', () => {
  show([]);
  expect(screen.getByText('none')).toBeTruthy();
});
