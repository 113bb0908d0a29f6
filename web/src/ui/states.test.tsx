import { MantineProvider } from '@mantine/core';
import { cleanup, render, screen } from '@testing-library/react';
import { afterEach, expect, it, vi } from 'vitest';
import { Refusal } from '@/api/refusal';
import { Asked, Failure, type Question } from './states';

afterEach(cleanup);

const refusal = (status: number, more = {}) => new Refusal({ type: 'x', title: '', status, detail: 'this needs the role admin; you have viewer', code: 'WEIR-API-021', instance: '', ...more });
const show = (node: React.ReactNode) => render(<MantineProvider>{node}</MantineProvider>);

it('says that a role is missing, and how to get it', () => {
  show(<Failure error={refusal(403, { hint: 'ask an admin' })} />);
  expect(screen.getByRole('alert').textContent).toContain('you have viewer');
  expect(screen.getByText('ask an admin')).toBeTruthy();
});

it('says what is wrong, where, and the code', () => {
  const again = vi.fn();
  show(<Failure error={refusal(422, { errors: [{ message: 'unknown option', path: '/sink/path', help: 'did you mean `path`?' }] })} onRetry={again} />);
  const text = screen.getByRole('alert').textContent;
  for (const part of ['unknown option', '/sink/path', 'did you mean', 'WEIR-API-021']) expect(text).toContain(part);
  screen.getByRole('button', { name: 'Try again' }).click();
  expect(again).toHaveBeenCalledOnce();
});

it('never writes what somebody has typed as HTML', () => {
  show(<Failure error={new Error('<img src=x onerror="window.hit=1">')} />);
  expect(document.querySelector('img')).toBeNull();
  expect(screen.getByText(/<img src=x/)).toBeTruthy();
});

it('shows data that are there although the newest question failed', () => {
  const query: Question<string> = { data: 'rows', isError: true, error: new Error('away'), refetch: () => undefined };
  show(<Asked query={query}>{(data) => <p>{data}</p>}</Asked>);
  expect(screen.getByText('rows')).toBeTruthy();
});
