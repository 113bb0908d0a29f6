import { MantineProvider } from '@mantine/core';
import { cleanup, fireEvent, render, screen } from '@testing-library/react';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { KEPT } from '@/api/connections';
import { type Schema, fieldsOf } from '@/lib/schema';
import { SchemaForm } from './SchemaForm';

const schema: Schema = {
  properties: {
    host: { type: 'string', description: 'The `host`.' },
    password: { type: ['string', 'null'], 'x-weir-secret': true },
    port: { type: ['integer', 'null'] },
    verify: { type: 'boolean', default: true },
    tables: { type: 'array', items: { type: 'string' } },
    csv: { type: 'object', properties: { header: { type: 'boolean' } } },
    rare: { type: 'string' },
  },
  required: ['host'],
};

function form(value: unknown) {
  const onChange = vi.fn();
  render(
    <MantineProvider env="test">
      <SchemaForm fields={fieldsOf(schema, schema)} value={value} onChange={onChange} />
    </MantineProvider>,
  );
  return onChange;
}

afterEach(cleanup);

describe('a form of options', () => {
  it('shows what is required or set, and the rest behind a button', () => {
    form({ host: 'db', verify: false });
    expect((screen.getByLabelText(/^host/) as HTMLInputElement).value).toBe('db');
    expect((screen.getByLabelText('verify') as HTMLInputElement).checked).toBe(false);
    expect(screen.queryByLabelText('rare')).toBeNull();
    fireEvent.click(screen.getByRole('button', { name: '5 more options' }));
    expect(screen.getByLabelText('rare')).toBeTruthy();
  });

  it('never shows a secret that is stored, and can replace it', () => {
    const onChange = form({ host: 'db', password: KEPT });
    expect(screen.getByText('Stored. It is never shown.')).toBeTruthy();
    fireEvent.click(screen.getByRole('button', { name: 'Replace password' }));
    expect(onChange).toHaveBeenCalledWith(['password'], undefined);
  });

  it('says which option becomes what', () => {
    const onChange = form({ host: 'db', port: 1, csv: { header: true } });
    fireEvent.change(screen.getByLabelText(/^host/), { target: { value: 'other' } });
    expect(onChange).toHaveBeenLastCalledWith(['host'], 'other');
    fireEvent.change(screen.getByLabelText(/^host/), { target: { value: '' } });
    expect(onChange).toHaveBeenLastCalledWith(['host'], undefined);
    fireEvent.change(screen.getByLabelText('port'), { target: { value: '5432' } });
    expect(onChange).toHaveBeenLastCalledWith(['port'], 5432);
    fireEvent.click(screen.getByLabelText('header'));
    expect(onChange).toHaveBeenLastCalledWith(['csv', 'header'], false);
  });

  it('shows a reference in place of a number as the text that it is', () => {
    form({ host: 'db', port: '${PORT}' });
    expect((screen.getByLabelText('port') as HTMLInputElement).value).toBe('${PORT}');
  });
});
