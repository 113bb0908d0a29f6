import { useQuery } from '@tanstack/react-query';
import { type Schemas, answer, client } from './client';
import { LATER, SOON } from './queries';

export type Dashboard = Schemas['Dashboard'];
export type Alert = Schemas['Alert'];
export type AlertRule = Schemas['AlertRule'];

export const useDashboard = () =>
  useQuery({
    queryKey: ['dashboard'],
    queryFn: () => answer(client.GET('/api/v1/monitoring/dashboard')),
    refetchInterval: SOON,
  });

/** What all runs did in the last hours, in equal steps. */
export const useHistory = (hours: number) =>
  useQuery({
    queryKey: ['dashboard', 'history', hours],
    queryFn: () => answer(client.GET('/api/v1/monitoring/history', { params: { query: { time_range_hours: hours } } })),
    refetchInterval: LATER,
  });

export const useAlertRules = (job: string) =>
  useQuery({
    queryKey: ['alerts', 'rules', job],
    queryFn: () => answer(client.GET('/api/v1/jobs/{job_id}/alerts', { params: { path: { job_id: job } } })),
  });

/** Alerts of a job, or of all, newest first. */
export const useAlerts = (filter: { job_id?: string; state?: Schemas['AlertState'] }) =>
  useQuery({
    queryKey: ['alerts', 'list', filter],
    queryFn: () => answer(client.GET('/api/v1/alerts', { params: { query: { limit: 100, ...filter } } })),
    refetchInterval: LATER,
  });
